"""The step of Riemannian gradient descent: which way, how far at most, and along which map."""

from typing import Annotated, Any

import torch
from torch import Tensor

from fmlab.manifolds import Euclidean, Lorentz, Manifold
from fmlab.plugin.option import Range, Renamed

SHORT = 1e-200  # a gradient this short counts as its direction times this
ExponentialMap = Annotated[
    bool, "whether steps follow the exponential map where the manifold has a cheaper one", Renamed("exact")
]
MaxStep = Annotated[
    float, Range(0, 40, open_low=True), "largest length of a step in the metric of the manifold", Renamed("max_norm")
]
FORMER = {"exact": "exponential_map", "max_norm": "max_step", "initial": "initial_accumulator"}


def descend(
    manifold: Manifold,
    x: Tensor,
    egrad: Tensor,
    lr: float | Tensor,
    *,
    exponential_map: bool = False,
    max_step: float = 1.0,
) -> Tensor:
    """The points `x[n, d]` one step down their gradient, none farther than `max_step` in the metric of the manifold.

    `egrad[n, d]`: partial derivatives in the stored coordinates. `lr`: one rate, or `[n, 1]` of the points. A step
    follows the manifold's customary map, `Manifold.retract`: a straight line in coordinates on the Poincaré ball
    (HyperML, equation 14), the exponential map on the hyperboloid (LorentzFM, equation 11); with `exponential_map` it
    follows the exponential map everywhere. In flat space it is `x - lr egrad`, of any length.
    """
    if isinstance(manifold, Euclidean):
        return x - lr * egrad
    if isinstance(manifold, Lorentz):
        return _on_the_hyperboloid(manifold, x, egrad, lr, max_step)
    v, g = x.double(), egrad.double()
    length = manifold.gradient_norm(v, g, lr)
    step = manifold.riemannian_gradient(v, g, -lr * (max_step / length).clamp_max(1.0))
    return manifold.expmap(x, step) if exponential_map else manifold.retract(x, step)


def _on_the_hyperboloid(manifold: Lorentz, x: Tensor, egrad: Tensor, lr: float | Tensor, max_step: float) -> Tensor:
    """The exponential map of the gradient in closed form: no tangent vector is formed, whose digits are lost far out.

    With `r = sqrt(c)`, `n = |grad|` and `l` the length of the step,
    `v (cosh(r l) - sinh(r l) r <v, g> / n) - sinh(r l) / (r n) g`.
    """
    root = float(manifold.curvature) ** 0.5
    v, g = (x.double(), egrad.double()) if root == 1 else (x.double() * root, egrad.double() / root)
    radial = (v * g).sum(-1, keepdim=True)
    norm = torch.hypot(torch.linalg.vector_norm(g, dim=-1, keepdim=True), radial).clamp_min(SHORT)
    # On the unit hyperboloid lengths are `root` times as large, and gradients there too are to move as far.
    length = (lr * root**2 * norm).clamp_max(max_step * root)
    per_unit = torch.sinh(length) / norm
    reached = v * (torch.cosh(length) - per_unit * radial) - per_unit * g
    return manifold.project((reached if root == 1 else reached / root).to(x.dtype))


def rename_options(groups: list[dict[str, Any]]) -> None:
    """Options of groups that were saved under their former names."""
    for group in groups:
        for old, new in FORMER.items():
            if old in group:
                group[new] = group.pop(old)
