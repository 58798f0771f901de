"""What a run says of itself counts what was done; what it keeps in its folder bears a full disk."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import yaml
from in_process import train

from fmlab.config.sources import beside
from fmlab.run.task_opening import open_task
from fmlab.training.clock import Pace


class EndAfter(pl.Callback):
    """Ends an epoch early, as the time limit of a trial does."""

    def __init__(self, batches: int) -> None:
        self.batches = batches
        self.rows: int | None = None

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        trainer.should_stop = trainer.should_stop or batch_idx + 1 == self.batches

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.state.fn == "fit":
            self.rows = pl_module.rows


def loss(folder: Path) -> str:
    lines = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    return lines[1][lines[0].index("train/loss")]


def test_an_epoch_that_was_cut_counts_the_batches_done(tmp_path: Path) -> None:
    end = EndAfter(3)
    train(tmp_path / "cut", "model=fm", "trainer.max_epochs=1", callbacks=[end])
    train(tmp_path / "limited", "model=fm", "trainer.max_epochs=1", "trainer.limit_train_batches=3")
    assert end.rows == 3 * 256
    assert loss(tmp_path / "cut") == loss(tmp_path / "limited")


def test_a_whole_epoch_counts_its_rows_once(tmp_path: Path) -> None:
    end = EndAfter(99)
    train(tmp_path / "run", "model=fm", "trainer.max_epochs=2", callbacks=[end])
    rows = len(open_task(yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())).training.rows)
    assert rows % 256  # the last batch is short
    assert end.rows == rows


def test_rows_per_second_counts_seconds_before_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    first = Pace()
    first.begin_epoch()
    now[0] = 6.0
    saved = first.state_dict()
    now[0] = 100.0
    second = Pace()
    second.load_state_dict(saved)
    now[0] = 110.0
    second.go_on()
    now[0] = 114.0
    second.end_epoch(1000)
    assert second.rows_per_second == 1000 / (6 + 4)
    now[0] = 120.0
    assert second.seconds == 6 + 20


def test_no_preset_fixes_where_runs_go() -> None:
    presets = list((beside("conf") / "experiment").rglob("*.yaml"))
    assert len(presets) > 40
    assert not [p for p in presets if "hydra" in yaml.safe_load(p.read_text())]


FULL = """
import errno, logging, sys
from fmlab import cli
class Full(logging.FileHandler):
    def emit(self, record):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            self.handleError(record)
    def close(self):
        super().close()
        raise OSError(errno.ENOSPC, "No space left on device")
logging.FileHandler = Full
sys.exit(cli.main(sys.argv[1:]))
"""


def test_a_log_without_room_is_said_once_and_leaves_no_traceback(tmp_path: Path) -> None:
    options = ("data.users=50", "data.items=40", "trainer.max_epochs=1", "trainer.accelerator=cpu", "model=fm")
    folder = f"hydra.run.dir={tmp_path / 'run'}"
    command = [sys.executable, "-c", FULL, *options, folder, f"cache_dir={tmp_path / 'cache'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("cannot be written: No space left on device") == 1
    assert "Traceback" not in done.stderr
    assert "Logging error" not in done.stderr
