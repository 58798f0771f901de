"""Sweeps: what a trial costs beyond its training, workers that share a machine, and the storage of a study."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks import harness
from benchmarks.harness import Line, Note, Results, Setting, Spread, Target, compare

ABOUT = "trials of two seconds on data=synthetic; storage: trials with ten reports each"
REPORTS = 10
_OVERHEAD, _PROCESSES = "a trial beyond its training", (1, 4)


def run(setting: Setting) -> Iterator[Results]:
    trials, busy = setting.size(40, 2), harness.clock is time.process_time
    epochs = 1 if setting.toy or busy else _epochs(setting)
    yield _overhead(setting, trials, epochs)
    if busy:
        yield [Note("workers that share cores, and processes that share a storage, need a machine at rest")]
        return
    if not setting.toy:
        yield _crowded(setting, trials, epochs)
    for processes in _PROCESSES:
        yield _storage(setting, processes, setting.size(40, 2))
    yield _length(setting)


# ------------------------------------------------------------------------------------------- trials


def _overhead(setting: Setting, trials: int, epochs: int) -> list[Line]:
    """Each way once: a start is shared by 40 trials; where each has its own, an eighth of them tells as much."""
    ways: dict[str, tuple[Callable[[Path, int, int], float], int]] = {
        "a process for each trial": (_processes, -(-trials // 8)),
        "Hydra's plain multirun": (_multirun, trials),
        "sweep, 1 worker": (partial(_sweep, workers=1), trials),
    }
    beyond = {}
    for name, (way, count) in ways.items():
        folder = _emptied(setting, "overhead")
        seconds = way(folder, count, epochs)
        trained = _trained(folder, count)
        beyond[name] = (seconds - (0 if harness.clock is time.process_time else sum(trained))) / count
    reference = beyond["a process for each trial"]
    shape = f"{_OVERHEAD}: {trials} trials, {fmean(trained):.1f} s of training each"
    if harness.clock is time.process_time:
        shape = f"a trial of one epoch: {trials} trials"
    target = Target(value=1.0)
    lines = []
    for name, value in beyond.items():
        words, met = target.judge(value, None, more=False) if name.startswith("sweep") else ("", None)
        spread, ratio = Spread.of([value]), Spread.of([reference / value]) if value > 0 else None
        lines.append(Line(shape, name, "s", spread, 1, ratio, words, met))
    return lines


def _crowded(setting: Setting, trials: int, epochs: int) -> list[Line]:
    """On two cores as many workers, and twice as many."""
    lines: list[Line] = []
    for workers in (2, 4):
        seconds = _sweep(_emptied(setting, "crowded"), trials, epochs, workers=workers)
        found = Spread.of([60 * trials / seconds])
        ratio = Spread.of([found.median / lines[0].value.median]) if lines else None
        lines.append(
            Line(
                f"a sweep of {trials} trials, start-up counted, {os.cpu_count()} cores",
                f"{workers} workers",
                "trials/min",
                found,
                1,
                ratio,
            )
        )
    return lines


def _epochs(setting: Setting) -> int:
    """How many epochs train for two seconds here."""
    folder = _emptied(setting, "probe")
    _processes(folder, 1, 10)
    return max(1, round(20 / _trained(folder, 1)[0]))


_MODEL = ("model=fm", "model.dim=8", "optimizer.lr=0.001", "trainer.patience=null", "trainer.threads=1", "logger=none")


def _processes(folder: Path, trials: int, epochs: int) -> float:
    return sum(_fmlab(folder, epochs, f"seed={n}", f"hydra.run.dir={folder}/{n}") for n in range(trials))


def _multirun(folder: Path, trials: int, epochs: int) -> float:
    seeds = ",".join(map(str, range(trials)))
    return _fmlab(folder, epochs, "-m", f"seed={seeds}", f"hydra.sweep.dir={folder}/multirun")


def _sweep(folder: Path, trials: int, epochs: int, *, workers: int) -> float:
    own = folder / "sweep" / "seeds.yaml"
    own.parent.mkdir(exist_ok=True)
    own.write_text(json.dumps({"sampler": "grid", "space": {"seed": {"choice": list(range(trials))}}}))
    sweep = ("-m", "sweep=seeds", f"workers={workers}", "threads=1", f"folder={folder}/runs")
    return _fmlab(folder, epochs, "--config-dir", str(folder), *sweep)


def _fmlab(folder: Path, epochs: int, *arguments: str) -> float:
    """Seconds of one command, by the clock in use."""
    places = (f"data_dir={folder}/raw", f"cache_dir={folder.parent}/cache")
    epoch = f"trainer.max_epochs={epochs}"
    return harness.child([sys.executable, "-m", "fmlab", *arguments, *_MODEL, epoch, *places])[0]


def _trained(folder: Path, trials: int) -> list[float]:
    """Seconds of training of each run below a folder."""
    seconds = [json.loads(p.read_text())["seconds_fit"] for p in folder.rglob("metrics.json")]
    if len(seconds) != trials:
        raise RuntimeError(f"{trials} runs were asked for below {folder}, {len(seconds)} are there")
    return seconds


def _last(setting: Setting, name: str) -> Path:
    return setting.folder / name


def _emptied(setting: Setting, name: str) -> Path:
    folder = _last(setting, name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


# ------------------------------------------------------------------------------------------ storage


def _storage(setting: Setting, processes: int, trials: int) -> list[Line | Note]:
    """Whole trials a second: asked for, claimed, ten reports, finished; by processes at once, start-up not counted."""
    sides = {
        "our journal": partial(_trials_per_second, setting, "journal", processes, trials),
        "Optuna's journal": partial(_trials_per_second, setting, "optuna", processes, trials),
        "SQLite": partial(_trials_per_second, setting, "sqlite", processes, trials),
    }
    shape = f"storage: {processes} processes, {trials} trials of {REPORTS} reports each"
    targets = {"our journal": Target(value=30), "SQLite": Target(value=8)}
    return list(
        compare(shape, sides, setting, unit="trials/s", more=True, reference="Optuna's journal", targets=targets)
    )


def _trials_per_second(setting: Setting, kind: str, processes: int, trials: int) -> float:
    folder = _emptied(setting, "storage")
    url = f"sqlite:///{folder}/study.db" if kind == "sqlite" else f"journal://{folder}/study.journal"
    _prepare_study(url, kind)
    command = [sys.executable, "-m", "benchmarks.sweep", url, kind, str(trials)]
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    for one in children:
        assert one.stdout is not None
        one.stdout.readline()  # it is ready
    began = time.perf_counter()
    for one in children:
        one.communicate("go\n")
    seconds = time.perf_counter() - began
    if any(c.returncode for c in children):
        raise RuntimeError(f"a process of the {kind} benchmark failed")
    return processes * trials / seconds


def _length(setting: Setting) -> list[Line | Note]:
    """A record that another process wrote, read by one that has the journal open: however many are before it."""
    lengths = [setting.size(1_000, 100), setting.size(100_000, 1_000)]
    sides = {f"{n:,} records": _reading(setting, n) for n in lengths}
    target = {f"{lengths[1]:,} records": Target(ratio=0.5)}
    shape, first = "reading one new record of our journal", next(iter(sides))
    return list(compare(shape, sides, setting, unit="us", more=False, reference=first, targets=target))


def _reading(setting: Setting, length: int) -> Callable[[], float]:
    from fmlab.sweep.journal import SafeJournal

    path = _emptied(setting, f"journal-{length}") / "study.journal"
    record = {"op_code": 8, "worker_id": "w", "trial_id": 0, "user_attr": {"beat": 1}}
    writer, reader, known = SafeJournal(path), SafeJournal(path), length
    for start in range(0, length, 1_000):
        writer.append_logs([record] * min(1_000, length - start))
    for _ in reader.read_logs(0):
        pass

    def read() -> float:
        nonlocal known
        seconds = 0.0
        for _ in range(200):
            writer.append_logs([record])
            began = time.perf_counter()
            found = sum(1 for _ in reader.read_logs(known))
            seconds += time.perf_counter() - began
            if found != 1:
                raise RuntimeError(f"one record was written, {found} were read")
            known += 1
        return seconds / 200 * 1e6

    return read


def _open(url: str, kind: str) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    from fmlab.sweep.storage import Store, open_storage
    from fmlab.sweep.suggest import quiet

    quiet()
    if kind == "optuna":
        return Store(JournalStorage(JournalFileBackend(url.removeprefix("journal://"))))
    return open_storage(url)


def _prepare_study(url: str, kind: str) -> None:
    from fmlab.sweep.study import Study

    Study.create(_open(url, kind), "benchmark", ["maximize"])


def main(arguments: Sequence[str]) -> None:
    """The work of a child process: so many trials, after a line on stdin."""
    from optuna.trial import TrialState

    from fmlab.sweep.heartbeat import myself
    from fmlab.sweep.study import Study, TrialRequest

    url, kind, trials = arguments
    study, me = Study.open(_open(url, kind), "benchmark"), myself()
    print("ready", flush=True)
    sys.stdin.readline()
    for n in range(int(trials)):
        study.enqueue(TrialRequest(f"{me['pid']}-{n}", n))
        claim = study.claim(me)
        if claim is None:
            raise RuntimeError("a trial was asked for and is not there")
        for step in range(REPORTS):
            study.report(claim, step, step / REPORTS)
        if not study.finish(claim, TrialState.COMPLETE, [1.0], {}):
            raise RuntimeError(f"trial {claim.number} was given up")


if __name__ == "__main__":
    main(sys.argv[1:])
