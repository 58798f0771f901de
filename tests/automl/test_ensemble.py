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
from fmlab.run.task_opening import open_task
from fmlab.serving import load_run
from fmlab.sweep.messages import Job, Progress
from fmlab.sweep.objective import TrialObjective

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
    train = TrialObjective(job, {})
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
    rate = frame[frame["split"] == "train"]["y"].mean()
    simple = -np.where(test["y"] == 1, np.log(rate), np.log(1 - rate)).mean()
    assert found["constant"]["logloss"] == pytest.approx(simple, abs=1e-6)
    assert found["audit"]["groups"]
    assert "rows" in found["protocol_described"]
    assert found["against_best"]["logloss"]["low"] <= found["against_best"]["logloss"]["high"]


def test_the_report_puts_the_mean_label_beside_the_best(sweep: tuple[Path, pd.DataFrame]) -> None:
    from fmlab.report.leaderboards import leaderboards
    from fmlab.report.overview import mean_label

    folder, _ = sweep
    (board,) = leaderboards(find_runs(folder)[0])
    assert board.own[0].model == "ensemble"
    value = json.loads((folder / "ensemble" / "metrics.json").read_text())["constant"]["logloss"]
    assert mean_label(board.own[0], "logloss") == f"{value:.4g} mean label of training"
    assert mean_label(board.own[0], "other") == ""


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


LISTS = ("data=csv", "data.user=u", "data.item=i", "protocol=full_ranking", "protocol.k_core=0", "protocol.test=0.2")
RANKERS = (
    ("model=popularity",),
    ("model=ease", "model.l2=5"),
    ("model=mf", "loss=bpr", "model.dim=8", "optimizer.lr=0.02", "batch_size=256"),
    ("model=itemknn", "model.n_neighbors=5"),
)


@pytest.fixture(scope="module", params=["full", "user", "sampled"])
def ranking(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, object, str]:
    """A folder with trials that rank items, its task, and the metric that selects."""
    from omegaconf import OmegaConf

    folder, rng = tmp_path_factory.mktemp("lists"), np.random.default_rng(1)
    liked = rng.integers(0, 4, 80)[:, None] == np.arange(60) // 15
    rows = np.argwhere((liked & (rng.random((80, 60)) < 0.6)) | (rng.random((80, 60)) < 0.05))
    pd.DataFrame(rows, columns=["u", "i"]).to_csv(folder / "rows.csv", index=False)
    other = ("protocol=composed", "protocol.validation=0.2", "protocol.test=0.2")
    protocol = {
        "full": ("protocol.validation=0.2",),
        "user": other,
        "sampled": (*other, "protocol.evaluation=sampled", "protocol.n_candidates=20"),
    }[request.param]
    start = LISTS if request.param == "full" else LISTS[:3]
    places = {"data.path": str(folder / "rows.csv"), "cache": str(folder / "cache")}
    base = [*start, *protocol, *SMALL[1:], "trainer.max_epochs=8", *(f"{k}={v}" for k, v in places.items())]
    train = TrialObjective(Job("s", {}, places, [], "", str(folder), keeps_scores=True), {})
    for number, model in enumerate(RANKERS):
        train([*base, *model], folder / "trials" / f"{number:04d}", Progress())
    task = open_task(OmegaConf.to_container(compose(base, {}), resolve=True))
    return folder, task, task.monitor


def test_figures_of_mixtures_are_nearly_those_of_all_lists(ranking: tuple[Path, object, str]) -> None:
    """Of one model and of a mixture: candidates are the first of each model, so that only ties count otherwise."""
    from fmlab.evaluation import evaluate
    from fmlab.evaluation.kept_lists import KeptLists
    from fmlab.serving.ensemble import RankingEnsemble

    folder, task, monitor = ranking
    models = [load_run(folder / "trials" / n).model for n in ("0001", "0002")]
    kept = KeptLists.of(task.validation, models, task.dataset, monitor, most=10_000)
    for weights in ((1.0, 0.0), (0.4, 0.6)):
        mixed = RankingEnsemble(models, list(np.array(weights) / kept.scale), task.dataset.schema).eval()
        exact = evaluate(task.validation, mixed, task.dataset).values[monitor]
        assert kept.value(np.array(weights)) == pytest.approx(exact, abs=2e-3)


