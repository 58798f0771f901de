"""A data set read from a file of the user's own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np

from fmlab.api import Array, DataError, Dataset, Field, PreparationStep, Range, RawFile, Schema, Table, lines


class Visits:
    """Visits of people to places: one line `person<TAB>place` each, in a file under the root folder.

    Source: yours.

    Every visit is a positive; people with fewer than `min_visits` are left out.
    """

    defaults = {"protocol": "full_ranking"}
    version = "1"  # change it whenever `build` would give other output
    license = "yours"
    citation = "none"

    def __init__(self, root: Path, *, file: str = "visits.tsv", min_visits: Annotated[int, Range(1, None)] = 1) -> None:
        """`file` is relative to the root folder."""
        self.file, self.min_visits = file, min_visits
        self.raw = (RawFile(file),)

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """Read, count, encode; raises DataError naming the line."""
        pairs = [line.split("\t") for line in lines(files[self.file])]
        for number, pair in enumerate(pairs, 1):
            if len(pair) != 2:
                raise DataError(f"a visit is person<TAB>place, {self.file}:{number} has {len(pair)} columns")
        person, place = (np.array(column) for column in zip(*pairs, strict=True)) if pairs else (np.array([]),) * 2
        read = _step("read", person, place)
        _, at, visits = np.unique(person, return_inverse=True, return_counts=True)
        kept = visits[at] >= self.min_visits
        people, user = np.unique(person[kept], return_inverse=True)
        places, item = np.unique(place[kept], return_inverse=True)
        schema = Schema(
            (Field("person", "user", len(people) + 1), Field("place", "item", len(places) + 1)),
            n_users=len(people),
            n_items=len(places),
        )
        return Dataset(
            name="visits",
            schema=schema,
            rows=len(user),
            user=user.astype(np.int32),
            item=item.astype(np.int32),
            users=_ids(schema, 0),
            items=_ids(schema, 1),
            steps=(read, _step(f"people with {self.min_visits} visits", person[kept], place[kept])),
            keys={"person": _text(people), "place": _text(places)},
        )


def _ids(schema: Schema, field: int) -> Table:
    """Entity n has the feature after the unknown one: n + 1."""
    count = schema.fields[field].size - 1
    return Table((schema.offsets[field] + 1 + np.arange(count, dtype=np.int32))[:, None].astype(np.int32))


def _step(name: str, person: Array, place: Array) -> PreparationStep:
    users, items = len(np.unique(person)), len(np.unique(place))
    return PreparationStep(name, len(person), users, items, users + items + 2)


def _text(keys: Array) -> Array:
    return np.array(keys.tolist(), np.dtypes.StringDType())
