"""Calibration against scikit-learn, in a run, from a copied folder; the correction of the prior."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import _SigmoidCalibration
from sklearn.isotonic import IsotonicRegression

from fmlab.config.composition import compose
from fmlab.errors import DataError, FmlabError, StorageError
from fmlab.evaluation.probability_calibration import Calibration, Isotonic, Platt
from fmlab.run.experiment import run
from fmlab.serving import load_run

SMALL = ("trainer.accelerator=cpu", "trainer.threads=1", "trainer.progress=false", "logger=none", "batch_size=256")


def rows(seed: int, n: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    score = rng.integers(-12, 13, n) / 4
    return score, (rng.random(n) < 1 / (1 + np.exp(0.5 - score / 2))).astype(float), rng.random(n) + 0.1


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("weighted", [False, True])
def test_maps_are_those_of_scikit_learn(seed: int, weighted: bool) -> None:
    score, label, weight = rows(seed)
    given = weight if weighted else None
    theirs = _SigmoidCalibration().fit(score, label, given)
    mine = 1 / (1 + np.exp(-Platt.fit(score, label, given).log_odds(score)))
    np.testing.assert_allclose(mine, theirs.predict(score), atol=2e-4)
    flat = IsotonicRegression(out_of_bounds="clip").fit(score, label, sample_weight=given)
    at = np.linspace(-4, 4, 50)
    wanted = np.interp(at, flat.X_thresholds_, np.clip(flat.y_thresholds_, 1 / 402, 401 / 402))
    found = 1 / (1 + np.exp(-Isotonic.fit(score, label, given).log_odds(at)))
    np.testing.assert_allclose(found, wanted, atol=1e-9)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_what_is_written_is_read_back(method: str) -> None:
    score, label, _ = rows(0)
    made = Calibration.fit(method, {"score.a": score, "label.a": label, "score.b": -score, "label.b": label})
    back = Calibration.from_dict(json.loads(json.dumps(made.to_dict())))
    assert back == made
    assert set(back.maps) == {"a", "b"}
    for wrong in ({"layout": 2}, {"method": "magic"}, {"rows": 0}, {"maps": {}}, {"maps": {"a": {"slope": math.nan}}}):
        with pytest.raises((ValueError, KeyError, TypeError)):
            Calibration.from_dict({**made.to_dict(), **wrong})
    with pytest.raises(DataError, match="both labels 0 and 1"):
        Calibration.fit(method, {"score": score, "label": np.ones(400)})


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng, n = np.random.default_rng(0), 4000
    frame = pd.DataFrame({"place": rng.integers(0, 8, n), "hour": rng.integers(0, 8, n)})
    odds = (frame.place + frame.hour) / 3 - 3
    frame["click"] = (rng.random(n) < 1 / (1 + np.exp(-odds))).astype(int)
    path = tmp_path_factory.mktemp("clicks") / "clicks.csv"
    frame.to_csv(path, index=False)
    return path


def train(folder: Path, clicks: Path, *options: str) -> dict:
    data = ("data=csv", f"data.path={clicks}", "data.label=click", "data.categorical=[place,hour]", "model=lr")
    metrics = ("protocol.metrics=[auc,logloss,copc,ece]", "protocol.group=hour", "protocol.test=0.3")
    config = compose([*data, *metrics, *SMALL, *options], {"FMLAB_CACHE": str(folder.parent / "cache")})
    run(config, folder)
    return json.loads((folder / "metrics.json").read_text())


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_a_run_that_was_trained_too_little_is_calibrated_and_served_so(
    method: str, clicks: Path, tmp_path: Path
) -> None:
    short = ("trainer.max_epochs=1", "optimizer.lr=0.02")
    before = train(tmp_path / "plain", clicks, *short)["test"]
    after = train(tmp_path / "run", clicks, *short, f"calibrate={method}")
    assert after["calibration"]["method"] == method
    assert after["test"]["ece"] < before["ece"]
    assert after["test"]["logloss"] < before["logloss"]
    details = after["test_details"]
    assert {entry["group"] for entry in details["copc"]["by_group"]} == {str(h) for h in range(8)}
    assert sum(point["rows"] for point in details["ece"]["curve"]) == 1200
    copy = Path(shutil.copytree(tmp_path / "run", tmp_path / "copy"))
    shutil.rmtree(tmp_path / "run")
    frame = pd.read_csv(clicks, dtype=str)
    found, plain = (load_run(folder).predict(frame) for folder in (copy, tmp_path / "plain"))
    assert found.attrs["calibrated"] == method
    wanted = Calibration.from_dict(json.loads((copy / "calibration.json").read_text())).log_odds(plain["score"])
    np.testing.assert_allclose(found["score"], wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["probability"], 1 / (1 + np.exp(-wanted)), rtol=1e-4, atol=1e-5)
    (copy / "calibration.json").write_text("{}")
    with pytest.raises(StorageError, match=r"calibration\.json is malformed"):
        load_run(copy)


def test_a_run_that_replaces_a_calibrated_one_is_not_calibrated(clicks: Path, tmp_path: Path) -> None:
    short = ("trainer.max_epochs=1", "optimizer.lr=0.02")
    train(tmp_path / "run", clicks, *short, "calibrate=platt")
    train(tmp_path / "run", clicks, *short, "if_exists=overwrite")
    train(tmp_path / "plain", clicks, *short)
    frame = pd.read_csv(clicks, dtype=str)
    found, plain = (load_run(tmp_path / folder).predict(frame) for folder in ("run", "plain"))
    assert "calibrated" not in found.attrs
    pd.testing.assert_frame_equal(found, plain)


def test_negatives_that_are_left_out_are_corrected_for(clicks: Path, tmp_path: Path) -> None:
    long = ("trainer.max_epochs=15", "optimizer.lr=0.02")
    whole = train(tmp_path / "whole", clicks, *long)["test"]
    part = train(tmp_path / "part", clicks, *long, "protocol.negative_rate=0.25")["test"]
    assert part["copc"] == pytest.approx(1, abs=0.15)  # without the correction: below 0.6
    assert part["logloss"] == pytest.approx(whole["logloss"], abs=0.03)
    frame = pd.read_csv(clicks, dtype=str)
    assert load_run(tmp_path / "part").predict(frame)["probability"].mean() == pytest.approx(
        frame.click.astype(int).mean(), abs=0.04
    )


def test_what_cannot_be_calibrated_is_refused(clicks: Path, tmp_path: Path) -> None:
    for options, message in (
        (("calibrate=platt", "loss=squared"), "needs a loss that takes scores for log-odds, such as bce; got squared"),
        (("calibrate=platt", "model=constant"), "got model=constant, which has no loss"),
        (("protocol.negative_rate=0.5", "loss=squared"), "corrected for in log-odds"),
    ):
        with pytest.raises(FmlabError, match=message):
            train(tmp_path / "run", clicks, *options)
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
    config = compose(["calibrate=platt", *SMALL], {"FMLAB_CACHE": str(tmp_path / "cache")})
    with pytest.raises(FmlabError, match="needs a protocol that trains on labeled rows"):
        run(config, tmp_path / "ranks")
