"""How tables are laid out, against loops of plain numbers."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from fmlab_tables.full import full
from fmlab_tables.hashed import Hashed
from fmlab_tables.mixed import Mixed
from fmlab_tables.quotient_remainder import QuotientRemainder
from fmlab_tables.tensor_train import TensorTrain, factors
from torch import Tensor

from fmlab.contracts.table import TableLayout
from fmlab.data import Field, Schema
from fmlab.errors import FmlabError
from fmlab.plugin.registry import build
from fmlab.testing import TableContract

SIZES = (3, 40, 1, 500)


def schema_of(sizes: Sequence[int], slots: Sequence[int] = ()) -> Schema:
    several = slots or [1] * len(sizes)
    fields = zip(sizes, several, strict=True)
    return Schema(tuple(Field(f"field{n}", "context", size, s) for n, (size, s) in enumerate(fields)), 0, 0)


def built(name: str, width: int = 11, sizes: Sequence[int] = SIZES, slots: Sequence[int] = (), **options: Any) -> Any:
    return build("table", {"name": name, **options}, schema_of(sizes, slots), range(len(sizes)), width)


def count(layout: Any) -> int:
    return sum(group.n_parameters for group in layout.groups)


class TestHashed(TableContract):
    def make(self, schema: Schema, fields: range, width: int) -> TableLayout:
        return Hashed(schema, fields, width, buckets=16)


class TestQuotientRemainder(TableContract):
    def make(self, schema: Schema, fields: range, width: int) -> TableLayout:
        return QuotientRemainder(schema, fields, width, collisions=5)


class TestSumOfQuotientAndRemainder(TableContract):
    def make(self, schema: Schema, fields: range, width: int) -> TableLayout:
        return QuotientRemainder(schema, fields, width, collisions=3, operation="sum")


class TestTensorTrain(TableContract):
    def make(self, schema: Schema, fields: range, width: int) -> TableLayout:
        return TensorTrain(schema, fields, width, rank=2)


class TestTensorTrainOfTwoCores(TableContract):
    def make(self, schema: Schema, fields: range, width: int) -> TableLayout:
        return TensorTrain(schema, fields, width, rank=4, cores=2)


class TestTensorTrainOfFourCores(TableContract):
    def make(self, schema: Schema, fields: range, width: int) -> TableLayout:
        return TensorTrain(schema, fields, width, rank=2, cores=4)


class TestMixed(TableContract):
    def make(self, schema: Schema, fields: range, width: int) -> TableLayout:
        return Mixed(schema, fields, width, alpha=0.5)


class TestMixedByGivenWidths(TableContract):
    def make(self, schema: Schema, fields: range, width: int) -> TableLayout:
        return Mixed(schema, fields, width, dims=tuple(1 + f % 3 for f in range(len(schema.fields))))


class TestFull(TableContract):
    def make(self, schema: Schema, fields: range, width: int) -> None:
        return full(schema, fields, width)


def test_hashes_are_those_of_the_formula() -> None:
    layout = built("hashed", buckets=16)
    assert layout.groups == ((((3 + 16 + 1 + 16, 11),), ()),)
    expected, start = [], 0
    for size in SIZES:
        for n in range(size):
            own = n if size <= 16 or n == 0 else 1 + (n * 1_103_515_245 % (2**31 - 1)) % 15
            expected.append(start + own)
        start += min(size, 16)
    ((found,),) = layout(torch.arange(sum(SIZES)))
    assert found.tolist() == expected
    counts = torch.bincount(found[-499:])[-15:]
    assert counts.min() > 20, "the buckets are filled alike"


@pytest.mark.parametrize("collisions", [2, 4, 7])
def test_no_two_features_share_remainder_and_quotient(collisions: int) -> None:
    layout = built("qr", collisions=collisions)
    (whole,), (first, second) = layout(torch.arange(sum(SIZES)))
    pairs = list(zip(whole.tolist(), first.tolist(), second.tolist(), strict=True))
    assert len(set(pairs)) == sum(SIZES)
    modulus = -(-500 // collisions)
    quotients = -(-500 // modulus)
    at, n = sum(SIZES[:3]), torch.arange(500)
    assert torch.equal(first[at:] - first[at], n % modulus)
    assert torch.equal(second[at:] - second[at], n // modulus)
    assert whole[:3].tolist() == [0, 1, 2], "a field that gains nothing keeps its rows"
    assert whole[3:43].tolist() == [-1] * 40
    rows_of_40 = -(-40 // collisions) + -(-40 // -(-40 // collisions))
    assert count(layout) == 11 * (3 + rows_of_40 + 1 + modulus + quotients)


@pytest.mark.parametrize("cores", [2, 3, 4])
@pytest.mark.parametrize("n", [1, 2, 3, 11, 17, 64, 65, 1000, 4082, 999_983])
def test_factors_are_alike_and_enough(n: int, cores: int) -> None:
    found = factors(n, cores)
    product, smaller = 1, 1
    for f in found:
        product *= f
        smaller *= max(1, f - 1)
    assert len(found) == cores
    assert product >= n
    assert smaller < max(n, 2)
    assert max(found) - min(found) <= 1
    assert min(found) in found[1:-1] or cores == 2


@pytest.mark.parametrize("cores", [2, 3, 4])
def test_a_tensor_train_is_the_product_of_its_slices(cores: int) -> None:
    rank, width = 3, 11
    layout = built("tensor_train", width, rank=rank, cores=cores)
    whole, train = layout.groups
    digits, columns = factors(500, cores), factors(width, cores)
    ranks = [1, *[rank] * (cores - 1), 1]
    of_500 = sum(n * a * k * b for n, a, k, b in zip(digits, ranks, columns, ranks[1:], strict=False))
    trains_of_40 = whole.tables[0][0] == 3 + 1
    of_40 = sum(n * a * k * b for n, a, k, b in zip(factors(40, cores), ranks, columns, ranks[1:], strict=False))
    assert trains_of_40 == (of_40 < 40 * width)
    assert train.n_parameters == of_500 + (of_40 if trains_of_40 else 0)
    torch.manual_seed(0)
    tables = [torch.randn(shape, dtype=torch.float64) for shape in train.tables]
    ids = sum(SIZES[:3]) + torch.tensor([0, 1, 17, 255, 499])
    _, places = layout(ids)
    found = layout.embed(1, [t[p] for t, p in zip(tables, places, strict=True)], [])
    for row, feature in zip(found, (ids - sum(SIZES[:3])).tolist(), strict=True):
        product: Tensor = torch.ones(1, 1, dtype=torch.float64)
        rest = feature
        of_digit = []
        for j in reversed(range(cores)):
            of_digit.append(rest % digits[j])
            rest //= digits[j]
        for j, digit in enumerate(reversed(of_digit)):
            start = len(tables[j]) - digits[j]
            core = tables[j][start + digit].view(ranks[j], columns[j], ranks[j + 1])
            product = torch.einsum("ka,ajb->kjb", product, core).reshape(-1, ranks[j + 1])
        torch.testing.assert_close(row, product.flatten()[:width])


def test_no_two_features_share_all_slices() -> None:
    _, slices = built("tensor_train", rank=2)(torch.arange(sum(SIZES)))
    own = slices[0] >= 0
    assert len(torch.unique(torch.stack(slices, 1)[own], dim=0)) == int(own.sum())


def test_widths_fall_with_the_features_of_a_field() -> None:
    sizes, width, alpha = (3, 40, 1, 500, 9000), 16, 0.25
    layout = built("mixed", width, sizes, alpha=alpha)
    expected = []
    for n in sizes:
        d = max(1, round(width * (1 / n) ** alpha))
        expected.append(d if n * d + d * width < n * width else width)
    assert layout.dims == expected == [16, 6, 16, 3, 2]
    assert count(layout) == 16 * (3 + 1) + 40 * 6 + 6 * 16 + 500 * 3 + 3 * 16 + 9000 * 2 + 2 * 16
    assert built("mixed", width, sizes, alpha=0.0).dims == [16] * 5
    assert built("mixed", width, sizes, alpha=alpha, power_of_two=True).dims == [16, 8, 16, 4, 2]
    assert built("mixed", width, sizes, (1, 1, 1, 1, 100), alpha=alpha).dims[-1] == round(16 * (100 / 9000) ** 0.25)


def test_given_widths_are_taken_field_by_field() -> None:
    schema = schema_of((3, 40, 1, 500))
    assert built("mixed", 8, dims=[8, 4, 2, 30]).dims == [8, 4, 2, 8]
    assert Mixed(schema, range(1, 3), 8, dims=(8, 4, 2, 1)).dims == [4, 2]
    for wrong in ([1, 2], [1, 2, 3, 0]):
        with pytest.raises(FmlabError, match=r"must have a width >= 1 for each of the fields field0, .*got \[1, 2"):
            built("mixed", dims=wrong)


def test_a_narrow_row_is_widened_by_the_matrix_of_its_field() -> None:
    layout = built("mixed", 6, dims=[6, 2, 6, 3])
    (whole,), (second,), (fourth,) = layout(torch.tensor([0, 2, 3, 42, 43, 44, 543]))
    assert whole.tolist() == [0, 2, -1, -1, 3, -1, -1]
    assert second.tolist() == [-1, -1, 0, 39, -1, -1, -1]
    assert fourth.tolist() == [-1, -1, -1, -1, -1, 0, 499]
    rows, matrix = torch.randn(4, 3), torch.randn(3, 6)
    assert torch.equal(layout.embed(2, [rows], [matrix]), rows @ matrix)


def test_columns_that_start_with_zeros_do_so() -> None:
    """First-order weights, for one."""
    rows = torch.randn(sum(SIZES), 6)
    rows[:, 0] = 0
    made = built("mixed", 6, alpha=0.3).start(rows)
    assert not made[-1][:, 0].any()
    assert made[-1][:, 1:].all()


def test_the_plugins_are_there_by_name() -> None:
    assert built("full") is None
    assert count(built("hashed", 1, (20,), buckets=9)) == 9
    assert count(built("qr", 1, (100,))) == 25 + 4
