"""Riemannian manifolds on stored coordinates, and the parameter that carries one."""

from fmlab.manifolds.base import Manifold, arcosh1p
from fmlab.manifolds.curvature import LearnedCurvature
from fmlab.manifolds.euclidean import Euclidean
from fmlab.manifolds.lorentz import Lorentz
from fmlab.manifolds.parameter import ManifoldParameter, manifold_of, step_scale_of
from fmlab.manifolds.poincare import Poincare
from fmlab.manifolds.product import Product
from fmlab.manifolds.sphere import Sphere

__all__ = [
    "Euclidean",
    "LearnedCurvature",
    "Lorentz",
    "Manifold",
    "ManifoldParameter",
    "Poincare",
    "Product",
    "Sphere",
    "arcosh1p",
    "manifold_of",
    "step_scale_of",
]
