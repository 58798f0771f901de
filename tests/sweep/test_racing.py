"""Trials that their time ended go on from their checkpoint, the best third, each once."""

import csv
import json
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from fmlab.errors import FmlabError
from fmlab.plugin import registry
from fmlab.sweep.budget import measured
from fmlab.sweep.messages import Job, Progress
from fmlab.sweep.objective import TrialObjective
from fmlab.sweep.racing import is_first, promoted, rounds_before
from fmlab.sweep.reporter import FewerEpochs, Reporter
from fmlab.sweep.spec import read
from fmlab.sweep.storage import locate, open_storage
from fmlab.sweep.study import Study, TrialRequest, retry_of
from fmlab.sweep.worker import Worker
from fmlab.training.checkpoint_format import read_checkpoint
from fmlab.training.learner import Learner
from fmlab.untrusted.parsing import read_yaml


def trial(
    number: int, value: float | None, *, unfinished: bool = False, continues: int | None = None, running: bool = False
) -> FrozenTrial:
    state = TrialState.RUNNING if running else TrialState.FAIL if value is None else TrialState.COMPLETE
    notes = {"result": {"unfinished": True} if unfinished else {}, "continues": continues}
    space: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1)}
    found = create_trial(state=state, value=value, params={"x": 0.5}, distributions=space, user_attrs=notes)
    found.number = number
    return found


def test_the_best_third_go_on_and_each_once() -> None:
    done = [trial(n, 0.5 + n / 100, unfinished=n in (0, 4, 5)) for n in range(6)]

    def best(*more: FrozenTrial, maximize: bool = True) -> int:
        found = promoted([*done, *more], maximize=maximize)
        assert found is not None
        return found.number

    assert best() == 5
    assert best(maximize=False) == 0
    assert best(trial(6, None, continues=5, running=True)) == 4
    more = [*done, trial(6, 0.7, continues=5, unfinished=True)]
    assert best(more[-1]) == 6, "what went on may go on again"
    assert [rounds_before(t, more) for t in more] == [0, 0, 0, 0, 0, 0, 1]
    assert best(trial(6, None, continues=5)) == 5, "its worker was lost"
    assert promoted([trial(0, 0.9), trial(1, 0.8, unfinished=True)], maximize=True) is None
    assert promoted([], maximize=True) is None


def test_of_two_workers_that_promote_one_trial_the_first_goes_on() -> None:
    both = [trial(7, None, continues=5, running=True), trial(8, None, continues=5, running=True)]
    assert is_first(both, 7, 5)
    assert not is_first(both, 8, 5)


def test_a_retry_goes_on_from_the_same_trial() -> None:
    assert retry_of(trial(3, None, continues=2)).continues == 2


def test_racing_is_of_one_metric_and_one_seed() -> None:
    raw = {"space": {"seed": {"choice": [0, 1]}}, "n_trials": 2, "racing": True}
    assert read("s", raw).settings.racing
    with pytest.raises(FmlabError, match="racing needs one metric"):
        read("s", {**raw, "seeds": [1, 2]})


def test_after_half_of_the_time_what_was_begun_goes_before_points_that_are_left(tmp_path: Path) -> None:
    space, points = {"x": {"float": [0, 1]}}, [{"x": 0.2}, {"x": 0.4}]
    raw = {"space": space, "sampler": "random", "n_trials": 4, "racing": True, "budget": 100, "initial_points": points}
    store, sweep = locate(None, tmp_path), read("s", raw)
    study, _ = Study.create(open_storage(store), sweep.study, ["maximize"])
    study.study.add_trial(trial(0, 0.5, unfinished=True))
    study.enqueue(TrialRequest("1", 1, 0, {"x": 0.4}))
    worker = Worker(
        Job("s", raw, {}, [], store, str(tmp_path), ends=time.time() + 50), lambda *_: {}, lambda *_, **__: None
    )
    claim, progress = study.claim({}), Progress(most=10.0)
    assert claim is not None
    assert worker._promoted(claim, progress) is None, "its own point comes first"
    worker.began -= 100
    parent = worker._promoted(claim, progress)
    assert parent is not None
    assert parent.number == 0
    assert progress.most == 20


