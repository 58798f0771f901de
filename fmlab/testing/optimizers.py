"""What every optimizer must do."""

from collections.abc import Iterable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fmlab.manifolds import Lorentz, Manifold, ManifoldParameter, Poincare, Product, Sphere
from fmlab.training.optimizers import MAIN, fit_optimizers

MIXED = Product((Lorentz(0.5), 2), (Sphere(2.0), 1))


class OptimizerContract:
    """Subclass it and write `make`. `steps`: how many it takes to halve a quadratic."""

    steps = 300

    def make(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """Your optimizer, with a learning rate that suits a quadratic of slope about 1."""
        raise NotImplementedError

    def _made(self, parameters: list[nn.Parameter]) -> Optimizer:
        """As a run has it: gradients made dense, points brought back, where the optimizer does neither."""
        model = nn.ParameterList(parameters)
        return fit_optimizers(model, {MAIN: self.make}, {MAIN: type(self).__name__})(model)

    def test_it_descends_a_quadratic(self) -> None:
        """Dense parameters and row-sparse tables together."""
        table, dense = _table(), nn.Parameter(torch.ones(3))
        optimizer = self._made([table, dense])
        start = _cost(table, dense).item()
        for _ in range(self.steps):
            optimizer.zero_grad()
            torch.autograd.backward(_cost(table, dense))
            optimizer.step()
        assert _cost(table, dense).item() < 0.5 * start

    def test_repeated_rows_of_a_sparse_gradient_add_up(self) -> None:
        """As if they had been summed before."""
        once, twice = _table(), _table()
        index, values = torch.tensor([[1, 4, 1]]), torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
        for parameter, coalesce in ((once, True), (twice, False)):
            optimizer = self._made([parameter])
            for _ in range(3):
                grad = torch.sparse_coo_tensor(index, values, parameter.shape, check_invariants=True)
                parameter.grad = grad.coalesce() if coalesce else grad
                optimizer.step()
        torch.testing.assert_close(once, twice)

    def test_a_parameter_without_gradient_stays(self) -> None:
        """It was not part of the loss."""
        parameter = nn.Parameter(torch.ones(3))
        optimizer = self._made([parameter])
        optimizer.zero_grad()
        optimizer.step()
        assert torch.equal(parameter.detach(), torch.ones(3))

    @pytest.mark.parametrize(
        "manifold", [Lorentz(), Lorentz(4.0), Poincare(1.0), Poincare(4.0), Sphere(), MIXED], ids=str
    )
    @pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
    def test_points_stay_on_their_manifold(self, manifold: Manifold, size: float) -> None:
        """However large the gradient is."""
        generator = torch.Generator().manual_seed(0)
        parameter = ManifoldParameter(0.1 * torch.randn(4, 3, generator=generator), manifold)
        optimizer = self._made([parameter])
        for _ in range(5):
            parameter.grad = size * torch.randn(4, 3, generator=generator)
            optimizer.step()
        assert torch.isfinite(parameter).all()
        torch.testing.assert_close(manifold.project(parameter.detach()), parameter.detach(), rtol=1e-6, atol=0)

    def test_a_saved_state_continues_the_same(self) -> None:
        """Steps after a restart equal steps without one."""
        table = _table()
        optimizer = self._made([table])
        _run(optimizer, table, 3)
        state, copy = deepcopy(optimizer.state_dict()), nn.Parameter(table.detach().clone())
        _run(optimizer, table, 3)
        resumed = self._made([copy])
        resumed.load_state_dict(state)
        _run(resumed, copy, 3)
        assert torch.equal(table, copy)


def _table() -> nn.Parameter:
    return nn.Parameter(torch.linspace(-2, 2, 12).view(6, 2))


def _cost(table: Tensor, dense: Tensor) -> Tensor:
    rows = torch.nn.functional.embedding(torch.tensor([0, 2, 2, 5]), table, sparse=True)
    return 0.5 * (rows - 0.3).square().sum() + 0.5 * (dense + 0.2).square().sum()


def _run(optimizer: Optimizer, table: nn.Parameter, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(_cost(table, torch.zeros(1)))
        optimizer.step()
