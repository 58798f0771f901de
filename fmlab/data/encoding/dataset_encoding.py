"""The preparation of a data set: batches of text become int32 feature numbers, in memory that rows do not fill.

The text is read once. Values get provisional codes in the order of their first appearance, which go to disk; when all
are counted, a second pass over the codes turns rare values into the unknown feature and codes into feature numbers.
Memory holds the vocabularies and one batch. The features of a field keep the order of their first appearance.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fmlab.data.dataset import Dataset, FieldEncoding, PreparationStep, Table
from fmlab.data.encoding.coders import coder
from fmlab.data.encoding.first_pass import FirstPass
from fmlab.data.encoding.plan import Plan
from fmlab.data.encoding.prefetch import ahead, returning_memory
from fmlab.data.encoding.progress import ProgressBar
from fmlab.data.encoding.scaling import scaled
from fmlab.data.encoding.text_arrays import ArrowTexts
from fmlab.data.encoding.vocabulary import NpyAppender
from fmlab.data.raw.cells import split
from fmlab.data.schema import SIDES, Array, Field, Schema, Side
from fmlab.errors import DataError

ROWS = 1 << 15  # of codes at a time: a block and its copy stay in the cache
TEXT = 64 << 20  # bytes of batches that are encoded at a time


def encode(
    name: str,
    stream: Iterable[Any],
    plan: Plan,
    workspace: Path,
    meter: ProgressBar,
    adjust: Callable[[Plan, FirstPass], Plan] | None = None,
) -> Dataset:
    """The data set of dictionary-encoded batches (`fmlab.data.raw.table.batches`, mapped or not); raises DataError.

    Large arrays are memory maps of files in `workspace`. `adjust`, called once all rows are read, gives the plan of the
    data set by what was found in them: it may differ in the sides of fields, in context fields that it leaves out, and
    in intervals for their numbers.
    """
    first = FirstPass(plan, workspace)
    with meter, returning_memory():
        for batches in ahead(_groups(stream, meter)):
            first.add(batches)
    first.close()
    return _SecondPass(name, adjust(plan, first) if adjust else plan, first, workspace).dataset()


def _groups(stream: Iterable[Any], meter: ProgressBar) -> Iterator[list[Any]]:
    """Batches in lists of about `TEXT` bytes."""
    group, size = [], 0
    for batch in stream:
        meter.add(len(batch))
        group.append(batch)
        size += batch.nbytes
        if size > TEXT:
            yield group
            group, size = [], 0
    if group:
        yield group


class _SecondPass:
    """Codes to feature numbers, block by block."""

    def __init__(self, name: str, plan: Plan, first: FirstPass, workspace: Path) -> None:
        self.name, self.plan, self.workspace, self.first = name, plan, workspace, first
        self.numbers = first.numbers
        self.roles, self.time_format = first.close_roles()
        counts = self._counts()
        self.coders = {n: coder(v, counts[n], plan, n) for n, v in first.vocabularies.items()}
        self.center, self.scale = first.moments()
        named = [(n, side) for side in SIDES for n in plan.of_side(side)]
        self.places = {n: place for place, (n, _) in enumerate(named)}
        self.schema = Schema(
            tuple(self._field(n, side) for n, side in named),
            n_users=self._entities(plan.user),
            n_items=self._entities(plan.item),
        )
        self.unchanged = {n for n, c in self.coders.items() if np.array_equal(c.table, np.arange(c.table.size)[None])}
        self.features = {
            n: c.table + np.int32(self.schema.offsets[self.places[n]])
            for n, c in self.coders.items()
            if n in self.places
        }

    def _counts(self) -> dict[str, Array]:
        """How often each code is there; where the rows come split, in those of training."""
        counts = {n: v.counts for n, v in self.first.vocabularies.items()}
        if "split" not in self.roles:
            return counts
        counts = {n: np.zeros_like(c) for n, c in counts.items()}
        for start in range(0, self.first.rows, ROWS):
            trained = np.asarray(self.roles["split"][start : start + ROWS]) == 0
            codes = self._codes(start)
            for at, name in enumerate(self.first.coded):
                counts[name] += np.bincount(codes[trained, at], minlength=len(counts[name]))
        return counts

    def _entities(self, name: str) -> int:
        return len(self.coders[name].keys) if name else 0

    def _field(self, name: str, side: Side) -> Field:
        shown = {self.plan.user: "user", self.plan.item: "item"}.get(name, name)
        if name in self.plan.numeric:
            return Field(shown, side, 2, numeric=True)
        coder = self.coders[name]
        return Field(shown, side, len(coder.keys) + 1, len(coder.table))

    def dataset(self) -> Dataset:
        """Write the columns and tables."""
        plan = self.plan
        named = [n for n in (plan.user, plan.item) if n]
        index = {n: NpyAppender(self.workspace / f"index{at}.npy", np.int32) for at, n in enumerate(named)}
        context = self._columns("context")
        numeric = any(n in plan.numeric for n in plan.of_side("context"))
        ids = NpyAppender(self.workspace / "context.npy", np.int32, context) if context else None
        values = NpyAppender(self.workspace / "values.npy", np.float32, context) if context and numeric else None
        sides: tuple[tuple[str, Side], ...] = ((plan.user, "user"), (plan.item, "item"))
        entities = {name: _Entities(self, side) for name, side in sides if name}
        for codes, read, block in ahead(self._blocks(context)):
            for name in named:
                index[name].append(codes[:, self.first.coded.index(name)] - 1)
                entities[name].see(codes, read)
            if block and ids is not None:
                ids.append(block.ids)
                if values is not None and block.values is not None:
                    values.append(block.values)
        table = None if ids is None else Table(ids.close(), None if values is None else values.close())
        arrays = {n: grown.close() for n, grown in index.items()}
        keys = ArrowTexts({f.name: self._keys(f.name) for f in self.schema.fields})
        return Dataset(
            name=self.name,
            schema=self.schema,
            rows=self.first.rows,
            user=arrays.get(plan.user),
            item=arrays.get(plan.item),
            users=entities[plan.user].table() if plan.user else None,
            items=entities[plan.item].table() if plan.item else None,
            context=table,
            label=self.roles.get("label"),
            targets=self._targets(),
            weight=self.roles.get("weight"),
            group=self.roles.get("group"),
            time=self.roles.get("time"),
            split=self.roles.get("split"),
            steps=self._steps(),
            keys=keys,
            inputs={f.name: self._input(f.name) for f in self.schema.fields},
            time_input=FieldEncoding(plan.time, time_format=self.time_format) if plan.time else None,
        )

    def _targets(self) -> dict[str, Array]:
        """Several labels of each row, the first of which is the label."""
        others = self.first.close_targets()
        return {name: others.get(name, self.roles["label"]) for name in self.plan.targets}

    def _blocks(self, context: int) -> Iterator[tuple[Array, Array, Table | None]]:
        """Codes and numbers of some rows, and their context."""
        for start in range(0, self.first.rows, ROWS):
            codes, read = self._codes(start), np.asfortranarray(self.numbers[start : start + ROWS])
            yield codes, read, self.number("context", codes, read) if context else None

    def _codes(self, start: int) -> Array:
        """int32[rows, columns] of a block, its columns contiguous."""
        return self.first.codes.read(range(len(self.first.coded)), start, start + ROWS).T

    def _columns(self, side: Side) -> int:
        return len(range(*self.schema.columns(side).indices(self.schema.n_columns)))

    def _keys(self, shown: str) -> pa.Array:
        name = {"user": self.plan.user, "item": self.plan.item}.get(shown, shown)
        return pa.array(["present"]) if name in self.plan.numeric else self.coders[name].keys

    def _input(self, shown: str) -> FieldEncoding:
        """The column is named as the field: who reads other names says so."""
        if shown in self.plan.intervals:
            return FieldEncoding(shown, transform="binned", edges=self.plan.intervals[shown], decimal=self.plan.decimal)
        if shown not in self.plan.numeric:
            return FieldEncoding(shown, list_separator=self.plan.list_separator if shown in self.plan.multi else "")
        at = self.first.numeric.index(shown)
        center, scale = float(self.center[at]), float(self.scale[at])
        plan = self.plan
        return FieldEncoding(shown, decimal=plan.decimal, thousands=plan.thousands, center=center, scale=scale)

    def _steps(self) -> tuple[PreparationStep, ...]:
        users, items = self.schema.n_users, self.schema.n_items
        before = len(self.schema.fields) + len(self.plan.numeric)  # a numeric field has "missing" and "present"
        for name, vocabulary in self.first.vocabularies.items():
            if name not in self.places or name in self.plan.intervals:
                before += len(self.coders[name].keys) if name in self.places else 0
                continue
            cells = vocabulary.keys.to_pylist() if name in self.plan.multi else ()
            parts = {part for cell in cells for part in split(cell, self.plan.list_separator)}
            before += len(parts) if name in self.plan.multi else len(vocabulary)
        steps = [PreparationStep("rows read", self.first.rows, users, items, before)]
        least, where = self.plan.min_count, " in training rows" if self.plan.split else ""
        rules = [f"{n} is a field of the {s}: one value for each" for n, s in self._moved()]
        rules += [f"{n} is left out: near-unique" for n in self.first.plan.fields if n not in self.plan.fields]
        rules += [f"{n} is put into intervals: near-unique" for n in self.plan.intervals]
        if least > 1:
            rules.append(f"features seen fewer than {least} times{where} are unknown")
        elif before > self.schema.n_features:
            rules.append("features of no training row are unknown")
        counts = (self.first.rows, users, items)
        return (*steps, *(PreparationStep(rule, *counts, self.schema.n_features) for rule in rules))

    def _moved(self) -> list[tuple[str, Side]]:
        return [(n, side) for n, side in self.plan.fields.items() if side != self.first.plan.fields[n]]

    def number(self, side: Side, codes: Array, read: Array) -> Table:
        """Feature numbers, and values if the side has numeric fields, of rows of codes and numbers."""
        ids = np.empty((len(codes), self._columns(side)), np.int32, order="F")  # it is filled column by column
        numeric = any(n in self.plan.numeric for n in self.plan.of_side(side))
        values = np.ones(ids.shape, np.float32) if numeric else None
        at = 0
        for name in self.plan.of_side(side):
            if values is not None and name in self.plan.numeric:
                column = self.first.numeric.index(name)
                there = ~np.isnan(read[:, column])
                ids[:, at] = self.schema.offsets[self.places[name]] + there
                values[there, at] = scaled(read[there, column], self.center[column], self.scale[column])
                at += 1
            else:
                own = codes[:, self.first.coded.index(name)]
                for features in self.features[name]:  # takes from one axis are several times faster than from rows
                    if name in self.unchanged:
                        np.add(own, features[0], out=ids[:, at])
                    else:
                        ids[:, at] = features.take(own)
                    at += 1
        return Table(np.ascontiguousarray(ids), values)


class _Entities:
    """The codes of each user or item, which must be the same in all of its rows."""

    def __init__(self, second: _SecondPass, side: Side) -> None:
        self.second, self.side, plan, first = second, side, second.plan, second.first
        self.name = plan.user if side == "user" else plan.item
        self.own = first.coded.index(self.name)
        fields = plan.of_side(side)
        self.coded = [n for n, name in enumerate(first.coded) if name in fields]
        self.numeric = [n for n, name in enumerate(first.numeric) if name in fields]
        count = len(first.vocabularies[self.name])
        self.codes = np.full((count, len(first.coded)), -1, np.int32)
        self.numbers = np.full((count, len(first.numeric)), np.nan)

    def see(self, codes: Array, read: Array) -> None:
        """Take the rows of entities not seen yet; raises DataError if a row contradicts an earlier one."""
        who = codes[:, self.own] - 1
        new = self.codes[who, self.own] < 0
        for column in self.coded:
            self.codes[who[new], column] = codes[new, column]
            self._compare(self.codes[who, column] != codes[:, column], self.second.first.coded[column], who)
        for column in self.numeric:
            self.numbers[who[new], column] = read[new, column]
            known, got = self.numbers[who, column], read[:, column]
            both = np.isnan(known) & np.isnan(got)
            self._compare((known != got) & ~both, self.second.first.numeric[column], who)

    def _compare(self, different: Array, column: str, who: Array) -> None:
        if different.any():
            first = self.second.coders[self.name].keys[int(who[np.argmax(different)])].as_py()
            raise DataError(
                f"column {column!r} must have one value for each {self.side}, {self.side} {first!r} has several; "
                f"take it out of {self.side}_fields"
            )

    def table(self) -> Table:
        """The side table."""
        return self.second.number(self.side, self.codes, self.numbers)
