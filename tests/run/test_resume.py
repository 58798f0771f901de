"""A run that was stopped anywhere and resumed is the run that was not: epochs, best epoch, curves, weights."""

import multiprocessing
import os
import random
import signal
from pathlib import Path

import pytest
import torch
from in_process import SignalAt, differences, last, metrics, train

import fmlab.files
from fmlab.errors import FmlabError, StorageError
from fmlab.training.best_checkpoint import BestCheckpoint
from fmlab.training.checkpoint_format import SafeCheckpointIO

DEEP = ("model=deepfm", "model.hidden=[16]", "model.dropout=0.5", "model.batch_norm=true", "trainer.reduce_lr=0.5")
BURN_IN = ("model=lorentzfm", "optimizer=rsgd", "optimizer.burn_in=2", "trainer.reduce_lr=0.5")
BATCHES = 8  # of an epoch


@pytest.fixture(scope="module", params=[DEEP, BURN_IN], ids=["deepfm", "lorentzfm"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str, ...]]:
    settings = (*request.param, "trainer.max_epochs=3")
    folder = tmp_path_factory.mktemp("resume") / "whole"
    train(folder, *settings)
    return folder, settings


STOPS = {
    "after the first batch": (SignalAt(0), (0, 1)),
    "within an epoch": (SignalAt(BATCHES + 4), (1, 5)),
    "after the last batch": (SignalAt(2 * BATCHES - 1), (1, 8)),
    "in a validation": (SignalAt(validation=1), (1, 8)),
    "by Ctrl-C": (SignalAt(2 * BATCHES + 2, number=signal.SIGINT), (2, 3)),
}


@pytest.mark.parametrize("stop", STOPS)
def test_a_run_stopped_by_a_signal_goes_on_at_that_batch(
    whole: tuple[Path, tuple[str, ...]], stop: str, tmp_path: Path
) -> None:
    callback, (epoch, batches) = STOPS[stop]
    callback.batches = callback.validations = 0
    reference, settings = whole
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    folder = reference.parent / tmp_path.name
    with pytest.raises(KeyboardInterrupt, match=r"ckpt_path=.*last\.ckpt"):
        train(folder, *settings, callbacks=[callback])
    assert metrics(folder)["status"] == "interrupted"
    assert (last(folder)["epoch"], last(folder)["training"]["batches"]) == (epoch, batches)
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
    train(folder, *settings, f"ckpt_path={folder}/checkpoints/last.ckpt")
    assert differences(reference, folder) == []


def test_early_stopping_goes_on_counting_after_every_epoch(tmp_path: Path) -> None:
    settings = ("model=fm", "optimizer.lr=0.05", "trainer.patience=2")
    train(tmp_path / "whole", *settings, "trainer.max_epochs=30")
    epochs = metrics(tmp_path / "whole")["epochs"]
    assert 3 < epochs < 30  # otherwise this would show nothing
    for done in range(1, epochs + 3):
        train(tmp_path / "steps", *settings, f"trainer.max_epochs={done}", "if_exists=resume")
        assert metrics(tmp_path / "steps")["epochs"] == min(done, epochs)
    assert differences(tmp_path / "whole", tmp_path / "steps") == []


def test_validations_that_are_not_of_every_epoch_stop_alike(tmp_path: Path) -> None:
    settings = ("model=fm", "optimizer.lr=0.05", "trainer.patience=2", "trainer.check_val_every_n_epoch=2")
    train(tmp_path / "whole", *settings, "trainer.max_epochs=30")
    epochs = metrics(tmp_path / "whole")["epochs"]
    assert 3 < epochs < 30
    for done in range(2, epochs + 3):
        train(tmp_path / "steps", *settings, f"trainer.max_epochs={done}", "if_exists=resume")
    assert differences(tmp_path / "whole", tmp_path / "steps") == []


def test_a_run_resumed_elsewhere_takes_its_curves_and_its_best_epoch_along(tmp_path: Path) -> None:
    settings = ("model=fm", "optimizer.lr=0.1")
    train(tmp_path / "whole", *settings, "trainer.max_epochs=5")
    train(tmp_path / "half", *settings, "trainer.max_epochs=3")
    train(tmp_path / "rest", *settings, "trainer.max_epochs=5", f"ckpt_path={tmp_path / 'half'}")
    assert differences(tmp_path / "whole", tmp_path / "rest") == []
    saved = last(tmp_path / "half")["training"]["pace"]["seconds"]
    assert metrics(tmp_path / "rest")["seconds_fit"] > saved > 0


@pytest.mark.parametrize(
    "change",
    [
        ("trainer.gradient_clip_val=1", "trainer.gradient_clip_val: None there, 1"),
        ("trainer.reduce_lr=0.5", "trainer.reduce_lr: None there, 0.5 here"),
        ("trainer.limit_train_batches=2", "trainer.limit_train_batches: None there, 2 here"),
        ("trainer.limit_train_batches=1", "trainer.limit_train_batches: None there, 1 here"),
        ("trainer.check_val_every_n_epoch=2", "trainer.check_val_every_n_epoch: 1 there, 2 here"),
        ("trainer.patience=1", "trainer.patience: 10 there, 1 here"),
        ("trainer.precision=64-true", "trainer.precision: '32-true' there, '64-true' here"),
        ("trainer.deterministic=true", "trainer.deterministic: False there, True here"),
        ("trainer.max_epochs=1", "trainer.max_epochs must be at least 2"),
        ("batch_size=128", "batch_size: 256 there, 128 here"),
    ],
    ids=lambda c: c[0],
)
def test_another_option_is_refused_by_name(change: tuple[str, str], half: Path, tmp_path: Path) -> None:
    with pytest.raises(FmlabError) as caught:
        train(half.parent / tmp_path.name, "trainer.max_epochs=3", f"ckpt_path={half}", change[0])
    assert change[1] in str(caught.value)


