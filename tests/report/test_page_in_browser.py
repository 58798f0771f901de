"""The HTML page in a real browser: laid out, within its bounds, nothing fetched. Skipped where there is no Chromium."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from run_folders import make_run

from fmlab.cli.report import main

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")

WEIGHTS = (0.2126, 0.7152, 0.0722)
# What the browser made of the page, as text at its end: sizes of figures, words that stand outside of theirs.
PROBE = """<pre id=probe></pre><script>
const figures = [...document.querySelectorAll("svg")].map(svg => {
  const box = svg.getBoundingClientRect(), inside = r =>
    r.left >= box.left - 1 && r.right <= box.right + 1 && r.top >= box.top - 1 && r.bottom <= box.bottom + 1;
  const outside = [...svg.querySelectorAll("text")].filter(t => !inside(t.getBoundingClientRect()));
  return {title: svg.getAttribute("aria-label"), width: box.width, height: box.height,
          marks: svg.querySelectorAll("circle, path, rect").length, outside: outside.map(t => t.textContent)};
});
const page = document.documentElement;
document.getElementById("probe").textContent = JSON.stringify({figures,
  rows: document.querySelectorAll("tbody tr").length, wider: page.scrollWidth - page.clientWidth,
  fetched: performance.getEntriesByType("resource").map(r => r.name)});
</script>"""


def seen(path, tmp_path, width, probe=PROBE, more=()):
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile", *more]
    page = tmp_path / "probed.html"
    page.write_text(path.read_text("utf-8").replace("</body>", f"{probe}</body>"), "utf-8")
    done = subprocess.run(
        [*command, f"--window-size={width},1000", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    return json.loads(
        re.search(r'<pre id="probe">(.*)</pre>', done.stdout)[1]
        .replace("&amp;", "&")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
    )


# Colors of words, of marks and of what is behind them.
COLORS = """<pre id=probe></pre><script>
const of = (element, name) => getComputedStyle(element)[name], svg = document.querySelector("svg");
const all = (names, name) => [...new Set([...document.querySelectorAll(names)].map(e => of(e, name)))];
document.getElementById("probe").textContent = JSON.stringify({
  page: of(document.body, "backgroundColor"), drawing: of(svg, "backgroundColor"),
  head: all("th", "backgroundColor")[0],
  words: all("h1, td, .note", "color"), heads: all("th", "color"), written: all("svg text", "fill"),
  marks: all("svg circle, svg rect", "fill"), lines: all("svg path", "stroke")});
</script>"""


def brightness(color):
    """Relative luminance by WCAG."""
    parts = [int(c) / 255 for c in re.findall(r"\d+", color)[:3]]
    linear = [c / 12.92 if c <= 0.04 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip(WEIGHTS, linear, strict=True))


def contrast(a, b):
    low, high = sorted(map(brightness, (a, b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_words_and_marks_stand_out_on_light_and_on_dark(tmp_path, dark):
    for n in range(20):  # as many models as there are colors
        options = {"model.name": f"m{n % 10}", "model.dim": (4, 8)[n // 10], "optimizer.lr": 10.0 ** -(n % 3)}
        make_run(tmp_path / "runs" / str(n), options, test=0.01 * n, units=np.arange(9) + n * 0.1, when=n)
    assert main([str(tmp_path / "runs"), "--html", str(tmp_path / "page.html")]) == 0
    more = [f"--blink-settings=preferredColorScheme={int(not dark)}"]
    found = seen(tmp_path / "page.html", tmp_path, 1000, COLORS, more)
    assert (brightness(found["page"]) < 0.1) == dark
    for words, paper in (("words", "page"), ("heads", "head"), ("written", "drawing")):
        assert min(contrast(c, found[paper]) for c in found[words]) > 4.5, (words, found)
    for marks in ("marks", "lines"):
        assert len(found[marks]) > 5
        drawn = [c for c in found[marks] if c != "none"]
        assert min(contrast(c, found["drawing"]) for c in drawn) > 1.5, (marks, found)


@pytest.mark.parametrize("width", [1400, 500])
def test_a_browser_lays_the_page_out(tmp_path, capsys, width):
    for n in range(12):
        options = {
            "model.name": ("fm", "deep<er>")[n % 2],
            "model.dim": (4, 8, 16)[n % 3],
            "optimizer.lr": 10.0 ** -(n % 4),
        }
        make_run(
            tmp_path / "runs" / str(n), {**options, "seed": n}, test=0.01 * n, units=np.arange(9) + n * 0.1, when=n
        )
    assert main([str(tmp_path / "runs"), "--html", str(tmp_path / "page.html")]) == 0
    found = seen(tmp_path / "page.html", tmp_path, width)
    assert len(found["figures"]) == 7
    assert found["rows"] == 12
    assert found["fetched"] == []
    assert found["wider"] <= 0
    for figure in found["figures"]:
        assert min(figure["width"], figure["height"]) > 50, figure
        assert figure["marks"] > 0, figure
        assert figure["outside"] == [], figure
