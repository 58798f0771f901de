"""Interaction-aware models: IFM, INN and DeepIFM."""

from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from fmlab.data import Schema
from fmlab.errors import FmlabError
from fmlab.nn.features import EmbeddingTable
from fmlab.nn.init import weights_and_vectors
from fmlab.nn.mlp import split_mlp
from fmlab.nn.sizes import n_multi_valued, pair_count, perceptron_size
from fmlab.nn.sparse_lookup import IdGrouping, gather, pool
from fmlab.plugin.option import Range, Renamed
from fmlab_models._interactions import InteractionAware, Pairs, spread, total
from fmlab_models._options import BatchNorm, Dim, Dropout, Hidden, PositiveInitStd
from fmlab_models.fm import StartsFromFM

AttentionDim = Annotated[int, Range(1, None), "units of the attention over pairs", Renamed("attention")]
FieldDim = Annotated[int, Range(1, None), "size of the vectors of fields"]
Factorized = Annotated[bool, "whether the vectors of pairs of fields are factorized", Renamed("factorised")]
Components = Annotated[
    Literal["both", "feature", "field"], "which of the two kinds of interaction weights are used", Renamed("aspects")
]
Temperature = Annotated[float, Range(0, None, open_low=True), "divisor of the attention logits"]
NPairs = Annotated[
    Annotated[int, Range(1, None)] | None,
    "pairs of columns that are weighed in a batch; null is all",
    Renamed("samples"),
]
FieldDecay = Annotated[float, Range(0, None), "L2 penalty on the factors of fields"]


class _InteractionAwareModel(StartsFromFM):
    """What the three share: the linear part, the vectors, the weighed pairs with their dropout."""

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Annotated[int, "size of the embedding vectors"],
        init_std: Annotated[float, "standard deviation of initial embeddings"],
        dropout: Annotated[float, "share of activations that are set to 0 in training"],
        field_decay: Annotated[float, "L2 penalty on the factors of fields"],
        **mechanism: Any,
    ) -> None:
        """`mechanism`: options of `InteractionAware`. Raises FmlabError on rows of one column, which have no pairs."""
        super().__init__()
        if schema.n_columns < 2:
            name = type(self).__name__.lower()
            raise FmlabError(f"{name} weighs pairs of columns, got rows of {schema.n_columns}; models for one: lr")
        self.bias = nn.Parameter(torch.zeros(()))
        self.table = EmbeddingTable(weights_and_vectors(schema.n_features, dim, init_std))
        self.pairs = InteractionAware(schema, dim, **mechanism)
        self.dropout, self.field_decay = nn.Dropout(dropout), field_decay

    def regularization(self) -> Tensor:
        """`lambda_F / 2 |F|^2` of the factors that the vectors F are made of, 0 without `field_decay`."""
        total = self.bias.new_zeros(())
        if self.field_decay and self.pairs.components != "feature":
            for factor in self.pairs.factors:
                total = total + factor.square().sum()
        return 0.5 * self.field_decay * total

    def field_pairs(self) -> tuple[str, Tensor]:
        """`|F_{f,g}|` of every two fields (table 3), `[fields, fields]`: what `fmlab plot pairs` shows."""
        if self.pairs.components == "feature":
            raise FmlabError("the vectors F of fields are left out by components=feature")
        n = 1 + max(g for _, g in self.pairs.fields)
        table = self.bias.new_zeros(n, n)
        for (f, g), norm in zip(self.pairs.fields, self.pairs.importance(), strict=True):
            table[f, g] = table[g, f] = norm
        return "Norm of F", table

    def _read(self, ids: Tensor, values: Tensor | None) -> tuple[Tensor, Pairs, Tensor, IdGrouping]:
        """The linear part, the weighed pairs, the vectors of distinct features and which of them stands where."""
        rows, at = self.table.rows(ids)
        linear, vectors = pool(rows[:, :1], at, values).squeeze(-1), rows[:, 1:]
        return self.bias + linear, self.pairs(vectors, at, values), vectors, at


