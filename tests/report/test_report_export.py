"""One table of all runs, read back."""

import sqlite3
from contextlib import closing

import pyarrow.parquet as pq
import pytest
from run_folders import make_run

from fmlab.cli.report import main
from fmlab.errors import FmlabError


@pytest.fixture
def runs(tmp_path):
    folder = tmp_path / "runs"
    make_run(folder / "a", {"model.dim": 8, "model.hidden": [4, 2], "seed": 1}, test={"mrr": 0.25, "hr@10": None})
    make_run(folder / "b", {"model.dim": 16, "optimizer.lr": 0.5, "model.hidden": None}, test=0.5)
    make_run(folder / "c", {"model.dim": 4}, status="pruned", error="pruned at step 1", test={})
    return folder


def parquet(path):
    return pq.read_table(path).to_pylist()


def sqlite(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM runs")]


@pytest.mark.parametrize(("name", "read"), [("t.parquet", parquet), ("t.sqlite", sqlite)])
def test_every_run_is_a_line_with_its_figures_and_options(runs, tmp_path, capsys, name, read):
    for _ in range(2):  # rebuilt over the old one
        assert main([str(runs), "--table", str(tmp_path / name)]) == 0
    lines = read(tmp_path / name)
    assert [line["folder"] for line in lines] == [str(runs / n) for n in "abc"]
    assert [line["status"] for line in lines] == ["complete", "complete", "pruned"]
    assert [line["test/mrr"] for line in lines] == [0.25, 0.5, None]
    assert lines[0]["test/hr@10"] is None or lines[0]["test/hr@10"] != lines[0]["test/hr@10"]
    assert [line["model.dim"] for line in lines] == [8, 16, 4]
    assert [line["model.hidden"] for line in lines] == ["[4,2]", None, None]
    assert [line["optimizer.lr"] for line in lines] == [0.001, 0.5, 0.001]
    assert [line["seed"] for line in lines] == [1, 0, 0]
    assert lines[2]["error"] == "pruned at step 1"
    assert not list(tmp_path.glob(".*tmp"))


def test_a_table_is_parquet_or_sqlite(runs, tmp_path):
    with pytest.raises(FmlabError, match=r"\.parquet or \.sqlite, got t\.csv"):
        main([str(runs), "--table", str(tmp_path / "t.csv")])


@pytest.mark.parametrize(("name", "read"), [("t.parquet", parquet), ("t.sqlite", sqlite)])
def test_a_foreign_run_is_no_end_to_the_table(tmp_path, name, read):
    make_run(tmp_path / "runs" / "good", {"model.dim": 4})
    make_run(tmp_path / "runs" / "odd", {"model.Dim": 5, "model.dim": 10**30, "MODEL": {"dim": 1}}, flops=2**70)
    assert main([str(tmp_path / "runs"), "--table", str(tmp_path / name)]) == 0
    good, odd = sorted(read(tmp_path / name), key=lambda row: row["folder"])
    assert (good["model.dim"], odd["model.dim"]) == (4, 1e30)
    assert odd["model.Dim" if name.endswith("parquet") else "model.Dim (2)"] in (4.0, 5)


def test_sqlite_says_how_many_columns_it_takes(tmp_path):
    make_run(tmp_path / "runs" / "a", {f"model.option{n}": n for n in range(2000)})
    with pytest.raises(FmlabError, match=r"at most 2,000 columns, .*write \.parquet"):
        main([str(tmp_path / "runs"), "--table", str(tmp_path / "t.sqlite")])
    assert not (tmp_path / "t.sqlite").exists()
    assert main([str(tmp_path / "runs"), "--table", str(tmp_path / "t.parquet")]) == 0
