"""FwFM, FvFM and FmFM against the double sum, each other, FM, and the paper's counts."""

from itertools import combinations
from typing import Any

import pytest
import torch
from field_rows import SCHEMA, double_sum, randomize, rows, single, two_sides
from fmlab_models._field_matrix_fm import FieldMatrixFM
from fmlab_models._flops import flops
from fmlab_models.fm import FM
from fmlab_models.fmfm import FmFM, FvFM, FwFM, field_dims
from torch import Tensor

from fmlab.contracts import InfersOptions
from fmlab.data import Field, Schema
from fmlab.errors import FmlabError
from fmlab.evaluation.flops import counting

FIELDS = len(SCHEMA.fields)
NARROW_ITEM, NARROW_QUERY = (3, 3, 2, 4, 1, 2), (1, 2, 1, 1, 4, 3)
MODELS: dict[str, Any] = {
    "fwfm": lambda linear: FwFM(SCHEMA, dim=3, linear=linear),
    "fvfm": lambda linear: FvFM(SCHEMA, dim=3, linear=linear),
    "fmfm": lambda linear: FmFM(SCHEMA, dim=3, linear=linear),
    "fmfm, narrow item": lambda linear: FmFM(SCHEMA, dims=NARROW_ITEM, linear=linear),
    "fmfm, narrow query": lambda linear: FmFM(SCHEMA, dims=NARROW_QUERY, linear=linear),
}
TABLE_3 = (
    *(3, 8, 5, 7, 9, 8, 6, 5, 8, 3, 5, 3, 6, 8, 12, 2, 11, 5, 4, 14),
    *(8, 2, 13, 14, 8, 13, 4, 14, 10, 6, 14, 12, 2, 9, 4, 6, 12, 7, 11),
)


def matrices(model: FieldMatrixFM) -> dict[tuple[int, int], Tensor]:
    """M of every two fields f <= g, read from the parameter in the order in which it is documented to stand."""
    dims, slots = model.dims, [f.slots for f in SCHEMA.fields]
    blocks = [(f, g) for f in range(FIELDS) for g in range(f, FIELDS) if f < g or slots[f] > 1]
    if model.matrices.kind != "matrix":
        return {b: torch.diag(model.matrices.weight[:, n].expand(dims[0])) for n, b in enumerate(blocks)}
    # Rows of the large upper matrix: coordinate after coordinate of f, each with all coordinates of its partners.
    found, at = {}, 0
    for f in range(FIELDS):
        partners = [g for ff, g in blocks if ff == f]
        width = sum(dims[g] for g in partners)
        stripe = model.matrices.weight[0, at : at + dims[f] * width].view(dims[f], width)
        at += dims[f] * width
        found.update(zip([(f, g) for g in partners], stripe.split([dims[g] for g in partners], 1), strict=True))
    return found


def oracle(model: FieldMatrixFM, ids: Tensor, values: Tensor) -> Tensor:
    field, offsets = SCHEMA.column_field, SCHEMA.offsets
    m, start = matrices(model), [sum(model.dims[:f]) for f in range(FIELDS)]

    def vector(i: int, c: int) -> Tensor:
        return model.tables.vectors(field[c])[i - offsets[field[c]]]

    def weight(i: int, c: int) -> Tensor:
        f = field[c]
        if model.linear is not None:
            return vector(i, c) @ model.linear[start[f] : start[f] + model.dims[f]]
        run, table = next((r, t) for r, t in zip(model.tables.runs, model.tables.tables, strict=True) if f in r)
        return table.weight[i - offsets[run.start], 0]

    def pair(i: int, j: int, c: int, d: int) -> Tensor:
        matrix = m[field[c], field[d]]
        if field[c] == field[d]:
            matrix = (matrix + matrix.T) / 2
        return vector(i, c) @ matrix @ vector(j, d)

    return model.bias + double_sum(ids, values, weight, pair)


@pytest.mark.parametrize("linear", ["field", "plain"])
@pytest.mark.parametrize("name", MODELS)
def test_scores_and_gradients_are_those_of_the_double_sum(name: str, linear: str) -> None:
    model, (ids, values) = randomize(MODELS[name](linear)), rows()
    scores, expected = model(ids, values), oracle(model, ids, values)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-9)
    parameters = list(model.parameters())
    found, wanted = (torch.autograd.grad((s * s).sum(), parameters) for s in (scores, expected))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a.to_dense(), b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_the_sides_add_up_and_are_as_narrow_as_the_narrower(name: str) -> None:
    model, (ids, values) = randomize(MODELS[name]("field")), rows()
    torch.testing.assert_close(two_sides(model, SCHEMA, ids, values), model(ids, values), rtol=0, atol=1e-9)
    width = model.encode_item(ids[:, SCHEMA.item])[1].shape[-1]
    assert width == min(sum(model.dims[:4]), sum(model.dims[4:]))