def _n_parameters(
    schema: Schema,
    *,
    dim: int,
    attention_dim: int,
    field_dim: int,
    factorized: bool = True,
    components: str = "both",
    **_: Any,
) -> int:
    """Of what the three share."""
    attention = 0 if components == "field" else attention_dim * (dim + 2)
    fields = len(schema.fields)
    pairs = pair_count(fields) + n_multi_valued(schema)
    factors = field_dim * (fields + dim) if factorized else pairs * dim
    return 1 + schema.n_features * (1 + dim) + attention + (0 if components == "feature" else factors)


class IFM(_InteractionAwareModel):
    """A factorization machine that weighs every pair by its features (attention) and every factor by the two fields.

    `w0 + sum w_i x_i + sum_{i<j} T_ij <F_{f_i,f_j}, v_i * v_j> x_i x_j`
    `T_ij = softmax over pairs of h·relu(W (v_i * v_j) x_i x_j + b) / temperature`, `F_{f,g} = D^T (U_f * U_g)`

    Paper: Hong, Huang, Chen, Interaction-aware factorization machines for recommender systems, AAAI 2019,
      equations 4 to 10.

    Another model of this name is Input-aware (Yu, Wang, Yuan, IJCAI 2019).

    Variants: `factorized=False` is IFM-, with a free vector F for every two fields; `components=feature` is FA-IFM,
    where F is 1; `components=field` is IA-IFM, where T is 1; `n_pairs=c` is IFM-sampling: of all pairs of columns only
    c enter a batch, drawn without replacement with probabilities as the norms of F, and in evaluation the c of largest
    norm.

    `field_decay` is lambda_F: the loss gains `lambda_F / 2 (|U|^2 + |D|^2)`. Dropout is on
    `T_ij v_i * v_j x_i x_j`, so the attention sees all coordinates, as in the authors' code. There, initial values are
    N(0, 1) for U, D and h, Glorot's for W and b; `attention_dim` 256 and `field_dim` 26 give the paper's 1.46M on
    Frappe.

    Cost: O(C^2 dim attention_dim)
    Test: tests/models/test_ifm.py::test_ifm_and_its_gradients_are_those_of_the_double_sum
    Family: interaction-aware
    """

    defaults = {"loss": "squared", "optimizer": "adagrad"}
    space = {"temperature": {"choice": [1.0, 10.0, 100.0]}, "field_dim": {"int": [4, 64], "log": True}}

    @staticmethod
    def n_parameters(schema: Schema, **options: Any) -> int:
        """Parameters that gradients train, without building the model."""
        return _n_parameters(schema, **options)

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 256,
        attention_dim: AttentionDim = 256,
        field_dim: FieldDim = 26,
        factorized: Factorized = True,
        components: Components = "both",
        temperature: Temperature = 10.0,
        n_pairs: NPairs = None,
        field_decay: FieldDecay = 0.0,
        dropout: Dropout = 0.1,
        init_std: PositiveInitStd = 0.01,
    ) -> None:
        """Raises FmlabError on rows of one column, which have no pairs."""
        super().__init__(
            schema,
            dim=dim,
            init_std=init_std,
            dropout=dropout,
            attention_dim=attention_dim,
            field_dim=field_dim,
            factorized=factorized,
            components=components,
            temperature=temperature,
            field_decay=field_decay,
            n_pairs=n_pairs,
        )

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        linear, pairs, _, _ = self._read(ids, values)
        return linear + total(pairs, self.dropout)


