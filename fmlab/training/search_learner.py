"""The training in which gates on the tables of a model are trained with it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn
from torch.optim import Optimizer

from fmlab.contracts import Loss, Task
from fmlab.data.batch import Batch
from fmlab.training.learner import Learner
from fmlab.training.loader import TrainingLoader
from fmlab.training.optimizers import SeveralOptimizers


class SearchLearner(Learner):
    """Trains a model whose tables are gated, and the gates.

    With `held` rows the gates are trained on batches of those, whose gradients weights do not get, at the same steps
    (the first-order form of DARTS, Liu, Simonyan, Yang, ICLR 2019).
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        optimizer: Callable[[nn.Module], Optimizer],
        task: Task,
        loader: TrainingLoader,
        identity: dict[str, Any],
        search: Any,
        held: TrainingLoader | None,
    ) -> None:
        """`search`: an `nn.Module`, a `StructureSearch`. `held`: None where gates are trained on the same batches."""
        super().__init__(model, loss, optimizer, task, loader, identity)
        self.search, self.held = search, held
        self._batches: Iterator[Batch] | None = None
        self._next = -1  # the step that the next of `_batches` is for

    def configure_optimizers(self) -> Optimizer:
        """The optimizer of the run over the parameters of the model, and that of the search over its gates."""
        return SeveralOptimizers([super().configure_optimizers(), self.search.optimizer()])

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Tell the search which step begins."""
        super().on_train_batch_start(batch, batch_idx)
        if hasattr(self.search, "begin_step"):
            self.search.begin_step(self.global_step)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of the model, and the penalty of the search."""
        loss = super().training_step(batch, batch_idx)
        return loss + self.search.regularization() if hasattr(self.search, "regularization") else loss

    def on_after_backward(self) -> None:
        """Give the gates the gradients of a batch of held-out rows."""
        super().on_after_backward()
        if self.held is None:
            return
        assert self.loss is not None
        gates = [p for p in self.search.parameters() if p.requires_grad]
        with torch.enable_grad():
            loss = self.loss(self.model, self._held_batch())
            if hasattr(self.search, "regularization"):
                loss = loss + self.search.regularization()
            found = torch.autograd.grad(loss, gates, allow_unused=True)
        for gate, gradient in zip(gates, found, strict=True):
            gate.grad = gradient

    def _held_batch(self) -> Batch:
        """That of this step, a function of (seed, step): a resumed search sees the same."""
        assert self.held is not None
        if self._batches is None or self._next != self.global_step or self.global_step % len(self.held) == 0:
            self.held.place(self.device, 0, 1, self.loader.dtype)
            self.held.epoch, self.held.skip = divmod(self.global_step, len(self.held))
            self._batches = iter(self.held)
        self._next = self.global_step + 1
        return self.held.chosen(self.model, next(self._batches))


class SearchEnd(Callback):
    """Ends the training once the search is over; a resumed one does not go on after that."""

    def __init__(self, search: Any, weights: Callable[[], Sequence[Tensor]]) -> None:
        """`weights`: the tables as trained so far."""
        self.search, self.weights = search, weights

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """What was over when it was saved is over."""
        if trainer.global_step:
            self._end(trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        """After each step."""
        self._end(trainer)

    def _end(self, trainer: pl.Trainer) -> None:
        if hasattr(self.search, "finished"):
            with torch.no_grad():
                trainer.should_stop |= bool(self.search.finished(self.weights()))