@pytest.mark.parametrize("kind", ["identity", "scalar", "vector", "matrix"])
def test_with_the_identity_between_all_fields_it_is_a_factorization_machine(kind: Any) -> None:
    fm = randomize(FM(SCHEMA, dim=3))
    model = FieldMatrixFM(SCHEMA, kind, (3,) * FIELDS, linear="plain", init_std=1.0).double()
    ids, values = rows()
    with torch.no_grad():
        model.tables.tables[0].weight.copy_(fm.table.weight)
        model.bias.copy_(fm.bias)
        if kind == "matrix":
            width = 3 * FIELDS
            eye = torch.eye(3, dtype=torch.float64).tile(FIELDS, FIELDS)
            model.matrices.weight.copy_(eye.view(1, width * width)[:, model.matrices.place])
        elif kind != "identity":
            model.matrices.weight.fill_(1.0)
    torch.testing.assert_close(model(ids, values), fm(ids, values), rtol=0, atol=1e-9)


def test_the_kinds_contain_each_other() -> None:
    ids, values = rows()
    scalar = randomize(FwFM(SCHEMA, dim=3))
    vector = FvFM(SCHEMA, dim=3).double()
    shared = {k: v for k, v in scalar.state_dict().items() if k != "matrices.weight"}
    vector.load_state_dict(shared | {"matrices.weight": scalar.matrices.weight.detach().expand(3, -1)})
    torch.testing.assert_close(vector(ids, values), scalar(ids, values), rtol=0, atol=1e-9)


def test_the_order_of_slots_does_not_matter() -> None:
    model, (ids, values) = randomize(FmFM(SCHEMA, dims=NARROW_ITEM)), rows()
    order = torch.tensor([0, 3, 1, 2, 4, 5, 6, 8, 7])
    torch.testing.assert_close(model(ids[:, order], values[:, order]), model(ids, values), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("model", "extra"), [(FwFM, 1), (FvFM, 5), (FmFM, 25)])
def test_parameters_are_counted_as_in_table_2(model: Any, extra: int) -> None:
    fields, size, dim = 7, 4, 5
    schema, m, pairs = single(fields, size=size), fields * size, fields * (fields - 1) // 2
    count = sum(p.numel() for p in model(schema, dim=dim, linear="plain").parameters())
    assert count == m + m * dim + 1 + pairs * extra
    count = sum(p.numel() for p in model(schema, dim=dim).parameters())
    assert count == m * dim + fields * dim + 1 + pairs * extra


def test_sizes_of_fields_are_counted() -> None:
    dims = (5, 2, 2, 3)
    schema = single(4, size=6)
    count = sum(p.numel() for p in FmFM(schema, dims=dims).parameters())
    assert count == 6 * sum(dims) + sum(dims) + 1 + sum(a * b for a, b in combinations(dims, 2))


@pytest.mark.parametrize("dims", [(3, 3), (3, 0, 3, 3, 3, 3)])
def test_sizes_must_be_one_for_each_field(dims: tuple[int, ...]) -> None:
    with pytest.raises(FmlabError, match=r"dims must have .* user, likes, age, day, item, genre"):
        FmFM(SCHEMA, dims=dims)


def test_sizes_are_the_components_that_hold_the_variance() -> None:
    schema = Schema((Field("a", "context", 50), Field("b", "context", 40), Field("c", "context", 1)))
    model = FmFM(schema, dim=4, linear="plain").double()
    orthogonal = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))[0]
    with torch.no_grad():
        for f, spread in ((0, (6.0, 3.0, 2.0, 1.0)), (1, (1.0, 0.0, 0.0, 0.0))):
            vectors = torch.linalg.qr(_centred(schema.fields[f].size))[0] * torch.tensor(spread)
            model.tables.vectors(f).copy_(vectors @ orthogonal + 7)
    # variances 36, 9, 4, 1 of 50: shares .72, .90, .98, 1
    for variance, size in ((0.7, 1), (0.73, 2), (0.95, 3), (0.99, 4), (1.0, 4)):
        assert field_dims(model, variance) == (size, 1, 1)


def _centred(n: int) -> Tensor:
    noise = torch.randn(n, 4, dtype=torch.float64)
    return noise - noise.mean(0)


# ------------------------------------------------------------------------------------------ operations


