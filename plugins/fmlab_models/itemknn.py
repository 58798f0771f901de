"""Item-based nearest neighbors."""

from collections.abc import Iterator
from typing import Annotated

import torch
from torch import Tensor

from fmlab.data import Schema
from fmlab.plugin.option import Range, Renamed
from fmlab_models._histories import cooccurrence_blocks, item_counts
from fmlab_models._item_neighbors import ItemNeighbors


class ItemKNN(ItemNeighbors):
    """A user's score of an item is the sum of its similarities to those of its nearest items the user has met.

    `s_ij = n_ij / (sqrt(n_i n_j) + shrink)`, the shrunk cosine of the items' columns of the user-item matrix, `n_ij`
    the users who have met both, kept for the `n_neighbors` items nearest to each.

    Paper: Deshpande, Karypis, Item-based top-N recommendation algorithms, ACM TOIS 2004.

    Shrinkage is as in Ferrari Dacrema, Cremonesi, Jannach, Are we really making much progress?, RecSys 2019. Nothing is
    trained by gradients.

    Fitted: `n_neighbors` similarities of each item are kept
    Cost: O(n_neighbors)
    Test: tests/models/test_ease_itemknn_ials.py::test_itemknn_sums_shrunk_cosines_of_the_nearest
    Family: collaborative
    """

    space = {"n_neighbors": {"int": [10, 1000], "log": True}, "shrink": {"float": [0.0, 200.0]}}
    item_measure = "shrunk cosine of the items' users, 0 beyond the nearest neighbors"

    def __init__(
        self,
        schema: Schema,
        *,
        n_neighbors: Annotated[int, Range(1, None), "number of neighbors of an item", Renamed("neighbours")] = 100,
        shrink: Annotated[float, Range(0, None), "number added to the denominator of similarities"] = 0.0,
    ) -> None:
        """No item has neighbors until `fit_interactions`; raises FmlabError on data without users and items."""
        super().__init__(schema, "itemknn", n_neighbors)
        self.shrink = shrink

    def similarities(self, user: Tensor, item: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Shrunk cosines."""
        e = self.entities
        root = item_counts(user, item, e.items).to(self.similarity.dtype).sqrt()
        for some, counts in cooccurrence_blocks(user, item, e.users, e.items):
            shared = counts.T.contiguous()
            shared.div_((torch.outer(root[some], root) + self.shrink).clamp_min_(torch.finfo(root.dtype).tiny))
            yield some, shared
