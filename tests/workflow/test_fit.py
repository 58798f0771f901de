"""fmlab from Python: the same run as on the command line, from frames of every kind, with what a run can be asked."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

import fmlab
from fmlab.cli import main
from fmlab.errors import DataError, FmlabError
from fmlab.training.checkpoint_format import read_checkpoint
from fmlab.workflow.options import merged, overrides_of

SMALL = {"batch_size": 256, "trainer": {"max_epochs": 2, "accelerator": "cpu", "threads": 1, "progress": False}}


def clicks(rows: int = 400) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"u": draw.integers(0, 30, rows), "i": draw.integers(0, 20, rows), "hour": draw.integers(0, 24, rows)}
    )
    frame["kind"] = pd.Categorical(np.where(frame["i"] % 2, "odd", "even"))
    frame["y"] = ((frame["u"] + frame["i"]) % 2).astype(int)
    return frame.drop_duplicates(["u", "i"], ignore_index=True)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def run(cache):
    return fmlab.fit(
        clicks(),
        {"name": "fm", "dim": 4},
        user="u",
        item="i",
        label="y",
        protocol={"name": "ctr", "on_leak": "allow"},
        cache_dir=cache,
        **SMALL,
    )


def test_fit_is_the_command_line_to_the_last_bit(tmp_path, cache):
    data = {"name": "synthetic", "users": 60, "items": 40, "positives": 6}
    got = fmlab.fit(
        data, "fm", seed=3, optimizer={"lr": 0.02}, folder=tmp_path / "a", cache_dir=cache, **SMALL, **{"model.dim": 4}
    )
    typed = [
        *("data=synthetic", "data.users=60", "data.items=40", "data.positives=6", "model=fm", "model.dim=4", "seed=3"),
        *(
            "optimizer.lr=0.02",
            "batch_size=256",
            "trainer.max_epochs=2",
            "trainer.accelerator=cpu",
            "trainer.threads=1",
        ),
        *("trainer.progress=false", f"cache_dir={cache}", f"hydra.run.dir={tmp_path}/b"),
    ]
    assert main(typed) == 0
    a, b = (json.loads((tmp_path / n / "metrics.json").read_text()) for n in "ab")
    assert (a["validation"], a["test"], a["fingerprint"]) == (b["validation"], b["test"], b["fingerprint"])
    one, two = (read_checkpoint(tmp_path / n / "checkpoints" / "best.ckpt")["state_dict"] for n in "ab")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert got.test == a["test"]
    assert (tmp_path / "a/config.yaml").read_text() == (tmp_path / "b/config.yaml").read_text()


def test_a_run_is_asked_and_saved(run, tmp_path):
    rows = clicks().head(7)
    scores = run.predict(rows)
    assert list(scores.index) == list(rows.index)
    assert run.predict(pa.Table.from_pandas(rows, preserve_index=False))["score"].tolist() == scores["score"].tolist()
    assert {"auc", "logloss"} <= set(run.test) == set(run.validation)
    assert len(run.similar([3], k=4)) == 4
    assert "<table>" in run._repr_html_()
    assert "auc" in run._repr_html_()
    assert "model=fm data=csv" in repr(run)
    kept = run.save(tmp_path / "kept")
    assert fmlab.load(kept.folder).predict(rows)["score"].tolist() == scores["score"].tolist()
    assert fmlab.load(tmp_path / "kept").test == run.test
    with pytest.raises(FmlabError, match="a run is saved into a new folder"):
        run.save(tmp_path / "kept")
    table = fmlab.report(tmp_path)
    assert table["test/auc"].tolist() == [run.test["auc"]]


def test_a_run_is_exported_and_drawn(run, tmp_path):
    run.export(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["formats"] == ["files"]
    assert set(run.similar([3], k=2, measure="inner").columns) == set(run.similar([3], k=2).columns)
    pytest.importorskip("matplotlib")
    run.plot("curves", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size
    assert run.plot("curves")._repr_png_().startswith(b"\x89PNG")
    assert run.plot("importance", rows=pa.Table.from_pandas(clicks()), label="y").axes
    with pytest.raises(FmlabError, match="this plot needs labeled rows: rows=frame, label=column"):
        run.plot("importance")


def test_explain_is_the_score_without_a_column(run):
    rows = clicks().head(3)
    found = run.explain(rows)
    assert {"score", "u", "i", "hour"} == set(found.columns)
    without = run.predict(rows.assign(hour=None))["score"].astype("float64")
    assert np.allclose(found["score"] - found["hour"], without, atol=1e-12)


def test_the_same_rows_are_the_same_data_and_need_no_protocol_to_rank(cache):
    frame = clicks()[["u", "i"]]
    first = fmlab.fit(frame, "popularity", user="u", item="i", cache_dir=cache, **SMALL)
    other = fmlab.fit(pa.Table.from_pandas(frame), "popularity", user="u", item="i", cache_dir=cache, **SMALL)
    assert first.record["protocol"] == "full_ranking"
    assert first.record["fingerprint"] == other.record["fingerprint"]
    assert len(first.recommend([1, 2], k=3)) == 6


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"data": "synthetik"}, r"and synthetik is no file; did you mean 'synthetic'\?"),
        ({"data": {"u": [1, 2], "i": [3, 4]}}, "got columns u, i; pandas.DataFrame makes a frame of them"),
        ({"data": [{"u": 1}]}, "a data set's name, got list; pandas.DataFrame makes one"),
        ({"data": clicks()["u"]}, "a table has columns, got a Series of pandas"),
        ({"data": clicks().set_index("u"), "user": "u"}, r"user=u is the index of the frame: frame.reset_index\(\)"),
        ({"data": clicks(), "label": "z"}, "the frame has no column 'z'"),
        ({"data": None, "user": "u"}, "name columns of data"),
        ({"data": "synthetic", "model": "fmm"}, "no model named 'fmm'; did you mean"),
        ({"data": "synthetic", "trainer": {"epochs": 3}}, r"trainer\.epochs is not an option of"),
        ({"data": "synthetic", "batch_size": object()}, "batch_size must be text, a number"),
        ({"data": clicks().head(0), "label": "y"}, "the frame must have rows"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(given, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FmlabError, match=said):
        fmlab.fit(**given)
    assert not list(tmp_path.iterdir())


def test_options_are_written_nested_or_dotted():
    assert overrides_of({"model": {"name": "fm", "dim": 4}, "loss": "bpr", "trainer.max_epochs": np.int64(3)}) == [
        *("loss=bpr", "model=fm", "model.dim=4", "trainer.max_epochs=3"),
    ]
    assert merged(
        {"data": {"name": "csv", "path": "x"}}, {"model": "fm"}, {"data": {"sep": ";"}, "model": {"dim": 2}}
    ) == {
        "data": {"name": "csv", "path": "x", "sep": ";"},
        "model": {"name": "fm", "dim": 2},
    }


def test_a_frame_that_is_none_is_refused(run):
    with pytest.raises(FmlabError, match="rows must be a frame of pandas, polars or Arrow, got list"):
        run.predict([1, 2])
    assert issubclass(DataError, FmlabError)


def test_import_fmlab_is_light():
    heavy = "torch", "pandas", "hydra", "pyarrow", "numpy"
    program = f"import sys, fmlab; dir(fmlab); print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
