"""A run as a trial: reported at each validation, pruned, given up, out of time; its data set kept open."""

import json
import logging
import time

import pytest

import fmlab.run.building
import fmlab.run.task_opening
from fmlab.sweep.messages import Job, Progress, TrialLost, TrialPruned
from fmlab.sweep.objective import TrialObjective, _curve, metric_values, spans_processes

TINY = [
    "data=synthetic",
    "data.users=60",
    "data.items=40",
    "protocol=full_ranking",
    "model=fm",
    "trainer.max_epochs=3",
    "trainer.accelerator=cpu",
    "logger=none",
]


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    job = Job("s", {}, {}, [], "", str(tmp_path_factory.mktemp("sweep")))
    return TrialObjective(job, {"FMLAB_CACHE": str(tmp_path_factory.mktemp("cache"))})


def test_a_run_reports_each_epoch_and_gives_all_its_figures(training, tmp_path):
    seen = []
    progress = Progress(report=lambda step, value: seen.append((step, value)) or False, prunes=True)
    found = training(TINY, tmp_path, progress)
    assert [step for step, _ in seen] == [0, 1, 2]
    assert found[""] == found["mrr"] == pytest.approx(max(value for _, value in seen), rel=1e-6)
    assert found["parameters"] == json.loads((tmp_path / "metrics.json").read_text())["parameters"]
    assert found == {**metric_values(tmp_path), "": found["mrr"]}


def test_a_pruned_run_stops_at_once_and_says_so(training, tmp_path):
    progress = Progress(report=lambda step, value: step == 1, prunes=True)
    with pytest.raises(TrialPruned):
        training(TINY, tmp_path, progress)
    assert len(progress.reported) == 2
    assert json.loads((tmp_path / "metrics.json").read_text())["status"] == "pruned"


def test_a_run_that_was_given_up_stops_within_a_batch(training, tmp_path):
    with pytest.raises(TrialLost):
        training(TINY, tmp_path, Progress(given_up=lambda: True))
    assert json.loads((tmp_path / "metrics.json").read_text())["status"] == "lost"


def test_a_run_out_of_time_ends_with_its_epoch_and_counts(training, tmp_path):
    found = training(TINY, tmp_path, Progress(deadline=time.monotonic() - 1))
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert content["status"] == "complete"
    assert content["epochs"] == 1
    assert found[""] == content["validation"]["mrr"]


def test_a_model_that_is_too_large_is_refused_before_it_is_built(training, tmp_path, monkeypatch):
    size = int(training([*TINY, "trainer.max_epochs=1"], tmp_path / "before", Progress())["parameters"])

    def refuse(*_):
        raise AssertionError("the model was built")

    monkeypatch.setattr(fmlab.run.building, "build_model", refuse)
    for limit, why in (
        ({"max_parameters": 1000}, f"{size:,} parameters are more than max_parameters=1,000"),
        ({"max_bytes": 16 * size - 1}, f"{size:,} parameters take .* to train, more than the .* that memory_limit"),
    ):
        with pytest.raises(TrialPruned, match=why):
            training(TINY, tmp_path / next(iter(limit)), Progress(**limit))
    with pytest.raises(AssertionError, match="the model was built"):
        training(TINY, tmp_path / "fits", Progress(max_parameters=size, max_bytes=16 * size))


def test_a_slow_model_is_not_trained_and_one_that_takes_too_much_memory_ends(training, tmp_path):
    with pytest.raises(TrialPruned, match="us a row are more than max_latency=1e-06"):
        training(TINY, tmp_path / "slow", Progress(max_latency=1e-6))
    content = json.loads((tmp_path / "slow" / "metrics.json").read_text())
    assert content["status"] == "pruned"
    assert "epochs" not in content
    with pytest.raises(TrialPruned, match=r"us a row"):  # solved, not trained by steps: it is measured afterwards
        training([*TINY, "model=popularity"], tmp_path / "solved", Progress(max_latency=1e-6))
    assert json.loads((tmp_path / "solved" / "metrics.json").read_text())["status"] == "pruned"
    with pytest.raises(TrialPruned, match=r"of memory, more than the 1\.0 MB that memory_limit leaves each worker"):
        training(TINY, tmp_path / "large", Progress(max_bytes=10**6))
    found = training(TINY, tmp_path / "fits", Progress(max_latency=1e6, max_bytes=10**12))
    assert found["bytes"] == 4 * found["parameters"]


def test_the_data_set_stays_open_between_runs(training, tmp_path):
    training([*TINY, "trainer.max_epochs=1"], tmp_path / "a", Progress())
    opened = fmlab.run.task_opening._open["data"][1]
    training([*TINY, "trainer.max_epochs=1", "model=lorentzfm", "seed=1"], tmp_path / "b", Progress())
    assert fmlab.run.task_opening._open["data"][1] is opened


@pytest.mark.parametrize(
    ("overrides", "several"),
    [([], False), (["trainer.devices=2"], True), (["trainer=ddp"], True), (["trainer.devices=[1]"], False)],
)
def test_runs_of_several_processes_are_told_apart(training, overrides, several):
    assert spans_processes(training.compose([*TINY, *overrides])) is several


def test_curves_are_read_up_to_the_last_finished_line(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,train/loss,val/mrr\n0,9,,0.5\n0,9,0.7,\n1,19,,0.6\n2,29,,0.")
    assert _curve(path, "mrr") == [(0, 0.5), (1, 0.6)]
    assert _curve(path, "auc") == _curve(tmp_path / "none", "mrr") == []


@pytest.fixture(autouse=True)
def quiet():
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
