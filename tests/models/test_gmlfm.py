"""GML-FM against the double sum for every transformation and distance, its special cases and its counts."""

from typing import Any

import pytest
import torch
from field_rows import SCHEMA, double_sum, randomize, rows, single, two_sides
from fmlab_models.gmlfm import GMLFM
from fmlab_models.transfm import TransFM
from torch import Tensor
from torch.nn import functional

from fmlab.contracts import is_late_interaction, is_two_sided
from fmlab.nn.scoring import score
from fmlab.testing import candidates, tiny

DISTANCES = ("euclidean", "manhattan", "chebyshev", "cosine")
TRANSFORMS: dict[str, dict[str, Any]] = {
    "md": {"transform": "md"},
    "0 layers": {"layers": 0},
    "1 layer": {"layers": 1},
    "3 layers": {"layers": 3},
}
LARGE = 40  # beyond the size up to which the form linear in the columns is the cheaper one


def model_of(transform: str = "1 layer", distance: Any = "euclidean", weighted: bool = True, dim: int = 3) -> GMLFM:
    model = GMLFM(SCHEMA, dim=dim, distance=distance, weighted=weighted, **TRANSFORMS[transform])
    return randomize(model)


def point(model: GMLFM, v: Tensor, transform: str) -> Tensor:
    linear = [layer for layer in model.transform if isinstance(layer, torch.nn.Linear)]
    if transform == "md":
        return linear[0].weight @ v
    for layer in linear:
        v = torch.tanh(layer.weight @ v + layer.bias)
    return v


def distance_of(name: str, a: Tensor, b: Tensor) -> Tensor:
    if name == "euclidean":
        return (a - b) @ (a - b)
    if name == "manhattan":
        return (a - b).abs().sum()
    if name == "chebyshev":
        return (a - b).abs().max()
    return functional.cosine_similarity(a, b, dim=0)


def oracle(model: GMLFM, transform: str, ids: Tensor, values: Tensor) -> Tensor:
    table = model.table.weight

    def pair(i: int, j: int, c: int, d: int) -> Tensor:
        v, w = table[i, 1:], table[j, 1:]
        weight = 1.0 if model.h is None else model.h @ (v * w)
        return weight * distance_of(model.distance, point(model, v, transform), point(model, w, transform))

    return model.bias + double_sum(ids, values, lambda i, c: table[i, 0], pair)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_scores_and_gradients_are_those_of_the_double_sum(transform: str, distance: str, weighted: bool) -> None:
    model, (ids, values) = model_of(transform, distance, weighted), rows(n=4)
    expected = oracle(model, transform, ids, values)
    parameters = list(model.parameters())
    wanted = torch.autograd.grad((expected * expected).sum(), parameters)
    for linear_time in (True, False):  # the other distances have one form only
        model.linear_time = linear_time
        scores = model(ids, values)
        torch.testing.assert_close(scores, expected, rtol=0, atol=1e-9)
        for a, b in zip(torch.autograd.grad((scores * scores).sum(), parameters), wanted, strict=True):
            torch.testing.assert_close(a.to_dense(), b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize(("distance", "width"), [("euclidean", 3 * 5), ("cosine", 9)])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_the_sides_add_up(transform: str, distance: str, width: int, weighted: bool) -> None:
    model, (ids, values) = model_of(transform, distance, weighted), rows()
    torch.testing.assert_close(two_sides(model, SCHEMA, ids, values), model(ids, values), rtol=0, atol=1e-9)
    if weighted:
        assert model.encode_item(ids[:, SCHEMA.item])[1].shape[-1] == width


@pytest.mark.parametrize("distance", DISTANCES)
def test_only_distances_made_of_products_are_two_sided(distance: str) -> None:
    model = model_of(distance=distance)
    assert is_two_sided(model) == (distance in ("euclidean", "cosine"))
    assert is_late_interaction(model)


@pytest.mark.parametrize("distance", DISTANCES)
def test_candidates_are_scored_as_whole_rows(distance: Any) -> None:
    data = tiny("numeric")
    model, batch = randomize(GMLFM(data.schema, dim=3, distance=distance)), candidates(data)
    torch.testing.assert_close(score(model, batch), model(*batch.rows()), rtol=0, atol=1e-9)


def test_a_large_size_gives_the_same_by_all_pairs() -> None:
    model, (ids, values) = model_of(dim=LARGE), rows()
    small = model_of()
    assert (small.linear_time, model.linear_time) == (True, False)
    expected = oracle(model, "1 layer", ids, values)
    torch.testing.assert_close(model(ids, values), expected, rtol=1e-12, atol=1e-9)


def test_the_identity_without_weights_is_transfm_without_translations() -> None:
    model, plain = model_of("md", weighted=False), randomize(TransFM(SCHEMA, dim=3))
    ids, values = rows()
    with torch.no_grad():
        model.transform[0].weight.copy_(torch.eye(3))
        plain.table.weight[:, 4:] = 0
        plain.table.weight[:, :4] = model.table.weight
        plain.bias.copy_(model.bias)
    torch.testing.assert_close(model(ids, values), plain(ids, values), rtol=0, atol=1e-9)


def test_no_layers_are_the_identity() -> None:
    none, identity = model_of("0 layers"), model_of("md")
    ids, values = rows()
    with torch.no_grad():
        identity.load_state_dict(none.state_dict() | {"transform.0.weight": torch.eye(3)})
    torch.testing.assert_close(none(ids, values), identity(ids, values), rtol=0, atol=1e-9)


@pytest.mark.parametrize("transform", ["md", "3 layers"])
def test_it_can_start_from_the_identity(transform: str) -> None:
    torch.manual_seed(0)
    model = GMLFM(SCHEMA, dim=3, init="identity", init_std=1e-3, **TRANSFORMS[transform]).eval().double()
    ids, values = rows()

    def pair(i: int, j: int, c: int, d: int) -> Tensor:
        v, w = model.table.weight[i, 1:], model.table.weight[j, 1:]
        return 0.1 * (v @ w) * (v - w).square().sum()  # the hyperbolic tangent of so small a number is the number

    scores, expected = model(ids, values), double_sum(ids, values, lambda i, c: model.bias, pair)
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-17)
    assert scores.abs().max() > 1e-13


def test_dropout_is_drawn_for_every_place_and_off_in_evaluation() -> None:
    model = randomize(GMLFM(SCHEMA, dim=3, dropout=0.5))
    ids, values = rows(n=1)
    many, x = ids.expand(64, -1), values.expand(64, -1)
    assert len(model(many, x).unique()) > 16, "rows of a batch share their dropout"
    scores = model.eval()(many, x)
    torch.testing.assert_close(scores, oracle(model, "1 layer", many, x), rtol=0, atol=1e-9)


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_parameters_of_dnn(layers: int) -> None:
    schema, k = single(5), 7
    m = schema.n_features
    count = sum(p.numel() for p in GMLFM(schema, dim=k, layers=layers).parameters())
    assert count == m + m * k + 1 + k + layers * (k * k + k)


def test_parameters_of_md() -> None:
    schema, k = single(5), 7
    m = schema.n_features
    assert sum(p.numel() for p in GMLFM(schema, dim=k, transform="md").parameters()) == m + m * k + 1 + k + k * k
