"""What every protocol must do."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fmlab.contracts import Evaluator, Task
from fmlab.contracts.checks import check_report, checked_task
from fmlab.data import Dataset
from fmlab.data.batch import Tables
from fmlab.data.histories import Histories
from fmlab.errors import DataError, FmlabError
from fmlab.evaluation import evaluate
from fmlab.testing.building import ASKED_KINDS, KINDS, AskedKind, Kind, tiny
from fmlab.training.loader import TrainingLoader

every_kind = pytest.mark.parametrize("kind", KINDS)


class ProtocolContract:
    """Subclass it and write `make`. A protocol may refuse data with FmlabError: tests on such data are skipped.

    Override `data` where the tiny data sets are too small for your protocol. `name` is what messages call it.
    """

    name = "under test"

    def make(self, dataset: Dataset) -> Task:
        """Your protocol on a data set."""
        raise NotImplementedError

    def data(self, kind: Kind | AskedKind) -> Dataset:
        """A small data set of the kind."""
        return tiny(kind)

    def _task(self, kind: Kind | AskedKind) -> Task:
        try:
            task = self.make(self.data(kind))
        except FmlabError as error:
            pytest.skip(str(error))
        return checked_task(task, self.name)

    def test_it_takes_some_data(self) -> None:
        """At least one of the kinds; the others with a reason."""
        taken = []
        for kind in KINDS:
            try:
                self.make(self.data(kind))
            except FmlabError:
                continue
            taken.append(kind)
        assert taken

    @every_kind
    def test_its_task_keeps_the_rules(self, kind: Kind) -> None:
        """Types, training rows that are there and stand once, evaluations with all their methods, the monitor."""
        self._task(kind)

    @every_kind
    def test_making_it_twice_gives_the_same(self, kind: Kind) -> None:
        """Splits and candidates are functions of the data and the options."""
        a, b = self._task(kind), self._task(kind)
        np.testing.assert_array_equal(a.training.rows, b.training.rows)
        for one, two in ((a.validation, b.validation), (a.test, b.test)):
            first, second = (_values(e, t) for e, t in ((one, a), (two, b)))
            assert first == second

    @every_kind
    def test_the_monitor_is_a_metric_of_both_parts(self, kind: Kind) -> None:
        """And every value is a number."""
        task = self._task(kind)
        for part in (task.validation, task.test):
            values = _values(part, task)
            if values is not None:
                check_report(values, task.monitor, self.name)
                assert np.isfinite(values[task.monitor])

    @every_kind
    def test_blocks_are_independent_and_counted_once(self, kind: Kind) -> None:
        """Their order does not matter, and a unit that two processes score counts once."""
        task = self._task(kind)
        for part in (task.validation, task.test):
            values = _values(part, task)
            if values is not None:
                order = range(len(part))
                assert _values(part, task, [*reversed(order), *order]) == pytest.approx(values)

    @every_kind
    def test_judged_rows_are_not_trained_on(self, kind: Kind) -> None:
        """Where an evaluation says which rows it judges."""
        task = self._task(kind)
        for part in (task.validation, task.test):
            judged = getattr(part, "rows", None)
            if isinstance(judged, np.ndarray):
                assert not np.isin(judged, task.training.rows).any()

    @pytest.mark.parametrize("kind", ASKED_KINDS)
    def test_histories_are_of_earlier_rows_that_are_not_judged(self, kind: AskedKind) -> None:
        """Of every row that is trained on or judged: no row of its own moment or later, none that is judged with it."""
        task = self._task(kind)
        data, trained = task.dataset, task.training.rows
        if data.user is None or data.item is None or data.time is None:
            pytest.skip("its rows are no interactions")
        time = np.asarray(data.time)
        known = trained if task.test_history is None else task.test_history
        for rows, allowed in ((trained, trained), (task.validation, trained), (task.test, known)):
            at = getattr(rows, "rows", rows)
            if not isinstance(at, np.ndarray):
                continue
            assert rows is trained or not np.isin(at, allowed).any()
            histories = Histories.of(data, allowed)
            user, when = (torch.from_numpy(np.asarray(c[at], np.int64)) for c in (data.user, time))
            place, mask = histories.before(user, when, data.rows)
            assert (histories.when[place] < when.unsqueeze(1))[mask].all()

    @every_kind
    def test_batches_can_be_made_of_it(self, kind: Kind) -> None:
        """Each row, or each positive with its negatives, stands in an epoch once."""
        task = self._task(kind)
        loader = TrainingLoader(task.dataset, task.training, batch_size=4, seed=0)
        batches = list(loader)
        assert sum(b.size for b in batches) == len(task.training.rows)
        width = (1 + task.training.negatives,) if task.training.negatives else ()
        assert all(b.label.shape[1:] == width for b in batches)


class _Pattern(nn.Module):
    """Scores that differ from row to row and are the same in every process."""

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        numbers = ids.double() + (0 if values is None else values.double())
        return torch.sin(numbers * torch.arange(1, ids.shape[-1] + 1)).sum(-1).float()


def _values(evaluation: Evaluator, task: Task, order: list[int] | None = None) -> dict[str, Any] | None:
    """Metrics of the pattern, blocks in an order; None where they are undefined on so little data."""
    model = _Pattern().eval()
    try:
        if order is None:
            return dict(evaluate(evaluation, model, task.dataset).values)
        tables = Tables.of(task.dataset)
        state = evaluation.start(model, tables)
        outcomes = [evaluation.block(n, model, tables, state) for n in order]
        columns = {n: torch.cat([o.columns[n] for o in outcomes]).numpy() for n in outcomes[0].columns}
        return dict(evaluation.finish(torch.cat([o.unit for o in outcomes]).numpy(), columns).values)
    except DataError:
        return None
