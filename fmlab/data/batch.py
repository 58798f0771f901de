"""A batch: slices of index arrays, and the feature tables they point into, on one device.

A batch of candidates has `item[B, 1 + n]`, the positive first, and labels 1, 0, ..., 0.
A batch of labeled rows has `item[B]`, or no item at all, and the rows' own labels.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from fmlab.data.auxiliary_inputs import AuxiliaryInputs
from fmlab.data.dataset import Dataset
from fmlab.data.features import Features, as_features
from fmlab.data.model_inputs import NO_INPUTS, History, ModelInputs, history_length, inputs_of, inputs_of_model
from fmlab.data.schema import Array
from fmlab.errors import DataError

__all__ = ["Batch", "Features", "History", "ModelInputs", "Tables", "as_features"]


@dataclass(frozen=True)
class Tables:
    """The feature tables of both sides; None where the data have no such side.

    `auxiliary`: what models may ask for beside features; None where nobody can.
    """

    users: Features | None
    items: Features | None
    auxiliary: AuxiliaryInputs | None = None

    @classmethod
    def of(cls, dataset: Dataset, history: Array | None = None) -> "Tables":
        """Tables of a data set, on the CPU. `history`: the rows that histories are made of, those of training."""
        users, items = (None if t is None else as_features(t) for t in (dataset.users, dataset.items))
        return cls(users, items, AuxiliaryInputs(dataset, history))

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> "Tables":
        """The same on another device, values and vectors of that `dtype`."""
        users, items = (None if t is None else t.to(device, dtype) for t in (self.users, self.items))
        return Tables(users, items, None if self.auxiliary is None else self.auxiliary.to(device, dtype))

    def with_history(self, rows: Array | None) -> "Tables":
        """With histories made of other rows; None leaves them."""
        return self if rows is None or self.auxiliary is None else replace(self, auxiliary=self.auxiliary.of_rows(rows))

    def query(self, model: Any, user: Tensor | None, row: Tensor | None) -> ModelInputs:
        """What a model asks for of queries: `user[Q]`, `row[Q]`; raises DataError where the data have no such thing."""
        names = inputs_of_model(model)
        if not names:
            return NO_INPUTS
        return self._auxiliary(names).query(names, self.items, user, row, history_length(model))

    def item(self, model: Any, at: Tensor | slice) -> ModelInputs:
        """What a model, or one of its methods, asks for of the items `at[*batch]`."""
        names = inputs_of_model(model)
        return self._auxiliary(names).items(names, at, history_length(model)) if names else NO_INPUTS

    def _auxiliary(self, names: Any) -> AuxiliaryInputs:
        if self.auxiliary is None:
            raise DataError(f"the model asks for {', '.join(names)}, and these tables are of no data set")
        return self.auxiliary


@dataclass(frozen=True)
class Batch:
    """What a loss sees.

    `user[B]`, `item[B]` or `item[B, 1 + n]`, `context[B, columns]`: each None where the data have none.
    `label`: float, of the shape of the scores. `loss_scale`: what the loss is multiplied with so that unequal
    shares of a global batch add up to its mean. `row[B]`: numbers of the rows in the data, None for others.

    `row_weight[B]`: how much each row counts, with mean 1 over the training rows; None: all alike.
    `targets`: the labels `[B]` of several targets by name, the first of which is `label`; empty where there is one.
    `log_q[B, 1 + n]`: the logarithm of the chance of each candidate to be drawn, over that of a uniform draw; None for
    uniform draws, and where the sampler corrects nothing. Losses over candidates subtract it from the scores.
    """

    tables: Tables
    user: Tensor | None
    item: Tensor | None
    context: Features | None
    label: Tensor
    loss_scale: float = 1.0
    row_weight: Tensor | None = None
    targets: Mapping[str, Tensor] = field(default_factory=dict)
    log_q: Tensor | None = None
    row: Tensor | None = None

    @property
    def weight(self) -> float:
        """The former name of `loss_scale`, for one release."""
        warnings.warn(
            "Batch.weight is called Batch.loss_scale now: the weights of rows are Batch.row_weight",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.loss_scale

    @property
    def size(self) -> int:
        """Rows, or positives with their negatives, in this batch."""
        return self.label.shape[0]

    @property
    def has_candidates(self) -> bool:
        """Whether each positive stands with its sampled negatives."""
        return self.label.dim() == 2

    def query(self) -> Features:
        """User and context columns `[B, columns]`."""
        if self.user is None or self.tables.users is None:
            if self.context is None:
                raise ValueError("a batch has a user side, a context side, or both; got neither")
            return self.context
        users = self.tables.users.take(self.user)
        return users if self.context is None else users.join(self.context)

    def rows(self) -> Features:
        """Whole rows: `[B, columns]`, or `[B, 1 + n, columns]` for candidates."""
        query = self.query()
        if self.item is None or self.tables.items is None:
            return query
        items = self.tables.items.take(self.item)
        if self.has_candidates:
            query = Features(query.ids.unsqueeze(1), None if query.values is None else query.values.unsqueeze(1))
        return query.join(items)

    @property
    def time(self) -> Tensor | None:
        """Times of the rows `[B]`, microseconds since 1970; None where they are not known."""
        return self._given({"time": False}, 1).values.get("time")

    def history(self, length: int) -> History:
        """The last `length` items that the users had before these rows; raises DataError where there are none."""
        return self._given({"history": True}, length).values["history"]

    def _given(self, names: dict[str, bool], length: int) -> ModelInputs:
        if self.tables.auxiliary is None:
            raise DataError(f"{', '.join(names)} of a batch: its tables are of no data set")
        return self.tables.auxiliary.query(names, self.tables.items, self.user, self.row, length)

    def given(self, model: Any) -> ModelInputs:
        """What a model asks for of the queries of this batch."""
        return self.tables.query(model, self.user, self.row)

    def whole(self, model: Any) -> dict[str, Any]:
        """What `forward` of a model gets beside the ids and values of whole rows."""
        if not inputs_of(model):
            return {}
        given = self.given(model)
        if self.item is not None and self.tables.items is not None:
            given = (given.with_item_axis() if self.has_candidates else given).join(self.tables.item(model, self.item))
        return given.named(model)

    def of_query(self, model: Any, side: Callable[..., Any]) -> Any:
        """What a method of a model gives for the queries: `side(ids, values, and what it asks for)`."""
        return side(*self.query(), **(self.given(model).named(side) if inputs_of(side) else {}))

    def to(self, device: torch.device) -> "Batch":
        """The same on another device; the tables are expected to be there already and are moved if not."""
        return replace(self._mapped(lambda t: t.to(device)), tables=self.tables.to(device))

    def head(self, n: int) -> "Batch":
        """The first `n` rows, as a whole batch."""
        return replace(self._mapped(lambda t: t[:n]), loss_scale=1.0)

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """With `change` applied to everything that has a row axis."""

        def of(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else change(tensor)

        context = self.context
        return replace(
            self,
            user=of(self.user),
            item=of(self.item),
            context=None if context is None else Features(change(context.ids), of(context.values)),
            label=change(self.label),
            row_weight=of(self.row_weight),
            targets={name: change(target) for name, target in self.targets.items()},
            log_q=of(self.log_q),
            row=of(self.row),
        )
