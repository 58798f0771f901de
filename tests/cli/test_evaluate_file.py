"""Splits written to files and read back, and what other programs make of them judged like a run."""

import json
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fmlab.cli import main
from fmlab.config.composition import compose
from fmlab.report.leaderboards import leaderboards
from fmlab.report.runs import find_runs
from fmlab.run.task_opening import open_task

SMALL = ("data.users=60", "data.items=40", "data.positives=8")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FMLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path


def task(*overrides: str):
    from omegaconf import OmegaConf

    return open_task(
        OmegaConf.to_container(compose([*overrides, f"cache_dir={Path.cwd() / 'cache'}"], {}), resolve=True)
    )


def fields(made) -> dict[str, tuple[str, str]]:
    return {
        f.name if f.name not in "ui" else dict(u="user", i="item")[f.name]: (f.side, f.kind)
        for f in made.dataset.schema.fields
    }


def pairs(made) -> list[set[tuple[str, str]]]:
    data = made.dataset
    names = [np.array([str(k) for k in data.keys[s]], object) for s in ("user", "item")]
    rows = (made.training.rows, made.validation.rows, made.test.rows)
    return [{(names[0][data.user[r]], names[1][data.item[r]]) for r in part} for part in rows]


@pytest.mark.parametrize("layout", ["csv", "inter", "adjacency"])
def test_a_split_is_read_back_by_the_options_that_it_prints(layout: str, capsys: pytest.CaptureFixture[str]) -> None:
    split = ["data", "split", "synthetic", *SMALL, "protocol=composed", "--out", "out", "--layout", layout]
    assert main(split) == 0
    options = shlex.split(capsys.readouterr().out.splitlines()[-1])
    before = task("data=synthetic", *SMALL, "protocol=composed")
    after = task(*options, "protocol=composed")
    assert [len(part) for part in pairs(before)] == [len(part) for part in pairs(after)]
    assert pairs(before) == pairs(after)
    if layout == "csv":
        assert fields(before) == fields(after)


def test_columns_keep_their_kinds_and_sides_in_a_split(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, 20, 400), rng.integers(0, 30, 400)
    table = pd.DataFrame({"u": user, "i": item, "stars": rng.integers(1, 6, 400), "when": 10**9 + np.arange(400)})
    table["two words"] = np.array(["a|b", "b", "a|c"])[item % 3]
    table["code"] = 100 + user
    table["price"] = np.where(item % 4, item / 7, np.nan)
    table["hour"] = rng.integers(0, 24, 400)
    table.to_csv("table.csv", index=False)
    given = ["data.path=table.csv", "data.user=u", "data.item=i", "data.label=stars", "data.time=when"]
    given += ["data.multi_valued=['two words']", "data.categorical=[code,hour]", "data.numeric=[price]"]
    given += ["protocol=rating", "protocol.negatives=0"]
    assert main(["data", "split", "csv", *given, "--out", "out"]) == 0
    options = shlex.split(capsys.readouterr().out.splitlines()[-1])
    before, after = task("data=csv", *given), task(*options, "protocol=rating", "protocol.negatives=0")
    assert fields(before) == fields(after)
    for part in ("training", "validation", "test"):
        old, new = ((made.dataset, getattr(made, part).rows) for made in (before, after))
        for column in ("label", "time"):
            assert sorted(getattr(old[0], column)[old[1]]) == sorted(getattr(new[0], column)[new[1]])


def lists(made, keep: int) -> pd.DataFrame:
    """What a program that knows the items' training counts recommends."""
    data = made.dataset
    count = np.bincount(data.item[made.training.rows], minlength=data.schema.n_items)
    users, items = (np.array([str(k) for k in data.keys[s]], object) for s in ("user", "item"))
    rows = [(u, items[i], int(count[i])) for u in users for i in np.argsort(-count, kind="stable")[:keep]]
    return pd.DataFrame(rows, columns=["user", "item", "score"])


@pytest.mark.parametrize("ending", ["csv", "parquet", "trec"])
def test_lists_of_a_file_get_the_figures_of_the_model_that_made_them(ending: str) -> None:
    given = ["data=synthetic", *SMALL, "protocol=composed"]
    assert main(["model=popularity", *given, "hydra.run.dir=runs/own", "trainer.accelerator=cpu"]) == 0
    frame = lists(task(*given), 40)
    if ending == "csv":
        frame.to_csv("theirs.csv", index=False)
    elif ending == "parquet":
        frame.to_parquet("theirs.parquet")
    else:
        frame.assign(q0="Q0", rank=0, tag="x")[["user", "q0", "item", "rank", "score", "tag"]].to_csv(
            "theirs.trec", index=False, header=False, sep=" "
        )
    assert (
        main(["evaluate", f"theirs.{ending}", *given, "--out", "runs/theirs", "--validation", f"theirs.{ending}"]) == 0
    )
    own, theirs = (json.loads(Path("runs", n, "metrics.json").read_text()) for n in ("own", "theirs"))
    assert theirs["test"] == own["test"]
    assert theirs["validation"] == own["validation"]
    assert theirs["audit"] == own["audit"]
    board, *others = leaderboards(find_runs(Path("runs"))[0])
    assert not others
    assert {row.model for row in board.own} == {"popularity", "theirs"}


