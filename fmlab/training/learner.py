"""The module of Lightning that trains any model with any loss, and evaluates it by any evaluator."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fmlab.contracts import EpochSchedule, FollowsValidation, Loss, Scheduler, Task
from fmlab.data.batch import Batch, Tables
from fmlab.errors import FmlabError
from fmlab.training.checkpoint_entries import IDENTITY, TRAINING
from fmlab.training.clock import Pace
from fmlab.training.distributed import gather, sync_gradients
from fmlab.training.evaluation_module import EvaluationModule
from fmlab.training.loader import TrainingLoader
from fmlab.training.random_state import random_state, set_random_state
from fmlab.training.run_warnings import is_far

_GPU_CHECK_STEPS = 100  # reading the loss waits for the device; on the CPU it is free


class Learner(EvaluationModule):
    """Ties a model, a loss and an optimizer to a task. Hyperparameters live in the run's config, not here.

    `request` gives, after a batch, what this process asks for: 0 nothing, 1 a save, more a stop. `agreed_request` is
    the highest of all processes: so they do the same.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss | None,
        optimizer: Callable[[nn.Module], Optimizer] | None,
        task: Task,
        loader: TrainingLoader,
        identity: dict[str, Any],
        scheduler: Scheduler | None = None,
    ) -> None:
        """`loss` and `optimizer`, which gives that of the model, are None for a model that is judged only.

        `scheduler`: None for a learning rate that stays as it is.

        `identity`: built-in containers that rebuild the model and say what a resumed run must share.
        """
        super().__init__(model, task, loader.tables)
        self.loss, self.make_optimizer, self.scheduler = loss, optimizer, scheduler
        self.loader, self.identity = loader, identity
        self.options: dict[str, Any] = {}  # of the trainer: what a resumed run must share
        self.request: Callable[[], int] = lambda: 0
        self.agreed_request = 0
        self.pace = Pace()
        # (step, value) of each validation while training; larger values are better
        self.validations: list[tuple[int, float]] = []
        self.diverged: dict[str, float] | None = None
        self._first: Tensor | None = None  # the loss before the first step of all
        self._total = torch.zeros(())
        self._mean: Tensor | None = None
        self._resumed: dict[str, Any] = {}
        self._begin_step: Any = getattr(model, "begin_step", None)  # of `BeginsSteps`
        self._regularization: Any = getattr(model, "regularization", None)  # of `Regularized`
        self._batch_regularization: Any = getattr(model, "batch_regularization", None)  # of `RegularizesBatch`

    # ------------------------------------------------------------------------------------- training

    def configure_optimizers(self) -> Optimizer:
        """The optimizer of the config over all parameters."""
        assert self.make_optimizer is not None
        optimizer = self.make_optimizer(self.model)
        for group in optimizer.param_groups if self.scheduler is not None else ():
            if "lr" not in group:
                raise FmlabError("a scheduler needs an optimizer whose parameter groups have an lr, got one without")
            group.setdefault("initial_lr", group["lr"])  # in checkpoints, as torch's schedulers call it
        return optimizer

    @property
    def learning_rate(self) -> float | None:
        """That of the last step; with several parts of the optimizer, of the first. None if it has no rate."""
        rate = self.trainer.optimizers[0].param_groups[0].get("lr")
        return None if rate is None else float(rate)

    def train_dataloader(self) -> TrainingLoader:
        """The loader, placed on this process's device."""
        return self._placed()

    def _placed(self) -> TrainingLoader:
        assert isinstance(self.dtype, torch.dtype)
        return self.loader.place(self.device, self.global_rank, self.trainer.world_size, self.dtype)

    def placed_tables(self) -> Tables:
        """The tables of features on this process's device."""
        return self._placed().tables

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Batches are cut where they are used; evaluation blocks are numbers."""
        return batch

    def on_train_start(self) -> None:
        """Enter the epoch that a checkpoint was saved within: Lightning calls the start of a new epoch only."""
        self.pace.go_on()
        saved = self._resumed
        if saved and saved["batches"]:
            self._enter_epoch()
            self.loader.skip = saved["batches"]
            totals = saved["totals"]
            same = len(totals) == self.trainer.world_size
            total = totals[self.global_rank] if same else sum(totals) / len(totals)
            self._total.fill_(total)
            self._mean = None if saved["mean"] is None else self._total.new_tensor(saved["mean"])

    def on_train_epoch_start(self) -> None:
        """Tell the loader and the optimizer which epoch begins."""
        self._enter_epoch()
        self.loader.skip = 0
        self.pace.begin_epoch()

    def _enter_epoch(self) -> None:
        self.loader.epoch = self.current_epoch
        optimizer = self.trainer.optimizers[0]
        if isinstance(optimizer, EpochSchedule):
            optimizer.start_epoch(self.current_epoch)
        self._total, self._mean = torch.zeros((), device=self.device), None

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed by (seed, step, process), so that dropout after a resume is what it would have been; tell the model."""
        seed = hash((self.loader.seed, self.global_step, self.global_rank)) & 0x7FFFFFFF
        # torch.manual_seed would also queue a call, with its stack formatted, for every device that is not in use.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        if self._begin_step is not None:
            self._begin_step(self.global_step)
        if self.scheduler is not None:
            for group in self.trainer.optimizers[0].param_groups:
                group["lr"] = self.scheduler.rate(group["initial_lr"], self.global_step)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of this process's share of the global batch."""
        batch = self.loader.chosen(self.model, batch)
        assert self.loss is not None
        loss = self.loss(self.model, batch)
        if self._regularization is not None:
            loss = loss + self._regularization()
        if self._batch_regularization is not None:
            loss = loss + self._batch_regularization(batch)
        loss = loss * batch.loss_scale
        if (self.device.type == "cpu" or batch_idx % _GPU_CHECK_STEPS == 0) and not torch.isfinite(loss):
            raise self._diverged()
        if self._first is None:
            self._first = loss.detach()
        self._total += loss.detach()
        return loss

    def on_after_backward(self) -> None:
        """Average gradients over processes; row-sparse ones travel as rows, and the requests of processes with them."""
        if self.trainer.world_size > 1:
            self.agreed_request = sync_gradients(self.model.parameters(), self.request())

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

    @property
    def batches(self) -> int:
        """Batches of this epoch that were trained on, before an interruption as well."""
        return _processed(self.trainer.fit_loop.epoch_loop.batch_progress)

    @property
    def rows(self) -> int:
        """Training rows in these batches: only the last of an epoch may be short."""
        return min(self.batches * self.loader.batch_size, len(self.loader.training.rows))

    def mean_loss(self) -> Tensor:
        """Over the batches of this epoch and all processes, which call it alike; raises FmlabError if not finite."""
        if self._mean is None:
            mean = self._total / max(1, self.batches)
            if self.trainer.world_size > 1:
                mean = self.trainer.strategy.reduce(mean, reduce_op="mean")
            if not torch.isfinite(mean):
                raise self._diverged()
            self._mean = mean
        return self._mean

    def on_train_epoch_end(self) -> None:
        """Log the mean loss of the epoch."""
        mean = self.mean_loss()
        self.log("train/loss", mean, rank_zero_only=False)
        if self.diverged is None and self._first is not None and is_far(float(mean), float(self._first)):
            self.diverged = {"epoch": self.current_epoch, "loss": float(mean), "first_loss": float(self._first)}

    def on_validation_start(self) -> None:
        """Stop the training clock: rows per second leaves validation out."""
        if self.trainer.state.fn == "fit":
            self.mean_loss()
            self.pace.end_epoch(self.rows)

    def _diverged(self) -> FmlabError:
        return FmlabError(
            f"the training loss must stay finite, got nan or infinity in epoch {self.current_epoch}, "
            f"step {self.global_step}; try a smaller optimizer.lr"
        )

    def on_validation_epoch_end(self) -> None:
        """Tell the scheduler what the validation gave."""
        super().on_validation_epoch_end()
        if self.trainer.state.fn == "fit":
            value = float(self.last_evaluation().report.values[self.task.monitor]) * (1 if self.task.maximize else -1)
            self.validations.append((self.global_step, value))
            if isinstance(self.scheduler, FollowsValidation):
                self.scheduler.validated(value)

    def stall(self) -> bool:
        """Tell a scheduler that follows the validation that the last one was reached again and not exceeded.

        Whether it was told: not where the rate fell before, as two falls at once are one too many. What it was told is
        among the `validations`, so that a training anew has the same rates.
        """
        if not self.validations or not isinstance(self.scheduler, FollowsValidation):
            return False
        if self.scheduler.rate(1.0, self.global_step) < 1:
            return False
        self.validations.append(self.validations[-1])
        self.scheduler.validated(self.validations[-1][1])
        return True

    # ---------------------------------------------------------------------------------- checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what rebuilds the model without the data, and what Lightning does not keep of an epoch half done."""
        checkpoint[IDENTITY] = self.identity
        first = None if self._first is None else float(self._first)
        kept: dict[str, Any] = {"options": self.options, "pace": self.pace.state_dict(), "random": random_state()}
        kept |= {"first_loss": first, "diverged": self.diverged}
        kept |= {"validations": [list(pair) for pair in self.validations], "epoch_steps": self._epoch_steps()}
        if isinstance(self.scheduler, FollowsValidation):
            kept["scheduler"] = self.scheduler.state_dict()
        checkpoint[TRAINING] = kept | self._position()

    def _epoch_steps(self) -> int:
        """Steps of a whole epoch, 0 before training."""
        found = 0.0 if self._trainer is None else float(self.trainer.num_training_batches)
        return int(found) if math.isfinite(found) else 0

    def _position(self) -> dict[str, Any]:
        """Where in an epoch the run is: batches done, and the sum of their losses in each process."""
        fitting = self._trainer is not None and self.trainer.state.fn == "fit"
        if not fitting or _processed(self.trainer.fit_loop.epoch_progress) > self.current_epoch:
            return {"batches": 0, "totals": [0.0], "mean": None}
        if self._mean is not None:  # validation waits, or goes on: the first process saves without the others
            return {"batches": self.batches, "totals": [0.0], "mean": float(self._mean)}
        totals = self._total.reshape(1)
        totals = gather(totals) if self.trainer.world_size > 1 else totals
        return {"batches": self.batches, "totals": totals.tolist(), "mean": None}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the position back; what is trained further goes on from there."""
        saved = checkpoint.get(TRAINING)
        if self.trainer.state.fn == "fit" and saved is not None:
            self._resumed = saved
            self.pace.load_state_dict(saved["pace"])
            self.validations = [(int(step), float(value)) for step, value in saved.get("validations", ())]
            set_random_state(saved["random"])
            if isinstance(self.scheduler, FollowsValidation) and "scheduler" in saved:
                self.scheduler.load_state_dict(saved["scheduler"])
            first, self.diverged = saved.get("first_loss"), saved.get("diverged")
            self._first = None if first is None else torch.tensor(first)


def _processed(progress: Any) -> int:
    """Lightning's count of what was gone through, batches of an epoch or epochs."""
    return int(progress.current.processed)
