"""Draws against their stated chances, processes against one, losses against their corrected formulas."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from fmlab.contracts import Sampler, Training
from fmlab.data.negative_sampling import UserItemSet
from fmlab.data.weighted_sampling import SamplingBatch, draw_weighted, random_numbers
from fmlab.errors import FmlabError
from fmlab.plugin.registry import build, names
from fmlab.testing import SamplerContract, candidates, tiny
from fmlab.training.loader import TrainingLoader
from fmlab.training.sanity_check import check_draws, try_one_batch

LOSSES = ("bce", "bpr", "hinge", "sampled_softmax")


def _contract(name: str) -> type[SamplerContract]:
    def make(self: SamplerContract, observed: UserItemSet) -> Sampler:
        return build("sampler", {"name": name}, observed, gives=Sampler)

    return type(f"Test_{name}", (SamplerContract,), {"make": make})


for _name in ("uniform", "popularity", "in_batch", "mixed", "dynamic"):
    globals()[f"Test_{_name}"] = _contract(_name)


def skewed(users: int = 40, items: int = 12) -> UserItemSet:
    """Item i was met by every user whose number is divisible by i + 1."""
    pairs = [(u, i) for i in range(items) for u in range(users) if u % (i + 1) == 0]
    user, item = torch.tensor(pairs).T
    return UserItemSet(user, item, users, items)


def positives(observed: UserItemSet, user: int, rows: int) -> SamplingBatch:
    who = torch.full((rows,), user)
    item = torch.zeros(rows, dtype=torch.int64)
    return SamplingBatch(observed, who, item, torch.arange(rows), item)


def test_all_samplers_are_listed() -> None:
    assert {"uniform", "popularity", "in_batch", "mixed", "dynamic"} <= set(names("sampler"))


def test_random_numbers_are_uniform_and_independent() -> None:
    drawn = random_numbers(torch.arange(20_000), 3, seed=1, epoch=2).numpy()
    assert drawn.min() >= 0
    assert drawn.max() < 1
    for column in drawn.T:
        assert stats.kstest(column, "uniform").pvalue > 0.001
    assert abs(np.corrcoef(drawn.T)[0, 1:]).max() < 0.03
    later = random_numbers(torch.arange(20_000), 3, seed=1, epoch=2, attempt=1).numpy()
    assert abs(np.corrcoef(drawn[:, 0], later[:, 0])[0, 1]) < 0.03


@pytest.mark.parametrize("exponent", [0.0, 0.75, 1.0])
def test_popularity_draws_by_its_chances_among_unmet_items(exponent: float) -> None:
    observed, rows, user = skewed(), 30_000, 7
    sampler = build("sampler", {"name": "popularity", "exponent": exponent}, observed)
    items, log_q = sampler.draw(positives(observed, user, rows), 1, 5, 0)
    counts = np.array([sum(u % (i + 1) == 0 for u in range(40)) for i in range(12)], float)
    chance = counts**exponent / (counts**exponent).sum()
    met = np.array([user % (i + 1) == 0 for i in range(12)])
    expected = np.where(met, 0, chance) / chance[~met].sum() * rows
    found = np.bincount(items.ravel(), minlength=12)
    assert found[met].sum() == 0
    assert stats.chisquare(found[~met], expected[~met]).pvalue > 0.001
    np.testing.assert_allclose(log_q[:, 0], np.log(chance[0]))
    np.testing.assert_allclose(log_q[:, 1], np.log(chance)[items.ravel()])


def test_a_user_who_has_met_nearly_all_weight_gets_the_rest_by_weight() -> None:
    weight = torch.tensor([1e12, 1.0, 3.0, 1e12]).double()
    observed = UserItemSet(torch.tensor([0, 0]), torch.tensor([0, 3]), 1, 4)
    rows = torch.arange(8000)
    items = draw_weighted(observed, weight.cumsum(0), torch.zeros_like(rows), rows, 1, seed=0, epoch=0).ravel()
    assert set(items.tolist()) == {1, 2}
    assert stats.binomtest(int((items == 2).sum()), 8000, 0.75).pvalue > 0.001


def test_an_item_without_users_can_be_drawn() -> None:
    observed = UserItemSet(torch.tensor([0, 1]), torch.tensor([0, 1]), 2, 3)
    sampler = build("sampler", {"name": "popularity"}, observed)
    items, _ = sampler.draw(positives(observed, 0, 100), 2, 0, 0)
    assert set(items.ravel().tolist()) == {1, 2}


def test_in_batch_negatives_are_of_the_global_batch() -> None:
    observed = skewed()
    batch = replace(positives(observed, 7, 50), pool=torch.tensor([3, 4, 4, 0]))
    items, log_q = build("sampler", {"name": "in_batch"}, observed).draw(batch, 400, 0, 0)
    assert set(items.unique().tolist()) >= {3, 4}
    inside = (items == 3) | (items == 4)
    assert inside.double().mean() > 0.99  # item 0 was met: eight attempts seldom all hit it
    assert (items[inside] == 4).double().mean() == pytest.approx(2 / 3, abs=0.02)
    count = np.array([sum(u % (i + 1) == 0 for u in range(40)) for i in range(12)], float)
    np.testing.assert_allclose(log_q[0, 1:], np.log(count / count.sum())[items[0]])


@pytest.mark.parametrize("popular", ["in_batch", "popularity"])
def test_mixed_is_a_mixture(popular: str) -> None:
    observed = skewed()
    options = {"name": "mixed", "popular": popular, "share": 0.26, "exponent": 0.5}
    batch = replace(positives(observed, 7, 20), pool=torch.arange(1, 5))
    items, log_q = build("sampler", options, observed).draw(batch, 8, 0, 0)
    alone = build("sampler", {"name": "uniform"}, observed).draw(positives(observed, 7, 20), 8, 0, 0)[0]
    assert torch.equal(items[:, 2:], alone[:, 2:])  # a quarter of 8, rounded
    assert not torch.equal(items[:, :2], alone[:, :2])
    count = np.array([sum(u % (i + 1) == 0 for u in range(40)) for i in range(12)], float)
    count **= 0.5 if popular == "popularity" else 1
    np.testing.assert_allclose(log_q[:, 1:], np.log(0.25 * count / count.sum() + 0.75 / 12)[items])


def test_dynamic_keeps_the_highest_scored() -> None:
    data = tiny("interactions")
    model, batch = Scores(data.schema.n_features), candidates(data, negatives=6)
    kept = build("sampler", {"name": "dynamic", "drawn": 3}, skewed()).choose(model, batch, 2)
    scores = model(*batch.rows()).detach()[:, 1:].numpy()
    for row in range(batch.size):
        best = [3 * g + int(np.argmax(scores[row, 3 * g : 3 * g + 3])) for g in range(2)]
        assert kept.item[row, 1:].tolist() == batch.item[row, 1:][best].tolist()


def test_the_uniform_sampler_draws_what_a_loader_without_one_does() -> None:
    data, training = tiny("interactions"), Training(np.arange(24), negatives=3)
    plain = TrainingLoader(data, training, batch_size=8, seed=2)
    sampled = TrainingLoader(data, training, batch_size=8, seed=2, sampler=maker("uniform"))
    for a, b in zip(plain, sampled, strict=True):
        assert torch.equal(a.item, b.item)
        assert b.log_q is None


@pytest.mark.parametrize("name", ["popularity", "in_batch", "mixed", "dynamic"])
def test_processes_share_the_batches_of_one_and_a_resumed_epoch_goes_on(name: str) -> None:
    data, training = tiny("interactions"), Training(np.arange(24), negatives=3)

    def batches(rank: int, world: int, skip: int = 0) -> list:
        loader = TrainingLoader(data, training, batch_size=10, seed=2, sampler=maker(name))
        loader.epoch, loader.skip = 3, skip
        return list(loader.place(torch.device("cpu"), rank, world))

    whole, shares = batches(0, 1), [batches(r, 2) for r in range(2)]
    for n, batch in enumerate(whole):
        assert torch.equal(torch.cat([s[n].item for s in shares]), batch.item)
        if batch.log_q is not None:
            assert torch.equal(torch.cat([s[n].log_q for s in shares]), batch.log_q)
    for a, b in zip(whole[1:], batches(0, 1, skip=1), strict=True):
        assert torch.equal(a.item, b.item)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_over_candidates_subtract_log_q(name: str) -> None:
    data = tiny("interactions")
    model, loss = Scores(data.schema.n_features), build("loss", {"name": name})
    batch = candidates(data)
    log_q = torch.randn(batch.label.shape, generator=torch.Generator().manual_seed(1))
    z = (model(*batch.rows()) - log_q).detach().double()
    expected = {
        "bce": (torch.nn.functional.softplus(z) - z * batch.label).sum(1).mean(),
        "bpr": torch.nn.functional.softplus(z[:, 1:] - z[:, :1]).sum(1).mean(),
        "hinge": (0.5 + z[:, 1:] - z[:, :1]).clamp(min=0).sum(1).mean(),
        "sampled_softmax": torch.nn.functional.cross_entropy(z, torch.zeros(len(z), dtype=torch.long)),
    }
    assert loss(model, replace(batch, log_q=log_q)).item() == pytest.approx(float(expected[name]), rel=1e-5)
    same = loss(model, replace(batch, log_q=log_q * 0)).item()
    assert loss(model, batch).item() == pytest.approx(same, rel=1e-6)


def test_log_q_is_said_over_that_of_a_uniform_draw() -> None:
    data = tiny("interactions")
    options = {"exponent": 0.0}
    loader = TrainingLoader(
        data, Training(np.arange(24), negatives=2), batch_size=24, seed=0, sampler=maker("popularity", **options)
    )
    (batch,) = loader
    assert batch.log_q.abs().max() < 1e-6


def test_a_loss_that_ignores_log_q_is_refused() -> None:
    data = tiny("interactions")
    loader = TrainingLoader(
        data, Training(np.arange(24), negatives=2), batch_size=8, seed=0, sampler=maker("popularity")
    )
    model = Scores(data.schema.n_features)
    for name in LOSSES:
        try_one_batch(model, build("loss", {"name": name}), loader, name="scores")
    with pytest.raises(FmlabError, match=r"must subtract log_q .* Squared does not; set sampler"):
        try_one_batch(model, build("loss", {"name": "squared"}), loader, name="scores")


def test_wrong_draws_are_named() -> None:
    class Wrong:
        def __init__(self, items: Tensor, log_q: Tensor | None) -> None:
            self.given = items, log_q

        def draw(self, batch: SamplingBatch, n: int, seed: int, epoch: int) -> tuple[Tensor, Tensor | None]:
            return self.given

    cases = [
        (torch.zeros(24, 3).long(), None, r"draw must give items int64\[24, 2\], got torch.int64\[24, 3\]"),
        (torch.full((24, 2), 11), None, r"items of draw must be in \[0, 11\), got 11 to 11"),
        (torch.zeros(24, 2).long(), torch.zeros(24, 2), r"log_q of draw must be .* \[24, 3\], .*, got \[24, 2\]"),
        (torch.zeros(24, 2).long(), torch.full((24, 3), -math.inf), "log_q of draw must be finite"),
    ]
    data = tiny("interactions")
    for items, log_q, message in cases:
        training = Training(np.arange(24), negatives=2)
        loader = TrainingLoader(data, training, batch_size=24, seed=0, sampler=lambda _, a=items, b=log_q: Wrong(a, b))
        with pytest.raises(FmlabError, match=message):
            check_draws(loader, "mine")


def maker(name: str, **options: object):
    return lambda observed: build("sampler", {"name": name, **options}, observed)


class Scores(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(features, generator=torch.Generator().manual_seed(0)))

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        return self.weight[ids].square().sum(-1).sin() + self.weight[ids].sum(-1)
