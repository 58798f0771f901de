"""The portfolio: an order of points in which the best so far of all data sets improves most, by runs that were kept.

Runs are looked for below `--folder`, those of sweeps too; what is chosen is written there as portfolio.json, in the
form of conf/portfolio.json. A data set that is left out tells what the order is worth on new data: it is made of the
others, and judged by the validation figure that it comes to within three points.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from benchmarks.harness import Line, Note, Results, Setting, Spread
from fmlab.plugin import registry
from fmlab.sweep.partial_epochs import falls_to_end, on_all_rows

ABOUT = "share of the best validation figure within three points, each data set left out of the choice"
FIRST, MOST = 3, 12  # points that are judged by, and that a portfolio has
LEAST = 1e-4  # mean gain of a further point
FILE = "portfolio.json"
Values = Mapping[str, Mapping[str, float]]  # data set -> point -> validation figure, larger is better


def run(setting: Setting) -> Iterator[Results]:
    tables = {"toy": _toy()} if setting.toy else read(setting.folder)
    chosen = {}
    for kind, table in tables.items():
        order = cover(table)
        chosen[kind] = [
            {"point": json.loads(point), "source": f"validation of {len(known(table, point))} data sets"}
            for point in order
        ]
        lines = []
        for left in table if len(table) > 1 else ():
            others = cover({data: values for data, values in table.items() if data != left})
            found = reached(table[left], others[:FIRST])
            lines.append(Line(f"{kind}, left out", left, "share of the best", Spread.of([found]), 1))
        yield lines or [Note(f"{kind}: two data sets are needed to leave one out")]
    if not setting.toy:
        (setting.folder / FILE).write_text(json.dumps(chosen, indent=1))


def cover(table: Values) -> list[str]:
    """Points, the one first that most improves the mean over data sets of what is reached, and so on."""
    points = sorted({p for values in table.values() for p in values})
    order: list[str] = []
    now = 0.0
    while len(order) < min(MOST, len(points)):
        left = [p for p in points if p not in order]
        gains = [float(np.mean([_rank(values, [*order, p]) for values in table.values()])) - now for p in left]
        at = int(np.argmax(gains))
        if gains[at] <= LEAST:
            break
        order.append(left[at])
        now += gains[at]
    return order


def _rank(values: Mapping[str, float], points: Sequence[str]) -> float:
    """From 0, the worst figure of a data set, to 1, the best, what the best of `points` reaches."""
    low, high = min(values.values()), max(values.values())
    best = max((values[p] for p in points if p in values), default=low)
    return (best - low) / (high - low) if high > low else 1.0


def reached(values: Mapping[str, float], points: Sequence[str]) -> float:
    """The share of the best figure that `points` come to; of losses, which are negative here, the best over it."""
    best = max(values.values())
    mine = max((values[p] for p in points if p in values), default=min(values.values()))
    return mine / best if best > 0 else best / mine if mine else 1.0


def known(table: Values, point: str) -> list[str]:
    """Data sets that have a run of the point."""
    return [data for data, values in table.items() if point in values]


def read(folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Kind of task -> data set -> point -> validation figure of the finished runs below a folder."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for path in sorted(folder.rglob("metrics.json")):
        record = json.loads(path.read_text("utf-8"))
        written = path.with_name("config.yaml")
        if record.get("status") != "complete" or record.get("model") == "ensemble" or not written.is_file():
            continue
        config = OmegaConf.to_container(OmegaConf.load(written))
        assert isinstance(config, dict)
        value = record["validation"][record["monitor"]] * (1 if record["maximize"] else -1)
        data = f"{record['data']}, {record['protocol']}, {str(record['fingerprint'])[:8]}"
        values = found.setdefault(_kind(record), {}).setdefault(data, {})
        point = json.dumps(point_of(config), sort_keys=True)
        values[point] = max(value, values.get(point, -np.inf))
    return found


def point_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a portfolio says of a run: model, options that are not the defaults, loss, optimizer, batch, scheduler.

    Where the rate falls until the end of training, the number of passes over all rows, too.
    """
    found: dict[str, Any] = {"model": config["model"]["name"]}
    for kind in ("model", "optimizer"):
        part = config.get(kind) or {"name": ""}
        options = registry.schema(kind, part["name"]).options if part["name"] else ()
        usual = {o.name: list(o.default) if isinstance(o.default, tuple) else o.default for o in options}
        found |= {f"{kind}.{k}": v for k, v in part.items() if k in usual and v != usual[k]}
    found |= {kind: config[kind]["name"] for kind in ("loss", "optimizer") if config.get(kind)}
    scheduler = (config.get("scheduler") or {"name": "none"})["name"]
    if scheduler != "none":
        found["scheduler"] = scheduler
        if falls_to_end(scheduler):
            found["trainer.max_epochs"] = config["trainer"]["max_epochs"]
            found = on_all_rows(found, config["trainer"].get("limit_train_batches"))
    return found | {k: config[k] for k in ("batch_size", "target_statistics") if config.get(k) is not None}


def _kind(record: Mapping[str, Any]) -> str:
    metrics = set(record["test"])
    return "classes" if "logloss" in metrics else "ratings" if metrics & {"rmse", "mae"} else "ranking"


def _toy() -> dict[str, dict[str, float]]:
    points = [json.dumps({"model": name}) for name in ("lr", "fm", "mf")]
    figures = {"a": (0.5, 0.8, 0.7), "b": (0.5, 0.7, 0.8), "c": (0.9, 0.6, 0.5)}
    return {data: dict(zip(points, values, strict=True)) for data, values in figures.items()}
