"""The best of scores, whatever their number and ties."""

import numpy as np
import pytest
import torch

from fmlab.serving.ranking import BUCKETS, best_of


@pytest.mark.parametrize("items", [1, 7, 2 * BUCKETS * 3 + 5, 5 * BUCKETS * 3 + 1])
@pytest.mark.parametrize("levels", [1, 3, 1_000_000])
def test_the_best_fall_and_ties_stand_in_the_order_of_columns(items: int, levels: int) -> None:
    rng = np.random.default_rng(items)
    scores = rng.integers(0, levels, (4, items)).astype(np.float32)
    scores[1, : items // 2] = -np.inf
    scores[2] = -np.inf
    row, column, value = best_of(torch.from_numpy(scores), 3)
    for at, mine in enumerate(scores):
        order = [c for c in np.argsort(-mine, kind="stable") if np.isfinite(mine[c])][:3]
        assert column[row == at].tolist() == order
        assert value[row == at].tolist() == mine[order].tolist()
