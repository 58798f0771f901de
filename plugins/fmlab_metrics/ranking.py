"""Means over ranked lists with one relevant item each, from its rank (1 is best; ties by expected position)."""

from typing import Annotated

import numpy as np

from fmlab.data import Array
from fmlab.errors import DataError
from fmlab.plugin.option import Range


class MRR:
    """Mean reciprocal rank: 1 / rank, and 0 past rank `k` if one is given.

    Source: E. M. Voorhees, The TREC-8 Question Answering Track Report, 1999
    """

    maximize = True

    def __init__(self, *, k: Annotated[int, Range(1, None)] | None = None) -> None:
        self.k, self.name = k, _named("mrr", k)

    def of_ranks(self, rank: Array) -> Array:
        """`rank[lists]` -> reciprocal ranks; raises DataError for a rank that is below 1 or NaN."""
        return np.where(_within(rank, self.k), 1 / _checked(rank), 0.0)


class HR:
    """Hit ratio: the share of lists whose relevant item is at rank `k` or better. With one relevant item, recall@k.

    Source: X. He et al., Neural Collaborative Filtering, WWW 2017
    """

    maximize = True

    def __init__(self, *, k: Annotated[int, Range(1, None)] = 10) -> None:
        self.k, self.name = k, _named("hr", k)

    def of_ranks(self, rank: Array) -> Array:
        """`rank[lists]` -> 1 or 0; raises DataError for a rank that is below 1 or NaN."""
        return _within(_checked(rank), self.k).astype(np.float64)


class NDCG:
    """Normalised discounted cumulative gain, 1 / log2(1 + rank), and 0 past rank `k`; the whole list if k is null.

    Source: K. Järvelin, J. Kekäläinen, Cumulated Gain-Based Evaluation of IR Techniques, ACM TOIS 2002. With one
    relevant item the ideal gain is 1, so that the gain needs no normalising.
    """

    maximize = True

    def __init__(self, *, k: Annotated[int, Range(1, None)] | None = None) -> None:
        self.k, self.name = k, _named("ndcg", k)

    def of_ranks(self, rank: Array) -> Array:
        """`rank[lists]` -> gains; raises DataError for a rank that is below 1 or NaN."""
        return np.where(_within(rank, self.k), 1 / np.log2(1 + _checked(rank)), 0.0)


def _named(name: str, k: int | None) -> str:
    return name if k is None else f"{name}@{k}"


def _within(rank: Array, k: int | None) -> Array:
    return np.asarray(rank) <= (np.inf if k is None else k)


def _checked(rank: Array) -> Array:
    rank = np.asarray(rank, np.float64)
    wrong = int((~(rank >= 1)).sum())
    if wrong:
        raise DataError(f"a rank must be at least 1, got {wrong:,} of {rank.size:,} that are less or not a number")
    return rank
