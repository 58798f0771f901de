"""Options far out of bounds, no home folder, no files left: a clear error, nothing written."""

import errno
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_packages import install_good

from fmlab.cli import main
from fmlab.config import folders
from fmlab.contracts import Training
from fmlab.data import Dataset, Field, Schema, Table
from fmlab.errors import FmlabError
from fmlab.plugin import registry
from fmlab.training.loader import TrainingLoader

BASE = ["model=acme", "data=acme_plain", "protocol=acme_protocol2"]


@pytest.fixture
def room(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    install_good(site)
    registry.refresh()
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No HOME, and a user without an account."""

    def no_account(uid: int) -> Any:
        raise KeyError(uid)

    for name in ("HOME", "FMLAB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", no_account)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folders._temporary_cache.cache_clear()
    return tmp_path


def test_without_a_home_the_cache_is_temporary_and_this_is_said(
    room: Path, homeless: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert main([*BASE, "--cfg", "job", "--resolve"]) == 0
    out = capsys.readouterr().out
    assert f"cache_dir: {homeless}/fmlab-" in out
    assert "HOME is not set" in caplog.text
    assert list(room.iterdir()) == []
    place = next(homeless.glob("fmlab-*"))
    assert place.stat().st_mode & 0o077 == 0


def test_a_temporary_cache_of_somebody_else_is_not_used(homeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (homeless / "theirs").mkdir()
    monkeypatch.setattr("os.getuid", lambda: 987654)
    (homeless / "fmlab-987654").symlink_to(homeless / "theirs")
    assert Path(folders.cache_folder("~/.cache/fmlab")).name != "fmlab-987654"


@pytest.mark.parametrize("override", ["data_dir='~/raw'", "model.path='~/x.csv'", "hydra.run.dir='~/runs'"])
def test_without_a_home_a_tilde_is_refused(
    room: Path, homeless: Path, override: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*BASE, override, "--cfg", "job"]) == 2
    assert "needs a home folder" in capsys.readouterr().err


def test_a_tilde_is_the_home_folder(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main([*BASE, "model.path='~/x.csv'", "cache_dir='~/c'", "--cfg", "job"]) == 0
    out = capsys.readouterr().out
    assert f"path: {tmp_path}/x.csv" in out
    assert f"cache_dir: {tmp_path}/c" in out


@pytest.mark.parametrize(
    "arguments",
    [
        [""],
        [" "],
        ["''"],
        [*BASE, ""],
        [*BASE, "trainer.strategy=nosuch"],
        [*BASE, "trainer.threads=1e6"],
        [*BASE, "trainer.threads=0"],
        [*BASE, "trainer.max_epochs=-5"],
        [*BASE, "trainer.patience=-1"],
        [*BASE, "batch_size=-1"],
        [*BASE, "seed=1180591620717411303424"],
        [*BASE, f"tags=[{','.join('a' * 15_000)}]"],
        [*BASE, f"tags={'[' * 300}{']' * 300}"],
    ],
)
def test_what_is_out_of_bounds_is_one_line(
    room: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert len(err) < 2000
    assert list(room.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (OSError(errno.EMFILE, "Too many open files", "x"), 74, "too many files are open (x); raise the limit"),
        (
            MemoryError("Unable to allocate 8 TiB"),
            2,
            "needs more memory than the machine has: Unable to allocate 8 TiB",
        ),
    ],
)
def test_a_limit_of_the_system_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, code: int, text: str
) -> None:
    def fail(*_: Any) -> int:
        raise error

    monkeypatch.setattr("fmlab.cli.command_line._command", fail)
    assert main(["plugins"]) == code
    assert text in capsys.readouterr().err


def test_a_batch_that_memory_cannot_hold_is_refused() -> None:
    fields = (Field("user", "user", 4), Field("item", "item", 4))
    ids = np.arange(3, dtype=np.int32)[:, None]
    data = Dataset(
        name="toy",
        rows=3,
        fingerprint="f" * 64,
        schema=Schema(fields, 3, 3),
        users=Table(ids + 1),
        items=Table(ids + 5),
        user=np.arange(3, dtype=np.int32),
        item=np.arange(3, dtype=np.int32),
    )
    rows = np.arange(3, dtype=np.int64)
    with pytest.raises(FmlabError, match="a batch of 512 rows with 1,000,000,000,000 negatives each must fit"):
        TrainingLoader(data, Training(rows, 10**12), batch_size=512, seed=0)
    assert len(TrainingLoader(data, Training(rows, 2), batch_size=10**12, seed=0)) == 1
