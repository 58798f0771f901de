"""One process of a sweep: its pipes to the coordinator, its signals, and the worker that runs in it."""

import importlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import MutableMapping
from typing import Any, TextIO

from fmlab.errors import FmlabError
from fmlab.sweep.messages import Job
from fmlab.sweep.worker import Worker
from fmlab.terminal.escaping import SafeRecord, shown

log = logging.getLogger("fmlab")


def main(environment: MutableMapping[str, str]) -> int:
    """A worker process: the job is the first line of stdin, the end of stdin is the end of work."""
    job = Job(**json.loads(sys.stdin.readline()))
    events = _private_stdout()

    def tell(event: str, **facts: Any) -> None:
        try:
            print(json.dumps({"event": event, **facts}), file=events, flush=True)
        except (BrokenPipeError, ValueError):
            return

    logging.setLogRecordFactory(SafeRecord)  # this process is a worker to its end
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        module, _, name = job.objective.partition(":")
        worker = Worker(job, getattr(importlib.import_module(module), name)(job, environment), tell)
        signal.signal(signal.SIGINT, worker.interrupt)
        threading.Thread(target=_listen, args=(worker,), daemon=True).start()
        worker.work()
    except FmlabError as error:
        tell("fatal", error=shown(str(error)), code=error.code)
        return error.code
    except Exception as error:
        log.exception("the worker stops")
        tell("fatal", error=shown(f"{type(error).__name__}: {error}"), code=1)
        return 1
    return 0


def _private_stdout() -> TextIO:
    """The pipe to the coordinator; whatever else prints goes to the log, which is stderr."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return events


def _listen(worker: Worker) -> None:
    """Read how much time is left, and wait for the end of stdin: the coordinator closed it, or is dead."""
    while line := sys.stdin.readline():
        worker.limit(float(line))
    os.kill(os.getpid(), signal.SIGINT)
