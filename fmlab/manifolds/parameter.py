"""A parameter whose rows are points of a manifold."""

from typing import Any

import torch
from torch import Tensor, nn

from fmlab.manifolds.base import Manifold
from fmlab.manifolds.euclidean import Euclidean

FLAT = Euclidean()


class ManifoldParameter(nn.Parameter):
    """A parameter that carries its manifold, through copies and pickles too. Its `state_dict` entry is a plain tensor.

    `data` must lie on the manifold; optimizers keep it there.
    """

    manifold: Manifold

    def __new__(cls, data: Tensor, manifold: Manifold, requires_grad: bool = True) -> "ManifoldParameter":
        """Wrap `data[*batch, d]` without copying it."""
        parameter = torch.Tensor._make_subclass(cls, data, requires_grad)
        parameter.manifold = manifold
        return parameter

    def __deepcopy__(self, memo: dict[int, Any]) -> "ManifoldParameter":
        """A copy with its own data, on the same manifold."""
        return type(self)(self.detach().clone(), self.manifold, self.requires_grad)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """For worker processes."""
        return type(self), (self.detach(), self.manifold, self.requires_grad)


def manifold_of(parameter: Tensor) -> Manifold:
    """The manifold a parameter's rows live on: Euclidean unless it carries one."""
    manifold: Manifold = getattr(parameter, "manifold", FLAT)
    return manifold
