import hashlib
from pathlib import Path

import mpmath
import numpy as np
import pytest
from fmlab_datasets import exact_draws
from fmlab_datasets.exact_draws import UNIT, ExactDraws
from fmlab_datasets.synthetic import Synthetic

from fmlab.data.store.cache import cached_dataset


def built(**options):
    return Synthetic(Path(), **options).build({}, Path())


def planted(dataset):
    truth = dataset.truth
    return truth.user @ truth.item.T + truth.user_bias[:, None] + truth.item_bias


def mean_reciprocal_rank(score, user, item):
    """Rank of each observed item among those its user has not."""
    seen = np.zeros(score.shape, bool)
    seen[user, item] = True
    above = np.array([(score[u] > score[u, i])[~seen[u]].sum() for u, i in zip(user, item, strict=True)])
    return (1 / (1 + above)).mean()


def test_options_and_seed_decide_every_byte(tmp_path):
    options = {"users": 40, "items": 30, "seed": 3}
    prints = []
    for cache in ("a", "b"):
        cached_dataset(Synthetic(tmp_path, **options), "synthetic", options, tmp_path, tmp_path / cache)
        (folder,) = (tmp_path / cache).glob("synthetic-*/")
        prints.append({p.name: p.read_bytes() for p in folder.iterdir()})
    assert prints[0] == prints[1]
    assert not np.array_equal(built(users=40, items=30, seed=4).item[:50], built(**options).item[:50])


def test_every_machine_generates_the_same_bytes():
    data = built(users=200, items=100)
    arrays = (data.user, data.item, data.time, data.users.ids, data.items.ids, *vars(data.truth).values())
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()
    assert digest == "f54a2eefc9b6e8c61af2c1d8e3b51ebd4472a205bc6668218415b7948bc86cf7"


def test_no_logarithm_of_the_table_is_near_a_boundary_of_rounding():
    with mpmath.workdps(40):
        exact = [mpmath.log(mpmath.mpf(1) / 2 + mpmath.mpf(n) / (2 * 4096)) * UNIT for n in range(4097)]
        assert exact_draws._TABLE.tolist() == [int(mpmath.nint(v)) for v in exact]
        # 50 units in the last place of a logarithm of 0.7 are 2e-5 of these.
        assert min(abs(v - mpmath.floor(v) - mpmath.mpf(1) / 2) for v in exact) > 1e-4


def test_logarithms_and_draws_are_those_of_their_names():
    numbers = np.concatenate([np.arange(1, 1000), np.random.default_rng(0).integers(1, 2**53, 10_000)])
    np.testing.assert_allclose(exact_draws.logarithm(numbers) / UNIT, np.log(numbers), atol=1e-8)
    draws = ExactDraws(1)
    gumbel, exponential = draws.gumbel(200_000) / UNIT, draws.exponential(200_000) / UNIT
    assert (gumbel.mean(), gumbel.var()) == pytest.approx((np.euler_gamma, np.pi**2 / 6), rel=0.02)
    assert (exponential.mean(), exponential.var()) == pytest.approx((1, 1), rel=0.02)
    normal = draws.normal(200_000) / 2**16
    assert (normal.mean(), normal.std()) == pytest.approx((0, 1), abs=0.01)
    assert np.bincount(draws.choice([1, 2, 5], 80_000)) == pytest.approx(np.array([1, 2, 5]) * 10_000, rel=0.05)
    assert (np.sort(draws.orders(50, 9), 1) == np.arange(9)).all()


def test_planted_scores_are_exact_in_float32():
    truth = built(users=200, items=100).truth
    exact = truth.user.astype(np.float64) @ truth.item.T.astype(np.float64) + truth.item_bias
    np.testing.assert_array_equal(truth.user @ truth.item.T + truth.item_bias, exact)


def test_positives_are_drawn_with_the_planted_chances():
    data = built(users=4000, items=5, positives=1.0)  # two different ones of five, one after the other
    first = np.exp(planted(data))
    first /= first.sum(1, keepdims=True)
    second = first * ((first / (1 - first)).sum(1, keepdims=True) - first / (1 - first))
    expected = (first + second).sum(0)
    assert expected.sum() == pytest.approx(data.rows)
    assert np.bincount(data.item, minlength=5) == pytest.approx(expected, rel=0.05)


def test_a_user_has_no_item_twice_and_at_least_three():
    data = built(users=200, items=100)
    assert len(np.unique(data.user.astype(np.int64) * 100 + data.item)) == data.rows
    assert np.bincount(data.user, minlength=200).min() >= 3


def test_the_mean_number_of_positives_is_as_asked():
    assert built(users=3000, items=500, positives=15.0).rows / 3000 == pytest.approx(15, rel=0.05)


def test_the_planted_score_ranks_far_better_than_popularity():
    data = built(users=300, items=200)
    popularity = np.bincount(data.item, minlength=200) * np.ones((300, 1))
    best = mean_reciprocal_rank(planted(data), data.user, data.item)
    assert best > 3 * mean_reciprocal_rank(popularity, data.user, data.item)


@pytest.mark.parametrize(("id_share", "explained"), [(0.0, 1.0), (1.0, 0.0)])
def test_attributes_explain_the_share_of_the_score_that_ids_leave(id_share, explained):
    data = built(users=400, items=30, id_share=id_share)
    ids = data.users.ids[:, 1:]  # attributes only
    one_hot = np.zeros((400, data.schema.n_features))
    np.put_along_axis(one_hot, ids, 1, axis=1)
    scores = planted(data)
    scores = scores - scores.mean(0)
    fitted = one_hot @ np.linalg.lstsq(one_hot, scores, rcond=None)[0]
    chance = np.linalg.matrix_rank(one_hot) / 400  # what so many columns fit of pure noise
    r2 = 1 - ((scores - fitted) ** 2).sum() / (scores**2).sum()
    assert r2 == pytest.approx(max(explained, chance), abs=0.05)


def test_tags_fill_one_to_three_slots_without_repeats():
    data = built(users=10, items=500)
    first = data.schema.offsets[-1]
    tags = data.items.ids[:, -3:] - first
    assert set((tags > 0).sum(1)) == {1, 2, 3}
    assert all(len({t for t in row if t}) == (row > 0).sum() for row in tags)
    assert (np.diff((tags > 0).astype(int), axis=1) <= 0).all()  # empty slots come last


def test_the_smallest_sizes_work():
    data = built(users=2, items=2)
    assert (np.bincount(data.user, minlength=2) == 1).all()
