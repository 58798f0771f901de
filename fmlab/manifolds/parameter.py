"""A parameter whose rows are points of a manifold."""

from typing import Any

import torch
from torch import Tensor, nn

from fmlab.errors import FmlabError
from fmlab.manifolds.base import Manifold
from fmlab.manifolds.euclidean import Euclidean
from fmlab.manifolds.product import Product

FLAT = Euclidean()


class ManifoldParameter(nn.Parameter):
    """A parameter that carries its manifold, through copies and pickles too. Its `state_dict` entry is a tensor.

    `data` must lie on the manifold; optimizers keep it there. `step_scale` multiplies the steps of optimizers that
    divide by the size of past gradients: such a division also cancels a factor that the loss puts on all gradients of
    the parameter, a temperature for instance, and this puts the factor back.

    The manifold has fixed settings. Where a curvature is learned, store points of the unit hyperboloid, ball or sphere,
    which stay points whatever the curvature becomes: divided by its root they are those of the curved space.
    """

    manifold: Manifold
    step_scale: float

    def __new__(
        cls, data: Tensor, manifold: Manifold, requires_grad: bool = True, *, step_scale: float = 1.0
    ) -> "ManifoldParameter":
        """Wrap `data[*batch, d]` without copying it; raises FmlabError for a manifold whose curvature is a tensor."""
        if any(isinstance(getattr(m, "curvature", None), Tensor) for m in _factors(manifold)):
            raise FmlabError(
                "the curvature of a parameter's manifold must be a number, got a tensor; store points in units of the "
                "curvature radius, on a manifold of curvature 1"
            )
        parameter = torch.Tensor._make_subclass(cls, data, requires_grad)
        parameter.manifold, parameter.step_scale = manifold, step_scale
        return parameter

    def __deepcopy__(self, memo: dict[int, Any]) -> "ManifoldParameter":
        """A copy with its own data, on the same manifold."""
        return _rebuilt(self.detach().clone(), self.manifold, self.requires_grad, self.step_scale)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """For worker processes."""
        return _rebuilt, (self.detach(), self.manifold, self.requires_grad, self.step_scale)


def _factors(manifold: Manifold) -> list[Manifold]:
    return [m for m, _ in manifold.factors] if isinstance(manifold, Product) else [manifold]


def _rebuilt(data: Tensor, manifold: Manifold, requires_grad: bool, step_scale: float) -> ManifoldParameter:
    return ManifoldParameter(data, manifold, requires_grad, step_scale=step_scale)


def manifold_of(parameter: Tensor) -> Manifold:
    """The manifold a parameter's rows live on: Euclidean unless it carries one."""
    manifold: Manifold = getattr(parameter, "manifold", FLAT)
    return manifold


def step_scale_of(parameter: Tensor) -> float:
    """The factor of normalized steps that a parameter carries: 1 unless it says otherwise."""
    scale: float = getattr(parameter, "step_scale", 1.0)
    return scale
