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
from benchmarks.harness import Line, Note, Results, Setting, Spread, Target, now

ABOUT = "MovieLens-1M by time, the last 10 % of the ratings in 5 slices: each is tested by models of the rows before it"
DAYS, HELD, VALIDATION = 5, 0.1, 0.05  # the first slice has no day before it
CONTENT = "ml-1m/ratings.dat"

# The rates, the schedules and the epochs of going on are those of the best validation within the time.
TIME, AWAY = 0.15, 0.001

RANKING: dict[str, Any] = {
    "model": {"name": "mf", "dim": 32},
    "loss": "bpr",
    "protocol": {"name": "temporal", "split": "given", "task": "ranking", "min_label": 4, "negatives": 1},
    "batch_size": 4096,
    "anew": {"optimizer": {"name": "adam", "lr": 0.002}, "trainer": {"max_epochs": 60, "patience": 3}},
    "on": {"optimizer": {"name": "adam", "lr": 0.003}, "scheduler": "cosine", "trainer": {"max_epochs": 1}},
}
CLICKS: dict[str, Any] = {
    "model": {"name": "fm", "dim": 16},
    "loss": "bce",
    "protocol": {"name": "temporal", "split": "given", "task": "ctr", "min_label": 4},
    "batch_size": 4096,
    "anew": {"optimizer": {"name": "adam", "lr": 0.001}, "trainer": {"max_epochs": 30, "patience": 2}},
    "on": {"optimizer": {"name": "adam", "lr": 0.001}, "trainer": {"max_epochs": 1, "limit_train_batches": 0.5}},
}
KINDS = {"mf": (RANKING, "ndcg", (0, 1, 2)), "fm": (CLICKS, "auc", (0,))}


def run(setting: Setting) -> Iterator[Results]:
    """Tables of each slice: the test metric, seconds and epochs of both sides; then what share of the time it took."""
    rows = _ratings(setting)
    if rows is None:
        yield [Note("ml-1m.zip must be in FMLAB_DATA_DIR: fmlab data fetch movielens-1m")]
        return
    for name in setting.chosen(KINDS) or KINDS:
        yield from _days(name, rows, setting)


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


def _days(name: str, rows: pd.DataFrame, setting: Setting) -> Iterator[Results]:
    options, metric, seeds = KINDS[name]
    first = round(len(rows) * (1 - HELD))
    days = setting.size(DAYS, 2)
    cuts = np.linspace(first, len(rows), days + 1).round().astype(int)
    cache = str(setting.folder / "cache")
    took: dict[str, list[float]] = {"anew": [], "on": []}
    before: dict[int, Path] = {}
    for day in range(days):
        data = _files(rows, cuts[day], cuts[day + 1], setting.folder / f"{name}-{day}")
        fmlab.fit(data, model="popularity", protocol=options["protocol"], cache_dir=cache)  # prepares the data
        made: dict[str, list[tuple[float, float, int]]] = {"anew": [], "on": []}
        for seed in seeds[: setting.size(len(seeds), 1)]:
            place = setting.folder / f"{name}-{day}-{seed}-anew"  # both sides start from that of the first slice
            made["anew"].append(_fit(options, "anew", data, metric, place, seed, setting))
            if seed in before:
                going = {**options, "warm_start": [str(before[seed])], "warm_start_optimizer": True}
                place = setting.folder / f"{name}-{day}-{seed}-on"
                made["on"].append(_fit(going, "on", data, metric, place, seed, setting))
            before[seed] = place
        yield _lines(f"{name}, slice {day}", made, metric)
        if made["on"]:
            for side, runs in made.items():
                took[side] += [seconds for seconds, *_ in runs]
    share = sum(took["on"]) / sum(took["anew"])
    goal, met = Target(value=TIME).judge(share, None, more=False)
    yield [Line(f"{name}, slices 1-{days - 1}", "going on / anew", "time", Spread.of([share]), 1, None, goal, met)]


def _lines(shape: str, made: Mapping[str, list[tuple[float, float, int]]], metric: str) -> list[Line | Note]:
    """Of one slice: the mean of the metric over the seeds, then seconds and epochs."""
    found: list[Line | Note] = []
    means = {side: float(np.mean([value for _, value, _ in runs])) for side, runs in made.items() if runs}
    for side, mean in means.items():
        goal, met = "", None
        if side == "on":
            goal, met = Target(value=means["anew"] - AWAY).judge(mean, None, more=True)
        of_seeds = Spread(mean, *(pick(value for _, value, _ in made[side]) for pick in (min, max)))
        found.append(Line(f"{shape}: mean {metric} over the seeds", side, metric, of_seeds, 1, None, goal, met))
    for side in means:
        for unit, which in (("s", 0), ("epochs", 2)):
            found.append(Line(f"{shape}: {unit}", side, unit, Spread.of([float(run[which]) for run in made[side]]), 1))
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
    options: Mapping[str, Any],
    how: str,
    data: dict[str, Any],
    metric: str,
    place: Path,
    seed: int,
    setting: Setting,
) -> tuple[float, float, int]:
    """Seconds of the whole run, the test metric, and epochs."""
    given = {k: v for k, v in options.items() if k not in ("anew", "on")} | options[how]
    trainer = {**given["trainer"], "threads": 1, "progress": False}
    if setting.toy:
        trainer |= {"max_epochs": 1, "limit_train_batches": None}
    cache = str(setting.folder / "cache")
    began = now()
    made = fmlab.fit(data, folder=place, cache_dir=cache, seed=seed, **{**given, "trainer": trainer})
    return now() - began, made.test[metric], int(made.record.get("epochs") or 0)
