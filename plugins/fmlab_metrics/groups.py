"""AUC within groups of rows: users, sessions, impression lists."""

from typing import Annotated, Any, Literal

import numpy as np

from fmlab.data import Array
from fmlab.errors import DataError
from fmlab_metrics._rows import finite, is_positive, tie_ends


class GAUC:
    """Mean of the AUC of each group, weighted by the rows of the group, or by its positives.

    Source: H. Zhu et al., Optimized Cost per Click in Taobao Display Advertising, KDD 2017, equation 9

    Groups of one class are left out, and counted (`details`). Row weights count in the pairs of a group and in its
    weight.
    """

    name = "gauc"
    maximize = True

    def __init__(
        self, *, weighting: Annotated[Literal["rows", "positives"], "what groups are weighed by"] = "rows"
    ) -> None:
        """What a group is weighted by."""
        self.weighting = weighting

    def of_scores(
        self, score: Array, label: Array, *, group: Array, weight: Array | None = None
    ) -> tuple[float, Array | None]:
        """`score[rows]`, `label[rows]` (0/1 or -1/1), `group[rows]` -> mean and the contribution of each row.

        Raises DataError where every group has one class.
        """
        auc, share, kept, place = self._groups(score, label, group, weight)
        whole = share[kept].sum()
        if not whole:
            raise DataError(f"gauc is undefined: each of the {len(auc):,} groups has rows of one class")
        value = float((auc * share)[kept].sum() / whole)
        size = np.bincount(place, minlength=len(auc))
        each = np.where(kept, share * (auc - value), 0.0) / size * (len(place) / whole)
        return value, value + each[place]

    def details(self, score: Array, label: Array, *, group: Array, weight: Array | None = None) -> dict[str, Any]:
        """How many groups count, and how many are left out because their rows are of one class."""
        _, _, kept, _ = self._groups(score, label, group, weight)
        return {"groups": int(kept.sum()), "groups_of_one_class": int((~kept).sum())}

    def _groups(
        self, score: Array, label: Array, group: Array, weight: Array | None
    ) -> tuple[Array, Array, Array, Array]:
        """AUC and weight of each group, whether it has both classes, and the group of each row."""
        score, positive = finite(score), is_positive(label, "gauc")
        weight = np.ones(len(score)) if weight is None else np.asarray(weight, np.float64)
        names, place = np.unique(np.asarray(group), return_inverse=True)
        order = np.lexsort((score, place))
        ends = tie_ends(place[order], score[order])
        begin = np.r_[0, ends[:-1]]
        hits, misses = (np.add.reduceat(np.where(c, weight, 0.0)[order], begin) for c in (positive, ~positive))
        owner = place[order][begin]
        first = np.searchsorted(owner, np.arange(len(names)))
        before = np.cumsum(misses) - misses
        pairs = hits * (before - before[first][owner] + misses / 2)
        total, p, n = (np.add.reduceat(a, first) for a in (pairs, hits, misses))
        kept = (p > 0) & (n > 0)
        auc = np.divide(total, p * n, out=np.zeros(len(names)), where=kept)
        return auc, p + n if self.weighting == "rows" else p, kept, place
