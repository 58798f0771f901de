"""Reads, sums and inner products of repeated rows against plain indexing, gradients included."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fmlab.data import Field, Schema
from fmlab.errors import DataError
from fmlab.nn.features import EmbeddingTable
from fmlab.nn.fm_sums import triangle_pairs
from fmlab.nn.sparse_lookup import dot, gather, incidence, pool, read, whole

IDS = torch.tensor([[3, 0, 3], [5, 5, 5], [0, 1, 7], [3, 7, 0]])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _table(width: int = 4) -> Tensor:
    return torch.randn(9, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 70_000), min_size=0, max_size=60), st.sampled_from([torch.int32, torch.int64]))
def test_an_incidence_names_every_occurrence_once(numbers: list[int], dtype: torch.dtype) -> None:
    ids = torch.tensor(numbers, dtype=dtype).view(-1, 1)
    at = incidence(ids)
    assert at.distinct.tolist() == sorted(set(numbers))
    assert torch.equal(at.distinct[at.inverse], ids.long())
    assert sorted(at.order.tolist()) == list(range(len(numbers)))
    bounds = [*at.starts.tolist(), len(numbers)]
    for row, (low, high) in enumerate(pairwise(bounds)):
        assert {numbers[n] for n in at.order[low:high].tolist()} == {at.distinct[row].item()}
    assert at.owner().tolist() == at.order.tolist()


def test_gradients_of_reads_sums_and_products_pass_the_numerical_check() -> None:
    at, weight = incidence(IDS), _table()
    values = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    rows = read(weight, at).detach().requires_grad_()
    p = torch.randn(4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda r: gather(r, at), rows)
    assert torch.autograd.gradcheck(lambda r: pool(r, at), rows)
    assert torch.autograd.gradcheck(lambda r, v: pool(r, at, v), (rows, values))
    assert torch.autograd.gradcheck(lambda a, q: dot(a, q, at.inverse), (p, rows))


def test_gradients_of_triangle_pairs_pass_the_numerical_check() -> None:
    at = incidence(IDS)
    points = torch.randn(len(at.distinct), 4, dtype=torch.float64, requires_grad=True)
    values = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: triangle_pairs(v, at), points)
    assert torch.autograd.gradcheck(lambda v, x: triangle_pairs(v, at, x), (points, values))


def test_triangle_pairs_keep_their_digits_under_autocast() -> None:
    at = incidence(IDS)
    points = torch.randn(len(at.distinct), 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = triangle_pairs(points, at)
    for a, b in zip(mixed, triangle_pairs(points, at), strict=True):
        assert torch.equal(a, b)


def test_sums_and_products_equal_plain_indexing() -> None:
    at, weight = incidence(IDS), _table()
    values, p = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 4, dtype=torch.float64)
    rows = read(weight, at)
    torch.testing.assert_close(gather(rows, at), weight[IDS])
    torch.testing.assert_close(pool(rows, at), weight[IDS].sum(1))
    torch.testing.assert_close(pool(rows, at, values), (weight[IDS] * values.unsqueeze(-1)).sum(1))
    torch.testing.assert_close(pool(weight, whole(IDS)), weight[IDS].sum(1))
    torch.testing.assert_close(dot(p, rows, at.inverse), torch.einsum("bk,bck->bc", p, weight[IDS]))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_the_gradient_of_a_table_names_each_read_row_once_in_order(dtype: torch.dtype) -> None:
    table, plain = EmbeddingTable(_table().detach()), _table()
    push = torch.randn(4, 3, 4, dtype=torch.float64)
    (table(IDS.to(dtype)) * push).sum().backward()
    (plain[IDS] * push).sum().backward()
    grad = table.weight.grad
    assert grad is not None
    assert grad.is_sparse
    assert grad._indices()[0].tolist() == [0, 1, 3, 5, 7]
    torch.testing.assert_close(grad.to_dense(), plain.grad)


def test_reads_without_gradient_are_the_same() -> None:
    table, wide = EmbeddingTable(_table().detach()), torch.cat([IDS] * 5)
    for ids in (IDS, wide, IDS[0], IDS[:1, :1]):  # more ids than rows, and fewer
        with torch.no_grad():
            quiet, pooled = table(ids), pool(*table.rows(ids))
        torch.testing.assert_close(quiet, table(ids))
        torch.testing.assert_close(pooled, pool(*table.rows(ids)))


def test_a_table_may_begin_at_any_feature() -> None:
    table = EmbeddingTable(_table().detach(), first=100)
    torch.testing.assert_close(table(IDS + 100), table.weight[IDS])
    with torch.no_grad():
        torch.testing.assert_close(table(IDS.int() + 100), table.weight[IDS])


def test_a_batch_without_rows_is_read_as_nothing() -> None:
    table = EmbeddingTable(_table().detach())
    empty = torch.empty(0, 3, dtype=torch.int32)
    assert table(empty).shape == (0, 3, 4)
    assert pool(*table.rows(empty)).shape == (0, 4)


@pytest.mark.parametrize("wrong", [-1, 9, 65_536 + 3, 2**32 + 3])
def test_ids_outside_the_table_are_refused(wrong: int) -> None:
    table = EmbeddingTable(_table().detach())
    ids = torch.tensor([[1, wrong]])
    with pytest.raises((DataError, IndexError, RuntimeError)):
        pool(*table.rows(ids))


def test_schema_offsets_are_what_tables_are_read_by() -> None:
    schema = Schema((Field("user", "user", 4), Field("item", "item", 5)), 3, 4)
    table = EmbeddingTable(torch.arange(5.0).unsqueeze(1), first=schema.offsets[1])
    np.testing.assert_array_equal(table(torch.tensor([4, 8])).detach().numpy(), [[0.0], [4.0]])
