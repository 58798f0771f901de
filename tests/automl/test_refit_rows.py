"""What a search announces is trained anew on training and validation rows: members, weights, what is served."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from fmlab.automl import ensemble as module
from fmlab.automl.ensemble import make_ensemble
from fmlab.automl.refit_ensemble import refit_ensemble
from fmlab.config.composition import compose
from fmlab.errors import FmlabError, StorageError
from fmlab.records.folder import REFIT
from fmlab.report.leaderboards import best_of_each, leaderboards
from fmlab.report.runs import find_runs
from fmlab.run.experiment import run
from fmlab.run.locate import locate
from fmlab.run.refit_run import refit_run
from fmlab.run.task_opening import open_task
from fmlab.serving import load_run
from fmlab.sweep import launch, refit_rows
from fmlab.sweep.budget import Budget
from fmlab.sweep.messages import Job, Progress
from fmlab.sweep.objective import RefitObjective, TrialObjective
from fmlab.sweep.refit_rows import affordable, withdraw
from fmlab.sweep.spec import read
from fmlab.training.checkpoint_format import read_checkpoint

BOTH = "refit_on=train+validation"
MODELS = (("model=fm", "optimizer.lr=0.02", "crosses=[user*item]"), ("model=lr", "target_statistics=[user*item,item]"))


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame, list[str]]:
    """A folder with two trials and their ensemble, its rows, and the overrides of all trials."""
    folder, rng = tmp_path_factory.mktemp("search"), np.random.default_rng(0)
    taste, rows = rng.random((30, 20)) < 0.5, 3000
    frame = pd.DataFrame({"u": rng.integers(0, 30, rows), "i": rng.integers(0, 20, rows)})
    frame["y"] = (taste[frame["u"], frame["i"]] ^ (rng.random(rows) < 0.15)).astype(int)
    frame["split"] = np.repeat(("train", "valid", "test"), rows // 3)
    frame.to_csv(folder / "rows.csv", index=False)
    places = {"data.path": str(folder / "rows.csv"), "cache": str(folder / "cache")}
    base = [
        *("data=csv", "data.user=u", "data.item=i", "data.label=y", "data.split=split", "protocol=ctr"),
        *("protocol.on_leak=allow", "trainer.max_epochs=3", "trainer.progress=false", "trainer.threads=1"),
        *("logger=none", "batch_size=64", *(f"{k}={v}" for k, v in places.items())),
    ]
    train = TrialObjective(Job("s", {}, places, [], "", str(folder), keeps_scores=True), {})
    for number, model in enumerate(MODELS):
        train([*base, *model], folder / "trials" / f"{number:04d}", Progress())
    assert make_ensemble(folder, open_task(plain(base))) is not None
    assert len(json.loads((folder / "ensemble" / "ensemble.json").read_text())["weights"]) == 2
    return folder, frame, base


def plain(overrides: list[str]) -> dict[str, object]:
    found = OmegaConf.to_container(compose(overrides, {}), resolve=True)
    assert isinstance(found, dict)
    return {str(k): v for k, v in found.items()}


def test_a_trial_trained_anew_is_the_run_with_the_option(
    search: tuple[Path, pd.DataFrame, list[str]], tmp_path: Path
) -> None:
    folder, frame, base = search
    for number, model in enumerate(MODELS):
        whole, again = tmp_path / f"whole-{number}", tmp_path / f"again-{number}"
        run(compose([*base, *model, BOTH], {}), whole)
        refit_run(plain([*base, *model]), folder / "trials" / f"{number:04d}", again)
        states = [read_checkpoint(p / "checkpoints" / "best.ckpt")["state_dict"] for p in (whole, again)]
        assert all((states[0][k] == states[1][k]).all() for k in states[0])
        records = [json.loads((p / "metrics.json").read_text()) for p in (whole, again)]
        assert records[0]["test"] == records[1]["test"]
        assert records[0]["validation"] == records[1]["validation"]
        assert records[1]["refit"]["rows"] == 2000
        scores = [load_run(p).predict(frame)["score"] for p in (whole, again)]
        np.testing.assert_array_equal(scores[0], scores[1])


def test_a_refit_reads_files_wherever_the_search_did(
    search: tuple[Path, pd.DataFrame, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was typed for the search may lie outside of the working folder."""
    folder, _, base = search
    places = {key: value for key, _, value in (line.partition("=") for line in base) if key in ("data.path", "cache")}
    job = Job("s", {}, places, base, "", str(folder))
    started: list[Job] = []
    monkeypatch.setattr(
        refit_rows, "Coordinator", lambda sweep, job, **_: SimpleNamespace(run=lambda: started.append(job))
    )
    raw = {
        "sampler": "random",
        "n_trials": 1,
        "metric": "auc",
        "direction": "maximize",
        "space": {"seed": {"choice": [1]}},
    }
    refit_rows._train(read("s", raw), job, 1, Budget(None), [0])
    assert RefitObjective(started[0], {}).compose(started[0].overrides).data.path == places["data.path"]


