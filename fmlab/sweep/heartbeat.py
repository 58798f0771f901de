"""Which process runs a trial, and whether it is alive: process identity on this host, heartbeats from all hosts."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from optuna.trial import FrozenTrial

SILENT_BEATS = 3.5  # heartbeats that may fail to come before a worker counts as lost


def myself() -> dict[str, Any]:
    """This process, told apart from any other that ever had its number here."""
    seen = _process(os.getpid())
    return {"host": _host(), "pid": os.getpid(), "born": seen and seen[1]}


def _host() -> str:
    """Machine, boot and process namespace: process numbers mean the same within one."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _process(pid: int) -> tuple[str, str] | None:
    """State of a process and when it began, in clock ticks since boot; None if there is none, or no way to tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else (fields[0], fields[19])


def condition(worker: Mapping[str, Any] | None) -> Literal["dead", "alive", "stopped", "unknown"]:
    """What can be seen of a worker without its heartbeat: all of one on this host, nothing of one elsewhere."""
    if not worker or worker.get("host") != _host() or not Path("/proc/self/stat").exists():
        return "unknown"
    seen = _process(int(worker["pid"]))
    if seen is None or seen[1] != worker["born"]:
        return "dead"
    return "stopped" if seen[0] in "Tt" else "alive"


class LivenessMonitor:
    """Notices running trials whose worker is dead or silent, by this process's monotonic clock alone.

    A worker whose process is alive may send no heartbeat for a while: on a busy machine its thread waits as well.
    """

    def __init__(self, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`interval`: seconds between beats."""
        self.patience = SILENT_BEATS * interval
        self._clock = clock
        self._seen: dict[int, tuple[Any, float]] = {}

    def lost(self, running: Iterable[FrozenTrial], away: float = 0.0) -> list[FrozenTrial]:
        """Trials whose worker is dead or has been silent for longer than the patience.

        `away`: seconds since the last look in which the study could not be reached: no heartbeat could be read.
        """
        now, found, seen = self._clock(), [], {}
        self._seen = {n: (beat, since + away) for n, (beat, since) in self._seen.items()}
        for trial in running:
            worker = trial.user_attrs.get("worker")
            beat = (worker, trial.user_attrs.get("beat"), len(trial.intermediate_values))
            known, state = self._seen.get(trial.number), condition(worker)
            seen[trial.number] = known if known is not None and known[0] == beat and state != "alive" else (beat, now)
            if state == "dead" or now - seen[trial.number][1] > self.patience:
                found.append(trial)
        self._seen = seen
        return found


class HeartbeatThread(threading.Thread):
    """Background heartbeats: calls `beat(count)` every `interval` seconds until it returns False or is stopped."""

    def __init__(self, beat: Callable[[int], bool], interval: float) -> None:
        super().__init__(daemon=True, name="heartbeat")
        self._beat, self._interval = beat, interval
        self._over = threading.Event()
        self.refused = threading.Event()

    def run(self) -> None:
        """Send heartbeats; a storage that cannot be reached is tried again at the next one."""
        count = 0
        while not self._over.wait(self._interval):
            count += 1
            try:
                if not self._beat(count):
                    self.refused.set()
                    return
            except Exception:  # the trial's own next step meets the same error and reports it
                continue

    def stop(self) -> None:
        """No heartbeat is sent after this returns."""
        self._over.set()
        self.join()
