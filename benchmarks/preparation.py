"""Preparation: a CSV of two million rows and 23 columns of text, through the `csv` data plugin."""

import json
import resource
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import rmtree
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from benchmarks import harness
from benchmarks.harness import Line, Results, Setting, Spread, Target, child, compare
from benchmarks.shapes import WIDE, zipf
from fmlab.data.store.cache import cached_dataset
from fmlab.plugin.registry import build

ABOUT = "from CSV text to the stored data set, in a fresh process, beside reading the text alone"
ROWS = (2_000_000, 500_000)
TEXT, FMLAB = "pyarrow, text only", "fmlab, data=csv"
SAME = 0.8  # memory that does not grow with rows: the smaller file needs nearly as much


def run(setting: Setting) -> Iterator[Results]:
    peaks: dict[tuple[str, int], list[Work]] = {}
    for rows in (2000, 500) if setting.toy else ROWS:
        path = generate(setting.folder, rows, setting)

        def rate(how: str, path: Path = path, rows: int = rows) -> float:
            work = measured(how, path, setting.folder)
            peaks.setdefault((how, rows), []).append(work)
            return rows / work.seconds

        yield compare(
            f"{rows:,} rows x {len(WIDE.vocabularies)}, {path.stat().st_size / 1e6:,.0f} MB",
            {TEXT: partial(rate, "text"), FMLAB: partial(rate, "csv")},
            setting,
            unit="rows/s",
            more=True,
            reference=TEXT,
            targets={FMLAB: Target(value=400_000)} if rows == ROWS[0] else None,
        )
    yield memory(peaks)


@dataclass(frozen=True)
class Work:
    """What a child process took. Megabytes: `own` of memory that only it has, `all` with the files it has mapped."""

    seconds: float
    own: float
    all: float


def memory(peaks: dict[tuple[str, int], list[Work]]) -> Results:
    """Peak memory of the processes just timed; of fmlab's own, the smaller file's against the larger one's."""
    lines = []
    smallest = min(rows for _, rows in peaks)
    for what in ("own", "all"):
        for (how, rows), works in sorted(peaks.items()):
            values = [getattr(work, what) for work in works]
            ratio, target, met = None, "", None
            if rows != smallest:
                ratio = Spread.of([median(getattr(w, what) for w in peaks[how, smallest]) / median(values)])
                if how != "text" and what == "own":
                    target, met = Target(ratio=SAME).judge(median(values), ratio.median, more=False)
            side = f"{how}, {rows:,} rows{', mapped files too' * (what == 'all')}"
            lines.append(Line("peak memory", side, "MB", Spread.of(values), len(values), ratio, target, met))
    return lines


def measured(how: str, path: Path, folder: Path) -> Work:
    """The work done by a fresh process with an empty cache."""
    rmtree(folder / "cache", ignore_errors=True)
    _, printed = child([sys.executable, "-m", "benchmarks.preparation", how, str(path), str(folder / "cache")])
    rmtree(folder / "cache", ignore_errors=True)
    found = json.loads(printed.splitlines()[-1])
    return Work(found["processor" if harness.clock is time.process_time else "wall"], found["own"], found["all"])


def generate(folder: Path, rows: int, setting: Setting) -> Path:
    """The file, written if it is not there. Every feature occurs, so files of any length have the same ones."""
    path = folder / f"rows{rows}.csv"
    if path.exists():
        return path
    rng = np.random.default_rng(rows)
    columns = {"label": pa.array((rng.random(rows) < 1 / 3).astype(np.int8))}
    for number, size in enumerate(WIDE.vocabularies):
        size = setting.size(size, min(size, 50))
        ids = np.concatenate([np.arange(size), zipf(rng, size, rows - size)])
        rng.shuffle(ids)
        columns[f"field{number}"] = pa.DictionaryArray.from_arrays(ids.astype(np.int32), _words(size)).cast(pa.string())
    draft = path.with_suffix(".tmp")
    pacsv.write_csv(pa.table(columns), draft)
    draft.replace(path)
    return path


def _words(n: int) -> pa.Array:
    """Distinct texts, of eight digits if there are many; their order says nothing of their frequency."""
    scattered = (np.arange(n, dtype=np.uint64) * 2_654_435_761) % (1 << 32)
    return pa.array([f"{k:08x}" for k in scattered] if n > 1000 else [f"v{k}" for k in range(n)])


def _read_text(path: Path) -> None:
    names = pacsv.open_csv(path).schema.names
    convert = pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    with pacsv.open_csv(path, pacsv.ReadOptions(block_size=1 << 22), convert_options=convert) as reader:
        for _ in reader:
            pass


def _prepare(name: str, path: Path, cache: Path) -> None:
    options = {"path": str(path), "label": "label"} if name == "csv" else {}
    source = build("data", {"name": name, **options}, path.parent)
    cached_dataset(source, name=name, options=options, root=path.parent, cache=cache)


class _Memory(threading.Thread):
    """Watches this process. `ru_maxrss` would count its parent's memory at the time of the fork, and mapped files."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.own = 0.0
        self.start()

    def run(self) -> None:
        while True:
            self.own = max(self.own, self.read("RssAnon"))
            time.sleep(0.01)

    @staticmethod
    def read(name: str) -> float:
        """Megabytes of a line of /proc/self/status; elsewhere than on Linux, the peak of the process."""
        status = Path("/proc/self/status")
        if not status.exists():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return int(next(x for x in status.read_text().splitlines() if x.startswith(name)).split()[1]) / 1024


def main(how: str, path: Path, cache: Path) -> None:
    """The work of a child process; prints seconds and megabytes."""
    clocks, memory = {"wall": time.perf_counter, "processor": time.process_time}, _Memory()
    began = {name: clock() for name, clock in clocks.items()}
    if how == "text":
        _read_text(path)
    else:
        _prepare(how, path, cache)
    spent = {name: clock() - began[name] for name, clock in clocks.items()}
    print(json.dumps({**spent, "own": memory.own, "all": memory.read("VmHWM")}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
