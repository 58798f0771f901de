"""Gradients as embedding lookups make them: row-sparse, uncoalesced, rows repeated."""

import copy
import io

import torch
from torch import nn


def auxiliary(table, seed, count=40, rows=None, size=1.0):
    """A sparse gradient of `table` with repeats, and the dense one it stands for."""
    random = torch.Generator().manual_seed(seed)
    index = torch.randint(rows or len(table), (count,), generator=random)
    values = size * torch.randn(count, table.shape[1], generator=random, dtype=table.dtype)
    dense = torch.zeros(table.shape, dtype=table.dtype)
    for i, v in zip(index, values, strict=True):
        dense[i] += v
    return torch.sparse_coo_tensor(index.unsqueeze(0), values, table.shape, check_invariants=True), dense


def parameters(dtype=torch.float32):
    """A table of 30 rows and a dense matrix."""
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(30, 4, dtype=dtype)), nn.Parameter(torch.randn(5, 3, dtype=dtype))]


def train(optimizer, table, matrix, steps, sparse, rows=20, start=0):
    """Steps with the same random gradients for every optimizer, the table's in either layout."""
    for step in range(start, start + steps):
        both = auxiliary(table, step, rows=rows)
        table.grad = both[0] if sparse else both[1]
        matrix.grad = torch.randn(matrix.shape, generator=torch.Generator().manual_seed(step), dtype=matrix.dtype)
        optimizer.step()


def assert_resumes(build, points=None):
    """A run that is saved after 7 steps, loaded with `weights_only`, and continued, ends where a straight one does."""
    straight = points or parameters()
    broken = copy.deepcopy(straight)
    train(build(straight), *straight, 15, sparse=True)
    first, buffer = build(broken), io.BytesIO()
    train(first, *broken, 7, sparse=True)
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second = build(broken)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    train(second, *broken, 8, sparse=True, start=7)
    assert all(torch.equal(a, b) for a, b in zip(straight, broken, strict=True))
