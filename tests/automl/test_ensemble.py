"""An ensemble of finished trials is a run: judged once, served as one model, and located by its sweep's folder."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fmlab.automl.ensemble import make_ensemble
from fmlab.config.composition import compose
from fmlab.errors import StorageError
from fmlab.report.runs import find_runs
from fmlab.run import open_task
from fmlab.serving import load_run
from fmlab.sweep.messages import Job, Progress
from fmlab.sweep.objective import Training

PARTS = ("train", "valid", "test")
OPTIONS = ("data=csv", "data.user=u", "data.item=i", "data.label=y", "data.split=split", "protocol=ctr")
SMALL = ("protocol.on_leak=allow", "trainer.max_epochs=2", "trainer.progress=false", "trainer.threads=1", "logger=none")
MODELS = (
    ("model=fm",),
    ("model=lr", "target_statistics=[user*item,item]"),
    ("model=fm", "seed=1", "crosses=[user*item]"),
)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """A folder with three trials, as a worker leaves them, and its ensemble."""
    folder, rng = tmp_path_factory.mktemp("sweep"), np.random.default_rng(0)
    taste, rows = rng.random((30, 20)) < 0.5, 3000
    frame = pd.DataFrame({"u": rng.integers(0, 30, rows), "i": rng.integers(0, 20, rows)})
    frame["y"] = (taste[frame["u"], frame["i"]] ^ (rng.random(rows) < 0.15)).astype(int)
    frame["split"] = np.repeat(PARTS, rows // 3)
    frame.to_csv(folder / "rows.csv", index=False)
    places = {"data.path": str(folder / "rows.csv"), "cache": str(folder / "cache")}
    base = [*OPTIONS, *SMALL, *(f"{k}={v}" for k, v in places.items())]
    job = Job("s", {}, places, [], "", str(folder), keeps_scores=True)
    train = Training(job, {})
    for number, model in enumerate(MODELS):
        train([*base, *model], folder / "trials" / f"{number:04d}", Progress())
    config = compose(base, {})
    from omegaconf import OmegaConf

    assert make_ensemble(folder, open_task(OmegaConf.to_container(config, resolve=True))) is not None
    return folder, frame


def test_it_is_served_as_the_weighted_sum_of_its_members(sweep: tuple[Path, pd.DataFrame]) -> None:
    folder, frame = sweep
    plain = json.loads((folder / "ensemble" / "ensemble.json").read_text())
    assert sum(plain["weights"].values()) == pytest.approx(1)
    scores = {n: load_run(folder / "trials" / n).predict(frame)["score"] for n in plain["weights"]}
    expected = plain["scale"] * sum(w * scores[n] for n, w in plain["weights"].items()) + plain["bias"]
    run = load_run(folder)
    assert run.name == "ensemble"
    found = run.predict(frame)
    np.testing.assert_allclose(found["score"], expected, atol=1e-5)
    np.testing.assert_allclose(found["probability"], 1 / (1 + np.exp(-expected)), atol=1e-5)
    assert len(run.recommend(["3"], k=5)) == 5


def test_its_record_is_that_of_a_run(sweep: tuple[Path, pd.DataFrame]) -> None:
    folder, frame = sweep
    runs = {r.folder.name: r for r in find_runs(folder)[0]}
    assert set(runs) == {"ensemble", "0000", "0001", "0002"}, "members are no runs of their own"
    found = runs["ensemble"].content
    test = frame[frame["split"] == "test"]
    probability = load_run(folder).predict(test)["probability"].clip(1e-9, 1 - 1e-9)
    loss = -np.where(test["y"] == 1, np.log(probability), np.log(1 - probability)).mean()
    assert found["test"]["logloss"] == pytest.approx(loss, abs=1e-6)
    best = min(found["members"].values(), key=lambda m: m["validation"]["logloss"])
    assert found["validation"]["logloss"] <= best["validation"]["logloss"]
    assert found["against_best"]["logloss"]["low"] <= found["against_best"]["logloss"]["high"]


def test_a_copied_ensemble_serves_and_a_damaged_one_is_refused(
    sweep: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    import shutil

    folder, frame = sweep
    shutil.copytree(folder / "ensemble", tmp_path / "moved")
    before, after = (load_run(p).predict(frame)["score"] for p in (folder, tmp_path / "moved"))
    np.testing.assert_array_equal(before, after)
    (tmp_path / "moved" / "ensemble.json").write_text('{"layout": 1, "weights": {"../x": 1}, "scale": 1, "bias": 0}')
    with pytest.raises(StorageError, match="malformed"):
        load_run(tmp_path / "moved")
