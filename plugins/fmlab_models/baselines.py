"""What every model must beat: the same score for all, and the item's number of interactions."""

from typing import Any

import torch
from torch import Tensor, nn

from fmlab.data import Schema
from fmlab.errors import FmlabError
from fmlab.nn.features import id_field


class Constant(nn.Module):
    """Scores every row 0: an evaluation that likes it is broken.

    Source: none needed; it is the score 0.

    Cost: O(1)
    Test: tests/inspection/test_model_table.py::test_the_constant_scores_every_row_0
    Family: baselines
    """

    defaults = {"loss": None, "optimizer": None}

    @staticmethod
    def n_parameters(schema: Schema, **_: Any) -> int:
        """Parameters that gradients train, without building the model."""
        return 0

    def __init__(self, schema: Schema) -> None:
        """Any schema will do."""
        super().__init__()

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """0 for every row."""
        return torch.zeros(ids.shape[:-1], device=ids.device)

    def encode_query(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Bias 0, vector 0 of width 1."""
        zero = self(ids)
        return zero, zero.unsqueeze(-1)

    encode_item = encode_query

    def link(self, z: Tensor) -> Tensor:
        """The identity."""
        return z


class Popularity(nn.Module):
    """Scores an item by its number of training interactions, whoever the user is.

    Source: Cremonesi, Koren, Turrin, Performance of recommender algorithms on top-N recommendation tasks, RecSys 2010.

    Fitted: a count of each item is kept
    Cost: O(1)
    Test: tests/models/test_model_oracles.py::test_popularity_counts_training_positives
    Family: baselines
    """

    defaults = {"loss": None, "optimizer": None}
    count: Tensor

    @staticmethod
    def n_parameters(schema: Schema, **_: Any) -> int:
        """Parameters that gradients train, without building the model."""
        return 0

    def __init__(self, schema: Schema) -> None:
        """Counts stand at 0 until `fit_interactions`; raises FmlabError if the first item field does not name the
        items."""
        super().__init__()
        number = id_field(schema, "item", "popularity")
        field = schema.fields[number]
        if field.size != schema.n_items + 1:
            raise FmlabError(
                f"popularity needs a first item field with one feature for each of the {schema.n_items} items and one "
                f"unknown, got {field.name!r} with {field.size}"
            )
        self.column, self.first = schema.item.start, schema.offsets[number]
        self.register_buffer("count", torch.zeros(field.size))

    def fit_interactions(self, user: Tensor, item: Tensor) -> None:
        """Count the items of the training positives; item i has the feature i + 1, the unknown one counts 0."""
        self.count.copy_(torch.bincount(item + 1, minlength=len(self.count)))

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """The count of each row's item."""
        return self.count[ids[..., self.column] - self.first]

    def encode_query(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Bias 0, vector 0 of width 1."""
        zero = torch.zeros(ids.shape[:-1], dtype=self.count.dtype, device=ids.device)
        return zero, zero.unsqueeze(-1)

    def encode_item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The count, and a vector 0 of width 1."""
        count = self.count[ids[..., 0] - self.first]
        return count, torch.zeros_like(count).unsqueeze(-1)

    def link(self, z: Tensor) -> Tensor:
        """The identity."""
        return z