@pytest.fixture
def refitted(search: tuple[Path, pd.DataFrame, list[str]]) -> Path:
    """The second member trained anew, where a worker would leave it."""
    folder, _, base = search
    place = folder / REFIT / "trials" / "0000"
    refit_run(plain([*base, *MODELS[1]]), folder / "trials" / "0001", place)
    return place


def test_the_ensemble_keeps_its_weights_and_has_the_members_that_were_trained_anew(
    search: tuple[Path, pd.DataFrame, list[str]], refitted: Path
) -> None:
    folder, frame, base = search
    weights = json.loads((folder / "ensemble" / "ensemble.json").read_text())
    before = load_run(folder).predict(frame)["score"]
    made = refit_ensemble(folder, {"0001": refitted}, open_task(plain([*base, BOTH])))
    assert locate(folder).folder == made
    assert json.loads((made / "ensemble.json").read_text()) == weights
    parts = {"0000": folder / "trials" / "0000", "0001": refitted}
    scores = {n: load_run(p).predict(frame)["score"] for n, p in parts.items()}
    expected = weights["scale"] * sum(w * scores[n] for n, w in weights["weights"].items()) + weights["bias"]
    found = load_run(folder).predict(frame)
    np.testing.assert_allclose(found["score"], expected, atol=1e-5)
    assert np.abs(found["score"] - before).max() > 1e-3
    record = json.loads((made / "metrics.json").read_text())
    test = frame["split"] == "test"
    chance = found["probability"][test].clip(1e-9, 1 - 1e-9)
    loss = -np.where(frame["y"][test] == 1, np.log(chance), np.log(1 - chance)).mean()
    assert record["test"]["logloss"] == pytest.approx(loss, abs=1e-6)
    assert record["refit"]["members"] == ["0001"]
    assert record["refit"]["rows"] == 2000
    runs, unreadable = find_runs(folder)
    assert not unreadable
    titles = [row.title for row in best_of_each(leaderboards(runs)[0]).own]
    assert {"ensemble", f"ensemble  {BOTH}"} <= set(titles)
    alone = [r for r in runs if r.folder == refitted]
    assert leaderboards(alone)[0].own[0].title == f"lr  {BOTH}", "named where there is nothing to tell it from"


def test_what_is_killed_while_it_is_written_leaves_the_ensemble_of_before(
    search: tuple[Path, pd.DataFrame, list[str]], refitted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, frame, base = search
    withdraw(folder)
    earlier = locate(folder)
    assert earlier.folder == folder / "ensemble"
    task, share, calls = open_task(plain([*base, BOTH])), module.share, []

    def full(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise StorageError("no space left on device")
        share(source, target)

    monkeypatch.setattr(module, "share", full)
    with pytest.raises(StorageError, match="no space left"):
        refit_ensemble(folder, {"0001": refitted}, task)
    assert locate(folder) == earlier
    load_run(folder).predict(frame[:5])
    monkeypatch.setattr(module, "share", share)
    made = refit_ensemble(folder, {"0001": refitted}, task)
    assert locate(folder).folder == made
    assert not [p for p in made.parent.iterdir() if p.name.startswith(".")]


def test_members_are_trained_by_weight_as_long_as_there_is_time() -> None:
    weights, costs = {3: 0.2, 1: 0.5, 7: 0.2, 2: 0.1}, {1: 10.0, 2: 4.0, 3: 8.0, 7: 100.0}
    assert affordable(weights, costs, 2, None) == [1, 3, 7, 2]
    assert affordable(weights, costs, 2, 12.0) == [1, 3, 2]
    assert affordable(weights, costs, 1, 12.0) == [1]
    assert affordable(weights, costs, 2, -1.0) == []


@pytest.mark.parametrize(
    ("of_file", "typed", "both"),
    [("train+validation", {}, True), ("train+validation", {"refit_on": "refit_on=train"}, False), ("train", {}, False)],
)
def test_what_is_typed_decides_whether_the_result_of_a_search_is_trained_anew(
    of_file: str, typed: dict[str, str], both: bool
) -> None:
    config = OmegaConf.create({"refit_on": "train", "protocol": {"name": "ctr"}})
    assert launch._refits(config, {"ensemble": True, "fixed": {"refit_on": of_file}}, dict(typed)) is both


def test_where_no_refit_can_be_the_default_goes_without_and_a_wish_is_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sweep = SimpleNamespace(settings=SimpleNamespace(seeds=[1, 2]), metrics=["auc"])
    assert launch._open_both(sweep, OmegaConf.create(), Budget(None), asked=False) is None  # type: ignore[arg-type]
    assert "trained on training rows alone" in caplog.text
    with pytest.raises(FmlabError, match="is of trials with one seed and one metric"):
        launch._open_both(sweep, OmegaConf.create(), Budget(None), asked=True)  # type: ignore[arg-type]
