"""Sampled candidates of ranked lists: where they are, and ranks among them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fmlab.data import Array
from fmlab.errors import DataError
from fmlab.evaluation.ranks import Ties, rank_among


@dataclass(frozen=True)
class SampledCandidates:
    """`ids` int32[lists, n]: items, -1 where one is a relevant item of its list, which `repeated` says of any.

    `begin[lists + 1]`: the first relevant item of each list. `by_user`: a list has all relevant items of a user.
    """

    ids: Tensor
    repeated: bool
    begin: Array
    by_user: bool
    ties: Ties

    @classmethod
    def of(cls, found: Tensor, item: Tensor, begin: Array, *, by_user: bool, ties: Ties) -> "SampledCandidates":
        """`found[lists, n]`: candidates in the order of lists; `item`: relevant items, list after list."""
        if len(found) != len(begin) - 1:
            raise DataError(f"there must be candidates for each of the {len(begin) - 1:,} lists, got {len(found):,}")
        repeated = False
        for place in range(int(np.diff(begin).max())):
            at = begin[:-1] + place
            same = found == item[torch.from_numpy(np.minimum(at, len(item) - 1))].unsqueeze(1)
            same[torch.from_numpy(at >= begin[1:])] = False
            if same.any():
                repeated = True
                found = found.masked_fill(same, -1)
        return cls(found, repeated, begin, by_user, ties)

    def ranks(self, scores: Tensor, ids: Tensor, own: Tensor, item: Tensor, of_list: Tensor, lists: slice) -> Tensor:
        """Ranks of relevant items among the candidates of their lists, and other relevant items of these.

        `scores[lists, n]` of the candidates `ids`; of each relevant item its score `own`, its number `item`, and its
        list `of_list`, counted from the first of `lists`.
        """
        if self.repeated:
            scores = scores.masked_fill(ids < 0, -torch.inf)
        others, numbers = scores[of_list], ids[of_list] if self.ties == "index" else None
        if self.by_user:
            count = torch.from_numpy(np.diff(self.begin)[lists]).to(own.device)
            first = count.cumsum(0) - count
            place = torch.arange(len(own), device=own.device) - first[of_list]
            relevant = own.new_full((len(count), int(count.max())), -torch.inf)
            relevant[of_list, place] = own
            others = torch.cat([others, relevant[of_list]], 1)
            if numbers is not None:
                names = item.new_full(relevant.shape, -1)
                names[of_list, place] = item
                numbers = torch.cat([numbers, names[of_list]], 1)
        before = None if numbers is None else numbers < item.unsqueeze(1)
        return rank_among(others, own.unsqueeze(1), self.ties, itself=self.by_user, before=before)

    def with_relevant(self, scores: Tensor, ranked: Tensor, own: Tensor, lists: slice) -> tuple[Tensor, Tensor]:
        """Scores of candidates and, after them, of all relevant items of their list; and which of them count."""
        count = torch.from_numpy(np.diff(self.begin)[lists])
        relevant = own.new_zeros(len(count), int(count.max()))
        there = torch.arange(relevant.shape[1]) < count.unsqueeze(1)
        relevant[there] = own  # lists stand one after the other
        return torch.cat([scores, relevant], 1), torch.cat([ranked, there], 1)

    def sizes(self, lists: Array) -> Array:
        """How many items each list of candidates has, relevant ones included."""
        drawn = self.ids[torch.from_numpy(lists)]
        return (drawn >= 0).sum(1).numpy() + np.diff(self.begin)[lists]
