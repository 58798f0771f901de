"""Item-based nearest neighbors by BM25 weights."""

from collections.abc import Iterator
from typing import Annotated

from torch import Tensor

from fmlab.data import Schema
from fmlab.plugin.option import Range
from fmlab_models._histories import cooccurrence_blocks, item_counts, user_counts
from fmlab_models._item_neighbors import ItemNeighbors


class BM25(ItemNeighbors):
    """A user's score of an item is the sum of its similarities to those of its nearest items the user has met.

    `s_ij = sum_u w_ui w_uj`, where a user is a document and an item a term that stands in it once:
    `w_ui = (k1 + 1) / (k1 (1 - b + b n_u / mean(n_u)) + 1) log(U / (1 + n_i))`, with n the interactions of a user or an
    item and U the number of users. The `n_neighbors` largest `s_ij` of each item i are kept.

    Paper: Robertson, Walker, Jones, Hancock-Beaulieu, Gatford, Okapi at TREC-3, 1994. As weights of items it is
      `BM25Recommender` of the library implicit, which keeps the nearest of each item that was met.

    Nothing is trained by gradients.

    Fitted: `n_neighbors` similarities of each item are kept
    Cost: O(n_neighbors)
    Test: tests/models/test_bm25.py::test_bm25_sums_products_of_the_weights_of_terms
    Family: collaborative
    """

    space = {
        "n_neighbors": {"int": [10, 1000], "log": True},
        "k1": {"float": [0.05, 10.0], "log": True},
        "b": {"float": [0.0, 1.0]},
    }
    item_measure = "product of the BM25 weights of the two items over users, 0 beyond the nearest neighbors"

    def __init__(
        self,
        schema: Schema,
        *,
        n_neighbors: Annotated[int, Range(1, None), "number of neighbors of an item"] = 100,
        k1: Annotated[float, Range(0, None), "how much the length of a user's history counts, by b"] = 1.2,
        b: Annotated[float, Range(0, 1), "share of a history's length by which its weights are lower"] = 0.75,
    ) -> None:
        """No item has neighbors until `fit_interactions`; raises FmlabError on data without users and items."""
        super().__init__(schema, "bm25", n_neighbors)
        self.k1, self.b = k1, b

    def similarities(self, user: Tensor, item: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Products of weights."""
        e, like = self.entities, self.similarity
        length = user_counts(user, item, e.users, e.items).to(like.dtype)
        relative = length / length.mean().clamp_min(1 / max(1, e.users))
        term = (self.k1 + 1) / (self.k1 * (1 - self.b + self.b * relative) + 1)
        rarity = (e.users / (1 + item_counts(user, item, e.items).to(like.dtype))).log()
        for some, products in cooccurrence_blocks(user, item, e.users, e.items, term**2):
            yield some, products.T.contiguous().mul_(rarity).mul_(rarity[some].unsqueeze(1))
