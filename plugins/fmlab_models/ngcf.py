"""Neural graph collaborative filtering."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fmlab.data import Schema
from fmlab.nn.sizes import matrices, user_item_rows
from fmlab_models._graph import GraphModel
from fmlab_models._options import Dim, Dropout, Hidden


class NGCF(GraphModel):
    """The inner product of user and item vectors, each all layers of a graph network side by side; it reads ids only.

    `E_l = LeakyReLU((L + I) E_{l-1} W_1 + (L E_{l-1}) * E_{l-1} W_2)`, `L = D^-1/2 A D^-1/2`, A the graph of the
    training positives.

    Paper: Wang, He, Wang, Feng, Chua, Neural graph collaborative filtering, SIGIR 2019, equations 7 to 10.

    The slope
    0.2, `dropout` of messages, and the scaling of every layer's vectors to length 1 before they are joined
    (`normalized`) are those of the authors' code; the dropout of nodes is left out.

    Cost: O(dim + sum(hidden)), after one pass over the graph for all rows
    Test: tests/models/test_lightgcn_ngcf.py::test_ngcf_is_its_matrix_form
    Family: collaborative
    """

    defaults = {"loss": "bpr", "optimizer": "adam"}

    @staticmethod
    def n_parameters(schema: Schema, *, dim: int, hidden: Sequence[int], **_: Any) -> int:
        """Parameters that gradients train, without building the model."""
        return user_item_rows(schema) * dim + 2 * matrices(dim, *hidden)

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 64,
        hidden: Hidden = (64, 64, 64),
        dropout: Dropout = 0.1,
        normalized: Annotated[bool, "whether the vectors of layers are normalized"] = True,
    ) -> None:
        """Vectors and matrices start as Glorot's uniform ones; raises FmlabError on data without users and items."""
        start = nn.init.xavier_uniform_(torch.empty(schema.n_users + schema.n_items + 2, dim))
        super().__init__(schema, start, dim + sum(hidden), "ngcf")
        sizes = list(pairwise([dim, *hidden]))
        self.own = nn.ParameterList(nn.init.xavier_uniform_(torch.empty(a, b)) for a, b in sizes)
        self.joint = nn.ParameterList(nn.init.xavier_uniform_(torch.empty(a, b)) for a, b in sizes)
        self.dropout, self.normalized = nn.Dropout(dropout), normalized

    def propagate(self) -> Tensor:
        """All layers of all nodes side by side, `[nodes, dim + sum(hidden)]`."""
        layer: Tensor = self.nodes
        layers = [layer]
        for own, joint in zip(self.own, self.joint, strict=True):
            passed = self.graph(layer)
            summed = (passed + layer) @ own + (passed * layer) @ joint
            layer = self.dropout(functional.leaky_relu(summed.to(self.nodes.dtype), 0.2))
            layers.append(functional.normalize(layer, dim=-1) if self.normalized else layer)
        return torch.cat(layers, -1)
