"""`serving.bin`: the sealed file of a run folder that holds what serving needs. Reading it executes nothing.

Its content depends on the data and the protocol alone, so that runs of one sweep hold the same bytes: they are one file
with several names (hard links) where the file system can do that (`fmlab.records.shared_files`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fmlab.data import SIDES, Array, Field, FieldEncoding, Schema, Side, Table
from fmlab.data.encoding.text_arrays import ArrowTexts, decode, encode
from fmlab.data.encoding.transforms import transform_of
from fmlab.data.store.container import Container, to_bytes
from fmlab.errors import DataError, StorageError
from fmlab.evaluation.output_transform import OutputTransform
from fmlab.run.derived_arrays import pack_derived, unpack_derived
from fmlab.run.seen_items import Seen
from fmlab.run.serving_data import ServingData
from fmlab.run.serving_inputs import unpack_inputs
from fmlab.untrusted.dataclasses import checked

LAYOUT = 1
MOST_SLOTS = 1 << 16
MOST_NUMBERS = 1 << 20  # of a vector


def packed(data: ServingData) -> bytes:
    """The content of the file."""
    arrays: dict[str, Array] = {}
    for number, field in enumerate(data.schema.fields):
        if not field.numeric:
            column = data.keys.column(field.name) if isinstance(data.keys, ArrowTexts) else data.keys[field.name]
            _put_texts(arrays, f"keys.{number}", column)
    for side, table in (("users", data.users), ("items", data.items)):
        if table is not None:
            arrays[f"{side}.ids"] = np.ascontiguousarray(np.asarray(table.ids, np.int32).T)  # packs better
            if table.values is not None:
                arrays[f"{side}.values"] = np.asarray(table.values, np.float32)
    if data.seen is not None:
        arrays["seen.steps"] = _narrow(np.diff(data.seen.key, prepend=0))
        arrays["seen.part"] = data.seen.part
        _put_texts(arrays, "seen.others", data.seen.others)
    if data.popularity is not None:
        arrays["popularity"] = _narrow(data.popularity)
    content = {
        "layout": LAYOUT,
        "name": data.name,
        "fingerprint": data.fingerprint,
        "schema": data.schema.to_dict(),
        "inputs": {name: asdict(given) for name, given in data.inputs.items()},
        "scale": data.scale.to_dict(),
        "log_odds": data.log_odds,
    }
    if data.derived is not None:
        content["derived"] = pack_derived(data.derived, arrays)
    if data.targets:
        content["targets"] = list(data.targets)
    if data.model_inputs is not None:
        content["asked"] = data.model_inputs.pack(arrays)
    return to_bytes(content, arrays)


def _narrow(numbers: Array) -> Array:
    """In the smallest unsigned type that holds them."""
    kinds = (np.uint8, np.uint16, np.uint32)
    most = int(numbers.max()) if len(numbers) else 0
    return numbers.astype(next((k for k in kinds if most <= np.iinfo(k).max), np.int64))


def _put_texts(arrays: dict[str, Array], name: str, texts: Any) -> None:
    ends, text = encode(texts)
    arrays[f"{name}.sizes"], arrays[f"{name}.text"] = _narrow(np.diff(ends, prepend=0)), text


def read_serving_data(path: Path) -> ServingData:
    """The file of a run folder; raises StorageError for one that is missing, damaged, or says what cannot be."""
    file = Container(path)
    try:
        return _unpacked(file)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, DataError) as error:
        raise StorageError(f"{path} is malformed: {error}") from error


def _unpacked(file: Container) -> ServingData:
    content = file.content
    if content.get("layout") != LAYOUT:
        raise ValueError(f"its layout is {str(content.get('layout'))[:20]}, this version of fmlab reads {LAYOUT}")
    name, fingerprint, log_odds = content["name"], content["fingerprint"], content["log_odds"]
    if not (isinstance(name, str) and isinstance(fingerprint, str) and isinstance(log_odds, bool)):
        raise ValueError("name and fingerprint are text, log_odds is true or false")
    schema = read_schema(content["schema"])
    inputs = {f.name: checked(FieldEncoding, content["inputs"][f.name]) for f in schema.fields}
    for given in inputs.values():
        if given.scale == 0 or given.decimal not in (".", ",") or (given.transform == "hashed" and given.buckets < 1):
            raise ValueError(f"an input of column {given.column!r} has no meaning")
        transform_of(given)
    keys = _Keys(file, schema)
    users, items = (_table(file, schema, side) for side in ("user", "item"))
    popularity = _counts(file, "popularity") if "popularity" in file else None
    if popularity is not None and len(popularity) != schema.n_items:
        raise ValueError("popularity is one number an item")
    return ServingData(
        name=name,
        fingerprint=fingerprint,
        schema=schema,
        inputs=inputs,
        keys=keys,
        users=users,
        items=items,
        seen=_seen(file, schema),
        popularity=popularity,
        scale=checked(OutputTransform, content["scale"]),
        log_odds=log_odds,
        derived=unpack_derived(content["derived"], file, schema) if "derived" in content else None,
        targets=_targets(content),
        model_inputs=unpack_inputs(content["asked"], file, schema, _texts) if "asked" in content else None,
    )


def _targets(content: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of several targets; files of before have none."""
    names = content.get("targets", [])
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise ValueError("targets are names")
    if len(set(names)) < len(names) or len(names) == 1:
        raise ValueError("targets are several different names")
    return tuple(names)