def test_an_ensemble_of_rankers_is_chosen_by_validation_and_served(ranking: tuple[Path, object, str]) -> None:
    folder, task, monitor = ranking
    made = make_ensemble(folder, task)
    trials = {p.parent.name: json.loads(p.read_text()) for p in folder.glob("trials/*/metrics.json")}
    best = max(t["validation"][monitor] for t in trials.values())
    if made is None:
        assert not (folder / "ensemble").exists()
        return
    record = json.loads((made / "metrics.json").read_text())
    assert record["validation"][monitor] > best
    assert all(w > 0 for w in json.loads((made / "ensemble.json").read_text())["weights"].values())
    run = load_run(folder)
    lists = run.recommend(["0", "1"], k=5)
    rows = pd.DataFrame({"u": lists["u"], "i": lists["i"]})
    np.testing.assert_allclose(run.predict(rows)["score"], lists["score"], rtol=1e-4, atol=1e-5)


def test_two_sided_members_stack_exactly(ranking: tuple[Path, object, str], tmp_path: Path) -> None:
    from dataclasses import replace

    from fmlab.contracts import is_two_sided
    from fmlab.serving.ensemble import RankingEnsemble

    folder, task, _ = ranking
    runs = [load_run(folder / "trials" / n) for n in ("0001", "0002")]
    both = RankingEnsemble([r.model for r in runs], [0.5, 2.0], task.dataset.schema)
    assert is_two_sided(both)
    rows = pd.DataFrame({"u": ["0", "5", "7"], "i": ["3", "4", "59"]})
    expected = 0.5 * runs[0].predict(rows)["score"] + 2 * runs[1].predict(rows)["score"]
    found = replace(runs[0], model=both, data=replace(runs[0].data, log_odds=False)).predict(rows)["score"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_nothing_that_takes_too_long_to_judge_is_a_member() -> None:
    from time import monotonic

    from fmlab.automl.selection import affordable

    weights = np.array([0.5, 0.1, 0.4])
    np.testing.assert_allclose(affordable(weights, [1.0, 1.0, 1.0], None), weights)
    np.testing.assert_allclose(affordable(weights, [1e3, 1e6, 1e3], monotonic() + 1e4), [5 / 9, 0, 4 / 9])
    np.testing.assert_allclose(affordable(weights, [1e3, 1e3, 1e3], monotonic()), [1, 0, 0])


def test_a_full_disk_leaves_the_earlier_ensemble_and_the_next_call_makes_it_anew(
    ranking: tuple[Path, object, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fmlab.automl import ensemble as module
    from fmlab.run.locate import locate

    folder, task, _ = ranking
    before = make_ensemble(folder, task)
    earlier = locate(folder)
    share, calls = module.share, []

    def full(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise StorageError("no space left on device")
        share(source, target)

    monkeypatch.setattr(module, "share", full)
    with pytest.raises(StorageError, match="no space left"):
        make_ensemble(folder, task)
    assert locate(folder) == earlier
    load_run(folder)
    monkeypatch.setattr(module, "share", share)
    assert make_ensemble(folder, task) == before
    assert {p.name for p in folder.iterdir() if p.name.startswith(".")} == set()


def test_no_members_are_chosen_by_rows_that_they_were_trained_on(
    ranking: tuple[Path, object, str], caplog: pytest.LogCaptureFixture
) -> None:
    folder, task, _ = ranking
    with caplog.at_level("INFO"):
        assert make_ensemble(folder, task.changed(refit=task.training.rows)) is None
    assert "trained anew on the validation rows" in caplog.text
