"""Every command of the pages is executed at toy size: small tables stand for the data sets, one epoch for the training.

What stays as it is: the verbs, plugins, options and placeholders of a run folder. What is only composed, in
test_documented_commands.py, is in `COMPOSED`, with the reason.
"""

import csv
import os
import random
from pathlib import Path

import pytest
from test_documented_commands import commands

from fmlab.cli import main

COMPOSED = {
    "acme": "a package that the reader makes",
    "mine": "a folder that the reader makes",
    "postgresql": "a server",
    "ckpt_path=": "it goes on with the data of that run: tests/run/test_resume.py",
    "push": "a hub",
    "pull": "a hub",
    "serve": "it runs until it is stopped: tests/serving/test_server.py",
    "trainer=ddp": "two processes: tests/run",
    "experiment=bars": "best values on columns of one data set",
    "experiment=frappe-wide": "best values on columns of one data set",
    "experiment=lorentzfm-": "best values on columns of one data set",
    "experiment=board/movielens": "a board of one data set",
    "experiment=board/toys": "a board of one data set",
    "experiment=board/beauty": "a board of one data set",
    "sweep=lorentzfm": "a grid of days; tests/sweep runs small ones",
    "sweep=geometry": "a search of hours on one data set; tests/sweep runs small ones",
    "sweep=tables": "a search of hours on one data set; tests/sweep runs small ones",
    "sweep=automl": "a search of minutes: examples/automl.ipynb, tests/sweep",
    "runs/sweeps": "the folder of such a search",
    "data=amazon": "categories of that data set",
    "audit --markdown": "every data set of the disk",
}
CLICKS = ["data=csv", "data.path=clicks.csv", "data.user=user", "data.item=item", "data.label=clicked"]
STARS = ["data=csv", "data.path=stars.csv", "data.user=u", "data.item=i", "data.label=y"]
TOY = ["trainer.max_epochs=1", "trainer.accelerator=cpu", "trainer.threads=1", "trainer.progress=false"]
EXTRAS = {"tensorboard": "tensorboard", "mlflow": "mlflow", "lightgbm": "lightgbm", "catboost": "catboost"}


