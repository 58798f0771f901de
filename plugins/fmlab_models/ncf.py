"""Neural collaborative filtering: GMF, MLP and their fusion NeuMF."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fmlab.data import Schema
from fmlab.errors import FmlabError
from fmlab.nn.features import UserItemEmbeddings
from fmlab.nn.mlp import split_mlp
from fmlab.nn.sizes import perceptron_size, user_item_rows
from fmlab.plugin.option import Range
from fmlab_models._options import Dim, Dropout, Hidden, PositiveInitStd
from fmlab_models.pmf import PMF


class GMF(PMF):
    """Generalized matrix factorization, `<h, p_u * q_i>`; it reads ids only.

    Paper: He, Liao, Zhang, Nie, Hu, Chua, Neural collaborative filtering, WWW 2017, equations 8 and 9.

    Cost: O(dim)
    Test: tests/models/test_ncf.py::test_gmf_weighs_the_coordinates_of_the_product
    Family: collaborative
    """

    defaults = {"loss": "bce", "optimizer": "adam"}

    @staticmethod
    def n_parameters(schema: Schema, *, dim: int, **_: Any) -> int:
        """Parameters that gradients train, without building the model."""
        return (user_item_rows(schema) + 1) * dim

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 8,
        init_std: PositiveInitStd = 0.01,
    ) -> None:
        """Vectors start at N(0, init_std). Raises FmlabError on data without users and items."""
        super().__init__(schema, dim=dim, init_std=init_std)
        self.output = nn.Parameter(torch.empty(dim).uniform_(-1, 1) / dim**0.5)

    def _weighed(self, p: Tensor) -> Tensor:
        return p * self.output


class MLP(nn.Module):
    """A multilayer perceptron on `[p_u; q_i]`; it reads ids only.

    `<h, phi([p_u; q_i])>`, phi the hidden layers, `phi_l(x) = ReLU(W_l x + b_l)` one after the other.

    Paper: He, Liao, Zhang, Nie, Hu, Chua, Neural collaborative filtering, WWW 2017, equation 10.

    Sizes are those of the authors' code for eight predictive factors: a pyramid of 32, 16 and 8 above two vectors of
    32. HyperML's comparison takes three to five layers, `dim` 64 and dropout 0.5.

    The first layer splits by side, `W [p; q] = W_p p + W_q q`: a user's part is computed once for all items.

    Cost: O(W)
    Test: tests/models/test_ncf.py::test_mlp_is_its_layers_one_after_the_other
    Family: collaborative
    """

    defaults = {"loss": "bce", "optimizer": "adam"}

    @staticmethod
    def n_parameters(schema: Schema, *, dim: int, hidden: Sequence[int], **_: Any) -> int:
        """Parameters that gradients train, without building the model."""
        return user_item_rows(schema) * dim + perceptron_size(2 * dim, hidden) - 1

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 32,
        hidden: Hidden = (32, 16, 8),
        dropout: Dropout = 0.0,
        init_std: PositiveInitStd = 0.01,
    ) -> None:
        """Layers as torch initializes them; raises FmlabError without a hidden layer, or without users and items."""
        super().__init__()
        if not hidden:
            raise FmlabError("mlp needs a hidden layer, got none; models that do without: mf, gmf")
        self.tables = UserItemEmbeddings(schema, partial(_vectors, dim=dim, std=init_std), model="mlp")
        self.dim = dim
        self.first, tower = split_mlp(2 * dim, hidden, dropout)
        self.rest = tower[:-1]
        self.output = nn.Parameter(torch.empty(hidden[-1]).uniform_(-1, 1) / hidden[-1] ** 0.5)

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        return self._above(self.first(torch.cat(self.tables(ids), -1)))

    def query_state(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """`W_p p + b`."""
        return (functional.linear(self.tables.of_user(ids), self.first.weight[:, : self.dim], self.first.bias),)

    def item_state(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """`W_q q`."""
        return (functional.linear(self.tables.of_item(ids), self.first.weight[:, self.dim :]),)

    def interact(self, user: tuple[Tensor, ...], item: tuple[Tensor, ...]) -> Tensor:
        """The layers above the first."""
        return self._above(user[0] + item[0])

    def _above(self, hidden: Tensor) -> Tensor:
        return self.rest(hidden) @ self.output


class NeuMF(nn.Module):
    """GMF and MLP, each with vectors of its own, joined in the last layer; it reads ids only.

    `<h, [p_u * q_i; phi(p'_u, q'_i)]>`, which is the sum of the scores of the two.

    Paper: He, Liao, Zhang, Nie, Hu, Chua, Neural collaborative filtering, WWW 2017, equations 12 and 13.

    `warm_start=[gmf.ckpt, mlp.ckpt]` starts it from the two, trained before.

    Cost: O(dim + W)
    Test: tests/models/test_ncf.py::test_neumf_is_the_output_layer_on_both_side_by_side
    Family: collaborative
    """

    defaults = {"loss": "bce", "optimizer": "adam"}

    @staticmethod
    def n_parameters(schema: Schema, *, dim: int, mlp_dim: int, hidden: Sequence[int], **_: Any) -> int:
        """Parameters that gradients train, without building the model."""
        return user_item_rows(schema) * (dim + mlp_dim) + dim + perceptron_size(2 * mlp_dim, hidden) - 1

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 8,
        mlp_dim: Annotated[int, Range(1, None), "size of the embedding vectors of the perceptron"] = 32,
        hidden: Hidden = (32, 16, 8),
        dropout: Dropout = 0.0,
        alpha: Annotated[float, Range(0, 1), "weight of the GMF half of the output layer"] = 0.5,
        init_std: PositiveInitStd = 0.01,
    ) -> None:
        """`dim`: the size of GMF's vectors. `alpha`: GMF's share of a warm start. Raises FmlabError as the two do."""
        super().__init__()
        self.alpha = alpha
        self.gmf = GMF(schema, dim=dim, init_std=init_std)
        self.mlp = MLP(schema, dim=mlp_dim, hidden=hidden, dropout=dropout, init_std=init_std)

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        return self.gmf(ids) + self.mlp(ids)

    def query_state(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """GMF's vector, and the user's part of MLP's first layer."""
        return self.gmf.encode_query(ids)[1], *self.mlp.query_state(ids)

    def item_state(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """GMF's vector, and the item's part of MLP's first layer."""
        return self.gmf.encode_item(ids)[1], *self.mlp.item_state(ids)

    def interact(self, user: tuple[Tensor, ...], item: tuple[Tensor, ...]) -> Tensor:
        """The sum of both scores."""
        return (user[0] * item[0]).sum(-1) + self.mlp.interact(user[1:], item[1:])

    def warm_start(self, gmf: GMF, mlp: MLP) -> None:
        """Take over two trained models: `h = [alpha h_GMF; (1 - alpha) h_MLP]` (section 3.4.1).

        Raises FmlabError if their sizes differ from this model's.
        """
        for own, trained in ((self.gmf, gmf), (self.mlp, mlp)):
            try:
                own.load_state_dict(trained.state_dict())
            except RuntimeError as error:
                raise FmlabError(f"neumf starts from a gmf and an mlp of its own sizes, got others: {error}") from error
        with torch.no_grad():
            self.gmf.output.mul_(self.alpha)
            self.mlp.output.mul_(1 - self.alpha)


def _vectors(rows: int, dim: int, std: float) -> Tensor:
    return std * torch.randn(rows, dim)
