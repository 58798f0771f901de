"""Feature generation by convolution below a product-based neural network."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from fmlab.data import Schema
from fmlab.errors import FmlabError
from fmlab.nn.fields import FieldEmbeddings
from fmlab.nn.pair_products import inner_products
from fmlab.nn.sizes import matrices, pair_count, perceptron_size
from fmlab.plugin.option import Range, Renamed
from fmlab_models._deep import DeepModel, perceptron
from fmlab_models._options import BatchNorm, Dim, Dropout, Hidden, InitStd


class FGCNN(DeepModel):
    """`MLP([e; p])`, e the fields' sums and generated fields, p the inner products of all of them, as in IPNN.

    Paper: Liu, Tang, Chen, Yu, Guo, Zhang, Feature generation by convolutional neural network for click-through rate
      prediction, WWW 2019.

    The generator and its sizes follow public implementations; the paper's own text was not compared.

    The generator has vectors of its own. Each of its layers convolves along the fields (tanh, padded to keep their
    number), keeps the largest of every `pooling` neighbors, and recombines what is left into `n_generated` times as
    many fields, `tanh(W flat + b)`.

    Cost: O(C dim + F dim kernel_height matrices(1, filters) + T^2 dim + W), T the fields and those generated, W with
      the weights that recombine
    Test: tests/models/test_deep_oracles.py::test_scores_and_gradients_are_those_of_the_equations
    Family: deep
    """

    @staticmethod
    def n_parameters(
        schema: Schema,
        *,
        dim: int,
        filters: Sequence[int],
        kernel_height: int,
        pooling: int,
        n_generated: int,
        hidden: Sequence[int],
        batch_norm: bool,
        **_: Any,
    ) -> int:
        """Parameters that gradients train, without building the model."""
        left = total = len(schema.fields)
        generator = kernel_height * matrices(1, *filters) + sum(filters)
        for maps in filters:
            left = -(-left // pooling)
            generator += n_generated * left * dim * (maps * left * dim + 1)
            total += n_generated * left
        return (
            2 * schema.n_features * dim
            + generator
            + perceptron_size(total * dim + pair_count(total), hidden, batch_norm)
        )

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 10,
        filters: Annotated[tuple[int, ...], "feature maps of each convolution"] = (14, 16, 18, 20),
        kernel_height: Annotated[int, Range(1, None), "rows that a convolution kernel spans", Renamed("height")] = 7,
        pooling: Annotated[int, Range(1, None), "rows that pooling joins"] = 2,
        n_generated: Annotated[
            int, Range(1, None), "new fields that a layer makes of each that pooling left", Renamed("new")
        ] = 3,
        hidden: Hidden = (400, 400, 400),
        dropout: Dropout = 0.5,
        batch_norm: BatchNorm = False,
        init_std: InitStd = 0.01,
    ) -> None:
        """Vectors start at N(0, init_std), all else as torch initializes layers. Raises FmlabError on even heights."""
        if kernel_height % 2 == 0:
            raise FmlabError(
                f"kernel_height must be odd, so that a convolution can be centered on a field; got {kernel_height}"
            )
        super().__init__(schema, dim, init_std=init_std, linear=False)
        self.generator_tables = FieldEmbeddings(schema, (dim,) * self.n_fields, std=init_std, weights=False)
        self.pool = nn.MaxPool2d((pooling, 1), ceil_mode=True)
        shape, padding = (kernel_height, 1), (kernel_height // 2, 0)
        self.convolve = nn.ModuleList(nn.Conv2d(a, b, shape, padding=padding) for a, b in pairwise((1, *filters)))
        self.recombine = nn.ModuleList()
        left, total = self.n_fields, self.n_fields
        for maps in filters:
            left = -(-left // pooling)
            self.recombine.append(nn.Linear(maps * left * dim, n_generated * left * dim))
            total += n_generated * left
        self.perceptron = perceptron(total * dim + total * (total - 1) // 2, hidden, dropout, batch_norm)

    def _encode(self, ids: Tensor, values: Tensor | None, fields: range) -> tuple[Tensor, ...]:
        return *super()._encode(ids, values, fields), self.generator_tables(ids, values, fields).sums

    def _score(self, linear: Tensor, first: Tensor, *parts: Tensor) -> Tensor:
        raw, x = (self._folded(p) for p in parts)
        found, x = [raw], x.unsqueeze(1)  # [n, maps, fields, dim]
        for convolve, recombine in zip(self.convolve, self.recombine, strict=True):
            x = self.pool(convolve(x).tanh())
            found.append(recombine(x.flatten(1)).tanh().unflatten(1, (-1, self.dim)))
        fields = torch.cat(found, 1)
        return self.perceptron(torch.cat([fields.flatten(1), inner_products(fields)], 1)).view(linear.shape)
