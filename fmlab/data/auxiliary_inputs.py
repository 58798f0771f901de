"""Times, histories, sequences and vectors of a data set, looked up for models that ask for them."""

import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fmlab.data.dataset import Dataset, Ragged
from fmlab.data.features import Features
from fmlab.data.histories import Histories, moments_of, windows
from fmlab.data.model_inputs import LENGTH, NO_INPUTS, History, ModelInputs
from fmlab.data.model_inputs import Sequence as Ids
from fmlab.data.schema import Array, Field, Side
from fmlab.errors import DataError

Names = Mapping[str, bool]  # what is asked for, and whether it is needed


class AuxiliaryInputs:
    """Nothing is read, and nothing is moved to a device, before it is asked for.

    `rows`: those that histories are made of. Arrays that are memory-mapped stay so on the CPU.
    """

    def __init__(
        self, dataset: Dataset, rows: Array | None, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> None:
        """`dtype`: of vectors, float32 unless given."""
        self.dataset, self.rows = dataset, rows
        self.device, self.dtype = device or torch.device("cpu"), dtype or torch.float32

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> "AuxiliaryInputs":
        """The same on another device."""
        if (device, dtype or self.dtype) == (self.device, self.dtype):
            return self
        return AuxiliaryInputs(self.dataset, self.rows, device, dtype or self.dtype)

    def of_rows(self, rows: Array | None) -> "AuxiliaryInputs":
        """With histories made of other rows."""
        if rows is None:
            return self
        other = AuxiliaryInputs(self.dataset, rows, self.device, self.dtype)
        other.__dict__ |= {k: v for k, v in self.__dict__.items() if k not in ("rows", "histories")}
        return other

    # ---------------------------------------------------------------------------------------- queries

    def query(
        self,
        names: Names,
        items: Features | None,
        user: Tensor | None,
        row: Tensor | None,
        length: int = LENGTH,
    ) -> ModelInputs:
        """What is asked of queries: `user[Q]`, and `row[Q]`, None for queries of now, outside of the data.

        `items`: the table of items, whose features histories hold. Raises DataError where what is needed is not there.
        """
        if not names:
            return NO_INPUTS
        made: dict[str, Any] = {}
        if "row" in names:
            made["row"] = self._needed(names, "row", row)
        if "time" in names:
            times = None if row is None or self.dataset.time is None else self._time[row]
            made["time"] = self._needed(names, "time", times)
        if "history" in names:
            made["history"] = self._history(names, items, user, row, length)
        made |= self._inputs_of_sides(names, (("user", user), ("context", row)), length)
        return ModelInputs({name: value for name, value in made.items() if value is not None})

    def items(self, names: Names, at: Tensor | slice, length: int = LENGTH) -> ModelInputs:
        """What is asked of items: their vectors and sequences."""
        if not ("vectors" in names or "sequences" in names):
            return NO_INPUTS
        if isinstance(at, slice):
            at = torch.arange(*at.indices(self.dataset.schema.n_items), device=self.device)
        return ModelInputs(self._inputs_of_sides(names, (("item", at),), length))

    def _needed(self, names: Names, name: str, found: Any = None) -> Any:
        """What was found; raises DataError where nothing was, and the model cannot do without."""
        if found is None and names[name]:
            wanting = {
                "row": "these rows have no numbers",
                "time": f"{self.dataset.name!r} has no times",
                "history": f"{self.dataset.name!r} has no users and items, and no sequence of items",
                "vectors": f"{self.dataset.name!r} has no vector field",
                "sequences": f"{self.dataset.name!r} has no sequence field",
            }
            raise DataError(f"the model needs `{name}` of every row, and {wanting[name]}")
        return found

    def _inputs_of_sides(
        self, names: Names, sides: Sequence[tuple[Side, Tensor | None]], length: int
    ) -> dict[str, Any]:
        schema = self.dataset.schema
        made: dict[str, Any] = {}
        there = [(f, at) for side, at in sides for f in schema.auxiliary if f.side == side and at is not None]
        if "vectors" in names:
            self._needed(names, "vectors", schema.vectors or None)
            made["vectors"] = {f.name: self.vectors(f.name, at) for f, at in there if f.width}
        if "sequences" in names:
            self._needed(names, "sequences", schema.sequences or None)
            made["sequences"] = {f.name: self.sequence(f, at, length) for f, at in there if f.sequence}
        return made

    def vectors(self, name: str, at: Tensor) -> Tensor:
        """`at[*batch]` -> `[*batch, width]`; an index of -1 has a vector of zeros."""
        table = self._vectors(name)
        found = table.index_select(0, at.clamp(min=0).reshape(-1)).to(self.dtype).view(*at.shape, table.shape[1])
        return found.masked_fill((at < 0).unsqueeze(-1), 0)

    def sequence(self, field: Field, at: Tensor, length: int) -> Ids:
        """`at[*batch]` -> ids and mask `[*batch, L]`; an index of -1 has an empty one."""
        ends, ids = self._sequences(field.name)
        flat = at.reshape(-1)
        known, where = flat >= 0, flat.clamp(min=0)
        end = torch.where(known, ends[where + 1], 0)
        place, mask = windows(torch.where(known, ends[where], 0), end, length)
        found = ids[place].long().masked_fill(~mask, self.dataset.schema.ids_of(field).start)
        return Ids(found.view(*at.shape, -1), mask.view(*at.shape, -1))

    def _history(
        self, names: Names, items: Features | None, user: Tensor | None, row: Tensor | None, length: int
    ) -> History | None:
        schema, own = self.dataset.schema, self.dataset.schema.history
        if own is not None and items is not None:
            at = user if own.side == "user" else row
            if at is None:
                return self._needed(names, "history")
            found = self.sequence(own, at, length)
            item = found.ids - schema.ids_of(own).start - 1  # the unknown one becomes -1
            return self.history(items, item, found.mask, None, vectors="vectors" in names)
        if user is None or items is None:
            return self._needed(names, "history")
        when = None if row is None else self._when[row]
        place, mask = self.histories.before(user, when, length)
        time = self.histories.when[place] if self.dataset.time is not None else None
        return self.history(items, self.histories.item[place], mask, time, vectors="vectors" in names)

    def history(
        self, items: Features, item: Tensor, mask: Tensor, time: Tensor | None, *, vectors: bool = False
    ) -> History:
        """The history of the items `item[Q, L]`, of which -1 is an unknown one."""
        absent = ~mask | (item < 0)
        columns = range(self.dataset.schema.item.start, self.dataset.schema.n_columns)
        unknown = [self.dataset.schema.offsets[self.dataset.schema.column_field[c]] for c in columns]
        features = items.take(item.clamp(min=0))
        ids = torch.where(absent.unsqueeze(-1), features.ids.new_tensor(unknown), features.ids)
        values = None if features.values is None else features.values.masked_fill(absent.unsqueeze(-1), 1)
        own = {}
        if vectors:
            at = item.masked_fill(absent, -1)
            own = {f.name: self.vectors(f.name, at) for f in self.dataset.schema.vectors if f.side == "item"}
        return History(ids, mask, values, time, own)

    # ------------------------------------------------------------------------------------------ tensors

    @cached_property
    def histories(self) -> Histories:
        """What every user had, in the order of time."""
        if self.rows is None:
            raise DataError("histories are made of training rows, and nobody said which these are")
        return Histories.of(self.dataset, self.rows).to(self.device)

    @cached_property
    def _time(self) -> Tensor:
        return _shared(np.asarray(self.dataset.time), self.device)

    @cached_property
    def _when(self) -> Tensor:
        if self.dataset.time is not None:
            return self._time
        return torch.from_numpy(moments_of(self.dataset, np.arange(self.dataset.rows))).to(self.device)

    def _vectors(self, name: str) -> Tensor:
        return self._kept(f"vectors {name}", lambda: _shared(self.dataset.vectors[name], self.device))

    def _sequences(self, name: str) -> tuple[Tensor, Tensor]:
        def made() -> tuple[Tensor, Tensor]:
            lists: Ragged = self.dataset.sequences[name]
            ids = lists.ids if len(lists.ids) else np.zeros(1, np.int32)
            return _shared(np.append(np.int64(0), lists.ends), self.device), _shared(ids, self.device)

        return self._kept(f"sequences {name}", made)

    def _kept(self, name: str, make: Any) -> Any:
        if name not in self.__dict__:
            self.__dict__[name] = make()
        return self.__dict__[name]


def _shared(array: Array, device: torch.device) -> Tensor:
    """The array as a tensor; one that is memory-mapped stays so on the CPU. Nobody writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.asanyarray(array)).to(device)
