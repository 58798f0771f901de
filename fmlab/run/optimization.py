"""What moves the parameters of a run: its optimizers, one for each role if wanted, and its scheduler."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn
from torch.optim import Optimizer

from fmlab.contracts import Scheduler
from fmlab.errors import FmlabError
from fmlab.plugin.registry import build
from fmlab.training.optimizers import MAIN, Make, fit_optimizers

log = logging.getLogger("fmlab")


def optimizers(config: Mapping[str, Any], model: nn.Module) -> Callable[[nn.Module], Optimizer]:
    """What gives the optimizer of the config: `optimizer`, and `optimizer.roles.ROLE` for parameters of a role.

    A role has the options of `optimizer` but for those that it says; one that says a `name` has that optimizer, with
    its own defaults. Raises FmlabError.
    """
    given = {k: v for k, v in config["optimizer"].items() if k != "roles"}
    makes: dict[str, Make] = {MAIN: partial(build, "optimizer", given, gives=Optimizer)}
    names = {MAIN: str(given["name"])}
    for role, said in (config["optimizer"].get("roles") or {}).items():
        options = dict(said) if "name" in said else {**given, **said}
        makes[role], names[role] = partial(build, "optimizer", options, gives=Optimizer), str(options["name"])
    return fit_optimizers(model, makes, names)


def epoch_steps(options: Mapping[str, Any], batches: int) -> int:
    """Steps of an epoch, at least 1, of whose batches `limit_train_batches` of the trainer's options may leave some."""
    limit = options["limit_train_batches"]
    if limit is not None:
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    return max(1, batches)


def scheduler(config: Mapping[str, Any], batches: int) -> Scheduler | None:
    """The scheduler of the config, None for a constant rate; raises FmlabError.

    `batches`: of an epoch. `config` may have `schedule_epochs`, the epochs of a schedule that is not trained to its
    end.
    """
    options = config["trainer"]
    steps = epoch_steps(options, batches)
    epochs = config.get("schedule_epochs", options["max_epochs"])
    found = build("scheduler", config["scheduler"], epochs * steps, steps)
    if found is not None and not callable(getattr(found, "rate", None)):
        name, kind = config["scheduler"]["name"], type(found).__name__
        raise FmlabError(f"scheduler {name} must have a method rate(base, step), or be None; got {kind}")
    if options["reduce_lr"]:
        if found is not None:
            raise FmlabError(
                "trainer.reduce_lr is a scheduler of its own, and there is one already: "
                f"got trainer.reduce_lr={options['reduce_lr']} and scheduler={config['scheduler']['name']}"
            )
        log.warning(
            "trainer.reduce_lr ends with the next release: write scheduler=plateau "
            f"scheduler.factor={options['reduce_lr']}"
        )
    return found
