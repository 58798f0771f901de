"""Histories of users: their interactions in the order of time, of which those before a moment are looked up.

**The rule.** The history of a row holds interactions of its user whose time is less than the row's: never the row
itself, never one of the same moment, never a later one. Where data have no times and all rows are positives, the order
of rows is the order of time. It is made of training rows alone, of positives where rows are labeled (label above 0),
in training, validation and test alike; a protocol whose test is later than its validation (`Task.test_history`) lets
test histories hold validation rows as well, as leave-one-out and temporal splits do. In `predict` a history is that of
a test row; in `recommend` it is what the list leaves out of the user's items.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fmlab.data.dataset import Dataset
from fmlab.data.schema import Array
from fmlab.errors import DataError

Place = tuple[Tensor, Tensor]  # [queries, L] places in an array, and whether they hold something


def windows(begin: Tensor, end: Tensor, limit: int) -> Place:
    """Places of the last `limit` entries of each range `[begin, end)`, the last one at the end; padded in front.

    There is at least one place; those of padding are 0.
    """
    count = (end - begin).clamp(0, limit)
    width = max(1, int(count.max())) if len(count) else 1
    place = end.unsqueeze(1) - torch.arange(width, 0, -1, device=end.device)
    mask = place >= (end - count).unsqueeze(1)
    return place.masked_fill_(~mask, 0), mask


class Histories:
    """Interactions sorted by user, then by time.

    `item`, `when`: int64[n]. `offsets`: int64[users + 1].
    """

    def __init__(self, user: Array, item: Array, when: Array, n_users: int) -> None:
        """`user[n]`, `item[n]`: indices. `when[n]`: times, or anything that increases with them."""
        order = np.lexsort((when, user))
        own, when = np.asarray(user, np.int64)[order], np.asarray(when, np.int64)[order]
        moments = np.unique(when)
        self.moments = torch.from_numpy(moments)
        self.keys = torch.from_numpy(own * (len(moments) + 1) + np.searchsorted(moments, when))
        self.offsets = torch.from_numpy(np.cumsum(np.bincount(own + 1, minlength=n_users + 1)))
        padded = (np.asarray(item, np.int64)[order], when) if len(own) else (np.zeros(1, np.int64),) * 2
        self.item, self.when = (torch.from_numpy(np.ascontiguousarray(a)) for a in padded)

    @classmethod
    def of(cls, dataset: Dataset, rows: Array) -> "Histories":
        """Of the positives among the given rows; raises DataError where data cannot have histories."""
        if dataset.user is None or dataset.item is None:
            raise DataError(f"a history is of a user's items: {dataset.name!r} has no user or no item side")
        if dataset.label is not None:
            if dataset.time is None:
                raise DataError(
                    f"a history of labeled rows needs times, {dataset.name!r} has none: the order of rows could tell "
                    "labels; name a column of times, or a sequence column that holds the history"
                )
            rows = rows[np.asarray(dataset.label)[rows] > 0]
        user, item = (np.asarray(a)[rows] for a in (dataset.user, dataset.item))
        return cls(user, item, moments_of(dataset, rows), dataset.schema.n_users)

    def to(self, device: torch.device) -> "Histories":
        """The same on another device."""
        moved = object.__new__(Histories)
        moved.__dict__ = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in self.__dict__.items()}
        return moved

    def before(self, user: Tensor, when: Tensor | None, limit: int) -> Place:
        """Places in `item` and `when` of the last `limit` interactions of `user[Q]` before `when[Q]`; None is now.

        A user of -1 has none.
        """
        known = user >= 0
        who = user.clamp(min=0)
        begin, end = self.offsets[who], self.offsets[who + 1]
        if when is not None:
            key = who * (len(self.moments) + 1) + torch.searchsorted(self.moments, when)
            end = torch.searchsorted(self.keys, key)
        return windows(begin, torch.where(known, end, begin), limit)


def moments_of(dataset: Dataset, rows: Array) -> Any:
    """What orders rows: their time, or their number where the data have none. int64[len(rows)]."""
    return rows.astype(np.int64) if dataset.time is None else np.asarray(dataset.time[rows], np.int64)
