"""Training day by day: going on from the model of the day before, beside training anew on all that is known."""

import io
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import fmlab
from benchmarks.harness import Line, Note, Results, Setting, Spread, now

ABOUT = "MovieLens-1M by time, the last 10 % of the ratings in 5 slices: each is tested by models of the rows before it"
DAYS, HELD, VALIDATION = 5, 0.1, 0.05  # the first slice has no day before it
CONTENT = "ml-1m/ratings.dat"

RANKING: dict[str, Any] = {
    "model": {"name": "mf", "dim": 32},
    "loss": "bpr",
    "protocol": {"name": "temporal", "split": "given", "task": "ranking", "min_label": 4, "negatives": 1},
    "batch_size": 4096,
    "anew": {"optimizer": {"name": "adam", "lr": 0.002}, "trainer": {"max_epochs": 60, "patience": 3}},
    "on": {"optimizer": {"name": "adam", "lr": 0.001}, "trainer": {"max_epochs": 1}},
}
KINDS = {"mf": (RANKING, "ndcg")}


def run(setting: Setting) -> Iterator[Results]:
    """Each day a table row of seconds and of the test metric, then the sums."""
    rows = _ratings(setting)
    if rows is None:
        yield [Note("ml-1m.zip must be in FMLAB_DATA_DIR: fmlab data fetch movielens-1m")]
        return
    for name in setting.chosen(KINDS) or KINDS:
        options, metric = KINDS[name]
        yield _days(name, options, metric, rows, setting)


def _ratings(setting: Setting) -> pd.DataFrame | None:
    if setting.toy:
        rng = np.random.default_rng(0)
        made = {"user": rng.integers(0, 20, 800), "item": rng.integers(0, 30, 800), "stars": rng.integers(1, 6, 800)}
        return pd.DataFrame({**made, "when": np.arange(800)}).drop_duplicates(["user", "item"])
    archive = Path(os.environ.get("FMLAB_DATA_DIR", "data")) / "ml-1m.zip"
    if not archive.is_file():
        return None
    with zipfile.ZipFile(archive) as file:
        text = file.read(CONTENT).decode().replace("::", ",")
    rows = pd.read_csv(io.StringIO(text), names=["user", "item", "stars", "when"])
    return rows.sort_values("when", kind="stable")


def _days(
    name: str, options: Mapping[str, Any], metric: str, rows: pd.DataFrame, setting: Setting
) -> list[Line | Note]:
    found: list[Line | Note] = []
    first = round(len(rows) * (1 - HELD))
    days = setting.size(DAYS, 2)
    cuts = np.linspace(first, len(rows), days + 1).round().astype(int)
    seconds, before = {"anew": 0.0, "on": 0.0}, None
    figures: dict[str, list[float]] = {"anew": [], "on": []}
    for day in range(days):
        data = _files(rows, cuts[day], cuts[day + 1], setting.folder / f"{name}-{day}")
        cache = str(setting.folder / "cache")
        fmlab.fit(data, model="popularity", protocol=options["protocol"], cache_dir=cache)  # prepares the data
        place = setting.folder / f"{name}-{day}-anew"  # of the first slice both sides start from it
        took, value, epochs = _fit(options, "anew", data, place, setting)
        found += _lines(f"{name}, slice {day}", "anew", took, value, metric, f"{epochs} epochs")
        if before is not None:
            going = {**options, "warm_start": [str(before)], "warm_start_optimizer": True}
            place = setting.folder / f"{name}-{day}-on"
            seconds["anew"], figures["anew"] = seconds["anew"] + took, [*figures["anew"], value]
            took, value, epochs = _fit(going, "on", data, place, setting)
            found += _lines(f"{name}, slice {day}", "going on", took, value, metric, f"{epochs} epochs")
            seconds["on"], figures["on"] = seconds["on"] + took, [*figures["on"], value]
        before = place
    share = seconds["on"] / seconds["anew"]
    found.append(Line(f"{name}, slices 1-{days - 1}", "going on / anew", "time", Spread.of([share]), 1))
    for side, values in figures.items():
        mean = Spread.of([float(np.mean(values))])
        found.append(Line(f"{name}, mean of slices 1-{days - 1}", side, metric, mean, 1))
    return found


def _files(rows: pd.DataFrame, now_: int, end: int, folder: Path) -> dict[str, Any]:
    """All rows before the slice, the last of them as the validation, and the slice as the test."""
    folder.mkdir(parents=True, exist_ok=True)
    held = round(now_ * (1 - VALIDATION))
    parts = {"path": rows[:held], "valid": rows[held:now_], "test": rows[now_:end]}
    for part, cut in parts.items():
        cut.to_csv(folder / f"{part}.csv", index=False)
    return {"name": "csv", "user": "user", "item": "item", "label": "stars", "time": "when"} | {
        part: str(folder / f"{part}.csv") for part in parts
    }


def _fit(
    options: Mapping[str, Any], how: str, data: dict[str, Any], place: Path | None, setting: Setting
) -> tuple[float, float, int]:
    """Seconds of the whole run, the test metric, and epochs."""
    given = {k: v for k, v in options.items() if k not in ("anew", "on")} | options[how]
    trainer = {**given["trainer"], "threads": 1, "progress": False}
    if setting.toy:
        trainer |= {"max_epochs": 1, "limit_train_batches": None}
    began = now()
    made = fmlab.fit(data, folder=place, cache_dir=str(setting.folder / "cache"), **{**given, "trainer": trainer})
    took = now() - began
    return took, made.test["ndcg"], int(made.record.get("epochs") or 0)


def _lines(shape: str, side: str, took: float, value: float, metric: str, epochs: str) -> list[Line | Note]:
    return [
        Line(f"{shape}, {epochs}", side, "s", Spread.of([took]), 1),
        Line(shape, side, metric, Spread.of([value]), 1),
    ]
