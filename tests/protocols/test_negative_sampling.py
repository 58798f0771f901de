"""Negatives: never observed, uniform, and a function of nothing but seed, epoch, row and draw."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from fmlab.data import negative_sampling as sampling
from fmlab.data.negative_sampling import UserItemSet, draw_distinct, draw_negatives
from fmlab.errors import DataError

PAIRS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 6)), max_size=50)


def observed(pairs: list[tuple[int, int]], n_users: int = 10, n_items: int = 7) -> UserItemSet:
    user, item = np.array(pairs, np.int32).reshape(-1, 2).T
    return UserItemSet(user, item, n_users, n_items)


@pytest.fixture(params=["bitmap", "keys"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "keys":
        monkeypatch.setattr(sampling, "BITMAP_CELLS", 0)
    return request.param


@pytest.mark.parametrize("cells", [0, sampling.BITMAP_CELLS])
@given(PAIRS)
def test_it_contains_what_a_set_contains(cells: int, pairs: list[tuple[int, int]]) -> None:
    before, sampling.BITMAP_CELLS = sampling.BITMAP_CELLS, cells
    try:
        seen = observed(pairs)
        grid = seen.contains(torch.arange(10).unsqueeze(1), torch.arange(7))
        assert (seen._bits is None) == (cells == 0)
    finally:
        sampling.BITMAP_CELLS = before
    assert grid.tolist() == [[(u, i) in set(pairs) for i in range(7)] for u in range(10)]
    assert seen.degree.tolist() == [len({i for v, i in pairs if v == u}) for u in range(10)]
    for u in range(10):
        assert seen.items[seen.offsets[u] : seen.offsets[u + 1]].tolist() == sorted({i for v, i in pairs if v == u})


@given(PAIRS, st.integers(0, 2**40), st.integers(0, 5), st.integers(1, 12))
def test_no_positive_is_sampled(pairs: list[tuple[int, int]], seed: int, epoch: int, n: int) -> None:
    seen = observed(pairs)
    user = torch.nonzero(seen.degree < 7).squeeze(1)
    drawn = draw_negatives(seen, user, torch.arange(len(user)), n, seed=seed, epoch=epoch)
    assert drawn.shape == (len(user), n)
    assert all((int(u), i) not in set(pairs) for u, row in zip(user, drawn.tolist(), strict=True) for i in row)
    assert all(0 <= i < 7 for row in drawn.tolist() for i in row)


def heavy() -> tuple[UserItemSet, torch.Tensor, torch.Tensor]:
    """Users from none to all but one of 500 items, so that every way of drawing is taken."""
    rng = np.random.default_rng(0)
    counts = [0, 10, 100, 250, 400, 480, 495, 499]
    pairs = [(u, i) for u, n in enumerate(counts) for i in rng.permutation(500)[:n]]
    user = torch.from_numpy(rng.integers(0, 8, 700))
    return observed(pairs, 8, 500), user, torch.from_numpy(rng.permutation(10_000)[:700])


def test_draws_depend_neither_on_batches_nor_on_order(kind: str) -> None:
    seen, user, row = heavy()
    whole = draw_negatives(seen, user, row, 5, seed=3, epoch=1)
    for size in (1, 7, 64):
        parts = [
            draw_negatives(seen, u, r, 5, seed=3, epoch=1)
            for u, r in zip(user.split(size), row.split(size), strict=True)
        ]
        assert torch.equal(torch.cat(parts), whole)
    order = torch.randperm(700)
    assert torch.equal(draw_negatives(seen, user[order], row[order], 5, seed=3, epoch=1), whole[order])


def test_bitmap_and_keys_and_both_kinds_of_arrays_draw_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, user, row = heavy()
    whole = draw_negatives(seen, user, row, 5, seed=3, epoch=1)
    assert torch.equal(sampling._draw(torch, seen, user, row, 5, 3, 1), whole)
    monkeypatch.setattr(sampling, "BITMAP_CELLS", 0)
    seen, _, _ = heavy()
    assert torch.equal(draw_negatives(seen, user, row, 5, seed=3, epoch=1), whole)
    assert torch.equal(sampling._draw(torch, seen, user, row, 5, 3, 1), whole)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_the_accelerator_draws_the_same() -> None:
    seen, user, row = heavy()
    device = torch.device("cuda")
    drawn = draw_negatives(seen.to(device), user.to(device), row.to(device), 5, seed=3, epoch=1)
    assert torch.equal(drawn.cpu(), draw_negatives(seen, user, row, 5, seed=3, epoch=1))
    distinct = draw_distinct(seen.to(device), user.to(device), row.to(device), 1, seed=3)
    assert torch.equal(distinct.cpu(), draw_distinct(seen, user, row, 1, seed=3))


def test_seed_epoch_row_and_draw_all_matter() -> None:
    seen, user, row = observed([(0, 0)], 1, 10_000), torch.zeros(50, dtype=torch.int64), torch.arange(50)
    draws = [draw_negatives(seen, user, row, 4, seed=s, epoch=e) for s, e in ((0, 0), (1, 0), (0, 1), (1, 1))]
    draws.append(draw_negatives(seen, user, row + 50, 4, seed=0, epoch=0))
    for a in range(5):
        for b in range(a):
            assert (draws[a] == draws[b]).float().mean() < 0.05
    assert all(len(set(d[r].tolist())) > 1 for d in draws for r in range(50))


def test_draws_are_those_of_earlier_versions() -> None:
    seen, user, row = heavy()
    drawn = draw_negatives(seen, user[:4], row[:4], 3, seed=42, epoch=7)
    assert drawn.tolist() == [[114, 176, 211], [331, 66, 189], [354, 292, 129], [302, 171, 54]]
    assert torch.equal(draw_negatives(seen, user[:4], row[:4], 2, seed=42, epoch=7), drawn[:, :2])


@pytest.mark.parametrize("met", [0, 3, 20, 28])
def test_draws_are_uniform_over_the_unobserved(met: int) -> None:
    items = np.random.default_rng(met).permutation(31)
    seen = observed([(0, i) for i in items[:met]], 1, 31)
    rows = 20_000
    drawn = draw_negatives(seen, torch.zeros(rows, dtype=torch.int64), torch.arange(rows), 3, seed=1, epoch=0)
    counts = np.bincount(drawn.flatten().numpy(), minlength=31)[items[met:]]
    assert counts.sum() == 3 * rows
    assert chisquare(counts).pvalue > 1e-3


def test_draws_stay_uniform_when_nearly_everything_was_met() -> None:
    seen = observed([(0, i) for i in range(10_000) if i not in (17, 5000, 9999)], 1, 10_000)
    rows = 3000
    drawn = draw_negatives(seen, torch.zeros(rows, dtype=torch.int64), torch.arange(rows), 2, seed=1, epoch=0)
    counts = np.bincount(drawn.flatten().numpy(), minlength=10_000)[[17, 5000, 9999]]
    assert counts.sum() == 2 * rows
    assert chisquare(counts).pvalue > 1e-3


def test_draws_of_one_row_and_of_neighbouring_rows_and_epochs_are_independent() -> None:
    seen, rows = observed([(0, 7)], 1, 8), 40_000
    user = torch.zeros(rows, dtype=torch.int64)
    now, later = (draw_negatives(seen, user, torch.arange(rows), 2, seed=1, epoch=e) for e in (0, 1))
    for a, b in ((now[:, 0], now[:, 1]), (now[1:, 0], now[:-1, 0]), (now[:, 0], later[:, 0])):
        assert chisquare(np.bincount((a * 7 + b).numpy(), minlength=49)).pvalue > 1e-3


def test_the_only_item_left_is_found() -> None:
    seen = observed([(0, i) for i in range(5000) if i != 4321], 1, 5000)
    drawn = draw_negatives(seen, torch.zeros(6, dtype=torch.int64), torch.arange(6), 4, seed=0, epoch=0)
    assert (drawn == 4321).all()


def test_users_who_met_everything_are_counted_not_looped_over() -> None:
    seen = observed([(u, i) for u in (1, 4) for i in range(7)] + [(2, 0)])
    with pytest.raises(DataError, match=r"got 2 of 3 users with fewer among the 7 items"):
        seen.check(torch.tensor([1, 1, 4, 2]))
    seen.check(torch.tensor([2, 3]))
    with pytest.raises(DataError, match="7 or more items"):
        seen.check(torch.tensor([2]), 7)


@given(PAIRS, st.integers(1, 6), st.integers(0, 99))
def test_distinct_draws_are_distinct_and_unobserved(pairs: list[tuple[int, int]], n: int, seed: int) -> None:
    seen = observed(pairs)
    user = torch.nonzero(seen.degree <= 7 - n).squeeze(1)
    drawn = draw_distinct(seen, user, torch.arange(len(user)), n, seed=seed).tolist()
    for u, row in zip(user.tolist(), drawn, strict=True):
        assert len(set(row)) == n
        assert not {(u, i) for i in row} & set(pairs)


@pytest.mark.parametrize("met", [0, 400, 470])
def test_distinct_draws_are_uniform_and_free_of_the_batch(met: int) -> None:
    items = np.random.default_rng(0).permutation(500)
    seen, rows = observed([(0, i) for i in items[:met]], 1, 500), torch.arange(3000)
    user = torch.zeros(3000, dtype=torch.int64)
    drawn = draw_distinct(seen, user, rows, 20, seed=5)
    counts = np.bincount(drawn.flatten().numpy(), minlength=500)[items[met:]]
    assert counts.sum() == 60_000
    # Draws without replacement vary less than a multinomial: the statistic is divided by that share.
    left = 500 - met
    expected = 60_000 / left
    statistic = ((counts - expected) ** 2 / expected).sum() / (1 - 20 / left) * (left - 1) / left
    assert abs(statistic - (left - 1)) < 4 * np.sqrt(2 * (left - 1))
    assert torch.equal(draw_distinct(seen, user[:9], rows[500:509], 20, seed=5), drawn[500:509])


def test_too_few_items_for_distinct_draws_are_an_error() -> None:
    with pytest.raises(DataError, match="got 1 of 1 users with fewer"):
        draw_distinct(observed([(0, 0), (0, 1)]), torch.tensor([0]), torch.tensor([0]), 6, seed=0)
