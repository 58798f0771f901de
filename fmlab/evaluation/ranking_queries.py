"""Queries of ranked lists: whose items are scored, with which context, and which items are not ranked."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fmlab.data import Array, Dataset
from fmlab.data.batch import Features, Tables, as_features
from fmlab.data.histories import moments_of
from fmlab.data.model_inputs import ModelInputs, inputs_of_model
from fmlab.data.negative_sampling import UserItemSet


@dataclass(frozen=True)
class RankingQueries:
    """Queries of cases, which are relevant items: `rows[cases]` of the data, `user[cases]` of them.

    `by_user`: a list has all relevant items of a user, else one.
    """

    dataset: Dataset
    observed: UserItemSet
    rows: Array
    user: Array
    by_user: bool

    def of(self, cases: slice, scorer: Any, tables: Tables) -> tuple[Tensor, Tensor, Features | None, ModelInputs]:
        """Users `[Q]`, the query of each case, the queries' context, and the inputs that the scorer declares.

        With a context, or with inputs of a row, every case is its own query; but a list that has all relevant items of
        a user is one query, of the time of the earliest of them.
        """
        assert tables.items is not None
        device = tables.items.ids.device
        user, rows = torch.from_numpy(self.user[cases]).to(device), self.rows[cases]
        of_rows = self._of_rows(scorer)
        if self.by_user or not of_rows:
            user, which = torch.unique_consecutive(user, return_inverse=True)
            if not of_rows:
                return user, which, None, tables.query(scorer, user, None)
            earliest = np.lexsort((moments_of(self.dataset, rows), self.user[cases]))
            rows = rows[earliest[np.searchsorted(self.user[cases], user.cpu().numpy())]]
            return user, which, None, tables.query(scorer, user, torch.from_numpy(rows).to(device))
        context = None
        if self.dataset.context is not None:
            context = as_features(self.dataset.context.take(rows)).to(device)
        given = tables.query(scorer, user, torch.from_numpy(rows).to(device))
        return user, torch.arange(len(user), device=device), context, given

    def _of_rows(self, scorer: Any) -> bool:
        """Whether a query is more than its user."""
        names = inputs_of_model(scorer).keys()
        has_context = any(f.side == "context" for f in self.dataset.schema.auxiliary)
        return self.dataset.context is not None or bool(names - {"vectors"}) or (bool(names) and has_context)

    def observed_cells(self, user: Tensor) -> Tensor:
        """Places in the flat scores `[Q, items]` of the observed items of each query's user."""
        at = user.cpu()
        count, begin = self.observed.degree[at], self.observed.offsets[at]
        total = int(count.sum())
        row = torch.arange(len(at)) * self.observed.n_items
        first = int(begin[0]) if len(at) else 0
        if len(at) and int(begin[-1] + count[-1]) - first == total and bool((at[1:] > at[:-1]).all()):
            items = self.observed.items[first : first + total]  # no user between them has observed anything
        else:
            shift = begin - count.cumsum(0) + count  # from places in the list to places in `observed.items`
            place = torch.repeat_interleave(shift, count, output_size=total).add_(torch.arange(total))
            items = self.observed.items.index_select(0, place)
        return torch.repeat_interleave(row, count, output_size=total).add_(items).to(user.device)
