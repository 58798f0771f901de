"""The HTML page in a real browser: laid out, within its bounds, nothing fetched. Skipped where there is no Chromium."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from run_folders import make_run

from fmlab.report import main

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")

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


def seen(path, tmp_path, width):
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    page = tmp_path / "probed.html"
    page.write_text(path.read_text("utf-8").replace("</body>", f"{PROBE}</body>"), "utf-8")
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
