"""AutoML: fmlab beside programs that people would pick instead, on the same files and for as long, one after the other.

Clicks, ratings and rankings: `automl_data.py` has the data sets, of which `--data` names those that are run. Each
program has an environment of its own, which is built below the folder of `--folder` and kept there. `--seconds` is the
time that each program may take, `--models` names those that run. What is finished for a data set and a program is kept
too, and is not run again.

Programs write scores or lists, and one function judges all of them, fmlab's included: that of `fmlab evaluate`. Each is
judged as it was trained on the training rows alone, and as it is trained anew on training and validation rows.
"""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks import automl_data
from benchmarks.automl_data import METRICS, Kind, Split
from benchmarks.harness import Figures, Note, Results, Setting
from fmlab.automl.ensemble import FOLDER as ENSEMBLE
from fmlab.errors import FmlabError
from fmlab.records.folder import REFIT
from fmlab.report.comparisons import against
from fmlab.report.leaderboards import Leaderboard, leaderboards
from fmlab.report.runs import find_runs
from fmlab.run.file_evaluation import evaluate
from fmlab.run.locate import locate

ABOUT = "validation and test figures of searches that have the same files and seconds, one run each, seed 0"
OURS = "fmlab"
AGAIN = " (refit)"  # after the name of a program that was trained anew on training and validation rows
LISTED = 20  # items of a list
EVERY = 0.5  # seconds between two looks at what a program holds in memory
TABLES: tuple[Kind, ...] = ("clicks", "ratings")


@dataclass(frozen=True)
class Program:
    """What is installed for a program, and which script runs it there for which kinds of data."""

    kinds: tuple[Kind, ...]
    script: str
    module: str  # by which this Python is known to have it
    needs: tuple[str, ...] = ()  # none: it runs in this Python
    environment: str = ""  # the program's name where it is empty
    pythons: tuple[str, ...] = ()  # commands, of which one must be there; none: this Python
    variables: tuple[str, ...] = ()  # of the environment, as the program asks for them


_LENSKIT = (("lenskit-auto", "pandas"), "lenskit", ("python3.13", "python3.12"))
PROGRAMS: Mapping[str, Program] = {
    "lightgbm": Program(TABLES, "automl_peer", "lightgbm", ("lightgbm", "pandas", "scikit-learn")),
    "catboost": Program(TABLES, "automl_peer", "catboost", ("catboost", "pandas", "scikit-learn")),
    "flaml": Program(TABLES, "automl_peer", "flaml", ("flaml[automl]", "catboost", "pandas", "scikit-learn")),
    "autogluon": Program(
        TABLES, "automl_peer", "autogluon.tabular", ("autogluon.tabular[lightgbm,catboost]", "torch", "scikit-learn")
    ),
    "popularity": Program(("rankings",), "automl_ranker", "pandas"),
    "implicit": Program(
        *(("rankings",), "automl_ranker", "implicit", ("implicit", "pandas", "scipy")),
        variables=("OPENBLAS_NUM_THREADS=1",),
    ),
    # One environment: LensKit-Auto needs LensKit.
    "lenskit": Program(("rankings",), "automl_ranker", "lenskit", *_LENSKIT),
    "lenskit-auto": Program(("rankings",), "automl_ranker", "lkauto", *_LENSKIT),
}


def run(setting: Setting) -> Iterator[Results]:
    seconds = min(20.0, setting.seconds) if setting.toy else setting.seconds
    known = automl_data.names(toy=setting.toy)
    if unknown := [name for name in setting.data if name not in known]:
        raise SystemExit(f"--data names data sets of this benchmark, got {unknown[0]!r}; choices: {', '.join(known)}")
    chosen = setting.chosen((*PROGRAMS, OURS))
    if not chosen:
        yield [Note(f"no program is named: pip install {PROGRAMS['lightgbm'].needs[0]}")]
        return
    for name in setting.data or known:
        split = automl_data.split(name, setting.folder)
        found, notes = {}, []
        if threads := os.environ.get("OMP_NUM_THREADS"):
            notes.append(Note(f"OMP_NUM_THREADS={threads} bounds the threads of the programs that run now"))
        for program in chosen:
            if program != OURS and split.kind not in PROGRAMS[program].kinds:
                continue
            try:
                found[program] = _finished(program, split, setting, seconds)
            except (Missing, FmlabError, subprocess.SubprocessError) as error:
                notes.append(Note(f"{name}: {program} is not measured: {error}"))
        yield [*_table(split, found, seconds), *notes]


