"""How long a model was trained when its validation was best, which a refit repeats."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fmlab.contracts import Task
from fmlab.errors import FmlabError
from fmlab.evaluation.output_transform import OutputTransform
from fmlab.training.checkpoint_entries import TRAINING
from fmlab.training.checkpoint_format import read_checkpoint


@dataclass(frozen=True)
class TrainingLength:
    """How long a model was trained when its validation was best.

    `epochs`, of which the last one may be short, and their `steps`; `epoch_steps` are those of a whole epoch.
    `validations`: step and value of each validation until then, larger is better. `rounds` are those of a model that
    trains itself. `scale`: that of the labels.
    """

    epochs: int = 0
    steps: int = 0
    epoch_steps: int = 0
    validations: Sequence[tuple[int, float]] = ()
    rounds: int | None = None
    scale: OutputTransform | None = None

    @classmethod
    def of(cls, best: Path, rounds: int | None, scale: OutputTransform | None) -> "TrainingLength":
        """As the checkpoint of the best epoch says; raises StorageError."""
        saved = read_checkpoint(best)
        steps, training = int(saved.get("global_step") or 0), saved.get(TRAINING) or {}
        if not steps:
            return cls(rounds=rounds, scale=scale)
        seen = tuple((int(step), float(value)) for step, value in training.get("validations", ()))
        return cls(int(saved["epoch"]) + 1, steps, int(training.get("epoch_steps") or 0), seen, rounds, scale)

    def steps_of(self, epoch: int) -> int:
        """As many epochs where a whole one has so many steps."""
        return max(1, round(self.steps * epoch / self.epoch_steps)) if self.epoch_steps else self.epochs * epoch


def check_refit(config: Mapping[str, Any], task: Task) -> None:
    """Raise FmlabError where training cannot be repeated without a validation."""
    if task.refit is None:
        return
    if config["trainer"].get("reduce_lr"):
        raise FmlabError(
            "a refit trains without a validation, which trainer.reduce_lr waits for; got "
            f"reduce_lr={config['trainer']['reduce_lr']}: write scheduler=plateau "
            f"scheduler.factor={config['trainer']['reduce_lr']}"
        )
    if config["warm_start"]:
        raise FmlabError("a refit starts anew; got warm_start: leave it out, or test the model of the training rows")
