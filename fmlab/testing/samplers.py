"""What every sampler of negatives must do."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from fmlab.contracts import ChoosesByScore, Sampler
from fmlab.data.batch import Batch
from fmlab.data.negative_sampling import UserItemSet
from fmlab.data.weighted_sampling import SamplingBatch
from fmlab.testing.building import candidates, tiny

USERS, ITEMS, N = 12, 30, 6


class SamplerContract:
    """Subclass it and write `make`. Set `avoids_positives = False` if yours may draw what a user has met."""

    avoids_positives = True

    def make(self, observed: UserItemSet) -> Sampler:
        """Your sampler for these training positives."""
        raise NotImplementedError

    @pytest.fixture
    def batch(self) -> SamplingBatch:
        """Positives of users who have met a third of the items."""
        pairs = [(u, i) for u in range(USERS) for i in range(ITEMS) if (u * 7 + i * i) % 3 == 0]
        user, item = torch.tensor(pairs).T.contiguous()
        observed = UserItemSet(user, item, USERS, ITEMS)
        return SamplingBatch(observed, user, item, 100 + torch.arange(len(user)), item)

    def _draw(self, batch: SamplingBatch, seed: int = 3, epoch: int = 1) -> tuple[Tensor, Tensor | None]:
        return self.make(batch.observed).draw(batch, N, seed, epoch)

    def test_it_draws_items_and_their_chances(self, batch: SamplingBatch) -> None:
        """Shapes and types; items that the user has not met; finite logarithms of chances, the positive's first."""
        items, log_q = self._draw(batch)
        sampler = self.make(batch.observed)
        assert items.shape == (len(batch.row), N * (sampler.drawn if isinstance(sampler, ChoosesByScore) else 1))
        assert items.dtype == torch.int64
        assert 0 <= items.min() <= items.max() < ITEMS
        if self.avoids_positives:
            assert not batch.observed.contains(batch.user.unsqueeze(1), items).any()
        if log_q is not None:
            assert log_q.shape == (len(items), 1 + items.shape[1])
            assert log_q.isfinite().all()

    def test_a_draw_is_a_function_of_seed_epoch_and_row(self, batch: SamplingBatch) -> None:
        """The same again, also from a sampler made anew; others for another seed or epoch."""
        items, log_q = self._draw(batch)
        again, log_again = self._draw(batch)
        assert torch.equal(items, again)
        assert (log_q is None) == (log_again is None)
        assert not torch.equal(self._draw(batch, seed=4)[0], items)
        assert not torch.equal(self._draw(batch, epoch=2)[0], items)

    def test_processes_and_orders_draw_alike(self, batch: SamplingBatch) -> None:
        """A share of the rows, in any order, gets what these rows get in the whole batch."""
        items, log_q = self._draw(batch)
        for at in (torch.arange(0, 20), torch.arange(len(items)).flip(0)):
            part = replace(batch, user=batch.user[at], item=batch.item[at], row=batch.row[at])
            some, chances = self._draw(part)
            assert torch.equal(some, items[at])
            if log_q is not None:
                assert chances is not None
                assert torch.equal(chances, log_q[at])

    def test_what_is_chosen_was_drawn(self) -> None:
        """Of a sampler that chooses by score: as many as asked for, each among those drawn, the positive kept."""
        dataset = tiny("interactions")
        assert dataset.user is not None
        assert dataset.item is not None
        counts = dataset.schema.n_users, dataset.schema.n_items
        sampler = self.make(UserItemSet(dataset.user, dataset.item, *counts))
        if not isinstance(sampler, ChoosesByScore):
            pytest.skip("it does not choose by score")
        wide: Batch = candidates(dataset, negatives=2 * sampler.drawn)
        model = _Linear(dataset.schema.n_features)
        kept = sampler.choose(model, wide, 2)
        assert model.training
        assert kept.item is not None
        assert wide.item is not None
        assert kept.item.shape == kept.label.shape == (wide.size, 3)
        assert torch.equal(kept.item[:, 0], wide.item[:, 0])
        assert (kept.item[:, 1:].unsqueeze(2) == wide.item[:, 1:].unsqueeze(1)).any(2).all()


class _Linear(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(features, generator=torch.Generator().manual_seed(0)))

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        rows = self.weight[ids]
        return (rows if values is None else rows * values).sum(-1)