def test_after_half_of_the_time_every_other_point_that_is_left_gives_way_to_local_search(tmp_path: Path) -> None:
    space, points = {"x": {"float": [0, 1]}}, [{"x": 0.1 * n} for n in range(6)]
    raw = {"space": space, "sampler": {"name": "local", "n_startup_trials": 2, "explore": 0}, "n_trials": 9}
    raw |= {"racing": True, "budget": 100, "initial_points": points}

    def given(indices: Sequence[int], *, half: bool, finished: int = 2, **more: Any) -> list[Any]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        store, sweep = locate(None, folder), read("s", raw | more)
        study, _ = Study.create(open_storage(store), sweep.study, ["maximize"])
        for number in range(finished):
            study.study.add_trial(trial(number, 0.5))
        job = Job("s", raw | more, {}, [], store, str(folder), ends=time.time() + 50)
        worker = Worker(job, lambda *_: {}, lambda *_, **__: None)
        worker.began -= 100 * half
        return [worker._given(TrialRequest(str(n), n, 0, None if n > 5 else points[n])) for n in indices]

    assert given([2, 3, 4, 5, 6], half=True) == [points[2], None, points[4], None, None]
    assert given([3], half=False) == [points[3]]
    assert given([3], half=True, finished=1) == [points[3]], "no trial can be moved yet"
    assert given([3], half=True, sampler="random") == [points[3]]


class Short(Progress):
    """The time is up within the second epoch."""

    @property
    def time_is_up(self) -> bool:
        self.calls = getattr(self, "calls", 0) + 1
        return self.calls > 20


class Half(Progress):
    """More than half of the time is over after the first epoch."""

    share = 0.6  # type: ignore[assignment]


def test_the_rate_falls_where_half_of_the_time_is_over(tmp_path: Path) -> None:
    """Once, as where validation stalls, and a training anew has the same rates."""
    usual = [
        *("model=mf", "protocol=full_ranking", "data.users=100", "data.items=60", "data.positives=10", "logger=csv"),
        *(
            "trainer.max_epochs=3",
            "trainer.accelerator=cpu",
            "trainer.threads=1",
            "batch_size=64",
            "optimizer.lr=0.001",
        ),
        "scheduler=plateau",
    ]
    train = TrialObjective(Job("s", {}, {}, [], "", str(tmp_path)), {"FMLAB_CACHE": str(tmp_path / "cache")})
    found = {}
    for name, progress in (("half", Half()), ("on", Half(goes_on=tmp_path / "half")), ("plain", Progress())):
        more = ["trainer.max_epochs=4"] if name == "on" else []
        train([*usual, *more], tmp_path / name, progress)
        curve = csv.DictReader((tmp_path / name / "metrics.csv").read_text().splitlines())
        found[name] = [float(row["lr"]) for row in curve]
    assert found["plain"] == [0.001] * 3, "its validation does not stall"
    assert found["half"] == pytest.approx([0.001, 0.0001, 0.0001])
    assert found["on"] == pytest.approx([0.001, 0.0001, 0.0001, 0.0001]), "the rate fell before"
    assert json.loads((tmp_path / "half" / "metrics.json").read_text())["rate_fell"] == 1
    state = read_checkpoint(tmp_path / "half" / "checkpoints" / "last.ckpt")["training"]
    assert state["validations"][0] == state["validations"][1]
    assert len(state["validations"]) == 4


@pytest.mark.parametrize(
    ("left", "wanted", "epochs"),
    [(36.0, 4, None), (34.0, 4, 3), (15.0, 4, 2), (1.0, 4, 1), (None, 4, None)],
)
def test_a_rate_that_falls_until_the_end_has_the_epochs_that_fit(monkeypatch, left, wanted, epochs) -> None:
    """An epoch is eight steps of a second, and a quarter of that for the validation; the fourth step is measured."""
    clock = [0.0]
    monkeypatch.setattr("fmlab.sweep.reporter.time.monotonic", lambda: clock[0])

    class Left(Progress):
        training_left = left  # type: ignore[assignment]
        time_is_up = False  # type: ignore[assignment]

    task = SimpleNamespace(validation=range(6), training=SimpleNamespace(rows=range(8)))
    learner = SimpleNamespace(scheduler=SimpleNamespace(depends_on_end=True), task=task, loader=range(8))
    reporter = Reporter(Left())
    told = None
    for step in range(1, 9):
        clock[0] += 1 if step > 3 else 50
        now = SimpleNamespace(global_step=step, num_training_batches=8, max_epochs=wanted, should_stop=False)
        try:
            reporter.on_train_batch_end(now, learner, None, None, step - 1)
        except FewerEpochs as fewer:
            told = (step, fewer.epochs)
            break
    assert told == (None if epochs is None else (4, epochs))


def test_validating_counts_more_where_an_epoch_is_a_part_of_the_rows(monkeypatch) -> None:
    """Eight steps of a second, of sixteen, and 8 rows of validation for the 8 of an epoch: a third of 8 s more."""
    clock = [0.0]
    monkeypatch.setattr("fmlab.sweep.reporter.time.monotonic", lambda: clock[0])

    class Left(Progress):
        training_left = 33.0  # type: ignore[assignment]
        time_is_up = False  # type: ignore[assignment]

    task = SimpleNamespace(validation=range(8), training=SimpleNamespace(rows=range(16)))
    learner = SimpleNamespace(scheduler=SimpleNamespace(depends_on_end=True), task=task, loader=range(16))
    reporter = Reporter(Left())
    steps = [
        SimpleNamespace(global_step=n, num_training_batches=8, max_epochs=5, should_stop=False) for n in range(1, 5)
    ]
    for number, now in enumerate(steps[:3]):
        clock[0] += 1
        reporter.on_train_batch_end(now, learner, None, None, number)
    clock[0] += 1
    with pytest.raises(FewerEpochs, match="time for 3 epochs"):
        reporter.on_train_batch_end(steps[3], learner, None, None, 3)


