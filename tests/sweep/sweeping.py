"""Sweeps of the toy objective, in this process or in one of their own that can be killed."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from optuna.trial import TrialState

from fmlab.errors import FmlabError
from fmlab.sweep import suggest as proposal
from fmlab.sweep.coordinator import Coordinator
from fmlab.sweep.messages import Job
from fmlab.sweep.spec import read
from fmlab.sweep.storage import locate, open_storage
from fmlab.sweep.study import Study, request_of
from fmlab.sweep.trial_overrides import lasting_overrides

HERE = str(Path(__file__).parent)
PROGRAM = f"import sys; sys.path.insert(0, {HERE!r}); import sweeping; sys.exit(sweeping.main())"


def conduct(folder, raw, workers=2):
    """Run a sweep to its end; raises what the coordinator raises."""
    sweep = read("toy", raw)
    job = Job(
        name="toy",
        raw=raw,
        command={},
        overrides=lasting_overrides(sweep, [], 1),
        storage=locate(sweep.settings.storage, Path(folder)),
        folder=str(folder),
        objective="toy_objective:Toy",
    )
    Coordinator(sweep, job, workers=workers).run()


def main():
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        conduct(Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3]))
    except KeyboardInterrupt:
        return 130
    except FmlabError as error:
        print(error)
        return error.code
    return 0


class Sweep:
    """A sweep in a process of its own."""

    def __init__(self, folder, raw, workers=2):
        self.folder, self.raw = Path(folder), raw
        environment = {**os.environ, "PYTHONPATH": HERE, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder), json.dumps(raw), str(workers)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def end(self, seconds=240):
        """Wait for the end; returns exit status and output."""
        output, _ = self.process.communicate(timeout=seconds)
        return self.process.returncode, output

    def wait_for(self, done, seconds=240):
        """Wait until so many trials are complete and one is running; returns the pids of running workers."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            trials = trials_of(self.folder, self.raw)
            running = [t.user_attrs.get("worker") for t in trials if t.state == TrialState.RUNNING]
            if sum(t.state == TrialState.COMPLETE for t in trials) >= done and any(running):
                return [w["pid"] for w in running if w]
            assert self.process.poll() is None, self.process.stdout.read()
            time.sleep(0.05)
        raise AssertionError("the sweep does not get on")

    def kill(self, number=signal.SIGKILL):
        os.kill(self.process.pid, number)


def trials_of(folder, raw):
    proposal.quiet()
    url = locate(raw.get("storage"), Path(folder))
    try:
        return Study.open(open_storage(url), raw.get("study", "toy")).trials()
    except KeyError:
        return []


def tally(folder, raw):
    """Completed trials by slot, and how many trials are running or waiting."""
    trials = trials_of(folder, raw)
    counts = {}
    for trial in trials:
        counts[request_of(trial).point_id] = counts.get(request_of(trial).point_id, 0) + (
            trial.state == TrialState.COMPLETE
        )
    return counts, sum(not t.state.is_finished() for t in trials)


def runs(folder):
    """What the toy objective was asked to run, in order."""
    return [line.split(" ", 1)[1] for line in (Path(folder) / "ran.txt").read_text().splitlines()]


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
