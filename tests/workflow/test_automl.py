"""The search from Python is that of the command line, and gives its ensemble as a run."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import fmlab
from fmlab.errors import FmlabError
from fmlab.workflow import automl as calls


def frame(rows: int = 3000) -> pd.DataFrame:
    """Clicks that the pair of a reader and a book tells, with odd names of columns."""
    rng = np.random.default_rng(0)
    taste = rng.random((30, 20)) < 0.5
    found = pd.DataFrame({"Leser Nr": rng.integers(0, 30, rows), "Buch-ID": rng.integers(0, 20, rows)})
    liked = taste[found["Leser Nr"], found["Buch-ID"]] ^ (rng.random(rows) < 0.1)
    return found.assign(ja=liked.astype(int), wetter=rng.choice(["a", "b", "c"], rows))


def test_options_are_those_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(calls, "_search", lambda arguments: asked.append(list(arguments)))
    with pytest.raises(FmlabError, match="is not there"):  # nothing was searched
        fmlab.automl(
            frame(20),
            user="Leser Nr",
            item="Buch-ID",
            time_limit="5m",
            preset="fast",
            folder=tmp_path / "s",
            seed=3,
            batch_size=64,
            cache_dir=str(tmp_path / "cache"),
        )
    (found,) = asked
    assert any(line.startswith("data.item=") and "Buch-ID" in line for line in found)
    for line in ("data=csv", "protocol=full_ranking", "seed=3", "batch_size=64", "preset=fast"):
        assert line in found
    assert any(line.startswith("time_limit=") and "5m" in line for line in found)
    with pytest.raises(TypeError):
        fmlab.automl()


@pytest.mark.slow
def test_a_frame_becomes_an_ensemble_that_predicts(tmp_path: Path) -> None:
    few = ("n_trials=3", "workers=1", "trainer.max_epochs=2", "protocol.on_leak=allow")
    places = {"folder": tmp_path / "s", "cache_dir": str(tmp_path / "cache")}
    rows = frame()
    run = fmlab.automl(rows, user="Leser Nr", item="Buch-ID", label="ja", time_limit="2h", overrides=few, **places)
    assert run.folder == tmp_path / "s" / "refit-all-rows" / "ensemble", "all members are trained anew"
    assert run.test["auc"] > 0.6
    found = run.predict(rows)
    assert found["probability"].between(0, 1).all()
    record = json.loads((run.folder / "metrics.json").read_text())
    assert record["model"] == "ensemble"
    assert sum(m["weight"] for m in record["members"].values()) == pytest.approx(1)
