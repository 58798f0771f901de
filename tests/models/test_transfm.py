"""TransFM against the double sum in the order of the columns, and against squared distances without translations."""

import torch
from field_rows import SCHEMA, double_sum, randomize, rows, two_sides
from fmlab_models.transfm import TransFM
from torch import Tensor

DIM = 3


def oracle(model: TransFM, ids: Tensor, values: Tensor) -> Tensor:
    weight, v, t = model.table.weight.split((1, DIM, DIM), 1)

    def pair(i: int, j: int, c: int, d: int) -> Tensor:
        return (v[i] + t[i] - v[j]).square().sum()

    return model.bias + double_sum(ids, values, lambda i, c: weight[i, 0], pair)


def test_scores_and_gradients_are_those_of_the_double_sum() -> None:
    model, (ids, values) = randomize(TransFM(SCHEMA, dim=DIM)), rows()
    scores, expected = model(ids, values), oracle(model, ids, values)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-9)
    parameters = list(model.parameters())
    found, wanted = (torch.autograd.grad((s * s).sum(), parameters) for s in (scores, expected))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a.to_dense(), b, rtol=1e-9, atol=1e-9)


def test_the_sides_add_up_with_two_numbers_more_than_a_vector() -> None:
    model, (ids, values) = randomize(TransFM(SCHEMA, dim=DIM)), rows()
    torch.testing.assert_close(two_sides(model, SCHEMA, ids, values), model(ids, values), rtol=0, atol=1e-9)
    assert model.encode_item(ids[:, SCHEMA.item])[1].shape[-1] == DIM + 2


def test_the_order_of_columns_matters_by_the_translations_alone() -> None:
    model, (ids, values) = randomize(TransFM(SCHEMA, dim=DIM)), rows()
    back = torch.arange(SCHEMA.n_columns - 1, -1, -1)
    assert not torch.allclose(model(ids[:, back], values[:, back]), model(ids, values))
    with torch.no_grad():
        model.table.weight[:, 1 + DIM :] = 0
    torch.testing.assert_close(model(ids[:, back], values[:, back]), model(ids, values), rtol=0, atol=1e-9)


def test_parameters_are_a_weight_a_vector_and_a_translation() -> None:
    m = SCHEMA.n_features
    assert sum(p.numel() for p in TransFM(SCHEMA, dim=DIM).parameters()) == m + 2 * m * DIM + 1
