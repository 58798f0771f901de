"""A data set as named arrays and built-in containers, and back. Nothing is pickled."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fmlab.data.dataset import (
    Dataset,
    FieldEncoding,
    PlantedScores,
    PositivesRule,
    PreparationStep,
    PublishedFigure,
    Ragged,
)
from fmlab.data.encoding.moments import float_kind
from fmlab.data.encoding.text_arrays import ArrayFolder, ArrowTexts, StoredTexts, encode
from fmlab.data.schema import Array, Schema

COLUMNS: dict[str, DTypeLike] = {
    "user": np.int32,
    "item": np.int32,
    "time": np.int64,
    "split": np.int8,
    "weight": np.float32,
    "group": np.int32,
}
TABLES = ("users", "items", "context")
TRUTH = ("user", "item", "user_bias", "item_bias")


def pack(dataset: Dataset) -> tuple[dict[str, Array], dict[str, Any]]:
    """Arrays by file stem, and what is left as built-in containers."""
    arrays: dict[str, Array] = {}
    for name, kind in COLUMNS.items():
        _put(arrays, name, getattr(dataset, name), kind)
    if dataset.label is not None:
        _put(arrays, "label", dataset.label, float_kind(np.asanyarray(dataset.label)))
    for number, name in enumerate(dataset.targets):
        if number:  # the first one is the label
            target = dataset.targets[name]
            _put(arrays, f"target.{number}", target, float_kind(np.asanyarray(target)))
    for name in TABLES:
        if (table := getattr(dataset, name)) is not None:
            _put(arrays, f"{name}.ids", table.ids, np.int32)
            _put(arrays, f"{name}.values", table.values, np.float32)
    if dataset.truth is not None:
        for name in TRUTH:
            _put(arrays, f"truth.{name}", getattr(dataset.truth, name), np.float32)
    for number, field in enumerate(dataset.schema.auxiliary):
        if field.width:
            _put(arrays, f"vectors.{number}", dataset.vectors[field.name], np.float32)
        else:
            _put(arrays, f"sequences.{number}.ends", dataset.sequences[field.name].ends, np.int64)
            _put(arrays, f"sequences.{number}.ids", dataset.sequences[field.name].ids, np.int32)
    for number, name in enumerate(dataset.keys):
        texts = dataset.keys.column(name) if isinstance(dataset.keys, ArrowTexts) else dataset.keys[name]
        arrays[f"keys.{number}.ends"], arrays[f"keys.{number}.text"] = encode(texts)
    stored = {
        "schema": dataset.schema.to_dict(),
        "rows": int(dataset.rows),
        "rule": asdict(dataset.rule),
        "steps": [asdict(s) for s in dataset.steps],
        "keys": list(dataset.keys),
        "inputs": {name: asdict(given) for name, given in dataset.inputs.items()},
        "published": [asdict(figure) for figure in dataset.published],
    }
    if dataset.targets:
        stored["targets"] = list(dataset.targets)
    return arrays, stored


def _put(arrays: dict[str, Array], name: str, array: Array | None, kind: DTypeLike) -> None:
    if array is not None:
        arrays[name] = np.asanyarray(array, kind)  # asanyarray: a memory map stays one


def unpack(
    name: str, folder: Path, stored: Mapping[str, Any], fingerprint: str, time_input: Mapping[str, Any] | None = None
) -> Dataset:
    """The data set whose arrays `pack` gave and that lie in `folder`, memory-mapped. `time_input`: as a mapping."""
    load = ArrayFolder(folder)
    schema, truth = Schema.from_dict(stored["schema"]), None
    if load("truth.user") is not None:
        truth = PlantedScores(*(np.asarray(load(f"truth.{part}")) for part in TRUTH))
    return Dataset(
        name=name,
        schema=schema,
        rows=stored["rows"],
        user=load("user"),
        item=load("item"),
        users=load.table("users"),
        items=load.table("items"),
        context=load.table("context"),
        label=load("label"),
        targets=_targets(load, stored.get("targets", ())),
        weight=load("weight"),
        group=load("group"),
        time=load("time"),
        split=load("split"),
        rule=PositivesRule(**stored["rule"]),
        steps=tuple(PreparationStep(**s) for s in stored["steps"]),
        keys=StoredTexts(folder, stored["keys"]),
        inputs={name: FieldEncoding.from_dict(given) for name, given in stored["inputs"].items()},
        published=_published(stored["published"]),
        truth=truth,
        fingerprint=fingerprint,
        vectors={f.name: np.asanyarray(load(f"vectors.{n}")) for n, f in enumerate(schema.auxiliary) if f.width},
        sequences={f.name: _ragged(load, n) for n, f in enumerate(schema.auxiliary) if f.sequence},
        time_input=None if time_input is None else FieldEncoding.from_dict(time_input),
    )


def with_present_names(stored: Mapping[str, Any]) -> dict[str, Any]:
    """What `pack` left of a data set, perhaps in an earlier version, by the names that it has now."""
    inputs = {
        field: {FieldEncoding.FORMER.get(name, name): value for name, value in given.items()}
        for field, given in stored["inputs"].items()
    }
    return {**stored, "inputs": inputs}


def _published(stored: Any) -> tuple[PublishedFigure, ...]:
    """Figures of papers; those that release 0.2 stored as text are left out."""
    return tuple(PublishedFigure(**figure) for figure in stored) if isinstance(stored, list) else ()


def _targets(load: ArrayFolder, names: Sequence[str]) -> dict[str, Array]:
    """Several labels of each row, the first of which is stored as the label."""
    loaded = {name: load(f"target.{number}" if number else "label") for number, name in enumerate(names)}
    return {name: array for name, array in loaded.items() if array is not None}


def _ragged(load: ArrayFolder, number: int) -> Ragged:
    ends, ids = load(f"sequences.{number}.ends"), load(f"sequences.{number}.ids")
    assert ends is not None
    assert ids is not None
    return Ragged(ends, ids)
