"""A checkpoint is whole or absent, is checked before it is read, and executes nothing."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fmlab.errors import FmlabError, StorageError
from fmlab.training.checkpoint_format import SafeCheckpointIO, read_checkpoint
from fmlab.training.resume_checks import refuse_mismatch

CONTENT = {"fmlab": {"seed": 1}, "state_dict": {"w": torch.arange(1000.0)}, "epoch": 3}


def saved(folder: Path) -> Path:
    path = folder / "best.ckpt"
    SafeCheckpointIO().save_checkpoint(CONTENT, path)
    return path


def test_what_was_written_is_read(tmp_path: Path) -> None:
    back = read_checkpoint(saved(tmp_path))
    assert back["epoch"] == 3
    assert torch.equal(back["state_dict"]["w"], CONTENT["state_dict"]["w"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.ckpt"]


def test_every_flipped_bit_and_every_truncation_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    content = path.read_bytes()
    for position in range(0, len(content), len(content) // 100):
        broken = bytearray(content)
        broken[position] ^= 1 << position % 8
        path.write_bytes(broken)
        with pytest.raises(StorageError, match=r"damaged|cut short"):
            read_checkpoint(path)
        path.write_bytes(content[:position])
        with pytest.raises(StorageError, match=r"damaged|cut short"):
            read_checkpoint(path)


def test_a_damaged_checkpoint_names_the_others(tmp_path: Path) -> None:
    path = saved(tmp_path)
    SafeCheckpointIO().save_checkpoint(CONTENT, tmp_path / "last.ckpt")
    path.write_bytes(b"")
    with pytest.raises(StorageError, match=r"last\.ckpt"):
        read_checkpoint(path)


def test_a_hostile_pickle_is_refused_and_does_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Hostile:
        def __reduce__(self) -> tuple:
            return (Path.touch, (marker,))

    for content in (pickle.dumps(Hostile()), pickle.dumps({"fmlab": Hostile()})):
        path = tmp_path / "evil.ckpt"
        path.write_bytes(content)
        with pytest.raises(StorageError):
            read_checkpoint(path)
    torch.save({"fmlab": {}, "state_dict": Hostile()}, tmp_path / "evil.ckpt")
    with pytest.raises(StorageError):
        read_checkpoint(tmp_path / "evil.ckpt")
    assert not marker.exists()


def test_a_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(FmlabError, match="not written by fmlab"):
        read_checkpoint(tmp_path / "other.ckpt")


def test_a_failed_write_leaves_the_previous_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        SafeCheckpointIO().save_checkpoint({"fmlab": {}, "epoch": 4}, path)
    monkeypatch.undo()
    assert read_checkpoint(path)["epoch"] == 3
    assert not list(tmp_path.glob(".*"))


def test_resuming_with_other_settings_names_each() -> None:
    with pytest.raises(FmlabError, match=r"seed: 1 there, 2 here(.|\n)*batch_size: 8 there, 9 here"):
        refuse_mismatch(Path("x"), {"seed": 1, "batch_size": 8, "model": "fm"}, {"seed": 2, "batch_size": 9})


def test_a_full_disk_is_the_refusal_of_the_disk_whatever_torch_says_of_its_archive(tmp_path: Path) -> None:
    """The limit on the size of files stands for the disk: the first bytes are written, the later ones refused."""
    program = (
        "import resource, signal, sys, torch\n"
        "from fmlab.errors import StorageError\n"
        "from fmlab.training.checkpoint_format import SafeCheckpointIO\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))\n"
        "try:\n"
        "    SafeCheckpointIO().save_checkpoint({'w': torch.zeros(100_000)}, sys.argv[1])\n"
        "except StorageError as error:\n"
        "    print('refused', error)\n"
    )
    place = tmp_path / "best.ckpt"
    done = subprocess.run([sys.executable, "-c", program, str(place)], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("refused File too large"), done.stderr
    assert not place.exists()
