"""fmlab's side: parts come from the registry by name and train through the real Learner and Trainer."""

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn
from torch.optim import Optimizer

from benchmarks.harness import now
from fmlab.contracts import Task, Training
from fmlab.data import Dataset
from fmlab.plugin.registry import build
from fmlab.training.learner import Learner
from fmlab.training.loader import TrainingLoader
from fmlab.training.progress import EpochLogger

Options = Mapping[str, Any]

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module=r"pytorch_lightning\..*")


@dataclass(frozen=True)
class Fit:
    """One way to train: what a run's config names."""

    model: Options
    loss: Options
    optimizer: Options
    dataset: Dataset
    batch_size: int
    negatives: int = 0

    def rows_per_second(self) -> float:
        """Speed of the second epoch of a fresh run, from its first hook to its last."""
        return self.dataset.rows / self.epoch_seconds()

    def epoch_seconds(self) -> float:
        """Seconds of the second epoch, with everything a run does in it but validation and checkpoints.

        Shuffling, negatives, Lightning's loop and fmlab's hooks are inside; building the parts and the first
        epoch, which allocates the optimizer's state, are not.
        """
        torch.manual_seed(0)
        model = build("model", self.model, self.dataset.schema)
        training = Training(np.arange(self.dataset.rows), self.negatives)
        loader = TrainingLoader(self.dataset, training, batch_size=self.batch_size, seed=0)
        task = Task(self.dataset, training, _Nothing(), _Nothing(), "none", True)

        def optimizer(model: nn.Module) -> Optimizer:
            return build("optimizer", self.optimizer, model.parameters())

        learner = Learner(model, build("loss", self.loss), optimizer, task, loader, {})
        clock = _Clock()
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=2,
            limit_val_batches=0,
            logger=False,
            callbacks=[EpochLogger(bar=False), clock],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )
        trainer.fit(learner)
        return clock.seconds


class _Clock(pl.Callback):
    """Seconds of the last epoch."""

    seconds = 0.0
    _began = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._began = now()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds = now() - self._began


class _Nothing:
    """No evaluation: training alone is timed."""

    def __len__(self) -> int:
        return 0

    def start(self, scorer: Any, tables: Any) -> Any:
        raise NotImplementedError

    def block(self, index: int, scorer: Any, tables: Any, state: Any) -> Any:
        raise NotImplementedError

    def finish(self, unit: Any, columns: Any) -> Any:
        raise NotImplementedError
