"""Means of training labels by pair, item, user and all rows."""

import numpy as np
import pytest
import torch
from fmlab_models.lookup import Lookup

from fmlab.contracts import Fitting, LabelledRows
from fmlab.data import Field, Schema
from fmlab.data.batch import Features
from fmlab.errors import FmlabError

SCHEMA = Schema((Field("user", "user", 6), Field("hour", "context", 3), Field("item", "item", 7)), 5, 6)


@pytest.mark.parametrize("log_odds", [True, False])
def test_means_are_those_of_a_loop(log_odds: bool) -> None:
    rng = np.random.default_rng(0)
    ids = np.stack([rng.integers(1, 5, 60), 6 + rng.integers(0, 3, 60), 9 + rng.integers(1, 6, 60)], 1)
    label = rng.integers(0, 2, 60)
    model = Lookup(SCHEMA, smoothing=2.0)
    rows = LabelledRows(Features(torch.from_numpy(ids), None), torch.from_numpy(label).float())
    assert model(rows.features.ids).tolist() == [0.0] * 60
    assert model.fit_rows(rows, rows, Fitting(log_odds, 0)) == 1
    asked = torch.tensor([(u, 6, i) for u in range(6) for i in range(9, 16)])
    again = Lookup(SCHEMA)
    again.load_state_dict(model.state_dict())
    whole = label.mean()
    for row, score in zip(asked.tolist(), again(asked).tolist(), strict=True):
        pair = label[(ids[:, 0] == row[0]) & (ids[:, 2] == row[2])]
        item, user = label[ids[:, 2] == row[2]], label[ids[:, 0] == row[0]]
        if len(pair):
            mean = (pair.sum() + 0.002 * whole) / (len(pair) + 0.002)
        elif len(item):
            mean = (item.sum() + 2 * whole) / (len(item) + 2)
        elif len(user):
            mean = (user.sum() + 2 * whole) / (len(user) + 2)
        else:
            mean = whole
        assert score == pytest.approx(np.log(mean / (1 - mean)) if log_odds else mean, rel=1e-5)
    with pytest.raises(FmlabError, match="users and items"):
        Lookup(Schema((Field("hour", "context", 3),)))