class Missing(Exception):
    """A program cannot be run here."""


def _finished(program: str, split: Split, setting: Setting, seconds: float) -> Mapping[str, Any]:
    """What a program told and how it was judged; it runs unless that is kept."""
    place = split.folder / f"{program}-{seconds:g}s"
    kept = place / "result.json"
    if not kept.is_file():
        python = Path(sys.executable) if program == OURS else _python(program, setting)
        # A search that was stopped would have its whole time again.
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        if program == OURS:
            told = _fmlab(split, place, seconds)
        else:
            script = Path(__file__).with_name(f"{PROGRAMS[program].script}.py")
            command = [str(python), str(script), program, str(split.folder), str(place), str(seconds)]
            command = ["env", *PROGRAMS[program].variables, *command]
            memory = _child(command, place / "log.txt", limit=4 * seconds + 600)[1]
            told = {**json.loads((place / "told.json").read_text("utf-8")), "gigabytes": memory}
        _judge(program, split, place, _judged(split, seconds))
        kept.write_text(json.dumps(told))
    result: Mapping[str, Any] = json.loads(kept.read_text("utf-8"))
    return result


def _python(program: str, setting: Setting) -> Path:
    """The Python of an environment that has the program; at toy size this one, if it has it. Raises Missing."""
    made = PROGRAMS[program]
    if not made.needs:
        return Path(sys.executable)
    if setting.toy:
        if find_spec(made.module.partition(".")[0]) is None:
            raise Missing(f"at toy size this Python runs it: pip install {' '.join(made.needs)}")
        return Path(sys.executable)
    folder = setting.folder.absolute() / f"environment-{made.environment or program}"
    python = folder / "bin" / "python"
    if not (folder / "ready").is_file():
        if made.pythons:
            found = next((p for p in made.pythons if _runs(p)), None)
            if found is None:
                raise Missing(f"it needs {' or '.join(made.pythons)}, which are not there")
            subprocess.run([found, "-m", "venv", "--clear", str(folder)], check=True)
        else:
            venv.create(folder, with_pip=True, clear=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *made.needs], check=True)
        (folder / "ready").touch()
    return python


def _runs(python: str) -> bool:
    with suppress(OSError):
        return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0
    return False


def _child(command: Sequence[str], log: Path, limit: float) -> tuple[float, float | None]:
    """Seconds of a command, and the most gigabytes that it and its descendants held together.

    Raises SubprocessError if it fails, or takes more than `limit` seconds.
    """
    began, most = time.monotonic(), 0
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        while process.poll() is None:
            if time.monotonic() - began > limit:
                raise subprocess.TimeoutExpired(command[:3], limit)
            most = max(most, _held(process.pid))
            with suppress(subprocess.TimeoutExpired):
                process.wait(EVERY)
    finally:
        if process.poll() is None:  # Ctrl-C too: nothing of it stays behind
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode:
        raise subprocess.SubprocessError(f"status {process.returncode}, {log} says why")
    return time.monotonic() - began, most / 1e9 if most else None


def _held(root: int) -> int:
    """Bytes that a process and its descendants hold at the moment; 0 where there is no /proc."""
    parents, held = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            parents[int(path.parent.name)], held[int(path.parent.name)] = int(fields[1]), int(fields[21])
    own = {root}
    while more := {p for p, parent in parents.items() if parent in own} - own:
        own |= more
    return sum(held.get(p, 0) for p in own) * os.sysconf("SC_PAGE_SIZE")


def _fmlab(split: Split, place: Path, seconds: float) -> dict[str, Any]:
    """`sweep=automl` on the same files, then scores or lists of what it announces, before and after its refit."""
    fmlab, log, search = [sys.executable, "-m", "fmlab"], place / "log.txt", place / "search"
    command = [*fmlab, "-m", "sweep=automl", *split.options, f"time_limit={seconds:g}s", f"folder={search}"]
    took, memory = _child(command, log, limit=4 * seconds + 600)
    announced, alone = locate(search).folder, search / ENSEMBLE
    if not alone.is_dir():
        best = json.loads((search / "results.json").read_text("utf-8"))["best"][0]["number"]
        alone = search / "trials" / f"{best:04d}"
    wanted = [("valid", alone, "train"), ("test", alone, "train+validation")]
    if REFIT in announced.parts:
        wanted.append(("test-refit", announced, "train+validation"))
    for name, run_folder, left_out in wanted:
        rows, out = split.folder / f"{name.partition('-')[0]}.csv", place / f"{name}.csv"
        if split.kind == "rankings":
            users = place / "users.csv"
            pd.read_csv(rows, usecols=["user"], dtype=str).drop_duplicates().to_csv(users, index=False)
            more = ["--users", str(users), "-k", str(LISTED), "--exclude", left_out]
            _child([*fmlab, "recommend", str(run_folder), *more, "--out", str(out)], log, limit=3600)
            continue
        scored = place / "scored.csv"
        _child([*fmlab, "predict", str(run_folder), str(rows), "--out", str(scored)], log, limit=3600)
        pd.read_csv(scored, usecols=["row", "score"], dtype=str).to_csv(out, index=False)
        scored.unlink()
    return {"seconds": took, "refit_seconds": None, "gigabytes": memory, "chose": str(alone.relative_to(search))}


