"""Riemannian manifolds on stored coordinates, and the parameter that carries one."""

from fmlab.manifolds.base import Manifold, arcosh1p
from fmlab.manifolds.euclidean import Euclidean
from fmlab.manifolds.lorentz import Lorentz
from fmlab.manifolds.parameter import ManifoldParameter, manifold_of, step_scale_of
from fmlab.manifolds.poincare import Poincare

__all__ = [
    "Euclidean",
    "Lorentz",
    "Manifold",
    "ManifoldParameter",
    "Poincare",
    "arcosh1p",
    "manifold_of",
    "step_scale_of",
]
