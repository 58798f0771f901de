"""Logistic regression with hashed pairs against the double sum, and what a hash must do."""

import torch
from field_rows import SCHEMA, double_sum, randomize, rows
from fmlab_models.lr import LR
from fmlab_models.poly2 import Poly2

from fmlab.nn.scoring import score
from fmlab.testing import candidates, tiny


def test_scores_and_gradients_are_those_of_the_double_sum() -> None:
    model, (ids, values) = randomize(Poly2(SCHEMA, pair_buckets=17)), rows()

    def pair(i: int, j: int, c: int, d: int) -> torch.Tensor:
        return model.pairs.weight[model.bucket(torch.tensor(j), torch.tensor(i)), 0]

    scores = model(ids, values)
    expected = model.bias + double_sum(ids, values, lambda i, c: model.table.weight[i, 0], pair)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-9)
    parameters = list(model.parameters())
    found, wanted = (torch.autograd.grad((s * s).sum(), parameters) for s in (scores, expected))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a.to_dense(), b, rtol=1e-9, atol=1e-9)


def test_with_enough_buckets_every_pair_can_have_any_weight() -> None:
    """The weights of an arbitrary symmetric table of pairs are found by reading each into its bucket."""
    model, n = Poly2(SCHEMA, pair_buckets=1_000_003).double(), SCHEMA.n_features
    i, j = torch.triu_indices(n, n)
    buckets = model.bucket(i, j)
    assert len(buckets.unique()) == len(buckets)
    wanted = torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wanted = wanted + wanted.T
    with torch.no_grad():
        model.pairs.weight[buckets, 0] = wanted[i, j]
    ids, values = rows()
    zero = torch.zeros((), dtype=torch.float64)
    expected = double_sum(ids, values, lambda i, c: zero, lambda i, j, c, d: wanted[i, j])
    torch.testing.assert_close(model(ids, values), expected, rtol=0, atol=1e-9)


def test_buckets_fill_evenly() -> None:
    """200,000 pairs of 2,000 features into 1,000 buckets: the counts spread as those of random draws do."""
    model = Poly2(SCHEMA, pair_buckets=1000)
    model.n_features = 2000
    i, j = torch.triu_indices(2000, 2000, 1)
    take = torch.randperm(len(i), generator=torch.Generator().manual_seed(0))[:200_000]
    for some in (take, torch.arange(200_000)):
        count = model.bucket(i[some], j[some]).bincount(minlength=1000).double()
        chi2 = ((count - 200) ** 2 / 200).sum()
        assert chi2 < 1300  # 999 degrees of freedom: mean 999, deviation 45


def test_without_pairs_it_is_logistic_regression() -> None:
    lr, model = randomize(LR(SCHEMA)), Poly2(SCHEMA).double()
    with torch.no_grad():
        model.table.weight.copy_(lr.table.weight)
        model.bias.copy_(lr.bias)
    ids, values = rows()
    torch.testing.assert_close(model(ids, values), lr(ids, values), rtol=0, atol=1e-12)


def test_pairs_across_the_sides_are_added_to_those_within() -> None:
    data = tiny("numeric")
    model, batch = randomize(Poly2(data.schema, pair_buckets=50)), candidates(data)
    torch.testing.assert_close(score(model, batch), model(*batch.rows()), rtol=0, atol=1e-9)


def test_parameters_are_features_and_buckets() -> None:
    assert sum(p.numel() for p in Poly2(SCHEMA, pair_buckets=50).parameters()) == SCHEMA.n_features + 50 + 1
