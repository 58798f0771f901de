"""Worker processes of one coordinator: they are started, send events, and are stopped in order."""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import IO, Any

from fmlab.files import storing
from fmlab.sweep.messages import Job

# Workers inherit the environment; only this line of the program, and the command line, read it.
PROGRAM = "import os, sys; from fmlab.sweep.worker_process import main; sys.exit(main(os.environ))"
Event = dict[str, Any]


def interpreter() -> list[str]:
    """Python for another process; where this one does not import from the working folder, that one does not either."""
    here = {"", os.getcwd()} & set(sys.path)
    return [sys.executable, *([] if here else ["-P"])]


class WorkerProcess:
    """A worker process."""

    def __init__(self, number: int, job: Job, errors: IO[bytes], events: "queue.Queue[Event]") -> None:
        self.number, self._events = number, events
        self.process = subprocess.Popen(
            [*interpreter(), "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C reaches the coordinator, which stops its workers in order
        )
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            print(json.dumps(asdict(job)), file=self.process.stdin, flush=True)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with suppress(ValueError):
                self._events.put({**json.loads(line), "member": self.number})
        self._events.put({"event": "gone", "member": self.number, "status": self.process.wait()})

    def limit(self, seconds: float) -> None:
        """Tell it how many seconds of the search are left, by the time of its end: it may be about to start."""
        assert self.process.stdin is not None
        with suppress(OSError):
            print(time.time() + seconds, file=self.process.stdin, flush=True)

    def stop(self) -> None:
        """Ask it to stop: the end of its stdin says so."""
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()


class WorkerPool:
    """The workers of one coordinator."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.workers: dict[int, WorkerProcess] = {}
        self.pids: set[int] = set()  # of all workers that were started
        self.idle: set[int] = set()  # workers for which nothing fits into the time that is left
        self.interrupted = False  # by Ctrl-C while workers were stopped
        self._events: queue.Queue[Event] = queue.Queue()
        self._numbers = count()

    def start(self, size: int, seconds: float | None) -> None:
        """Start workers until there are `size`; `seconds` are left of the budget, None without one."""
        while len(self.workers) < size:
            number = next(self._numbers)
            folder = Path(self.job.folder) / "workers"
            with storing(folder):
                folder.mkdir(parents=True, exist_ok=True)
                errors = (folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{number}.log").open("ab")
            job = Job(**{**asdict(self.job), "ends": None if seconds is None else time.time() + seconds})
            with errors:
                self.workers[number] = WorkerProcess(number, job, errors, self._events)
            self.pids.add(self.workers[number].process.pid)

    def poll(self, seconds: float) -> list[Event]:
        """Events of the workers, after waiting for the first at most so long."""
        found: list[Event] = []
        with suppress(queue.Empty):
            found.append(self._events.get(timeout=seconds))
            while True:
                found.append(self._events.get_nowait())
        for event in found:
            if event["event"] == "gone":
                self.workers.pop(event["member"], None)
        return found

    def limit(self, seconds: float) -> None:
        """Tell all workers how many seconds of the search are left."""
        self.idle.clear()
        for member in self.workers.values():
            member.limit(seconds)

    def end(self, pid: int) -> None:
        """Kill the worker of that process, if it is one."""
        for member in self.workers.values():
            if member.process.pid == pid:
                member.process.kill()

    def stop(self, patience: float) -> list[Event]:
        """Stop all workers, kill them after `patience` seconds or a second interrupt; returns their last events."""
        found: list[Event] = []
        for member in self.workers.values():
            member.stop()
        until = time.monotonic() + patience
        try:
            while self.workers and time.monotonic() < until:
                found += self.poll(0.1)
        except KeyboardInterrupt:
            self.interrupted = True
        finally:
            for member in self.workers.values():
                member.process.kill()
            for member in list(self.workers.values()):
                member.process.wait()
        return found