def read_schema(stored: Any) -> Schema:
    """A schema that somebody else may have written; raises ValueError, TypeError, KeyError or DataError."""
    made = tuple(checked(Field, field) for field in stored["fields"])
    for field in made:
        if field.side not in SIDES or field.size < 1 or not 1 <= field.slots <= MOST_SLOTS:
            raise ValueError(f"field {field.name!r} has no such side, size or number of slots")
    auxiliary = tuple(checked(Field, field) for field in stored.get("auxiliary", ()))
    for field in auxiliary:
        if field.side not in SIDES or field.size < 0 or not 0 <= field.width <= MOST_NUMBERS:
            raise ValueError(f"field {field.name!r} has no such side, size or width")
    counts = stored["n_users"], stored["n_items"]
    if any(type(n) is not int or n < 0 for n in counts) or sum(f.slots for f in made) > MOST_SLOTS:
        raise ValueError("a schema has whole numbers of users, items and columns")
    return Schema(made, *counts, auxiliary)


class _Keys(Mapping[str, Array]):
    """Values of fields, decoded when they are asked for; how many there are is checked at once."""

    def __init__(self, file: Container, schema: Schema) -> None:
        self._file = file
        self._number = {f.name: None if f.numeric else n for n, f in enumerate(schema.fields)}
        for field in schema.fields:
            count = 1 if field.numeric else len(_counts(file, f"keys.{self._number[field.name]}.sizes"))
            if count != field.size - 1:
                raise ValueError(f"field {field.name!r} has {count} values for {field.size} features")

    def __getitem__(self, name: str) -> Array:
        number = self._number[name]
        return np.array(["present"]) if number is None else _texts(self._file, f"keys.{number}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._number)

    def __len__(self) -> int:
        return len(self._number)


def _counts(file: Container, name: str) -> Array:
    """Whole numbers of 0 or more, int64[n]."""
    found = file.array(name)
    if found.ndim != 1 or found.dtype.kind not in "ui" or (len(found) and int(found.min()) < 0):
        raise StorageError(f"{file.path} is malformed: {name} are no counts")
    return found.astype(np.int64)


def _texts(file: Container, name: str) -> Array:
    ends = np.cumsum(_counts(file, f"{name}.sizes"))
    text = file.array(f"{name}.text")
    if text.dtype != np.uint8 or text.ndim != 1 or (ends[-1] if len(ends) else 0) != len(text):
        raise StorageError(f"{file.path} is malformed: texts of {name} end elsewhere")
    try:
        return decode(ends, text)
    except UnicodeDecodeError as error:
        raise StorageError(f"{file.path} is malformed: texts of {name} are no utf-8") from error


def _table(file: Container, schema: Schema, side: Side) -> Table | None:
    columns, count = schema.columns(side), schema.n_users if side == "user" else schema.n_items
    if f"{side}s.ids" not in file:
        if columns.stop:
            raise ValueError(f"the table of {side}s is missing")
        return None
    ids = np.ascontiguousarray(file.array(f"{side}s.ids").T)
    if ids.dtype != np.int32 or ids.shape != (count, columns.stop - columns.start):
        raise ValueError(f"the table of {side}s has the shape {ids.shape}")
    fields = [schema.column_field[c] for c in range(columns.start, columns.stop)]
    low = np.array([schema.offsets[f] for f in fields])
    high = low + [schema.fields[f].size for f in fields]
    if not columns.stop or ((ids < low) | (ids >= high)).any():
        raise ValueError(f"the table of {side}s has features of no field")
    first = schema.fields[fields[0]]
    if not first.numeric and first.slots == 1 and not (ids[:, 0] == low[0] + 1 + np.arange(count)).all():
        raise ValueError(f"the first field of a {side} does not name it")
    values = file.array(f"{side}s.values") if f"{side}s.values" in file else None
    if values is not None and (values.dtype != np.float32 or values.shape != ids.shape):
        raise ValueError(f"values of {side}s have another shape than their features")
    return Table(ids, values)


def _seen(file: Container, schema: Schema) -> Seen | None:
    import pyarrow as pa

    if "seen.steps" not in file:
        return None
    part = file.array("seen.part")
    others = pa.array(_texts(file, "seen.others").tolist(), pa.string())
    key = np.cumsum(_counts(file, "seen.steps"))
    most = (schema.n_users + len(others)) * schema.n_items
    outside = len(key) > 0 and (key[-1] >= most or key.min() < 0)
    if part.shape != key.shape or part.dtype != np.uint8 or outside:
        raise ValueError("pairs of users and items lie outside the data")
    return Seen(schema.n_users, schema.n_items, key, part, others)
