"""What a model gives for whole rows of features."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fmlab.data import Array
from fmlab.data.batch import Features
from fmlab.data.model_inputs import NO_INPUTS, ModelInputs
from fmlab.errors import FmlabError

ROWS = 1 << 14  # scored at once


@torch.no_grad()
def outputs(
    model: nn.Module, features: Features, targets: Sequence[str] = (), given: ModelInputs = NO_INPUTS
) -> dict[str, Array]:
    """What a model gives for whole feature rows, float32 (or float64 if it computes so), by target; "" of the only one.

    Raises FmlabError where an output is not finite, or the model gives other targets.
    """
    parts: dict[str, list[Tensor]] = {name: [] for name in targets or ("",)}
    for low in range(0, max(1, len(features.ids)), ROWS):
        values = None if features.values is None else features.values[low : low + ROWS]
        ids = features.ids[low : low + ROWS]
        more = given.cut(slice(low, low + ROWS)).named(model)
        made = model(ids, values, **more) if len(ids) else torch.zeros(0)
        if isinstance(made, Mapping) != bool(targets) and len(ids):
            raise FmlabError(f"{type(model).__name__} must give scores of {', '.join(targets) or 'one target'}")
        for name, part in parts.items():
            one = made[name] if isinstance(made, Mapping) else made
            part.append(one if one.dtype == torch.float64 else one.float())
            if not torch.isfinite(part[-1]).all():
                raise FmlabError(
                    "the model gave a score that is not finite: a number in the rows is too large for it, or its "
                    "training diverged"
                )
    return {name: torch.cat(part).numpy() for name, part in parts.items()}
