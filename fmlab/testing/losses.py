"""What every loss must do."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fmlab.contracts import Loss
from fmlab.data.batch import Batch
from fmlab.errors import FmlabError
from fmlab.testing.building import candidates, labeled, tiny


class LossContract:
    """Subclass it and write `make`. A loss may refuse a batch with FmlabError: tests on such batches are skipped.

    Override `model` if the loss needs more than scores, such as points of a manifold.
    """

    def make(self) -> Loss:
        """Your loss."""
        raise NotImplementedError

    def model(self, size: float) -> nn.Module:
        """A model whose scores on the tiny data set spread over about [-size, size]."""
        return _Scores(size)

    @pytest.fixture(params=["labeled", "candidates"])
    def batch(self, request: pytest.FixtureRequest) -> Batch:
        """Labeled rows, and positives with negatives."""
        dataset = tiny("interactions")
        batch = labeled(dataset) if request.param == "labeled" else candidates(dataset)
        try:
            self.make()(self.model(1.0), batch)
        except FmlabError as error:
            pytest.skip(str(error))
        return batch

    def test_it_takes_rows_or_candidates(self) -> None:
        """At least one of the two; the other with a reason."""
        dataset, refused = tiny("interactions"), 0
        for batch in (labeled(dataset), candidates(dataset)):
            try:
                self.make()(self.model(1.0), batch)
            except FmlabError:
                refused += 1
        assert refused < 2

    def test_it_is_a_scalar_with_a_finite_gradient(self, batch: Batch) -> None:
        """Also for scores of a million."""
        for size in (0.0, 1.0, 1e6):
            model = self.model(size)
            loss = self.make()(model, batch)
            assert loss.shape == ()
            assert torch.isfinite(loss), f"not finite for scores of {size:g}"
            torch.autograd.backward(loss)
            for parameter in model.parameters():
                assert parameter.grad is not None
                assert torch.isfinite(parameter.grad.to_dense()).all()

    def test_it_is_a_mean_over_rows(self, batch: Batch) -> None:
        """A batch beside its copy costs what the batch does: shares of a global batch add up."""
        model, loss = self.model(1.0), self.make()
        torch.testing.assert_close(loss(model, _take(batch, [*range(batch.size)] * 2)), loss(model, batch))

    def test_the_order_of_rows_does_not_matter(self, batch: Batch) -> None:
        """The loss is symmetric."""
        model, loss = self.model(1.0), self.make()
        torch.testing.assert_close(loss(model, _take(batch, [*reversed(range(batch.size))])), loss(model, batch))

    def test_descending_it_separates_the_labels(self, batch: Batch) -> None:
        """A few steps raise the scores of positives above those of the others."""
        model, loss = self.model(0.1), self.make()
        before = loss(model, batch).item()
        for _ in range(50):
            model.zero_grad()
            torch.autograd.backward(loss(model, batch))
            with torch.no_grad():
                for parameter in model.parameters():
                    assert parameter.grad is not None
                    parameter.sub_(0.05 * parameter.grad)
        assert loss(model, batch).item() < before
        scores = model(*batch.rows())
        assert scores[batch.label > 0.5].mean() > scores[batch.label < 0.5].mean()


class _Scores(nn.Module):
    """One free score for each pair of a user and an item."""

    def __init__(self, size: float) -> None:
        super().__init__()
        self.schema = tiny("interactions").schema
        users, items = self.schema.n_users + 1, self.schema.n_items + 1
        spread = torch.randn(users, items, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
        self.table = nn.Parameter(size * spread)

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        start = self.schema.item.start
        return self.table[ids[..., 0], ids[..., start] - self.schema.offsets[self.schema.column_field[start]]]


def _take(batch: Batch, rows: list[int]) -> Batch:
    at = torch.tensor(rows)
    assert batch.user is not None
    assert batch.item is not None
    changes: dict[str, Any] = {"user": batch.user[at], "item": batch.item[at], "label": batch.label[at]}
    return replace(batch, **changes)
