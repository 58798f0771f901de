"""Places of observed items among the scores of a block of users, whether or not the users are neighbors."""

import numpy as np
import pytest
import torch

from fmlab.data.negative_sampling import UserItemSet
from fmlab.evaluation.ranking_queries import RankingQueries


@pytest.mark.parametrize("users", [[0, 1, 2, 3, 4], [1, 2], [0, 2, 4], [4], [3, 1], [0, 3], [1, 1], []])
def test_observed_cells_are_those_of_each_users_items(users: list[int]) -> None:
    """Users 1 and 3 of five observed something beside users 0 and 4; user 2 observed nothing."""
    pairs = {0: [2], 1: [0, 3], 3: [1, 2, 3], 4: [0]}
    flat = [(u, i) for u, items in pairs.items() for i in items]
    observed = UserItemSet(np.array([u for u, _ in flat]), np.array([i for _, i in flat]), 5, 4)
    queries = RankingQueries(None, observed, np.array([]), np.array([]), True)  # type: ignore[arg-type]
    expected = [place * 4 + item for place, user in enumerate(users) for item in pairs.get(user, [])]
    assert queries.observed_cells(torch.tensor(users, dtype=torch.int64)).tolist() == expected
