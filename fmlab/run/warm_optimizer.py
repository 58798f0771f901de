"""The state of a trained run's optimizer for a new training, on the vocabularies of now: `warm_start_optimizer=true`.

A number that belongs to a row of a parameter follows that row; rows that are new start at 0, as after no step. Rates
and other options are those of the new run.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fmlab.errors import FmlabError
from fmlab.run.warm_start import Trained

Make = Callable[[nn.Module], Optimizer]


def going_on(make: Make, config: Mapping[str, Any], trained: Sequence[Trained]) -> Make:
    """What gives the optimizer of `make` with the state of a trained run; raises FmlabError where there is none.

    It wants one trained run of the same model, one optimizer for all parameters, and the same optimizer as then.
    """
    if len(trained) != 1 or trained[0].name != config["model"]["name"]:
        raise FmlabError("warm_start_optimizer goes on from one run of the same model, given by warm_start")
    one = trained[0]
    before, now = (one.optimizer_name, config["optimizer"]["name"])
    if before != now or config["optimizer"].get("roles"):
        raise FmlabError(f"warm_start_optimizer goes on with one optimizer, got {before!r} there and {now!r} here")
    if not one.optimizer or len(one.optimizer.get("state", {})) == 0:
        raise FmlabError(
            f"warm_start_optimizer needs a checkpoint with the state of the optimizer, {one.path} has none"
        )

    def made(model: nn.Module) -> Optimizer:
        optimizer = make(model)
        state = optimizer.state_dict()
        state["state"] = _moved(one, model, state)
        optimizer.load_state_dict(state)
        return optimizer

    return made


def _moved(trained: Trained, model: nn.Module, fresh: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """The state of each parameter by its number, on the rows of now."""
    numbers = [n for group in fresh["param_groups"] for n in group["params"]]
    before = [n for group in trained.optimizer["param_groups"] for n in group["params"]]
    names = [name for name, _ in model.named_parameters()]
    if not len(numbers) == len(before) == len(names):
        raise FmlabError(f"warm_start_optimizer needs the parameters of {trained.path}, the model has others")
    found: dict[int, dict[str, Any]] = {}
    for name, number, old, parameter in zip(names, numbers, before, model.parameters(), strict=True):
        entry = trained.optimizer["state"].get(old)
        if entry is not None and name not in trained.reinitialized:
            found[number] = {
                key: _rows(value, trained.moved.get(name), len(parameter) if parameter.dim() else 0)
                for key, value in entry.items()
            }
    return found


def _rows(value: Any, moved: tuple[Tensor, Tensor, int] | None, rows: int) -> Any:
    """A value of the state; a tensor with as many rows as the parameter had follows its rows."""
    if not isinstance(value, Tensor) or moved is None:
        return value
    to, source, size = moved
    if value.dim() == 0 or len(value) != size:
        return value
    made = torch.zeros(rows, *value.shape[1:], dtype=value.dtype)
    made[to] = value[source]
    return made
