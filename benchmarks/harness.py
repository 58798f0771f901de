"""Measuring in turn, and what is printed of it.

The sides of a comparison run A B A B ..., so that other load on the machine meets all of them. What counts is the
ratio within a round; its median over the rounds is printed with the smallest and the largest.
"""

import gc
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

Measure = Callable[[], float]
clock: Callable[[], float] = time.perf_counter


def now() -> float:
    """Seconds by the clock in use. Processor time (`--processor-time`) keeps ratios of one thread on a busy machine."""
    return clock()


def child(command: Sequence[str]) -> tuple[float, str]:
    """Seconds of a fresh process by the clock in use, and what it printed; raises RuntimeError if it failed."""
    before, began = os.times(), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - began, os.times()
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed\n{done.stdout}\n{done.stderr}")
    if clock is time.process_time:
        mine = (after.children_user, after.children_system, -before.children_user, -before.children_system)
        seconds = sum(mine)
    return seconds, done.stdout


@dataclass(frozen=True)
class Setting:
    """How long to measure each comparison, and whether at toy size (structure only, the figures mean nothing).

    `folder` is a place for generated files; it outlives the run if the caller wants them kept. `models` and `data`:
    the only ones to measure, where a benchmark measures several; all if empty.
    """

    seconds: float
    toy: bool
    folder: Path
    models: tuple[str, ...] = ()
    data: tuple[str, ...] = ()

    def chosen(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that are asked for."""
        return [n for n in names if not self.models or n in self.models]

    def size(self, full: int, toy: int) -> int:
        """The full number, or the toy one."""
        return toy if self.toy else full


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of several measurements."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """Spread of at least one value."""
        return cls(median(values), min(values), max(values))

    def __str__(self) -> str:
        """`1.2 (1.1-1.4)`, or the number alone if there is one."""
        if self.low == self.high:
            return _number(self.median)
        return f"{_number(self.median)} ({_number(self.low)}-{_number(self.high)})"


@dataclass(frozen=True)
class Line:
    """One side of one comparison. `ratio` says how many times better it is than the reference; above 1 is better."""

    shape: str
    side: str
    unit: str
    value: Spread
    rounds: int
    ratio: Spread | None = None
    target: str = ""
    met: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Figures:
    """One side of a table with several columns, where nothing is measured in turn; None is an empty cell."""

    shape: str
    side: str
    values: Mapping[str, float | str | None]

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Note:
    """What is said beside a table, such as why a comparison did not run."""

    text: str


Results = Sequence[Line | Figures | Note]


@dataclass(frozen=True)
class Target:
    """What a side should reach: a ratio to the reference of at least `ratio`, or a value as good as `value`."""

    ratio: float | None = None
    value: float | None = None

    def judge(self, value: float, ratio: float | None, *, more: bool) -> tuple[str, bool]:
        """The target in words, and whether the medians meet it."""
        if self.ratio is not None and ratio is not None:
            return f"ratio >= {_number(self.ratio)}", ratio >= self.ratio
        assert self.value is not None, "a target is a ratio to a reference, or a value"
        met = value >= self.value if more else value <= self.value
        return f"{'>=' if more else '<='} {_number(self.value)}", met


def in_turn(sides: Mapping[str, Measure], setting: Setting, least: int = 3) -> dict[str, list[float]]:
    """Values of each side, measured in turn until the setting's seconds are over, `least` rounds at the least."""
    values: dict[str, list[float]] = {name: [] for name in sides}
    began, rounds = time.perf_counter(), 0
    while rounds < (1 if setting.toy else least) or (
        not setting.toy and time.perf_counter() - began < setting.seconds * (1 - 1 / (rounds + 1))
    ):
        for name, measure in sides.items():
            gc.collect()
            values[name].append(measure())
        rounds += 1
    return values


def compare(
    shape: str,
    sides: Mapping[str, Measure],
    setting: Setting,
    *,
    unit: str,
    more: bool,
    reference: str = "",
    targets: Mapping[str, Target] | None = None,
    least: int = 3,
) -> list[Line]:
    """Lines of all sides, of `least` rounds or more.

    `more` says whether a larger value is the better one (rows/s) or the worse (seconds).
    """
    values = in_turn(sides, setting, least)
    lines = []
    for name, mine in values.items():
        ratio = None
        if reference and name != reference:
            pairs = zip(mine, values[reference], strict=True)
            ratio = Spread.of([a / b if more else b / a for a, b in pairs])
        target, met = "", None
        if targets and name in targets:
            target, met = targets[name].judge(median(mine), None if ratio is None else ratio.median, more=more)
        lines.append(Line(shape, name, unit, Spread.of(mine), len(mine), ratio, target, met))
    return lines


def show(results: Results, console: Console) -> None:
    """Print a table for each shape, and the notes."""
    lines = [r for r in results if isinstance(r, Line)]
    for shape in dict.fromkeys(line.shape for line in lines):
        mine = [line for line in lines if line.shape == shape]
        table = Table(title=shape, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        for heading in ("side", f"{mine[0].unit}, median (min-max)", "ratio (min-max)", "target", ""):
            table.add_column(heading, justify="left" if heading == "side" else "right")
        for line in mine:
            met = "" if line.met is None else ("met" if line.met else "MISSED")
            ratio = "" if line.ratio is None else str(line.ratio)
            table.add_row(line.side, str(line.value), ratio, line.target, met)
        console.print(table)
    figures = [r for r in results if isinstance(r, Figures)]
    for shape in dict.fromkeys(f.shape for f in figures):
        own = [f for f in figures if f.shape == shape]
        columns = list(dict.fromkeys(name for f in own for name in f.values))
        table = Table(title=shape, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        for heading in ("side", *columns):
            table.add_column(heading, justify="left" if heading == "side" else "right")
        for f in own:
            table.add_row(f.side, *(_cell(f.values.get(name)) for name in columns))
        console.print(table)
    for note in results:
        if isinstance(note, Note):
            console.print(note.text, highlight=False, markup=False)


def _cell(value: float | str | None) -> str:
    return "" if value is None else value if isinstance(value, str) else _number(value)


def _number(value: float) -> str:
    """Three digits, four below one; thousands as `12.3k`."""
    if abs(value) >= 10_000:
        return f"{value / 1000:,.0f}k" if abs(value) >= 100_000 else f"{value / 1000:.3g}k"
    return f"{value:,.0f}" if value == 0 or abs(value) >= 100 else f"{value:.{4 if abs(value) < 1 else 3}g}"
