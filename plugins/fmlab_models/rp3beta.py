"""Random walks of three steps on the graph of users and items."""

from collections.abc import Iterator
from typing import Annotated

from torch import Tensor

from fmlab.data import Schema
from fmlab.plugin.option import Range
from fmlab_models._histories import cooccurrence_blocks, item_counts, user_counts
from fmlab_models._item_neighbors import ItemNeighbors


class RP3Beta(ItemNeighbors):
    """A user's score of an item is the chance of a random walk from the user to it, divided by its popularity.

    `score(u, i) = sum_{j met by u} s_ij`, `s_ij = n_i^-beta sum_{v met i and j} (n_j n_v)^-alpha`, with n the number of
    edges of an item or a user in the graph of who met what: walks u, j, v, i. The `n_neighbors` largest `s_ij` of each
    item i are kept.

    Paper: Christoffel, Paudel, Newell, Bernstein, Blockbusters and wallflowers: accurate, diverse, and scalable
      recommendations with random walks, RecSys 2015; `alpha`: Cooper, Lee, Radinsky, Siantos, Random walks in
      recommender systems: exact computation and simulations, WWW 2014.

    With `beta=0` it is P3alpha. The first step, from the user to what it has met, has the same chance for each and is
    left out, which changes no order. Nothing is trained by gradients.

    Fitted: `n_neighbors` weights of each item are kept
    Cost: O(n_neighbors)
    Test: tests/models/test_rp3beta.py::test_rp3beta_is_a_walk_of_three_steps_over_popularity
    Family: collaborative
    """

    space = {
        "n_neighbors": {"int": [10, 1000], "log": True},
        "alpha": {"float": [0.2, 1.5]},
        "beta": {"float": [0.0, 1.0]},
    }
    item_measure = "chance of a walk from the other item to it over its popularity, 0 beyond the nearest neighbors"

    def __init__(
        self,
        schema: Schema,
        *,
        n_neighbors: Annotated[int, Range(1, None), "number of neighbors of an item"] = 100,
        alpha: Annotated[float, Range(0, None), "power of the chance of a step"] = 0.6,
        beta: Annotated[float, Range(0, None), "power of the popularity that scores are divided by"] = 0.2,
    ) -> None:
        """No item has neighbors until `fit_interactions`; raises FmlabError on data without users and items."""
        super().__init__(schema, "rp3beta", n_neighbors)
        self.alpha, self.beta = alpha, beta

    def similarities(self, user: Tensor, item: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Chances of walks, over popularity."""
        e = self.entities
        edges = item_counts(user, item, e.items).clamp_min(1).to(self.similarity.dtype)
        weight = user_counts(user, item, e.users, e.items).clamp_min(1).to(edges.dtype) ** -self.alpha
        for some, walks in cooccurrence_blocks(user, item, e.users, e.items, weight):
            found = walks.T.contiguous().mul_(edges**-self.alpha)
            yield some, found.mul_((edges[some] ** -self.beta).unsqueeze(1))