def table(path: str, header: str, rows: list[list[object]]) -> None:
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t" if path.endswith(".tsv") else ",").writerows([header.split(), *rows])


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the tables of the pages, and the runs `ranked` (with ids that pages name), `clicked`,
    `warm` in `runs/`."""
    folder, draw = tmp_path_factory.mktemp("room"), random.Random(0)
    before = Path.cwd()
    os.chdir(folder)
    users, items = ["42", "007", *map(str, range(100, 150))], ["260", "1196", "1210", *map(str, range(37))]
    pairs = [(u, i) for u in users for i in draw.sample(items, 20)]
    stars = [[u, i, draw.randint(1, 5)] for u, i in pairs]
    clicks = [[u, i, draw.choice("xyz"), int(draw.random() < 0.4)] for u, i in pairs]
    table("ratings.csv", "user movie stars", stars)
    table("ratings-ui.csv", "u i stars", stars)
    table("stars.csv", "u i y", stars)
    table("visits.tsv", "uid place when", [[u, i, 1600000000 + n] for n, (u, i) in enumerate(pairs)])
    for name in ("clicks", "today", "rows"):
        table(f"{name}.csv", "user item place clicked", clicks)
    log = [[n, 1600000000 + 5000 * n, *row] for n, row in enumerate(clicks)]
    table("log.csv", "request_id when user item place clicked", log)
    for name, part in (("train", clicks[:600]), ("valid", clicks[600:800]), ("test", clicks[800:])):
        table(f"{name}.csv", "user item place clicked", part)
    adjacent = {u: [n for n, i in enumerate(items) if (u, i) in set(pairs)] for u in users}
    for name, cut in (("train", slice(0, 15)), ("test", slice(15, None))):
        lines = [f"{n} {' '.join(map(str, have[cut]))}" for n, have in enumerate(adjacent.values())]
        Path(f"{name}.txt").write_text("\n".join(lines) + "\n")
    table("users.csv", "u user", [[u, u] for u in users])
    table("theirs.csv", "user item score", [[u, i, draw.random()] for u in users for i in items])
    try:
        kept = ["protocol=full_ranking", "model=fm", *STARS, *TOY]
        assert main([*kept, "hydra.run.dir=runs/ranked"]) == 0
        plain = ["data=csv", "data.path=clicks.csv", "data.label=clicked"]
        roles = ["data.user=user", "data.item=item"]
        assert main(["model=lorentzfm", *plain, *roles, "protocol=ctr", *TOY, "hydra.run.dir=runs/clicked"]) == 0
        assert main(["model=fm", *plain, *roles, "protocol=ctr", *TOY, "hydra.run.dir=runs/warm"]) == 0
    finally:
        os.chdir(before)
    return folder


def at_toy_size(words: list[str]) -> list[str]:
    """The command on the tables of `room`."""
    runs = {"plot": "runs/clicked", "predict": "runs/clicked"}
    place = runs.get(words[0], "runs/ranked")
    found: list[str] = []
    for word in words:
        if word == "data.path=ratings.csv" and "data.user=u" in words:  # a table of another page
            word = "data.path=ratings-ui.csv"
        word = word.replace("runs/csv/ctr/fm/<time>", "runs/warm").replace("runs/.../<time>", place)
        if word in ("lorentzfm", "lorentzfm-ml1m") and words[0] in ("export", "predict"):
            word = place
        scored = "protocol=ctr" in words or words[:2] == ["data", "audit"]
        if word.startswith(("data=movielens", "data=frappe")) or word in ("movielens-1m", "frappe"):
            table_ = CLICKS if scored or "frappe" in word else STARS
            named = words[0] == "data" and words[1] in ("show", "split", "audit")
            found += [table_[0].removeprefix("data="), *table_[1:]] if named else table_
            continue
        found.append(word)
    if "data.label=clicked" in found and "data.user=user" not in found and not words[0].startswith("data"):
        found += ["data.user=user", "data.item=item"]  # columns of these names in our table
    trains = any("=" in word for word in words) and words[0] not in ("data", "evaluate", "plugins")
    if not trains:
        return found
    if "y" in [w.partition("data.label=")[2] for w in found] and not any(w.startswith("protocol=") for w in found):
        found.append("protocol=full_ranking")  # that of the data set which our table stands for
    if any(w.startswith("experiment=board/") for w in found):
        found.append("trainer.check_val_every_n_epoch=1")
    ours = [t for t in TOY if not any(w.startswith(t.split("=")[0]) for w in found)]
    solved = ("ease", "itemknn", "rp3beta", "bm25", "ials", "lookup")
    closed = any("lightgbm" in w or any(f"={name}" in w for name in solved) for w in found)
    return [*found, *(ours[1:] if closed and "trainer.max_epochs" in ours[0] else ours)]


def executed() -> list[object]:
    made = {}
    for one in commands():
        words = one.values[0]
        text = " ".join(words)
        if any(part in text.split(" ")[0:1] or part in text for part in COMPOSED):
            continue
        trains = "=" in text and words[0] not in ("plugins", "data", "evaluate")
        marks = [pytest.mark.slow] if trains or "onnx" in text else []
        made.setdefault(text, pytest.param(words, id=text[:90], marks=marks))
    return list(made.values())


@pytest.mark.parametrize("words", executed())
def test_a_documented_command_runs(words: list[str], room: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(room)
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name, package in EXTRAS.items():
        if any(name in word for word in words):
            pytest.importorskip(package)
    if words[0] in ("plot", "export"):
        pytest.importorskip({"plot": "matplotlib", "onnx": "onnxscript", "ann": "usearch"}.get(words[-1], "numpy"))
    if ">" in words:
        words = words[: words.index(">")]
    given = at_toy_size(words)
    for out in ("exported", "index", "split"):
        if out in given and (room / out).exists():
            (room / out).rename(room / f"{out}-{random.random()}")
    status = main(given)
    said = capsys.readouterr()
    assert status == 0, f"{' '.join(given)}\n{said.err[-2000:]}"
