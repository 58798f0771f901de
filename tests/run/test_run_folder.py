"""A run folder holds one run: others are refused while it goes on and after, unless a word says what to do."""

import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from in_process import SignalAt, last, metrics, train

from fmlab.cli import main
from fmlab.errors import FmlabError, StorageError
from fmlab.records.folder import RunFolder, remove_drafts_of_run, remove_drafts_of_trials

QUICK = ("model=fm", "trainer.max_epochs=1")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folder") / "run"
    train(folder, *QUICK)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.name != ".lock"}


@pytest.mark.parametrize("options", [("seed=1",), (), ("model=mf",)], ids=str)
def test_a_finished_run_is_not_overwritten(finished: Path, options: tuple[str, ...]) -> None:
    before = contents(finished)
    with pytest.raises(FmlabError, match=r"no run overwrites another.*if_exists=resume.*if_exists=overwrite"):
        train(finished, *QUICK, *options)
    assert contents(finished) == before


def test_nor_by_a_run_that_is_resumed_from_another_folder(finished: Path, tmp_path: Path) -> None:
    other = finished.parent / tmp_path.name
    train(other, *QUICK)
    before = contents(other)
    with pytest.raises(FmlabError, match="no run overwrites another"):
        train(other, "model=fm", "trainer.max_epochs=2", f"ckpt_path={finished}")
    assert contents(other) == before


