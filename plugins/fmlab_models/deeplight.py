"""A field-weighted factorization machine beside a multilayer perceptron, pruned while it is trained."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from fmlab.data import Schema
from fmlab.nn.features import EmbeddingTable
from fmlab.nn.sizes import pair_count, perceptron_size
from fmlab.plugin.option import Range
from fmlab_models._deep import DeepModel
from fmlab_models._matrices import FieldMatrices
from fmlab_models._options import BatchNorm, Dim, Dropout, Hidden, InitStd

_EVERY = 10  # steps between two prunings


class DeepLight(DeepModel):
    """`w0 + sum <s_f, w_f> + sum_{f<g} r_fg <s_f, s_g> + MLP([s_1; ...; s_F])`, DeepFwFM, with structural pruning.

    Paper: Deng, Pan, Zhou, Kong, Flores, Lin, DeepLight: deep lightweight feature interactions for accelerating CTR
      predictions in ad serving, WSDM 2021.

    What is pruned, and when, is as in the authors' code: a threshold for all vectors together, one for r, one for each
    layer. There `warmup` counts epochs, and r starts at N(0, 1 / F).

    `s_f` is the sum of `x v` over the slots of field f. Slots of one field do not interact with each other. After
    `warmup` training steps, every tenth sets the smallest weights of the vectors, of the field matrix r and of each
    layer of the perceptron (but the last) to 0, which may grow again until the next pruning: a share
    `S (1 - 0.99^(t / 100))` at step t after the warm-up. A model that is switched to evaluation is pruned as well.

    Cost: O(C dim + P dim + W)
    Test: tests/models/test_deep_oracles.py::test_scores_and_gradients_are_those_of_the_equations
    Family: deep
    """

    whole_tables = True  # whose values are pruned
    steps: Tensor

    @staticmethod
    def n_parameters(schema: Schema, *, dim: int, hidden: Sequence[int], batch_norm: bool, **_: Any) -> int:
        """Parameters that gradients train, without building the model."""
        fields = len(schema.fields)
        deep = perceptron_size(fields * dim, hidden, batch_norm)
        return 1 + schema.n_features * dim + fields * dim + pair_count(fields) + deep

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 10,
        hidden: Hidden = (400, 400, 400),
        dropout: Dropout = 0.5,
        batch_norm: BatchNorm = False,
        sparsity: Annotated[
            float, Range(0, 1, open_high=True), "share of the weights of the perceptron that is pruned"
        ] = 0.0,
        vector_sparsity: Annotated[float, Range(0, 1, open_high=True), "share of the embeddings that is pruned"] = 0.0,
        field_sparsity: Annotated[
            float, Range(0, 1, open_high=True), "share of the field weights that is pruned"
        ] = 0.0,
        warmup: Annotated[int, Range(0, None), "training steps before pruning"] = 1000,
        init_std: InitStd = 0.01,
    ) -> None:
        """`sparsity`: S of the perceptron. r starts at N(0, 1), vectors at N(0, init_std)."""
        super().__init__(
            schema, dim, init_std=init_std, linear=False, hidden=hidden, dropout=dropout, batch_norm=batch_norm
        )
        self.bias = nn.Parameter(torch.zeros(()))
        self.linear = nn.Parameter(torch.randn(self.n_fields * dim))
        self.matrices = FieldMatrices("scalar", (dim,) * self.n_fields, [False] * self.n_fields)
        self.warmup, self.sparsity = warmup, {"vectors": vector_sparsity, "fields": field_sparsity, "layers": sparsity}
        self.done = 0  # training steps; a number of the host, which need not wait for a device to look at it
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))  # the same, for checkpoints
        self.register_load_state_dict_post_hook(_recall)  # type: ignore[no-untyped-call]

    def train(self, mode: bool = True) -> "DeepLight":
        """Switching to evaluation prunes."""
        if self.training and not mode:
            self._prune(self.done)
        super().train(mode)
        return self

    def begin_step(self, step: int) -> None:
        """Every tenth step prunes."""
        if any(self.sparsity.values()):
            if step % _EVERY == 0:
                self._prune(step)
            self.done = step + 1
            self.steps.fill_(self.done)

    def _score(self, linear: Tensor, first: Tensor, *parts: Tensor) -> Tensor:
        pairs = 0.5 * self.matrices.form(parts[0], self.matrices(), self.all)
        return linear + parts[0] @ self.linear + pairs + self.rest(first).squeeze(-1)

    @torch.no_grad()
    def _prune(self, steps: int) -> None:
        after = max(0, steps - self.warmup)
        for part, weight in self._prunable():
            drop = int(self.sparsity[part] * (1 - 0.99 ** (after / 100)) * weight.numel())
            if drop:
                size = weight.abs()
                weight.masked_fill_(size <= size.flatten().kthvalue(drop).values, 0.0)

    def _prunable(self) -> Iterator[tuple[str, Tensor]]:
        for table in self.tables.tables:
            assert isinstance(table, EmbeddingTable)
            yield "vectors", table.weight
        yield "fields", self.matrices.weight
        layers = [self.first, *(m for m in self.rest if isinstance(m, nn.Linear))]
        for layer in layers[:-1]:
            yield "layers", layer.weight


def _recall(model: DeepLight, keys: object) -> None:
    model.done = int(model.steps)
