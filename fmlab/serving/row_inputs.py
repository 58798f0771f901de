"""Inputs besides features that a trained model declares, made for new rows and queries.

A row has the number -1. Its time is read where the rows have the column of times, and is else the latest of the data.
Its history is what its user had before that time, or all of it where no time is given. Users and items that training
knew have the vectors and sequences they had then; those of others are read where the rows have columns for them, and
are zeros, or empty, otherwise.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fmlab.data import Array, Field, Ragged, Side
from fmlab.data.auxiliary_inputs import AuxiliaryInputs
from fmlab.data.batch import Features, as_features
from fmlab.data.encoding.fitted_encoder import RowInputColumn, Tallies
from fmlab.data.encoding.sequences import sequences_of
from fmlab.data.encoding.times import SHORT, Times
from fmlab.data.encoding.vectors import vectors_of
from fmlab.data.histories import Histories, windows
from fmlab.data.model_inputs import NO_INPUTS, History, ModelInputs, history_length, inputs_of_model
from fmlab.data.model_inputs import Sequence as Ids
from fmlab.errors import DataError
from fmlab.run.serving_data import ServingData
from fmlab.run.serving_inputs import ServingInputs


class RowInputs:
    """Made once for a trained model; `names` are the inputs that it declares."""

    def __init__(self, model: nn.Module, data: ServingData) -> None:
        """Raises DataError where the run folder does not hold it."""
        self.names, self.length = inputs_of_model(model), history_length(model)
        self.schema = data.schema
        if not self.names:
            return
        if data.model_inputs is None:
            raise DataError(f"the model asks for {', '.join(self.names)}, which the run folder does not hold")
        self.stored: ServingInputs = data.model_inputs
        self.auxiliary = AuxiliaryInputs(self.stored.dataset(data.schema, data.users, data.items), None)
        self.items = None if data.items is None else as_features(data.items)
        self.codes = {f.name: self._codes(f, data) for f in data.schema.sequences if f.name in self.stored.inputs}
        self._histories: dict[int, Histories] = {}

    def _codes(self, field: Field, data: ServingData) -> dict[str, int]:
        at, first = self.schema.owner(field), self.schema.ids_of(field).start
        keys = (
            data.keys[self.schema.fields[at].name]
            if at is not None
            else self.stored.keys[field.vocabulary or field.name]
        )
        return {key: first + n for n, key in enumerate(keys.tolist(), 1)}

    def columns(self) -> list[RowInputColumn]:
        """Raw columns that rows may have beside those of features; vectors and sequences of a row must be there."""
        if not self.names:
            return []
        fields = {f.name: f for f in self.schema.auxiliary}
        made = [
            RowInputColumn(name, fields[name].side, given, fields[name].side == "context", self.codes.get(name))
            for name, given in self.stored.inputs.items()
        ]
        if self.stored.timed and ("time" in self.names or self.stored.events):
            made.append(RowInputColumn("time", "context", self.stored.time, False, None))
        return made

    # ------------------------------------------------------------------------------------------- given

    def query(self, rows: Any, user: Array, part: int | None, tallies: Tallies) -> ModelInputs:
        """Of queries: `user[Q]`, -1 for unknown ones. `rows`: their record batch, None where there is none.

        `part`: the last part of the data that histories know of; None is what test rows knew.
        """
        if not self.names:
            return NO_INPUTS
        who = torch.from_numpy(np.asarray(user, np.int64))
        made: dict[str, Any] = self._of_side("user", who, rows, tallies)
        for kind, context in self._of_side("context", torch.full_like(who, -1), rows, tallies).items():
            made[kind] = {**made.get(kind, {}), **context}
        when = self._times(rows)
        if "row" in self.names:
            made["row"] = torch.full_like(who, -1)
        if "time" in self.names:
            made["time"] = torch.full_like(who, self.stored.latest) if when is None else when
        if "history" in self.names:
            made["history"] = self._history(who, rows, when, self.stored.known if part is None else part, tallies)
        return ModelInputs(made)

    def item(self, rows: Any, item: Array, tallies: Tallies) -> ModelInputs:
        """Of items: `item[n]`, -1 for unknown ones."""
        if not self.names:
            return NO_INPUTS
        return ModelInputs(self._of_side("item", torch.from_numpy(np.asarray(item, np.int64)), rows, tallies))

    def _of_side(self, side: Side, at: Tensor, rows: Any, tallies: Tallies) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for kind, fields in (("vectors", self.schema.vectors), ("sequences", self.schema.sequences)):
            if kind in self.names:
                read = self._vectors if kind == "vectors" else self._sequence
                made[kind] = {f.name: read(f, at, rows, tallies) for f in fields if f.side == side}
        return made

    def _vectors(self, field: Field, at: Tensor, rows: Any, tallies: Tallies) -> Tensor:
        there = field.name in self.stored.vectors
        found = self.auxiliary.vectors(field.name, at) if there else torch.zeros(len(at), field.width)
        if (column := self._column(field.name, rows)) is not None and bool((at < 0).any()):
            given = self.stored.inputs[field.name]
            table, _ = vectors_of(column.dictionary, given.column, given.list_separator, field.width)
            own = np.concatenate([table, np.zeros((1, field.width), np.float32)])
            found = torch.where((at < 0).unsqueeze(1), torch.from_numpy(own[_places(column)]), found)
        return found

    def _sequence(self, field: Field, at: Tensor, rows: Any, tallies: Tallies) -> Ids:
        first = self.schema.ids_of(field).start
        known = self.stored.sequences.get(field.name)
        cells: list[Array] = [known[n] if known is not None and n >= 0 else np.zeros(0, np.int32) for n in at.tolist()]
        if (column := self._column(field.name, rows)) is not None and bool((at < 0).any()):
            given = self.stored.inputs[field.name]
            table, unseen = sequences_of(column.dictionary, given.list_separator, self.codes[field.name], first)
            places = _places(column)
            for n in np.flatnonzero((at < 0).numpy()).tolist():
                cells[n] = table[int(places[n])] if places[n] < len(table) else cells[n]
            tallies[field.name].unseen += int(np.append(unseen, 0)[places].sum())
        lists = Ragged.of(cells)
        ends = torch.from_numpy(np.append(np.int64(0), lists.ends))
        place, mask = windows(ends[:-1], ends[1:], self.length)
        ids = torch.from_numpy(np.append(lists.ids, np.int32(first)))[place].long().masked_fill(~mask, first)
        return Ids(ids, mask)

    def _history(self, who: Tensor, rows: Any, when: Tensor | None, part: int, tallies: Tallies) -> History:
        own, vectors = self.schema.history, "vectors" in self.names
        items: Features | None = self.items
        if items is None:
            raise DataError("a history is of items: the data have none")
        if own is not None:
            at = who if own.side == "user" else torch.full_like(who, -1)
            found = self._sequence(own, at, rows, tallies)
            item = found.ids - self.schema.ids_of(own).start - 1
            return self.auxiliary.history(items, item, found.mask, None, vectors=vectors)
        if part not in self._histories:
            self._histories[part] = self.stored.histories(self.schema, part)
        made = self._histories[part]
        place, mask = made.before(who, when, self.length)
        time = made.when[place] if self.stored.timed else None
        return self.auxiliary.history(items, made.item[place], mask, time, vectors=vectors)

    def _times(self, rows: Any) -> Tensor | None:
        column = None if rows is None else self._named(self.stored.time.column, rows)
        if column is None or not self.stored.timed:
            return None
        unit = self.stored.time.time_format
        times, missing = Times(self.stored.time.column, unit if unit in SHORT else "").read(column)
        return torch.from_numpy(np.where(missing, self.stored.latest, times))

    def _column(self, field: str, rows: Any) -> Any:
        return None if rows is None else self._named(self.stored.inputs[field].column, rows)

    @staticmethod
    def _named(name: str, rows: Any) -> Any:
        return rows[name] if name in rows.schema.names else None


def _places(column: Any) -> Array:
    places: Array = column.indices.fill_null(len(column.dictionary)).to_numpy(zero_copy_only=False)
    return places
