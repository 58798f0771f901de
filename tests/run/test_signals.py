"""Several processes: they stop together, resume at their batch, and listen to this machine alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from in_process import SMALL, differences, last, metrics

DDP = ("model=deepfm", "model.hidden=[8]", "model.dropout=0.5", "batch_size=64", "trainer=ddp", "trainer.devices=2")
STRAY = {"LOCAL_RANK": "3", "MASTER_ADDR": "192.0.2.1", "SLURM_NTASKS": "7", "SLURM_JOB_ID": "5", "SLURM_JOB_NAME": "x"}


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fmlab", *DDP, *SMALL[:3], *SMALL[4:], f"hydra.run.dir={folder}", *arguments]
    environment = os.environ | STRAY | {"FMLAB_CACHE": str(folder.parent / "cache"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def children(process: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = stat.read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if int(parent) == process:
            found.append(int(stat.parent.name))
    return found


def listening(processes: list[int]) -> set[str]:
    """Addresses, as /proc/net writes them, at which the processes listen."""
    sockets = set()
    for number in processes:
        for link in Path(f"/proc/{number}/fd").iterdir():
            try:
                sockets.add(os.readlink(link))
            except OSError:
                continue
    tables = [Path(f"/proc/net/{kind}").read_text() for kind in ("tcp", "tcp6")]
    lines = [line.split() for table in tables for line in table.splitlines()[1:]]
    return {line[1].partition(":")[0] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in sockets}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/net/tcp").is_file(), reason="listening sockets are read from /proc")
def test_processes_stop_together_and_go_on_where_they_were(tmp_path: Path) -> None:
    whole = start(tmp_path / "whole", "trainer.max_epochs=2")
    output, _ = whole.communicate(timeout=300)
    assert whole.returncode == 0, output
    folder = tmp_path / "stopped"
    # With a checkpoint after every batch the signal comes within the two epochs.
    process = start(folder, "trainer.max_epochs=2", "trainer.checkpoint_every=0.000001")
    while process.poll() is None and not (folder / "checkpoints" / "last.ckpt").is_file():
        time.sleep(0.05)
    others = children(process.pid)
    assert len(others) == 1, process.poll()
    assert listening([process.pid, *others]) == {"0100007F"}
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 143, output
    assert output.count("stopped by SIGTERM: interrupted in epoch 0; resume with ckpt_path=") == 1
    assert not any(Path(f"/proc/{number}").exists() for number in others)
    assert metrics(folder)["status"] == "interrupted"
    assert last(folder)["training"]["batches"] > 0
    resumed = start(folder, "trainer.max_epochs=2", "if_exists=resume")
    output, _ = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, output
    assert differences(tmp_path / "whole", folder) == []