def _judged(split: Split, seconds: float) -> Path:
    return split.folder / f"judged-{seconds:g}s"


def _judge(program: str, split: Split, place: Path, out: Path) -> None:
    """Run folders of what a program gave for the test, and of what it gave when trained anew."""
    level = logging.getLogger("fmlab").level
    logging.getLogger("fmlab").setLevel(logging.WARNING)
    try:
        for name, test, valid in ((program, "test", "valid"), (program + AGAIN, "test-refit", None)):
            shutil.rmtree(out / name, ignore_errors=True)
            if (place / f"{test}.csv").is_file():
                validation = None if valid is None else place / f"{valid}.csv"
                more: dict[str, Any] = {"name": name, "out": out / name, "validation": validation}
                # fmlab's scores of clicks are log-odds, those of the others probabilities.
                probabilities = split.kind == "clicks" and program != OURS
                evaluate(place / f"{test}.csv", *split.judge, probabilities=probabilities, **more)
    finally:
        logging.getLogger("fmlab").setLevel(level)


def _board(split: Split, found: Iterable[str], seconds: float) -> Leaderboard | None:
    """All that was judged of these programs; judged anew where earlier ones were judged on other data."""
    for judged_again in (False, True):
        runs = find_runs(folder)[0] if (folder := _judged(split, seconds)).is_dir() else []
        boards = leaderboards(r for r in runs if r.content["model"].removesuffix(AGAIN) in found)
        if len(boards) > 1 and not judged_again:
            for program in found:
                _judge(program, split, split.folder / f"{program}-{seconds:g}s", folder)
            continue
        return boards[0] if boards else None
    return None


def _table(split: Split, found: Mapping[str, Mapping[str, Any]], seconds: float) -> list[Figures | Note]:
    """A line of each program and of what it was trained on, with the paired difference to fmlab on the same rows."""
    board = _board(split, found, seconds)
    if board is None:
        return []
    rows = {row.model: (place, row.runs[0]) for place, row in enumerate(board.own)}
    ours = [board.own[rows[name][0]] for name in (OURS, OURS + AGAIN) if name in rows]
    paired = {c.reference.model: c for c in (against(board, ours) if ours else ())}
    lines: list[Figures | Note] = []
    for again in ("", AGAIN):
        for program, told in found.items():
            if (program_again := program + again) not in rows:
                continue
            place, judged = rows[program_again]
            values: dict[str, float | str | None] = {"trained on": "train+valid" if again else "train"}
            for part, name in (("validation", "valid"), ("test", "test")):
                values |= {f"{name} {metric}": judged.content[part].get(metric) for metric in METRICS[split.kind]}
            values["seconds"] = told["refit_seconds" if again else "seconds"]
            values |= {} if again else {"GB": told["gigabytes"]}
            test = paired.get(OURS + again)
            if test is not None and (to_ours := test.found.get(place)) is not None:
                interval = f"({to_ours.low:+.4f} to {to_ours.high:+.4f})"
                values[f"test {test.metric} minus fmlab's, 95 %"] = f"{to_ours.difference:+.4f} {interval}"
            lines.append(Figures(f"{split.name}, {split.kind}", program_again, values))
    others = {program: rows[program][1] for program in found if program != OURS and program in rows}
    if others:
        best = max(others, key=lambda program: others[program].value * (1 if board.maximize else -1))
        lines.append(Note(f"{split.name}: of the others {best} has the best validation {board.monitor}"))
    return lines + [Note(f"{split.name}: {program} chose {told['chose']}") for program, told in found.items()]
