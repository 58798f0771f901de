"""Labels on their own scale: learned standardized, judged and served as they are."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fmlab.config.composition import compose
from fmlab.errors import DataError
from fmlab.evaluation import evaluate
from fmlab.evaluation.output_transform import OutputTransform, output_transform_of
from fmlab.plugin.registry import build
from fmlab.report.leaderboards import leaderboards
from fmlab.report.runs import find_runs
from fmlab.report.tables import leaderboard, result
from fmlab.run.experiment import run
from fmlab.run.loading import load_model
from fmlab.run.task_opening import open_task
from fmlab.serving import load_run

MODELS = ["mf", "fm", "deepfm", "ifm", "lorentzfm", "hyperml"]


def table(path: Path, make=lambda stars: stars, rows: int = 800) -> Path:
    """Users and items with tastes: stars from 1 to 5, made into other labels."""
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, 40, rows), rng.integers(0, 30, rows)
    score = 3 + rng.normal(size=40)[user] + rng.normal(size=30)[item] + 0.3 * rng.normal(size=rows)
    stars = np.clip(np.rint(score), 1, 5)
    lines = [f"u{u},i{i},{make(s)!r}" for u, i, s in zip(user, item, stars.tolist(), strict=True)]
    path.write_text("u,i,stars\n" + "\n".join(lines) + "\n")
    return path


RATING = ("protocol=rating", "protocol.negatives=0")


def trained(path: Path, folder: Path, *more: str) -> dict:
    more = more if any(o.startswith("protocol=") for o in more) else (*RATING, *more)
    overrides = [
        f"data.path={path}", "data=csv", "data.user=u", "data.item=i", "data.label=stars",
        "batch_size=128", "trainer.max_epochs=3", "trainer.accelerator=cpu", "logger=none",
        f"cache_dir={folder.parent / 'cache'}", *more,
    ]  # fmt: skip
    run(compose(overrides, {}), folder)
    return json.loads((folder / "metrics.json").read_text())


@pytest.mark.parametrize("model", MODELS)
def test_every_model_starts_at_the_mean_of_the_labels_and_goes_down(model: str, tmp_path: Path) -> None:
    found = trained(table(tmp_path / "t.csv"), tmp_path / "run", f"model={model}")
    assert found["test"]["rmse"] < found["constant"]["rmse"] + 0.02
    if model in ("mf", "fm", "ffm", "deepfm", "nfm"):
        assert found["test"]["rmse"] < 0.995 * found["constant"]["rmse"]
        assert "warnings" not in found


@pytest.mark.parametrize(("center", "size"), [(2500.0, 1000.0), (-40.0, 0.5), (1.6e9, 30.0), (0.5, 2.0**-20)])
def test_training_is_the_same_on_any_scale(center: float, size: float, tmp_path: Path) -> None:
    plain = trained(table(tmp_path / "a.csv"), tmp_path / "a", "model=lorentzfm", "trainer.max_epochs=1")
    other = trained(
        table(tmp_path / "b.csv", lambda s: center + size * s),
        tmp_path / "b",
        "model=lorentzfm",
        "trainer.max_epochs=1",
    )
    assert other["test"]["rmse"] / size == pytest.approx(plain["test"]["rmse"], rel=1e-4)
    assert other["constant"]["rmse"] / size == pytest.approx(plain["constant"]["rmse"], rel=1e-4)


def test_labels_that_are_all_equal_are_predicted_at_once(tmp_path: Path) -> None:
    found = trained(table(tmp_path / "t.csv", lambda s: 7.25), tmp_path / "run", "model=pmf")
    assert found["test"]["rmse"] == 0
    assert found["warnings"][0].startswith("no better than a constant")


def test_served_predictions_are_those_that_were_judged(tmp_path: Path) -> None:
    trained(table(tmp_path / "t.csv", lambda s: 100 * s), tmp_path / "run", "model=mf", "trainer.max_epochs=20")
    opened = load_run(tmp_path / "run")
    task = open_task({**_config(tmp_path / "run")})
    report = evaluate(task.test, opened.model, task.dataset)
    saved = np.load(tmp_path / "run" / "units.npz")
    assert report.units["rmse"] == pytest.approx(saved["rmse"], rel=1e-4)
    rows = saved["row"]
    served = opened.score(task.dataset.row_ids(rows))["score"]
    assert served.min() >= 100
    assert served.max() <= 500
    assert (served - task.dataset.label[rows]) ** 2 == pytest.approx(saved["rmse"], rel=1e-3, abs=1e-3)


def _config(folder: Path) -> dict:
    import yaml

    return yaml.safe_load((folder / "config.yaml").read_text())


def test_ratings_between_0_and_1_are_judged_as_probabilities_of_a_log_odds_loss(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", lambda s: (s - 1) / 4)
    found = trained(path, tmp_path / "run", "model=mf", "loss=bce", "optimizer.lr=0.02", "trainer.max_epochs=20")
    assert found["test"]["rmse"] < 0.8 * found["constant"]["rmse"]
    assert output_transform_of(load_model(tmp_path / "run" / "checkpoints" / "best.ckpt")).log_odds


def test_finite_divergence_is_said_in_metrics_and_reports(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", lambda s: int(s > 3))
    wild = ("protocol=ctr", "loss=bce", "model=lr", "optimizer.lr=1e6", "batch_size=128")
    found = trained(path, tmp_path / "run", *wild)
    assert found["status"] == "complete"
    assert found["diverged"]["loss"] > 1e5
    assert found["diverged"]["first_loss"] == pytest.approx(np.log(2))
    assert found["warnings"][0].startswith("training diverged: its loss was")
    assert found["warnings"][1].startswith("no better than a constant: logloss")
    (board,) = leaderboards(find_runs(tmp_path / "run")[0])
    sheet = leaderboard(result(board))
    assert all(any(warning in note for note in sheet.notes) for warning in found["warnings"])
    calm = trained(path, tmp_path / "calm", "protocol=ctr", "loss=bce", "model=lr")
    assert "diverged" not in calm


class Compares:
    on_label_scale = True


def test_a_scale_is_that_of_the_labels_whatever_their_size() -> None:
    rng = np.random.default_rng(0)
    for center, size in [(0, 1), (1e12, 1e-2), (-5e5, 3), (1e-9, 1e-12), (1e300, 1e299)]:
        label = center + size * rng.normal(size=1000)
        scale = OutputTransform.of(label, Compares())
        seen = scale.standardized(label)
        assert seen.dtype == np.float32
        assert float(seen.mean()) == pytest.approx(0, abs=0.02)  # float64 itself is coarse near 1e12
        assert float(seen.std()) == pytest.approx(1, abs=1e-3)
        assert np.abs(scale.predicted(seen) - label).max() < 0.02 * size
        assert OutputTransform.from_dict(json.loads(json.dumps(scale.to_dict()))) == scale


def test_labels_whose_squares_vanish_are_refused() -> None:
    with pytest.raises(DataError, match="deviation of 1e-150 or more"):
        OutputTransform.of(np.array([1e-300, 3e-300]), Compares())
    assert OutputTransform.of(np.full(3, 1e-300), Compares()).scale == 1


@pytest.mark.parametrize("label", [[0, 1, 1], [-1, 1, -1]])
def test_classes_stay_what_they_are(label: list[int]) -> None:
    scale = OutputTransform.of(np.array(label, np.float32), Compares(), (min(label), 1))
    assert scale.is_identity
    assert scale.standardized(np.array(label)).tolist() == label
    assert scale.predicted(np.array([3.0])).tolist() == [1.0]


def test_a_loss_that_does_not_ask_for_it_sees_the_labels() -> None:
    label = np.array([1, 5, 3], np.float32)
    assert OutputTransform.of(label, object()) == OutputTransform()
    model = build("model", {"name": "mf"}, open_toy())
    assert output_transform_of(model) == OutputTransform()
    assert output_transform_of(torch.nn.Identity()) == OutputTransform()


def open_toy():
    from fmlab.data import Field, Schema

    return Schema((Field("user", "user", 3), Field("item", "item", 3)), 2, 2)