def test_a_run_whose_rate_would_not_come_down_begins_again_with_fewer_epochs(tmp_path: Path, monkeypatch) -> None:
    usual = [
        *("model=mf", "protocol=full_ranking", "data.users=100", "data.items=60", "data.positives=10", "logger=csv"),
        *("trainer.max_epochs=6", "trainer.accelerator=cpu", "trainer.threads=1", "batch_size=64", "optimizer.lr=0.01"),
        "scheduler=cosine",
    ]
    measure = Reporter._measure

    def short(reporter: Reporter, trainer: Any, learner: Any) -> None:
        reporter._measured = True
        raise FewerEpochs(2)

    monkeypatch.setattr(Reporter, "_measure", short)
    train = TrialObjective(Job("s", {}, {}, [], "", str(tmp_path)), {"FMLAB_CACHE": str(tmp_path / "cache")})
    train(usual, tmp_path / "short", Progress(most=1e6))
    monkeypatch.setattr(Reporter, "_measure", measure)
    train([*usual, "trainer.max_epochs=2"], tmp_path / "typed", Progress(most=1e6))
    begun_again, typed = (json.loads((tmp_path / n / "metrics.json").read_text()) for n in ("short", "typed"))
    assert (begun_again["status"], begun_again["epochs"], begun_again["epochs_wanted"]) == ("complete", 2, 6)
    assert "epochs_wanted" not in typed
    assert begun_again["validation"] == typed["validation"]
    assert begun_again["test"] == typed["test"]
    assert read_yaml(tmp_path / "short" / "config.yaml")["trainer"]["max_epochs"] == 2


def test_a_run_that_came_down_in_fewer_epochs_is_not_trained_on(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    record = {"epochs": 2, "best_epoch": 1, "cut": {"epochs": 2, "share": 1.0}}
    (tmp_path / "metrics.json").write_text(json.dumps(record))
    assert measured(tmp_path)["unfinished"]
    (tmp_path / "metrics.json").write_text(json.dumps({**record, "epochs_wanted": 9}))
    assert "unfinished" not in measured(tmp_path)


def test_a_rate_that_fell_by_itself_does_not_fall_again_for_the_time() -> None:
    """Two falls at once end the training of DCN on Frappe_x1 at a log loss of .1525, one alone at .1403."""
    scheduler = registry.build("scheduler", {"name": "plateau"}, 100, 10)
    scheduler.validated(0.5)
    learner: Any = SimpleNamespace(validations=[(10, 0.5)], scheduler=scheduler, global_step=10)
    assert Learner.stall(learner)
    assert scheduler.rate(1.0, 10) == 0.1
    assert not Learner.stall(learner)
    assert (scheduler.rate(1.0, 10), len(learner.validations)) == (0.1, 2)


def test_a_run_that_its_time_ended_is_trained_on_and_not_anew(tmp_path: Path) -> None:
    usual = [
        *("model=mf", "protocol=full_ranking", "data.users=100", "data.items=60", "data.positives=10", "logger=csv"),
        *("trainer.max_epochs=6", "trainer.accelerator=cpu", "trainer.threads=1", "batch_size=64", "optimizer.lr=0.01"),
    ]
    train = TrialObjective(Job("s", {}, {}, [], "", str(tmp_path)), {"FMLAB_CACHE": str(tmp_path / "cache")})
    train(usual, tmp_path / "first", Short())
    first = json.loads((tmp_path / "first" / "metrics.json").read_text())
    assert first["cut"]["epochs"] < 6
    rising = first["best_epoch"] == first["epochs"] - 1
    assert measured(tmp_path / "first").get("unfinished", False) == rising
    train(usual, tmp_path / "second", Progress(goes_on=tmp_path / "first"))
    second = json.loads((tmp_path / "second" / "metrics.json").read_text())
    assert second["epochs"] == 6
    assert "cut" not in second
    curves = [line.split(",")[:2] for line in (tmp_path / "second" / "metrics.csv").read_text().splitlines()[1:]]
    assert [int(epoch) for epoch, _ in curves] == list(range(6)), "epochs of before are not trained again"
    steps = [int(step) for _, step in curves]
    assert steps == sorted(set(steps))
    assert "unfinished" not in measured(tmp_path / "second")