def test_operations_are_those_of_table_4() -> None:
    dims = (16,) * 39
    estimates = {"lr": 78, "poly2": 1_560, "fm": 1_920, "fwfm": 25_272, "ffm": 24_531, "fmfm": 403_923}
    assert {name: flops(name, dims) for name in estimates} == estimates
    assert flops("fmfm", dims, cached=True) == 24_531
    # The paper prints 8,960 for the sizes of table 3: its linear part then takes one operation a field, not two.
    assert flops("fmfm", TABLE_3, cached=True) == 8_960 + 39


class Counted:
    """A number that counts what is done with it."""

    done = 0

    def __add__(self, other: "Counted") -> "Counted":
        Counted.done += 1
        return Counted()

    __mul__ = __sub__ = __add__


def _dot(a: list[Counted], b: list[Counted]) -> Counted:
    total = Counted()
    for x, y in zip(a, b, strict=True):
        total = total + x * y
    return total


def _predict(model: str, dims: tuple[int, ...], cached: bool) -> None:
    """The score of one row, written out."""
    n, score = len(dims), Counted()
    number = Counted()
    if model == "fm":
        for _ in range(dims[0]):
            total, squares = Counted(), Counted()
            for _ in range(n):
                total, squares = total + number, squares + number * number
            score = score + (total * total - squares)
        return
    for _ in range(n):
        score = score + number * number
    for a, b in combinations(sorted(dims), 2):
        left = [Counted()] * a
        if model == "lr":
            continue
        if model == "poly2":
            score = score + number * number
            continue
        right = [Counted()] * b
        if model == "fvfm" and not cached:
            right = [x * number for x in right]
        if model == "fmfm" and not cached:
            right = [_dot(right, [Counted()] * b) for _ in range(a)]
        product = _dot(left, right[:a])
        score = score + (product * number if model == "fwfm" and not cached else product)


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("model", ["lr", "poly2", "fm", "ffm", "fwfm", "fvfm", "fmfm"])
def test_operations_are_what_counting_finds(model: Any, cached: bool) -> None:
    dims = (3, 5, 2, 4) if model in ("fmfm", "ffm") else (4,) * 6
    Counted.done = 0
    _predict(model, dims, cached)
    assert flops(model, dims, cached=cached) == Counted.done


@pytest.mark.parametrize("model", [FwFM, FvFM, FmFM])
def test_stated_operations_with_vectors_looked_up_are_those_of_table_4(model: Any) -> None:
    assert model.n_operations(single(39), dim=16, cached=True) == 24_531
    if model is FmFM:
        assert model.n_operations(single(39), dim=16, dims=TABLE_3, cached=True) == 8_960 + 39


# --------------------------------------------------------------------------------- looked up, two trainings


@pytest.mark.parametrize("with_values", [True, False])
@pytest.mark.parametrize("linear", ["field", "plain"])
@pytest.mark.parametrize("name", MODELS)
def test_looked_up_vectors_give_the_same_scores(name: str, linear: str, with_values: bool) -> None:
    model, (ids, values) = randomize(MODELS[name](linear)), rows()
    x = values if with_values else None
    cached = model.cached()
    torch.testing.assert_close(cached(ids, x), model(ids, x), rtol=0, atol=1e-9)
    folded = cached(ids.view(2, 3, -1), None if x is None else x.view(2, 3, -1))
    torch.testing.assert_close(folded, model(ids, x).view(2, 3), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("dims", "stated"), [((16,) * 39, 24_531), (TABLE_3, 8_960 + 39)])
def test_looking_up_takes_the_operations_of_table_4(dims: tuple[int, ...], stated: int) -> None:
    """All pairs are one sum here: they spare one addition each, and the linear part takes one a field."""
    model = FmFM(single(39), dims=dims).cached()
    with counting() as count:
        model(torch.tensor(single(39).offsets))
    assert not count.unknown
    assert count.total == stated - 39 * 38 // 2 - 39 + 3  # three sums and the bias come together


def test_sizes_are_read_from_a_trained_model() -> None:
    trained = randomize(FmFM(single(4), dim=3))
    options = FmFM.options_from({"name": "fmfm", "variance": 0.8}, trained)
    assert options == {"dims": list(field_dims(trained, 0.8))}
    assert FmFM.options_from({"name": "fmfm", "variance": 0.8, "dims": [1, 1, 1, 1]}, trained) == {}
    assert FmFM.options_from({"name": "fmfm"}, trained) == {}
    assert isinstance(FmFM, InfersOptions)
    with pytest.raises(FmlabError, match="read from one trained fwfm, fvfm or fmfm, got FM"):
        FmFM.options_from({"name": "fmfm", "variance": 0.8}, FM(single(4)))
    with pytest.raises(FmlabError, match=r"variance=0.8 needs a trained model .* warm_start"):
        FmFM(single(4), variance=0.8)
