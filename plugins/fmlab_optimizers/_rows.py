"""What the optimizers share: gradients by touched row, and the part of a parameter that those rows are.

An embedding table gets a row-sparse gradient that names a row once for every lookup. `touched` sums the repeats, so
that a rule written for `[rows, d]` serves tables and dense parameters alike, at a cost that does not grow with the
table.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fmlab.errors import FmlabError
from fmlab.manifolds import Euclidean, manifold_of

LARGEST = 1e100  # squares and cubes of a gradient must stay finite in float64


class RowGradient(NamedTuple):
    """A parameter of `group` with its gradient: whole if `rows` is None, else one row of `grad` for each of `rows`."""

    group: dict[str, Any]
    parameter: nn.Parameter
    rows: Tensor | None
    grad: Tensor


def touched(groups: Iterable[dict[str, Any]]) -> list[RowGradient]:
    """All parameters that have a gradient; raises FmlabError, before any has moved, if one is not finite."""
    found = []
    for group in groups:
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            rows, grad = None, parameter.grad
            if grad.is_sparse:
                rows, grad = distinct(grad._indices()[0], grad._values())
            found.append(RowGradient(group, parameter, rows, grad))
    if found:
        _check(found)
    return found


def distinct(rows: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Each of `rows[n]` once, ascending, with the sum of its `values[n, d]`."""
    if rows.device.type != "cpu":
        return _by_scattering(rows, values)
    # Autograd drops the mark "coalesced" of a gradient whose rows are distinct already, which most are.
    if bool((rows[1:] > rows[:-1]).all()):
        return rows, values
    return _by_sorting(rows, values)


def _by_sorting(rows: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    # Sorting (row, position) pairs packed into one integer is several times faster than a sort with indices, and
    # summing runs of an order is several times faster than adding rows one at a time.
    bits = len(rows).bit_length()
    key = np.left_shift(rows.numpy(), bits)
    key |= np.arange(len(rows))
    key.sort()
    order = torch.from_numpy(key & ((1 << bits) - 1))
    key >>= bits
    starts = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
    return torch.from_numpy(key[starts]), torch.embedding_bag(values, order, torch.from_numpy(starts))[0]


def _by_scattering(rows: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    once, place = torch.unique(rows, return_inverse=True)
    return once, values.new_zeros(len(once), *values.shape[1:]).index_add_(0, place, values)


def read(tensor: Tensor, rows: Tensor | None) -> Tensor:
    """The touched rows, copied; the tensor itself if it is dense. The result may be changed in place."""
    return tensor if rows is None else tensor.index_select(0, rows)


def write(tensor: Tensor, rows: Tensor | None, value: Tensor) -> None:
    """Put back what `read` gave, or a new tensor of that shape."""
    if rows is not None:
        tensor.index_copy_(0, rows, value)
    elif value is not tensor:
        tensor.copy_(value)


def project(parameter: Tensor, value: Tensor) -> Tensor:
    """`value`, brought back to the manifold of `parameter` after a straight step in coordinates."""
    manifold = manifold_of(parameter)
    return value if isinstance(manifold, Euclidean) else manifold.project(value)


def evaluate(closure: Callable[[], Any] | None) -> Any:
    """The loss, computed with gradients; None without a closure."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


def _check(found: list[RowGradient]) -> None:
    # One sum a parameter and one look at all of them: a look waits for the device.
    device = found[0].grad.device
    sums = torch.stack([t.grad.sum().to(device, torch.float64) for t in found])
    good = sums.abs() < LARGEST
    if not good.all():
        at = int((~good).nonzero()[0])
        shape = tuple(found[at].parameter.shape)
        raise FmlabError(
            f"gradients must be finite, got a sum of {float(sums[at]):g} for the parameter of shape {shape}; "
            "a lower lr or a smaller initialization may help"
        )