def test_items_that_are_not_listed_come_last_together(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["data=synthetic", *SMALL, "protocol=composed", "protocol.metrics=[recall@5,recall@40]"]
    frame = lists(task(*given), 40)
    frame.groupby("user").head(12).to_csv("short.csv", index=False)
    frame.to_csv("long.csv", index=False)
    for name in ("short", "long"):
        assert main(["evaluate", f"{name}.csv", *given, "--out", f"runs/{name}"]) == 0
    short, long = (json.loads(Path("runs", n, "metrics.json").read_text())["test"] for n in ("short", "long"))
    assert short["recall@40"] == long["recall@40"] == 1
    assert short["recall@5"] <= long["recall@5"]


def test_scores_of_rows_are_judged_as_probabilities_or_log_odds() -> None:
    given = _clicks()
    made = task(*given)
    rows, label = made.test.rows, np.asarray(made.dataset.label)[made.test.rows]
    chance = np.clip(label * 0.6 + 0.2 + np.random.default_rng(0).normal(0, 0.1, len(rows)), 0.01, 0.99)
    pd.DataFrame({"row": rows, "score": chance}).sample(frac=1, random_state=0).to_csv("p.csv", index=False)
    pd.DataFrame({"row": rows, "score": np.log(chance / (1 - chance))}).to_csv("l.csv", index=False)
    for name in ("p", "l"):
        assert main(["evaluate", f"{name}.csv", *given, "--out", f"runs/{name}", "--name", f"program-{name}"]) == 0
    p, raw = (json.loads(Path("runs", n, "metrics.json").read_text()) for n in ("p", "l"))
    assert p["test"] == pytest.approx(raw["test"])
    assert p["test"]["logloss"] == pytest.approx(-np.mean(np.log(np.where(label == 1, chance, 1 - chance))))
    assert p["model"] == "program-p"
    pd.DataFrame({"row": rows[1:], "score": chance[1:]}).to_csv("few.csv", index=False)
    assert main(["evaluate", "few.csv", *given, "--out", "runs/few"]) == 65


def _clicks() -> list[str]:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"u": rng.integers(0, 20, 400), "i": rng.integers(0, 9, 400), "y": rng.integers(0, 2, 400)})
    table.to_csv("clicks.csv", index=False)
    return ["data=csv", "data.path=clicks.csv", "data.user=u", "data.item=i", "data.label=y", "protocol=ctr"]


def test_an_audit_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    given = [o for o in _clicks() if o != "data=csv"]
    assert main(["data", "audit", "csv", *given]) == 0
    told = capsys.readouterr().out
    assert "their user and item stand in a training row" in told
    assert main(["data", "audit", "csv", *given, "--markdown"]) == 0
    head, _, row = capsys.readouterr().out.strip().splitlines()[2:]
    cells = dict(zip(head.split(" | "), row.split(" | "), strict=True))
    assert cells["| data"] == "| csv"
    assert cells["test rows"] == "40"
    assert cells["pair in training"] in told


def test_an_audit_without_a_name_is_of_every_data_set_that_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    Path("gowalla").mkdir()
    lines = "".join(f"{u} {' '.join(str((u + k) % 12) for k in range(6))}\n" for u in range(9))
    Path("gowalla/train.txt").write_text(lines)
    Path("gowalla/test.txt").write_text("".join(f"{u} {(u + 7) % 12} {(u + 8) % 12}\n" for u in range(9)))
    small = ["data_dir=.", "cache_dir=cache", "protocol=composed"]
    assert main(["data", "audit", *small, "--markdown"]) == 0
    told = capsys.readouterr()
    rows = [line for line in told.out.splitlines() if line.startswith("| ")][2:]
    assert [row.split(" | ")[0] for row in rows] == ["| gowalla", "| synthetic"]
    assert rows[0].split(" | ")[1:3] == ["composed", "18"]


def test_what_is_no_list_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["data=synthetic", *SMALL, "protocol=composed"]
    for name, text, why in (
        ("a.txt", "x", "ends in .csv"),
        ("b.csv", "user,thing\n1,2\n", "must have the columns user, item"),
        ("c.csv", "user,item,score\n1,2,x\n", "must be a number"),
        ("d.csv", "user,item,score\n1,2,1\n1,2,3\n", "twice"),
    ):
        Path(name).write_text(text)
        assert main(["evaluate", name, *given, "--out", "runs/bad"]) == 65
        assert why in capsys.readouterr().err
