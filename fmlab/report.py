"""What finished runs say: one table per data set and protocol, rebuilt from run folders at any time."""

import argparse
import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.console import Console
from rich.table import Table

from fmlab.errors import FmlabError, StorageError

KNOWN_BEST = "known best"


@dataclass(frozen=True)
class Run:
    """A run folder's metrics.json."""

    folder: Path
    content: dict[str, Any]

    @property
    def complete(self) -> bool:
        """Whether it was tested."""
        return self.content.get("status") == "complete"


@dataclass(frozen=True)
class Row:
    """Runs that differ in the seed alone: mean and standard deviation of each test metric."""

    model: str
    settings: str
    seeds: tuple[int, ...]
    metrics: dict[str, tuple[float, float | None]]
    parameters: int | None
    seconds: float | None


def find_runs(folder: Path) -> list[Run]:
    """All runs below a folder, in path order; raises StorageError if there is no such folder."""
    if not folder.is_dir():
        raise StorageError(f"a report needs a folder of runs, got {folder}, which does not exist")
    runs = []
    for path in sorted(folder.rglob("metrics.json")):
        try:
            runs.append(Run(path.parent, json.loads(path.read_text("utf-8"))))
        except (OSError, ValueError) as error:
            raise StorageError(f"{path} cannot be read: {error}") from error
    return runs


def leaderboards(runs: Iterable[Run]) -> dict[tuple[str, str], list[Row]]:
    """Rows per (data, protocol), best first by the metric that selected."""
    groups: dict[tuple[str, str], dict[tuple[str, str], list[Run]]] = defaultdict(lambda: defaultdict(list))
    best: dict[tuple[str, str], dict[str, float]] = {}
    for run in (r for r in runs if r.complete):
        c = run.content
        place = (c["data"], c["protocol"])
        groups[place][c["model"], f"{c['loss']}, {c['optimizer']}"].append(run)
        if c.get("known_best"):
            best[place] = c["known_best"]
    boards = {}
    for place, members in groups.items():
        rows = [_row(model, settings, same) for (model, settings), same in members.items()]
        if place in best:
            rows.append(Row(KNOWN_BEST, "", (), {k: (v, None) for k, v in best[place].items()}, None, None))
        monitor = next(iter(members.values()))[0].content["monitor"]
        lower = monitor in ("logloss", "rmse", "mae")
        rows.sort(key=lambda r: r.metrics[monitor][0] * (1 if lower else -1))
        boards[place] = rows
    return boards


def _row(model: str, settings: str, runs: Sequence[Run]) -> Row:
    figures: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        for name, value in run.content["test"].items():
            figures[name].append(float("nan") if value is None else value)
    metrics = {k: (fmean(v), stdev(v) if len(v) > 1 else None) for k, v in figures.items()}
    seconds = [r.content["seconds_fit"] for r in runs if "seconds_fit" in r.content]
    seeds = tuple(sorted({int(r.content["seed"]) for r in runs}))
    return Row(model, settings, seeds, metrics, runs[0].content["parameters"], fmean(seconds) if seconds else None)


def table(folder: Path) -> list[Table]:
    """The leaderboards of a folder as rich tables."""
    tables = []
    for (data, protocol), rows in leaderboards(find_runs(folder)).items():
        names = list(rows[0].metrics)
        shown = Table(title=f"{data}, {protocol}: test", title_justify="left")
        shown.add_column("model")
        shown.add_column("loss, optimizer")
        for name in (*names, "seeds", "parameters", "seconds"):
            shown.add_column(name, justify="right")
        for row in rows:
            shown.add_row(row.model, row.settings, *(_figure(row.metrics.get(n)) for n in names), *_cost(row))
        tables.append(shown)
    return tables


def _figure(value: tuple[float, float | None] | None) -> str:
    if value is None:
        return ""
    mean, deviation = value
    return f"{mean:.4f}" if deviation is None else f"{mean:.4f} ± {deviation:.4f}"


def _cost(row: Row) -> tuple[str, str, str]:
    parameters = "" if row.parameters is None else f"{row.parameters:,}"
    return str(len(row.seeds) or ""), parameters, "" if row.seconds is None else f"{row.seconds:.1f}"


def as_csv(folder: Path) -> str:
    """The leaderboards as comma-separated values, one line per metric."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["data", "protocol", "model", "settings", "metric", "mean", "deviation", "seeds", "parameters"])
    for (data, protocol), rows in leaderboards(find_runs(folder)).items():
        for row in rows:
            for name, (mean, deviation) in row.metrics.items():
                cells = [data, protocol, row.model, row.settings, name, mean, deviation, len(row.seeds), row.parameters]
                writer.writerow(["" if c is None else c for c in cells])
    return out.getvalue()


def show(folder: Path) -> None:
    """Print the leaderboards of a folder, and what did not finish."""
    runs = find_runs(folder)
    console = Console()
    for board in table(folder):
        console.print(board)
    for run in runs:
        if not run.complete:
            console.print(f"{run.content.get('status')}: {run.folder}  {run.content.get('error', '')}", markup=False)
    if not runs:
        raise FmlabError(f"no run was found below {folder}: a run leaves a metrics.json")


def main(arguments: list[str]) -> int:
    """`fmlab report [folder] [--csv]`."""
    parser = argparse.ArgumentParser(prog="fmlab report", description="Leaderboards of finished runs.")
    parser.add_argument("folder", nargs="?", default="runs", type=Path, help="a folder of runs (default: runs)")
    parser.add_argument("--csv", action="store_true", help="print comma-separated values")
    options = parser.parse_args(arguments)
    if options.csv:
        print(as_csv(options.folder), end="")
    else:
        show(options.folder)
    return 0
