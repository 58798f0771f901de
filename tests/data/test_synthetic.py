from pathlib import Path

import numpy as np
import pytest
from fmlab_datasets.synthetic import Synthetic

from fmlab.data.store.cache import open_dataset


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
        open_dataset(Synthetic(tmp_path, **options), "synthetic", options, tmp_path, tmp_path / cache)
        (folder,) = (tmp_path / cache).glob("synthetic-*/")
        prints.append({p.name: p.read_bytes() for p in folder.iterdir()})
    assert prints[0] == prints[1]
    assert not np.array_equal(built(users=40, items=30, seed=4).item[:50], built(**options).item[:50])


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
