"""A schedule in a run: it is recorded, resumed to the bit, and refused where a resumed run would have another one."""

import csv
import logging
from pathlib import Path

import pytest
from fmlab_schedulers.cosine import Cosine
from in_process import SignalAt, differences, metrics, train

from fmlab.errors import FmlabError

BATCHES = 8  # of an epoch
COSINE = ("model=fm", "optimizer=adamw", "scheduler=cosine", "optimizer.lr=0.05", "trainer.max_epochs=3")
PLATEAU = ("model=fm", "optimizer.lr=0.1", "scheduler=plateau", "scheduler.factor=0.5", "trainer.max_epochs=10")


def rates(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row["lr"]) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def cosine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scheduler") / "cosine"
    train(folder, *COSINE)
    return folder


def test_the_rate_of_each_epoch_is_in_the_curves(cosine: Path) -> None:
    wanted = Cosine(3 * BATCHES, BATCHES)
    assert rates(cosine) == [wanted.rate(0.05, BATCHES * epoch - 1) for epoch in (1, 2, 3)]
    assert metrics(cosine)["scheduler"] == "cosine"


@pytest.mark.parametrize("batch", [2, BATCHES + 3])
def test_a_schedule_goes_on_within_an_epoch(cosine: Path, batch: int) -> None:
    folder = cosine.parent / f"stopped{batch}"
    with pytest.raises(KeyboardInterrupt):
        train(folder, *COSINE, callbacks=[SignalAt(batch)])
    train(folder, *COSINE, "if_exists=resume")
    assert differences(cosine, folder) == []


def test_a_schedule_that_ends_elsewhere_is_refused(cosine: Path) -> None:
    more = [o for o in COSINE if "max_epochs" not in o]
    with pytest.raises(FmlabError, match=r"trainer\.max_epochs: 3 there, 5 here"):
        train(cosine.parent / "more", *more, "trainer.max_epochs=5", f"ckpt_path={cosine}/checkpoints/last.ckpt")


def test_plateau_is_what_reduce_lr_was(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(tmp_path / "new", *PLATEAU)
    assert len(set(rates(tmp_path / "new"))) > 1  # otherwise this would show nothing
    with caplog.at_level(logging.WARNING, logger="fmlab"):
        train(tmp_path / "old", "model=fm", "optimizer.lr=0.1", "trainer.reduce_lr=0.5", "trainer.max_epochs=10")
    assert any("write scheduler=plateau scheduler.factor=0.5" in r.message for r in caplog.records)
    for key in ("validation", "test", "best_epoch"):
        assert metrics(tmp_path / "old")[key] == metrics(tmp_path / "new")[key]
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", *PLATEAU, callbacks=[SignalAt(3 * BATCHES + 3)])
    train(tmp_path / "stopped", *PLATEAU, "if_exists=resume")
    assert differences(tmp_path / "new", tmp_path / "stopped") == []


def test_two_schedules_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FmlabError, match=r"got trainer\.reduce_lr=0\.5 and scheduler=step"):
        train(tmp_path / "run", "model=fm", "trainer.reduce_lr=0.5", "scheduler=step")


def test_burn_in_of_a_scheduler_is_that_of_the_optimizer(tmp_path: Path) -> None:
    settings = ("model=lorentzfm", "optimizer=rsgd", "trainer.max_epochs=2")
    train(tmp_path / "own", *settings, "optimizer.burn_in=1")
    train(tmp_path / "scheduler", *settings, "scheduler=burn_in", "scheduler.epochs=1")
    assert metrics(tmp_path / "own")["test"] == metrics(tmp_path / "scheduler")["test"]
    assert rates(tmp_path / "scheduler") == [3.0 * 0.1, 3.0]
