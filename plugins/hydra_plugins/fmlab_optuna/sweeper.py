"""`sweep=<name>` selects this sweeper; its options are those of the files in `sweeps/`."""

from dataclasses import make_dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from fmlab.config.schema import sweep_defaults

# What a file in `sweeps/` may hold; `fmlab.config.schema` declares it, `fmlab.sweep.spec` checks the values.
TARGET = "hydra_plugins.fmlab_optuna.sweeper.OptunaSweeper"
Options = make_dataclass(
    "Options",
    [("_target_", str, TARGET), ("name", Any, None), *((n, Any, default) for n, default in sweep_defaults().items())],
)


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
        from fmlab.sweep.launch import run_sweep

        assert self.config is not None
        assert self.hydra_context is not None
        run_sweep(self.config, self.hydra_context, arguments)


ConfigStore.instance().store(group="hydra/sweeper", name="fmlab", node=Options, provider="fmlab")
