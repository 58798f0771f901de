"""The only LightningModule: it trains any model with any loss and judges it by any evaluation."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fmlab.batch import Batch
from fmlab.data import Array
from fmlab.distributed import gather_rows, sync_gradients
from fmlab.errors import FmlabError
from fmlab.loaders import TrainingLoader
from fmlab.protocols import Evaluation, Loss, Outcome, Report, StartsEpoch, Task
from fmlab.soundness import is_far

_NO_BLOCK = -1
_GPU_CHECK_STEPS = 100  # reading the loss waits for the device; on the CPU it is free


class Learner(pl.LightningModule):
    """Ties a model, a loss and an optimizer to a task. Hyperparameters live in the run's config, not here.

    After `validate` or `test`, `report` holds metrics and per-unit values of the part just judged.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        task: Task,
        loader: TrainingLoader,
        identity: dict[str, Any],
    ) -> None:
        """`identity`: plain containers that rebuild the model and say what a resumed run must share."""
        super().__init__()
        self.model, self.loss, self.make_optimizer = model, loss, optimizer
        self.task, self.loader, self.identity = task, loader, identity
        self.report: Report | None = None
        self.rows_per_second = 0.0
        self._outcomes: list[Outcome] = []
        self._state: Any = None
        self.diverged: dict[str, float] | None = None
        self._first: Tensor | None = None  # the loss before the first step of all
        self._total = torch.zeros(())
        self._began = 0.0

    # ------------------------------------------------------------------------------------- training

    def configure_optimizers(self) -> Optimizer:
        """The optimizer of the config over all parameters."""
        return self.make_optimizer(self.model.parameters())

    def train_dataloader(self) -> TrainingLoader:
        """The loader, placed on this process's device."""
        return self.loader.place(self.device, self.global_rank, self.trainer.world_size)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Batches are cut where they are used; evaluation blocks are numbers."""
        return batch

    def on_train_epoch_start(self) -> None:
        """Tell the loader and the optimizer which epoch begins."""
        self.loader.epoch = self.current_epoch
        optimizer = self.trainer.optimizers[0]
        if isinstance(optimizer, StartsEpoch):
            optimizer.start_epoch(self.current_epoch)
        self._total = torch.zeros((), device=self.device)
        self._began = time.perf_counter()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed by (seed, step, process), so that dropout after a resume is what it would have been."""
        seed = hash((self.loader.seed, self.global_step, self.global_rank)) & 0x7FFFFFFF
        # torch.manual_seed would also queue a call, with its stack formatted, for every device that is not in use.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of this process's share of the global batch."""
        loss = self.loss(self.model, batch) * batch.weight
        if (self.device.type == "cpu" or batch_idx % _GPU_CHECK_STEPS == 0) and not torch.isfinite(loss):
            raise self._diverged()
        if self._first is None:
            self._first = loss.detach()
        self._total += loss.detach()
        return loss

    def on_after_backward(self) -> None:
        """Average gradients over processes; row-sparse ones travel as rows."""
        if self.trainer.world_size > 1:
            sync_gradients(self.model.parameters())

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Scale all gradients so that their common norm is at most the limit; torch's own does not know sparse ones."""
        if gradient_clip_val is None:
            return
        found = [p for p in self.model.parameters() if p.grad is not None]
        for p in found:
            p.grad = p.grad.coalesce() if p.grad is not None and p.grad.is_sparse else p.grad
        parts = [g._values() if g.is_sparse else g for p in found if (g := p.grad) is not None]
        if parts:
            norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(parts)))
            torch._foreach_mul_(parts, (gradient_clip_val / (norm + 1e-6)).clamp(max=1.0))

    def on_train_epoch_end(self) -> None:
        """Log the mean loss and the speed of the epoch."""
        mean = self._total / max(1, self.trainer.num_training_batches)
        if self.trainer.world_size > 1:
            mean = self.trainer.strategy.reduce(mean, reduce_op="mean")
        if not torch.isfinite(mean):
            raise self._diverged()
        self.log("train/loss", mean, rank_zero_only=False)
        if self.diverged is None and self._first is not None and is_far(float(mean), float(self._first)):
            self.diverged = {"epoch": self.current_epoch, "loss": float(mean), "first_loss": float(self._first)}

    def on_validation_start(self) -> None:
        """Stop the training clock: rows per second leaves validation out."""
        if self.trainer.state.fn == "fit" and self._began:
            seconds = time.perf_counter() - self._began
            share = self.trainer.num_training_batches / len(self.loader)  # limit_train_batches leaves some out
            self.rows_per_second = share * len(self.loader.training.rows) / seconds

    def _diverged(self) -> FmlabError:
        return FmlabError(
            f"the training loss must stay finite, got nan or infinity in epoch {self.current_epoch}, "
            f"step {self.global_step}; try a smaller optimizer.lr"
        )

    # ----------------------------------------------------------------------------------- evaluation

    def val_dataloader(self) -> list[int]:
        """Numbers of the validation blocks that this process scores."""
        return self._blocks(self.task.validation)

    def test_dataloader(self) -> list[int]:
        """Numbers of the test blocks that this process scores."""
        return self._blocks(self.task.test)

    def _blocks(self, evaluation: Evaluation) -> list[int]:
        # Lightning wants a batch in every process, and there may be fewer blocks than processes.
        return list(range(self.global_rank, len(evaluation), self.trainer.world_size)) or [_NO_BLOCK]

    def _score(self, evaluation: Evaluation, block: int) -> None:
        if block != _NO_BLOCK:
            self._outcomes.append(evaluation.block(block, self.model, self.loader.tables, self._state))

    def _start(self, evaluation: Evaluation) -> None:
        self.model.eval()
        self.loader.place(self.device, self.global_rank, self.trainer.world_size)
        self._state, self._outcomes = evaluation.start(self.model, self.loader.tables), []

    def on_validation_epoch_start(self) -> None:
        """Work done once for all validation blocks."""
        self._start(self.task.validation)

    def on_test_epoch_start(self) -> None:
        """Work done once for all test blocks."""
        self._start(self.task.test)

    def validation_step(self, block: int, batch_idx: int) -> None:
        """Score one block."""
        self._score(self.task.validation, int(block))

    def test_step(self, block: int, batch_idx: int) -> None:
        """Score one block."""
        self._score(self.task.test, int(block))

    def on_validation_epoch_end(self) -> None:
        """Metrics over the rows of all processes, each counted once."""
        self._finish(self.task.validation, "val")

    def on_test_epoch_end(self) -> None:
        """Metrics over the rows of all processes, each counted once."""
        self._finish(self.task.test, "test")

    def _finish(self, evaluation: Evaluation, part: str) -> None:
        unit, columns = self._gathered()
        self.report = evaluation.finish(unit, columns)
        self._state, self._outcomes = None, []
        self.log_dict({f"{part}/{name}": value for name, value in self.report.values.items()}, rank_zero_only=False)

    def _gathered(self) -> tuple[Array, dict[str, Array]]:
        names = list(self._outcomes[0].columns) if self._outcomes else []
        if self.trainer.world_size == 1:
            unit = torch.cat([o.unit for o in self._outcomes])
            columns = [torch.cat([o.columns[n] for o in self._outcomes]) for n in names]
        else:
            unit, columns, names = gather_rows(self._outcomes, names, self.device)
        return unit.cpu().numpy(), {n: c.cpu().numpy() for n, c in zip(names, columns, strict=True)}

    # ---------------------------------------------------------------------------------- checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what rebuilds the model without the data."""
        checkpoint["fmlab"] = self.identity
        first = None if self._first is None else float(self._first)
        checkpoint["fmlab_training"] = {"first_loss": first, "diverged": self.diverged}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on judging by the loss that the training began with; a run that diverged stays one that did."""
        if self.trainer.state.fn == "fit":
            saved = checkpoint.get("fmlab_training") or {"first_loss": None, "diverged": None}
            first, self.diverged = saved["first_loss"], saved["diverged"]
            self._first = None if first is None else torch.tensor(first)