class INN(_InteractionAwareModel):
    """A multilayer perceptron on the weighed pairs of IFM, one beside the other, and a linear part.

    `w0 + sum w_i x_i + MLP([T_ij F_{f_i,f_j} * v_i * v_j x_i x_j for all i < j])`

    Paper: Hong, Huang, Chen, Interaction-aware factorization machines for recommender systems, AAAI 2019,
      equations 14 and 15.

    Layers are those of the authors' code: one of 5 before the output.

    Cost: O(C^2 dim attention_dim + W)
    Test: tests/models/test_ifm.py::test_inn_is_a_perceptron_on_the_weighed_pairs
    Family: interaction-aware
    """

    defaults = {"loss": "squared", "optimizer": "adagrad"}
    space = {"temperature": {"choice": [1.0, 10.0, 100.0]}, "field_dim": {"int": [4, 64], "log": True}}

    @staticmethod
    def n_parameters(schema: Schema, **options: Any) -> int:
        """Parameters that gradients train, without building the model."""
        width = options["dim"] * pair_count(schema.n_columns)
        return _n_parameters(schema, **options) + perceptron_size(width, options["hidden"])

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 256,
        hidden: Hidden = (5,),
        attention_dim: AttentionDim = 256,
        field_dim: FieldDim = 26,
        factorized: Factorized = True,
        components: Components = "both",
        temperature: Temperature = 10.0,
        field_decay: FieldDecay = 0.0,
        dropout: Dropout = 0.1,
        init_std: PositiveInitStd = 0.01,
    ) -> None:
        """Dropout is on the pairs; raises FmlabError on rows of one column, which have none."""
        super().__init__(
            schema,
            dim=dim,
            init_std=init_std,
            dropout=dropout,
            attention_dim=attention_dim,
            field_dim=field_dim,
            factorized=factorized,
            components=components,
            temperature=temperature,
            field_decay=field_decay,
        )
        first, rest = split_mlp(len(self.pairs.first) * dim, hidden, 0.0)
        self.layers = nn.Sequential(first, *rest)

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        linear, pairs, _, _ = self._read(ids, values)
        return linear + self.layers(spread(pairs, self.dropout).flatten(-2)).squeeze(-1)


class DeepIFM(_InteractionAwareModel):
    """`IFM(x) + MLP([v_1 x_1; ...; v_F x_F])` on shared vectors: DeepFM with IFM as its wide part.

    Paper: Hong, Huang, Chen, Interaction-aware factorization machines for recommender systems, AAAI 2019,
      below equation 15.

    It gives no sizes for this model, which it ran on click-through data: `dim`, `hidden` and the layers' dropout are
    DeepFM's.

    Cost: O(C^2 dim attention_dim + W)
    Test: tests/models/test_ifm.py::test_deepifm_is_ifm_and_a_perceptron_on_the_same_vectors
    Family: interaction-aware
    """

    defaults = {"loss": "bce", "optimizer": "adagrad"}
    space = {"temperature": {"choice": [1.0, 10.0, 100.0]}, "field_dim": {"int": [4, 64], "log": True}}

    @staticmethod
    def n_parameters(schema: Schema, **options: Any) -> int:
        """Parameters that gradients train, without building the model."""
        deep = perceptron_size(schema.n_columns * options["dim"], options["hidden"], options["batch_norm"])
        return _n_parameters(schema, **options) + deep

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 10,
        hidden: Hidden = (400, 400),
        attention_dim: AttentionDim = 16,
        field_dim: FieldDim = 16,
        temperature: Temperature = 10.0,
        n_pairs: NPairs = None,
        field_decay: FieldDecay = 0.0,
        dropout: Dropout = 0.5,
        batch_norm: BatchNorm = False,
        init_std: PositiveInitStd = 0.01,
    ) -> None:
        """`dropout` is on the pairs and between the layers."""
        super().__init__(
            schema,
            dim=dim,
            init_std=init_std,
            dropout=dropout,
            attention_dim=attention_dim,
            field_dim=field_dim,
            factorized=True,
            components="both",
            temperature=temperature,
            field_decay=field_decay,
            n_pairs=n_pairs,
        )
        first, rest = split_mlp(schema.n_columns * dim, hidden, dropout, batch_norm)
        self.layers = nn.Sequential(first, *rest)

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        linear, pairs, distinct, at = self._read(ids, values)
        vectors = gather(distinct, at)
        if values is not None:
            vectors = vectors * values.unsqueeze(-1)
        return linear + total(pairs, self.dropout) + self.layers(vectors.flatten(-2)).squeeze(-1)
