"""Data sets of `benchmarks automl`, and the files that all programs read: those of `fmlab data split`."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from fmlab.config.composition import compose
from fmlab.run.split_files import reading_options, write_split
from fmlab.run.task_opening import open_task

Kind = Literal["clicks", "ratings", "rankings"]
PARTS = ("train", "valid", "test")
LISTED = ("protocol.metrics=[ndcg@10,recall@20]", "protocol.monitor=ndcg@10")


@dataclass(frozen=True)
class DataSet:
    """What is predicted, and the options of a run on the raw data: the split and the judge of all programs."""

    kind: Kind
    options: tuple[str, ...]


@dataclass(frozen=True)
class Split:
    """A folder with train.csv, valid.csv and test.csv, and how they are read."""

    name: str
    kind: Kind
    folder: Path
    judge: tuple[str, ...]  # options of the raw data, by which files of scores or lists are judged
    options: tuple[str, ...]  # options by which fmlab reads the three files


METRICS: Mapping[Kind, tuple[str, str]] = {
    "clicks": ("auc", "logloss"),
    "ratings": ("rmse", "mae"),
    "rankings": ("ndcg@10", "recall@20"),
}
# The split stands in the files: rows that are in two parts of a published one stay there.
READING: Mapping[Kind, tuple[str, ...]] = {
    "clicks": ("protocol=ctr", "protocol.on_leak=allow"),
    "ratings": ("protocol=rating", "protocol.negatives=0", "protocol.on_leak=allow"),
    "rankings": ("protocol=composed", *LISTED),
}
DATA: Mapping[str, DataSet] = {
    "frappe": DataSet("clicks", ("data=frappe", "protocol=ctr")),
    # As experiment=board/movielens-1m-ctr has it.
    "movielens-1m": DataSet(
        "clicks", ("data=movielens-1m", "protocol=ctr", "protocol.min_label=4", "protocol.max_negative=2")
    ),
    "movielens-100k": DataSet("ratings", ("data=movielens-100k", "protocol=rating", "protocol.negatives=0")),
    # As experiment=board/toys-5core has it.
    "amazon-toys-games": DataSet(
        "rankings",
        (
            *("data=amazon-toys-games", "data.layout=splits", "protocol=composed", "protocol.min_label=4"),
            *("protocol.k_core=5", "protocol.split=user_random", *LISTED),
        ),
    ),
    "amazon-office": DataSet("rankings", ("data=amazon-office", "protocol=composed", *LISTED)),
    "goodbooks": DataSet("rankings", ("data=goodbooks", "protocol=composed", *LISTED)),
    "steam-200k": DataSet("rankings", ("data=steam-200k", "protocol=composed", *LISTED)),
}
TOYS: tuple[Kind, ...] = ("clicks", "ratings", "rankings")


def names(*, toy: bool) -> list[str]:
    """The data sets that can be chosen."""
    return [f"toy-{kind}" for kind in TOYS] if toy else list(DATA)


def split(name: str, folder: Path) -> Split:
    """The files of a data set below a folder, written unless they are there."""
    data, place = _named(name, folder), folder.absolute() / name
    told = place / "options.json"
    if not told.is_file():
        config = OmegaConf.to_container(compose(list(data.options), os.environ), resolve=True)
        task = open_task(cast(dict[str, Any], config))
        options = reading_options(task.dataset, write_split(task, place, "csv"), "csv")
        (place / "columns.json").write_text(json.dumps(_columns(options, data.kind)))
        told.write_text(json.dumps(options))
    options = json.loads(told.read_text())
    return Split(name, data.kind, place, data.options, (*options, *READING[data.kind]))


def _columns(options: Iterable[str], kind: Kind) -> dict[str, Any]:
    """What the programs are told of the columns; times are no feature for any of them."""
    data = compose(list(options), {}).data
    kinds = ("categorical", "numeric", "multi_valued")
    told: dict[str, Any] = {kind: [str(c) for c in data.get(kind) or ()] for kind in kinds}
    told["categorical"] = [c for c in (data.get("user"), data.get("item")) if c] + told["categorical"]
    return told | {"kind": kind, "label": data.get("label") or ""}


def _named(name: str, folder: Path) -> DataSet:
    if name in DATA:
        return DATA[name]
    kind: Kind = next(k for k in TOYS if name == f"toy-{k}")
    file = folder.absolute() / f"{name}.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    _TOY[kind](np.random.default_rng(0)).to_csv(file, index=False)
    roles = ("data=csv", f"data.path={file}", "data.user=user", "data.item=item")
    labeled = (*roles, "data.label=label", "data.multi_valued=[tags]", "data.numeric=[price]")
    options: Mapping[Kind, tuple[str, ...]] = {
        "clicks": (*labeled, "protocol=ctr"),
        "ratings": (*labeled, "protocol=rating", "protocol.negatives=0"),
        "rankings": (*roles, "protocol=composed", *LISTED),
    }
    return DataSet(kind, options[kind])


def _rows(rng: np.random.Generator) -> pd.DataFrame:
    user, item = rng.integers(0, 30, 1200), rng.integers(0, 20, 1200)
    tags = np.array(["new|cheap", "new", "old|cheap", "old"])[item % 4]
    return pd.DataFrame({"user": user, "item": item, "tags": tags, "price": item / 3})


def _clicks(rng: np.random.Generator) -> pd.DataFrame:
    rows = _rows(rng)
    return rows.assign(label=(rng.random(len(rows)) < 0.2 + 0.6 * ((rows.user + rows["item"]) % 2)).astype(int))


def _ratings(rng: np.random.Generator) -> pd.DataFrame:
    rows = _rows(rng)
    return rows.assign(label=np.clip(np.round(2 + rows["item"] % 3 + rng.normal(0, 0.7, len(rows))), 1, 5))


def _rankings(rng: np.random.Generator) -> pd.DataFrame:
    # Users of a group like the items of that group.
    pairs = {(u, i) for u in range(60) for i in range(40) if rng.random() < (0.5 if u % 4 == i % 4 else 0.05)}
    return pd.DataFrame(sorted(pairs), columns=["user", "item"])


_TOY: Mapping[Kind, Callable[[np.random.Generator], pd.DataFrame]] = {
    "clicks": _clicks,
    "ratings": _ratings,
    "rankings": _rankings,
}
