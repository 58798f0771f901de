"""`sweep=<name>` selects this sweeper; its options are those of the files in `sweeps/`."""

from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class Options:
    """What a file in `sweeps/` may hold; `fmlab.sweep.spec` checks the values and says what they mean."""

    _target_: str = "hydra_plugins.fmlab_optuna.sweeper.OptunaSweeper"
    name: Any = None
    metric: Any = None
    direction: Any = None
    sampler: Any = "tpe"
    pruner: Any = "none"
    trials: Any = None
    workers: Any = None
    threads: Any = None
    seeds: Any = ()
    budget: Any = None
    storage: Any = None
    study: Any = None
    folder: Any = None
    seed: Any = 0
    extend: Any = False
    retries: Any = 3
    heartbeat: Any = 2.0
    part: Any = None
    share: Any = None
    refit: Any = ()
    auto: Any = None
    first: Any = ()
    fixed: Any = None
    space: Any = None


class OptunaSweeper(Sweeper):
    """Hands the composed sweep to `fmlab.sweep`."""

    def __init__(self, **_: Any) -> None:
        """The options are read from the composed config, where interpolations resolve."""
        self.config: DictConfig | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `sweep`."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> None:
        """Run the study; `arguments` are the overrides typed by the user."""
        from fmlab.sweep.launch import conduct

        assert self.config is not None
        assert self.hydra_context is not None
        conduct(self.config, self.hydra_context, arguments)


ConfigStore.instance().store(group="hydra/sweeper", name="fmlab", node=Options, provider="fmlab")
