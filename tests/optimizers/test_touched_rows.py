import pytest
import torch
from fmlab_optimizers import _rows
from fmlab_optimizers.adagrad import AdaGrad
from fmlab_optimizers.adam import Adam
from fmlab_optimizers.lazy_adam import LazyAdam
from fmlab_optimizers.radagrad import RAdaGrad
from fmlab_optimizers.rsgd import RSGD
from fmlab_optimizers.sgd import SGD
from optimizer_cases import auxiliary
from torch import nn

from fmlab.errors import FmlabError

ALL = [Adam, LazyAdam, SGD, AdaGrad, RSGD, RAdaGrad]


@pytest.mark.parametrize("ways", [_rows._by_sorting, _rows._by_scattering])
@pytest.mark.parametrize("table", [7, 1000, 2**31 + 5])
def test_repeated_rows_are_summed_once(ways, table):
    rows = torch.randint(table, (300,), generator=torch.Generator().manual_seed(0))
    rows[5:40] = rows[0]
    values = torch.randn(300, 4, dtype=torch.float64)
    once, sums = ways(rows, values)
    assert once.tolist() == sorted(set(rows.tolist()))
    for row, total in zip(once, sums, strict=True):
        torch.testing.assert_close(total, values[rows == row].sum(0), rtol=1e-12, atol=1e-12)


def test_gradients_known_to_be_distinct_are_taken_as_they_are():
    table = nn.Parameter(torch.zeros(30, 4))
    table.grad = auxiliary(table, 0)[0].coalesce()
    (one,) = _rows.touched([{"params": [table]}])
    assert torch.equal(one.rows, table.grad.indices()[0])
    assert one.grad.data_ptr() == table.grad.values().data_ptr()


@pytest.mark.parametrize("optimizer", ALL)
@pytest.mark.parametrize("count", [0, 1])
def test_gradients_of_no_lookup_or_one_are_fine(optimizer, count):
    table = nn.Parameter(torch.ones(30, 4))
    table.grad, dense = auxiliary(table, 0, count=count)
    optimizer([table], lr=0.1).step()
    moved = (table.detach() != 1).any(1)
    assert torch.equal(moved, (dense != 0).any(1))


@pytest.mark.parametrize("optimizer", ALL)
def test_parameters_without_gradient_stay(optimizer):
    table, other = nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(3, 2))
    other.grad = torch.ones(3, 2)
    optimizer([table, other], lr=0.1).step()
    optimizer([table], lr=0.1).step()
    assert (table == 1).all()
    assert (other != 1).all()


@pytest.mark.parametrize("optimizer", ALL)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("sparse", [True, False])
def test_a_gradient_that_is_not_finite_is_refused_before_anything_moves(optimizer, bad, sparse):
    good, table = nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(30, 4))
    good.grad = torch.ones(3, 2)
    table.grad = auxiliary(table, 0)[0] if sparse else torch.ones(30, 4)
    (table.grad._values() if sparse else table.grad)[2, 1] = bad
    with pytest.raises(FmlabError, match=r"gradients must be finite, got .*(nan|inf).* shape \(30, 4\)"):
        optimizer([good, table], lr=0.1).step()
    assert (good == 1).all()
    assert (table == 1).all()


@pytest.mark.parametrize("optimizer", ALL)
def test_the_gradient_itself_is_left_alone(optimizer):
    table, matrix = nn.Parameter(torch.ones(30, 4)), nn.Parameter(torch.ones(3, 2))
    for sparse in (auxiliary(table, 0)[0], auxiliary(table, 0)[0].coalesce()):
        table.grad, matrix.grad = sparse, torch.ones(3, 2)
        before = sparse._indices().clone(), sparse._values().clone()
        optimizer([table, matrix], lr=0.1).step()
        assert table.grad is sparse
        assert torch.equal(sparse._indices(), before[0])
        assert torch.equal(sparse._values(), before[1])
        assert (matrix.grad == 1).all()


@pytest.mark.parametrize("optimizer", ALL)
def test_a_closure_is_evaluated_with_gradients(optimizer):
    table = nn.Parameter(torch.ones(30, 4))
    chosen = optimizer([table], lr=0.1)

    def closure():
        chosen.zero_grad()
        loss = nn.functional.embedding(torch.tensor([1, 1, 2]), table, sparse=True).sum()
        loss.backward()
        return loss

    assert chosen.step(closure).item() == 12
    assert (table[1:3] < 1).all()
    assert (table[3:] == 1).all()