def test_an_interrupted_run_is_not_overwritten_either(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", *QUICK, callbacks=[SignalAt(2)])
    with pytest.raises(FmlabError, match=r"status interrupted, last\.ckpt"):
        train(tmp_path / "run", *QUICK)


def test_a_run_that_failed_before_anything_was_saved_is_started_again(tmp_path: Path) -> None:
    with pytest.raises(FmlabError, match=r"none\.ckpt is not there"):
        train(tmp_path / "run", "model=mf", "trainer.max_epochs=1", f"warm_start=[{tmp_path / 'none.ckpt'}]")
    train(tmp_path / "run", *QUICK)
    assert metrics(tmp_path / "run")["status"] == "complete"


def test_overwriting_is_a_word(tmp_path: Path) -> None:
    train(tmp_path / "run", "model=fm", "trainer.max_epochs=2")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    train(tmp_path / "run", *QUICK, "if_exists=overwrite")
    assert metrics(tmp_path / "run")["epochs"] == 1
    assert len((tmp_path / "run" / "metrics.csv").read_text().splitlines()) == 2
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
    with pytest.raises(FmlabError, match="give one of them"):
        train(tmp_path / "run", "model=fm", "if_exists=overwrite", f"ckpt_path={tmp_path / 'run'}")


def test_resuming_into_the_folder_appends_to_its_curves(tmp_path: Path) -> None:
    train(tmp_path / "run", *QUICK)
    first = (tmp_path / "run" / "metrics.csv").read_text()
    train(tmp_path / "run", "model=fm", "trainer.max_epochs=3", "if_exists=resume")
    assert (tmp_path / "run" / "metrics.csv").read_text().startswith(first)
    assert len((tmp_path / "run" / "metrics.csv").read_text().splitlines()) == 4
    assert last(tmp_path / "run")["epoch"] == 2


HOLDER = """
import sys
from pathlib import Path
from fmlab.records.folder import RunFolder
with RunFolder(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_processes_cannot_share_a_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(FmlabError, match=rf"one run at a time.*in use by process {holder.pid} of "):
            train(tmp_path / "run", *QUICK, "if_exists=overwrite")
        assert not (tmp_path / "run" / "metrics.json").exists()
        holder.kill()
    train(tmp_path / "run", *QUICK)  # the lock of a killed process is no lock


def test_nor_can_two_runs_of_one_process(tmp_path: Path) -> None:
    with RunFolder(tmp_path).locked(), pytest.raises(FmlabError, match="one run at a time"):
        train(tmp_path, *QUICK)


def test_a_file_system_without_locks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with RunFolder(tmp_path).locked():
        pass
    assert "would not be noticed" in caplog.text


def test_leftovers_of_killed_saves_are_swept_and_nothing_else(tmp_path: Path) -> None:
    place = RunFolder(tmp_path / "run")
    place.checkpoints.mkdir(parents=True)
    drafts = [place.checkpoints / ".last.ckpt.4711.tmp", place.checkpoints / ".best.ckpt.1.tmp"]
    drafts.append(place.path / ".metrics.json.99.tmp")
    others = [place.path / "notes.tmp", place.path / ".mine.tmp", place.checkpoints / "old.ckpt.1.tmp"]
    for path in (*drafts, *others):
        path.touch()
    with place.locked():
        assert [p.exists() for p in (*drafts, *others)] == [False] * 3 + [True] * 3


def test_those_beside_a_checkpoint_that_is_resumed_elsewhere_too(tmp_path: Path) -> None:
    train(tmp_path / "a", *QUICK)
    draft = tmp_path / "a" / "checkpoints" / ".last.ckpt.4711.tmp"
    with RunFolder(tmp_path / "a").locked():
        draft.touch()
        remove_drafts_of_run(draft.with_name("last.ckpt"))
        assert draft.exists()  # the run that may be writing it lives
    train(tmp_path / "b", "model=fm", "trainer.max_epochs=2", f"ckpt_path={tmp_path / 'a'}")
    assert not draft.exists()


def test_those_of_the_trials_of_a_sweep_too(tmp_path: Path) -> None:
    killed, living, seed = (tmp_path / "trials" / n for n in ("0000", "0001", "0002/seed-1"))
    drafts = [folder / "checkpoints" / ".last.ckpt.4711.tmp" for folder in (killed, living, seed)]
    for folder, draft in zip((killed, living, seed), drafts, strict=True):
        with RunFolder(folder).locked():
            draft.parent.mkdir()
            draft.touch()
    with RunFolder(living).locked():
        drafts[1].touch()
        remove_drafts_of_trials(tmp_path)
        assert [d.exists() for d in drafts] == [False, True, False]


def test_a_best_checkpoint_of_another_epoch_is_refused(tmp_path: Path) -> None:
    settings = ("model=fm", "optimizer.lr=0.3")
    train(tmp_path / "run", *settings, "trainer.max_epochs=1")
    early = (tmp_path / "run" / "checkpoints" / "best.ckpt").read_bytes()
    done = 2
    while (
        last(tmp_path / "run")["callbacks"]["BestCheckpoint"]["epoch"] in (0, last(tmp_path / "run")["epoch"])
        and done < 9
    ):
        train(tmp_path / "run", *settings, f"trainer.max_epochs={done}", "if_exists=resume")
        done += 1
    (tmp_path / "run" / "checkpoints" / "best.ckpt").write_bytes(early)
    with pytest.raises(FmlabError, match="must be of epoch"):
        train(tmp_path / "run", *settings, f"trainer.max_epochs={done}", "if_exists=resume")


def test_a_full_disk_is_told_by_the_first_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"

    def full(path: Path) -> None:
        if "checkpoints" in str(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("fmlab.files.sync", full)
    with pytest.raises(FmlabError, match="No space left on device") as caught:
        train(folder, *QUICK)
    assert caught.value.code == 74
    assert json.loads((folder / "metrics.json").read_text())["status"] == "failed"
    assert not list(folder.rglob(".*.tmp"))


@pytest.mark.parametrize("name", [".lock", "run.log"])
def test_a_foreign_run_folder_leads_no_write_elsewhere(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    target = tmp_path / "profile"
    target.write_text("export A=b\n")
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / ".last.ckpt.1.tmp").write_text("left over")
    (folder / name).symlink_to(target)
    remove_drafts_of_run(folder / "checkpoints" / "last.ckpt")
    quick = [f"cache={tmp_path / 'cache'}", "trainer.accelerator=cpu", "model=popularity"]
    assert main([*quick, f"hydra.run.dir={folder}", "if_exists=resume"]) == 74
    assert f"{folder / name} is a symbolic link to {target}" in capsys.readouterr().err
    assert target.read_text() == "export A=b\n"


def test_a_linked_folder_of_checkpoints_leads_no_write_elsewhere(finished: Path, tmp_path: Path) -> None:
    victim, folder = (Path(shutil.copytree(finished, tmp_path / name)) for name in ("victim", "run"))
    before = contents(victim)
    shutil.rmtree(folder / "checkpoints")
    (folder / "checkpoints").symlink_to(victim / "checkpoints")
    with pytest.raises(StorageError, match=r"run/checkpoints is a symbolic link to"):
        train(folder, "model=fm", "trainer.max_epochs=2", "if_exists=resume")
    assert contents(victim) == before
