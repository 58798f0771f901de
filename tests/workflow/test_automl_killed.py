"""A search that is killed while its result is trained anew leaves a model, and the same command goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fmlab.records.folder import REFIT
from fmlab.run.locate import locate
from fmlab.serving import load_run

pytestmark = pytest.mark.slow
WAIT = 300.0


def clicks(folder: Path, rows: int = 3000) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    taste = rng.random((30, 20)) < 0.5
    frame = pd.DataFrame({"u": rng.integers(0, 30, rows), "i": rng.integers(0, 20, rows)})
    frame["y"] = (taste[frame["u"], frame["i"]] ^ (rng.random(rows) < 0.1)).astype(int)
    frame.to_csv(folder / "clicks.csv", index=False)
    return frame


def command(folder: Path) -> list[str]:
    roles = ("data=csv", "data.path=clicks.csv", "data.user=u", "data.item=i", "data.label=y", "protocol=ctr")
    few = (
        "n_trials=3",
        "workers=1",
        "trainer.max_epochs=3",
        "protocol.on_leak=allow",
        "time_limit=2h",
        "heartbeat=0.5",
    )
    both = ("refit_on=train+validation", f"folder={folder / 's'}", f"cache_dir={folder / 'cache'}")
    return [sys.executable, "-m", "fmlab", "-m", "sweep=automl", *roles, *few, *both]


def start(folder: Path) -> subprocess.Popen[str]:
    with (folder / "log.txt").open("a") as log:
        return subprocess.Popen(command(folder), cwd=folder, stdout=log, stderr=log, text=True)


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + WAIT
    while not path.exists():
        assert process.poll() is None, (path.parents[3] / "log.txt").read_text()[-3000:]
        assert time.monotonic() < until
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in found.read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for workers in /proc")
@pytest.mark.parametrize("what", ["parent", "worker", "ctrl-c"])
def test_a_search_that_is_ended_within_its_refit_goes_on(tmp_path: Path, what: str) -> None:
    frame, folder = clicks(tmp_path), tmp_path / "s"
    process = start(tmp_path)
    wait_for(folder / REFIT / "trials" / "0000", process)
    workers = children(process.pid)
    assert workers
    if what == "worker":
        os.kill(workers[0], signal.SIGKILL)
        assert process.wait(WAIT) == 0
    else:
        os.kill(process.pid, signal.SIGKILL if what == "parent" else signal.SIGINT)
        assert process.wait(WAIT) != 0
        until = time.monotonic() + 60
        while any(map(is_alive, workers)):
            assert time.monotonic() < until, "workers outlive the search"
            time.sleep(0.1)
        assert locate(folder).folder == folder / "ensemble", "what was chosen stands"
        load_run(folder).predict(frame[:10])
        before = {p: p.stat().st_mtime_ns for p in folder.glob("trials/*/metrics.json")}
        again = start(tmp_path)
        assert again.wait(WAIT) == 0, (tmp_path / "log.txt").read_text()[-3000:]
        assert {p: p.stat().st_mtime_ns for p in folder.glob("trials/*/metrics.json")} == before
    made = locate(folder).folder
    assert made == folder / REFIT / "ensemble"
    record = json.loads((made / "metrics.json").read_text())
    assert record["refit"]["weight"] == pytest.approx(1)
    assert record["refit"]["rows"] == 2700
    assert load_run(folder).predict(frame)["probability"].between(0, 1).all()
