"""The rows that features share, against loops of plain numbers."""

from collections.abc import Sequence

import pytest
import torch
from fmlab_tables.full import full
from fmlab_tables.hashed import Hashed
from fmlab_tables.quotient_remainder import QuotientRemainder

from fmlab.contracts.table import RowSharing
from fmlab.plugin.registry import build
from fmlab.testing import TableContract

SIZES = (3, 40, 1, 500)


class TestHashed(TableContract):
    def make(self, sizes: Sequence[int]) -> RowSharing:
        return Hashed(sizes, buckets=16)


class TestQuotientRemainder(TableContract):
    def make(self, sizes: Sequence[int]) -> RowSharing:
        return QuotientRemainder(sizes, collisions=5)


class TestSumOfQuotientAndRemainder(TableContract):
    def make(self, sizes: Sequence[int]) -> RowSharing:
        return QuotientRemainder(sizes, collisions=3, operation="sum")


class TestFull(TableContract):
    def make(self, sizes: Sequence[int]) -> None:
        return full(sizes)


def test_hashes_are_those_of_the_formula() -> None:
    sharing = Hashed(SIZES, buckets=16)
    assert sharing.rows == (3 + 16 + 1 + 16,)
    expected, start = [], 0
    for size in SIZES:
        for n in range(size):
            own = n if size <= 16 or n == 0 else 1 + (n * 1_103_515_245 % (2**31 - 1)) % 15
            expected.append(start + own)
        start += min(size, 16)
    (found,) = sharing(torch.arange(sum(SIZES)))
    assert found.tolist() == expected
    counts = torch.bincount(found[-499:])[-15:]
    assert counts.min() > 20, "the buckets are filled alike"


@pytest.mark.parametrize("collisions", [2, 4, 7])
def test_no_two_features_share_remainder_and_quotient(collisions: int) -> None:
    sharing = QuotientRemainder(SIZES, collisions=collisions)
    first, second = sharing(torch.arange(sum(SIZES)))
    assert len(set(zip(first.tolist(), second.tolist(), strict=True))) == sum(SIZES)
    modulus = -(-500 // collisions)
    quotients = -(-500 // modulus)
    at, n = sum(SIZES[:3]), torch.arange(500)
    assert torch.equal(first[at:] - first[at], n % modulus)
    assert torch.equal(second[at:] - second[at], n // modulus)
    assert second[:3].tolist() == [-1, -1, -1], "a field that gains nothing keeps its rows"
    rows_of_40 = -(-40 // collisions) + -(-40 // -(-40 // collisions))
    assert sum(sharing.rows) == 3 + rows_of_40 + 1 + modulus + quotients


def test_the_plugins_are_there_by_name() -> None:
    assert build("table", {"name": "full"}, SIZES) is None
    assert build("table", {"name": "hashed", "buckets": 9}, (20,)).rows == (9,)
    assert build("table", {"name": "qr"}, (100,)).rows == (25, 4)