def test_tensors_of_other_shapes_are_refused_by_name(half: Path, tmp_path: Path) -> None:
    saved = last(half)
    name = next(k for k, v in saved["state_dict"].items() if v.ndim)
    saved["state_dict"][name] = saved["state_dict"][name][:1]
    SafeCheckpointIO().save_checkpoint(saved, forged := tmp_path / "forged.ckpt")
    with pytest.raises(StorageError, match=rf"'{name}' has the shape"):
        train(half.parent / tmp_path.name, "trainer.max_epochs=3", f"ckpt_path={forged}")


def test_all_differences_are_named_and_allowed_by_one_word(
    half: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = half.parent / tmp_path.name
    changes = ("trainer.max_epochs=3", "trainer.gradient_clip_val=1.0", "trainer.patience=5", f"ckpt_path={half}")
    with pytest.raises(FmlabError, match=r"patience: 10 there, 5 here; .*gradient_clip_val: None there, 1\.0 here"):
        train(folder, *changes)
    train(folder, *changes, "resume_changes=allow")
    assert metrics(folder)["epochs"] == 3
    assert last(folder)["training"]["options"]["patience"] == 5
    assert "resumed with another option: trainer.gradient_clip_val" in caplog.text


@pytest.mark.parametrize("option", ["trainer.limit_train_batches=1.0", "trainer.progress=true", "trainer.max_epochs=2"])
def test_options_that_change_no_result_may_differ(option: str, half: Path, tmp_path: Path) -> None:
    train(half.parent / tmp_path.name, "trainer.max_epochs=3", f"ckpt_path={half}", option)


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("changes") / "half"
    train(folder, "trainer.max_epochs=2")
    return folder


def test_a_limit_cannot_change_within_an_epoch(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "a", callbacks=[SignalAt(4)])
    changes = (f"ckpt_path={tmp_path / 'a'}", "trainer.limit_train_batches=3", "resume_changes=allow")
    with pytest.raises(FmlabError, match="cannot change within an epoch"):
        train(tmp_path / "b", *changes)


# ------------------------------------------------------------------------------------------ kill -9

LONG = ("model=deepfm", "model.hidden=[8]", "model.dropout=0.5", "batch_size=16", "trainer.max_epochs=2")
EVERY = 5  # batches between checkpoints: a batch is a second here


class Clock:
    """Seconds that pass by batches."""

    def __init__(self, train: SignalAt) -> None:
        self.train = train

    def __call__(self) -> float:
        return float(self.train.batches)


def killed(folder: str, batch: int | None, within_save: bool) -> None:
    """Go on in `folder`, to be killed after `batch` batches, perhaps while a checkpoint is being written."""
    torch.set_num_threads(1)
    kill = SignalAt(None if within_save else batch, number=signal.SIGKILL)
    BestCheckpoint.clock = Clock(kill)  # type: ignore[assignment]
    sync = fmlab.files.sync

    def fatal(path: Path) -> None:
        if batch is not None and kill.batches >= batch and path.name.startswith(".last.ckpt"):
            os.kill(os.getpid(), signal.SIGKILL)
        sync(path)

    if within_save:
        fmlab.files.sync = fatal
    settings = (*LONG, f"trainer.checkpoint_every={EVERY}s", "if_exists=resume")
    train(Path(folder), *settings, callbacks=[kill])


def position(folder: Path) -> int:
    """Batches of the whole training that the checkpoint holds."""
    path = folder / "checkpoints" / "last.ckpt"
    return int(last(folder)["global_step"]) if path.is_file() else 0


@pytest.mark.slow
def test_twenty_kills_at_random_points_lose_no_more_than_the_interval(tmp_path: Path) -> None:
    processes, chance = multiprocessing.get_context("forkserver"), random.Random(7)
    processes.set_forkserver_preload(
        ["fmlab.run.experiment", "fmlab.config.composition"]
    )  # this module is not on its path
    train(tmp_path / "whole", *LONG)
    folder, kills = tmp_path / "killed", 0
    while kills < 20:
        begin, batch, within_save = position(folder), chance.randrange(1, 16), kills % 3 == 1
        child = processes.Process(target=killed, args=(str(folder), batch, within_save))
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        kills += 1
        if not within_save:
            assert begin + batch + 1 - position(folder) <= EVERY
    assert list((folder / "checkpoints").glob(".*.tmp"))  # the last kill was within a save
    child = processes.Process(target=killed, args=(str(folder), None, False))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert differences(tmp_path / "whole", folder) == []
    assert not list(folder.rglob(".*.tmp"))
