"""Data in the serving file for models that declare inputs besides features: vectors, sequences and interactions.

It is written for such models only, and holds the inputs that the model declares.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from fmlab.contracts import Task
from fmlab.data import Array, Dataset, FieldEncoding, Ragged, Schema, Table
from fmlab.data.encoding.text_arrays import encode
from fmlab.data.histories import Histories, moments_of
from fmlab.data.store.container import Container
from fmlab.data.store.validation import check_lists, check_vectors
from fmlab.errors import DataError
from fmlab.untrusted.dataclasses import checked

PARTS_KNOWN = {"none": 2, "train": 0, "train+validation": 1, "all": 2}
"""The last part of the data whose interactions are history, by the option that says which items a list leaves out."""


@dataclass(frozen=True)
class ServingInputs:
    """`inputs`: how the text of vectors and sequences is read, `time`: that of times, `latest`: the last of all.

    `keys`: the values of vocabularies that belong to sequences alone. `user`, `item`, `when`, `part`: interactions, of
    which histories are made; `part` is 0 train, 1 validation, 2 test, and `known` the last one that test rows know of.
    """

    inputs: Mapping[str, FieldEncoding]
    time: FieldEncoding
    timed: bool
    latest: int
    known: int
    vectors: Mapping[str, Array] = field(default_factory=dict)
    sequences: Mapping[str, Ragged] = field(default_factory=dict)
    keys: Mapping[str, Array] = field(default_factory=dict)
    events: Mapping[str, Array] = field(default_factory=dict)

    @classmethod
    def of(cls, task: Task, names: Mapping[str, bool]) -> "ServingInputs | None":
        """The data for the inputs `names` that a model declares; None where it declares none."""
        data = task.dataset
        schema = data.schema
        if not names:
            return None
        vectors = [f for f in schema.vectors if "vectors" in names]
        sequences = [
            f for f in schema.sequences if "sequences" in names or ("history" in names and f == schema.history)
        ]
        own = {f.vocabulary or f.name for f in sequences if schema.owner(f) is None}
        events = {}
        if "history" in names and schema.history is None and data.user is not None and data.item is not None:
            events = _events(task)
        return cls(
            inputs={f.name: data.input(f.name) for f in (*vectors, *sequences)},
            time=data.time_input or FieldEncoding("time"),
            timed=data.time is not None,
            latest=0 if data.time is None else int(np.max(data.time)),
            known=0 if task.test_history is None else 1,
            vectors={f.name: data.vectors[f.name] for f in vectors if f.side != "context"},
            sequences={f.name: data.sequences[f.name] for f in sequences if f.side != "context"},
            keys={name: data.keys[name] for name in own},
            events=events,
        )

    def dataset(self, schema: Schema, users: Table | None, items: Table | None) -> Dataset:
        """The users and items as a data set without rows, for `fmlab.data.auxiliary_inputs`."""
        return Dataset("served", schema, 0, users=users, items=items, vectors=self.vectors, sequences=self.sequences)

    def histories(self, schema: Schema, part: int) -> Histories:
        """Interactions of the parts up to `part`."""
        keep = self.events["part"] <= part
        user, item, when = (self.events[name][keep] for name in ("user", "item", "when"))
        return Histories(user, item, when, schema.n_users)

    def pack(self, arrays: dict[str, Array]) -> dict[str, Any]:
        """Built-in containers; arrays are added to `arrays`. The prefix `asked` is that of older files."""
        for n, array in enumerate(self.vectors.values()):
            arrays[f"asked.vectors.{n}"] = np.asarray(array, np.float32)
        for n, lists in enumerate(self.sequences.values()):
            arrays[f"asked.sequences.{n}.ends"] = np.asarray(lists.ends, np.int64)
            arrays[f"asked.sequences.{n}.ids"] = np.asarray(lists.ids, np.int32)
        for n, name in enumerate(self.keys):
            ends, text = encode(self.keys[name])
            arrays[f"asked.keys.{n}.sizes"], arrays[f"asked.keys.{n}.text"] = np.diff(ends, prepend=0), text
        for name, array in self.events.items():
            arrays[f"asked.events.{name}"] = array
        return {
            "inputs": {name: asdict(given) for name, given in self.inputs.items()},
            "time": asdict(self.time),
            "timed": self.timed,
            "latest": self.latest,
            "known": self.known,
            "vectors": list(self.vectors),
            "sequences": list(self.sequences),
            "keys": list(self.keys),
            "events": bool(self.events),
        }


def _events(task: Task) -> dict[str, Array]:
    data, every, parts = task.dataset, [], []
    for number, judged in enumerate((task.training, task.validation, task.test)):
        own = np.asarray(getattr(judged, "rows", ()), np.int64)
        if data.label is not None:
            own = own[np.asarray(data.label)[own] > 0]
        every.append(own)
        parts.append(np.full(len(own), number, np.uint8))
    rows, first = np.unique(np.concatenate(every), return_index=True)
    user, item = (np.asarray(a)[rows].astype(np.int32) for a in (data.user, data.item))
    return {"user": user, "item": item, "when": moments_of(data, rows), "part": np.concatenate(parts)[first]}


def unpack_inputs(
    stored: Any, file: Container, schema: Schema, texts: Callable[[Container, str], Array]
) -> ServingInputs:
    """What `pack` gave, which somebody else may have written; raises ValueError, TypeError, KeyError or DataError."""
    fields = {f.name: f for f in schema.auxiliary}
    numbers = (stored["latest"], stored["known"])
    if any(type(n) is not int for n in numbers) or stored["known"] not in (0, 1) or type(stored["timed"]) is not bool:
        raise ValueError("times and parts are whole numbers")
    inputs = {str(name): checked(FieldEncoding, given) for name, given in stored["inputs"].items()}
    if unknown := [n for n in (*inputs, *stored["vectors"], *stored["sequences"]) if n not in fields]:
        raise ValueError(f"no vector or sequence is called {unknown[0]!r}")
    counts = {"user": schema.n_users, "item": schema.n_items, "context": 0}
    vectors = {name: file.array(f"asked.vectors.{n}") for n, name in enumerate(stored["vectors"])}
    for name, array in vectors.items():
        check_vectors(fields[name], array, counts[fields[name].side])
    sequences = {}
    for n, name in enumerate(stored["sequences"]):
        sequences[name] = Ragged(file.array(f"asked.sequences.{n}.ends"), file.array(f"asked.sequences.{n}.ids"))
        check_lists(fields[name], sequences[name], counts[fields[name].side], schema.ids_of(fields[name]))
    keys = {str(name): texts(file, f"asked.keys.{n}") for n, name in enumerate(stored["keys"])}
    events = {}
    if stored["events"]:
        events = {name: file.array(f"asked.events.{name}") for name in ("user", "item", "when", "part")}
        _check_events(events, schema)
    time = checked(FieldEncoding, stored["time"])
    return ServingInputs(inputs, time, stored["timed"], *numbers, vectors, sequences, keys, events)


def _check_events(events: Mapping[str, Array], schema: Schema) -> None:
    limits = {"user": schema.n_users, "item": schema.n_items, "part": 3}
    count = events["when"].shape
    if len(count) != 1 or any(a.shape != count or a.dtype.kind not in "iu" for a in events.values()):
        raise DataError("interactions have a user, an item, a time and a part each")
    for name, limit in limits.items():
        if count[0] and not 0 <= int(events[name].min()) <= int(events[name].max()) < limit:
            raise DataError(f"{name}s of interactions lie outside the data")
