"""The evaluation of a model block by block, in one process or several, on the validation or the test part."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import nn

from fmlab.contracts import BlockResult, Evaluator, Report, Task
from fmlab.data import Array
from fmlab.data.batch import Tables
from fmlab.training.distributed import gather_rows

_NO_BLOCK = -1


class Predictions(NamedTuple):
    """What a model gave for each unit of a part: unit numbers int64[n], and columns float64[n] by name."""

    unit: Array
    columns: Mapping[str, Array]


class Evaluated(NamedTuple):
    """The metrics of a part, and the predictions that they are made of."""

    report: Report
    predictions: Predictions


class EvaluationModule(pl.LightningModule):
    """The validation and test steps of a run; `evaluated` is what the last of them gave."""

    def __init__(self, model: nn.Module, task: Task, tables: Tables) -> None:
        super().__init__()
        self.model, self.task = model, task
        self.evaluated: Evaluated | None = None
        self._outcomes: list[BlockResult] = []
        self._state: Any = None
        self._tables = tables

    def last_evaluation(self) -> Evaluated:
        """What the last `validate` or `test` of the trainer gave."""
        assert self.evaluated is not None
        return self.evaluated

    def placed_tables(self) -> Tables:
        """The tables of features on this process's device."""
        return self._tables

    def val_dataloader(self) -> list[int]:
        """Numbers of the validation blocks that this process scores."""
        return self._blocks(self.task.validation)

    def test_dataloader(self) -> list[int]:
        """Numbers of the test blocks that this process scores."""
        return self._blocks(self.task.test)

    def _blocks(self, evaluation: Evaluator) -> list[int]:
        # Lightning wants a batch in every process, and there may be fewer blocks than processes.
        return list(range(self.global_rank, len(evaluation), self.trainer.world_size)) or [_NO_BLOCK]

    def _score(self, evaluation: Evaluator, block: int) -> None:
        if block != _NO_BLOCK:
            self._outcomes.append(evaluation.block(block, self.model, self._tables, self._state))

    def _start(self, evaluation: Evaluator) -> None:
        self.model.eval()
        tables = self.placed_tables()
        self._tables = tables.with_history(self.task.test_history) if evaluation is self.task.test else tables
        self._state, self._outcomes = evaluation.start(self.model, self._tables), []

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

    def _finish(self, evaluation: Evaluator, part: str) -> None:
        unit, columns = self._gathered()
        report = evaluation.finish(unit, columns)
        self.evaluated = Evaluated(report, Predictions(unit, columns))
        self._state, self._outcomes = None, []
        self.log_dict({f"{part}/{name}": value for name, value in report.values.items()}, rank_zero_only=False)

    def _gathered(self) -> tuple[Array, dict[str, Array]]:
        names = list(self._outcomes[0].columns) if self._outcomes else []
        if self.trainer.world_size == 1:
            unit = torch.cat([o.unit for o in self._outcomes])
            columns = [torch.cat([o.columns[n] for o in self._outcomes]) for n in names]
        else:
            unit, columns, names = gather_rows(self._outcomes, names, self.device)
        return unit.cpu().numpy(), {n: c.cpu().numpy() for n, c in zip(names, columns, strict=True)}
