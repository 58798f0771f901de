"""Training rows as batches: contiguous slices of shuffled windows, the same whatever the number of processes.

The order of an epoch is a pure function of (seed, epoch), and negatives are a pure function of (seed, epoch, row):
there is no loader state to save but the number of batches done, and N processes with a global batch see exactly the
batches that one process sees.
Up to `WINDOW` rows an epoch is one permutation. Larger sets are read in random chunks, a window of chunks shuffled
together, so that memory stays flat and memory-mapped files are read in long runs. Windows are of one size: the epoch
must not end on a few rows that lie side by side in the file, and may be alike.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fmlab.contracts import ChoosesByScore, Sampler, Training
from fmlab.data import Array, Dataset, Table
from fmlab.data.batch import Batch, Features, Tables
from fmlab.data.negative_sampling import UserItemSet, draw_negatives
from fmlab.data.weighted_sampling import SamplingBatch
from fmlab.errors import DataError
from fmlab.evaluation.output_transform import OutputTransform
from fmlab.memory import refuse_larger

CHUNK = 1 << 12
WINDOW = 1 << 20


@dataclass(frozen=True)
class _Window:
    """Shuffled rows, resident on the device."""

    row: Tensor
    user: Tensor | None
    item: Tensor | None
    context: Features | None
    label: Tensor | None
    row_weight: Tensor | None
    targets: Mapping[str, Tensor]


class TrainingLoader:
    """One epoch of batches for process `rank` of `world`; `batch_size` is that of all processes together.

    Every row is in exactly one batch of one process. A batch that splits unevenly carries the scale of the
    loss that makes the mean over processes the mean over the global batch. `skip`: batches of the epoch that were
    trained on before.
    """

    def __init__(
        self,
        dataset: Dataset,
        training: Training,
        *,
        batch_size: int,
        seed: int,
        scale: OutputTransform = OutputTransform(),  # noqa: B008 - it is frozen
        sampler: Callable[[UserItemSet], Sampler] | None = None,
    ) -> None:
        """`scale`: that of the labels. `sampler` makes the sampler of negatives; uniform ones are drawn without.

        Raises DataError without rows, or where a user has no item left to sample.
        """
        if len(training.rows) == 0:
            raise DataError("training needs at least one row, got an empty training part")
        self.dataset, self.training, self.scale = dataset, training, scale
        self.batch_size, self.seed, self.epoch = batch_size, seed, 0
        self.skip, self.dtype = 0, torch.float32
        self.tables = Tables.of(dataset, training.rows)
        self.rank, self.world, self.device = 0, 1, torch.device("cpu")
        self.observed: UserItemSet | None = None
        self.sampler: Sampler | None = None
        self.drawn = 1  # items that are drawn for each negative
        self.mean_weight = 1.0 if dataset.weight is None else _mean_weight(dataset, training.rows)
        if training.negatives:
            if dataset.user is None or dataset.item is None:
                raise DataError("negatives are sampled per user: the data need a user and an item side")
            schema = dataset.schema
            user, item = (np.asarray(a[training.rows], np.int64) for a in (dataset.user, dataset.item))
            self.observed = UserItemSet(user, item, n_users=schema.n_users, n_items=schema.n_items)
            self.observed.check(user)
            self.sampler = None if sampler is None else sampler(self.observed)
            self.drawn = self.sampler.drawn if isinstance(self.sampler, ChoosesByScore) else 1
            # Of a batch: items, labels, scores, their gradients and one feature vector each, at the least.
            needed = min(batch_size, len(training.rows)) * (1 + self.drawn * training.negatives) * 64.0
            what = f"a batch of {batch_size:,} rows with {training.negatives:,} negatives each"
            refuse_larger(needed, what, "choose a smaller batch_size or fewer protocol.negatives")

    def place(
        self, device: torch.device, rank: int, world: int, dtype: torch.dtype = torch.float32
    ) -> "TrainingLoader":
        """Make this the loader of one process on one device, for a model of that `dtype`."""
        self.device, self.rank, self.world, self.dtype = device, rank, world, dtype
        self.tables = self.tables.to(device, dtype)
        if self.observed is not None:
            self.observed = self.observed.to(device)
        return self

    def __len__(self) -> int:
        """Batches of an epoch, the same in every process."""
        return -(-len(self.training.rows) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Batches of epoch `self.epoch` after the first `self.skip`."""
        rng = np.random.default_rng([self.seed, self.epoch])
        windows, n = self._windows(), len(self.training.rows)
        begins = np.arange(0, n, CHUNK)
        if len(windows) > 1:
            begins = rng.permutation(begins)
        ends = np.minimum(begins + CHUNK, n)
        last = np.cumsum(ends - begins)  # place in the order of the epoch at which each chunk ends
        begin = self.skip * self.batch_size
        for start, stop in windows:
            if stop <= begin:  # the same draws, nothing read
                rng.permutation(stop - start)
                continue
            parts = slice(np.searchsorted(last, start, side="right"), np.searchsorted(last, stop) + 1)
            low, high, done = begins[parts].copy(), ends[parts].copy(), last[parts]
            low[0], high[-1] = high[0] - (done[0] - start), high[-1] - (done[-1] - stop)
            at = np.concatenate([np.arange(low[c], high[c]) for c in np.argsort(low)])
            window = self._read(self.training.rows[at], rng.permutation(len(at)))
            for first in range(max(0, begin - start), stop - start, self.batch_size):
                yield self._batch(window, first, min(first + self.batch_size, stop - start))

    def _windows(self) -> list[tuple[int, int]]:
        """Whole batches, as many in each as in the others or one more; the last batch of all may be short."""
        n, batches = len(self.training.rows), len(self)
        count = min(-(-n // WINDOW), batches)
        cuts = [min(batches * w // count * self.batch_size, n) for w in range(count + 1)]
        return list(pairwise(cuts))

    def _read(self, rows: Array, order: Array) -> _Window:
        """Rows read in storage order, then shuffled in memory."""
        data, shuffle = self.dataset, torch.from_numpy(order)

        def column(array: Array | None, kind: torch.dtype) -> Tensor | None:
            if array is None:
                return None
            return torch.from_numpy(np.array(array[rows])).to(kind)[shuffle].to(self.device)

        context = None
        if data.context is not None:
            part: Table = data.context.take(rows)
            ids = torch.from_numpy(np.array(part.ids)).index_select(0, shuffle)
            values = None if part.values is None else torch.from_numpy(np.array(part.values))[shuffle]
            context = _typed(Features(ids, values).to(self.device), self.dtype)
        return _Window(
            row=torch.from_numpy(rows[order]).to(self.device),
            user=column(data.user, torch.int64),
            item=column(data.item, torch.int64),
            context=context,
            label=None if self.training.negatives else self._labels(rows)[shuffle].to(self.device, self.dtype),
            row_weight=self._row_weights(rows, shuffle),
            targets={} if self.training.negatives else self._targets(rows, shuffle),
        )

    def _labels(self, rows: Array) -> Tensor:
        """Labels float32 as the loss sees them."""
        if self.dataset.label is None:
            raise DataError("rows without labels can be trained on only with sampled negatives; got negatives=0")
        return torch.from_numpy(self.scale.standardized(np.array(self.dataset.label[rows])))

    def _row_weights(self, rows: Array, order: Tensor) -> Tensor | None:
        """Row weights with mean 1 over all training rows, so that learning rates mean the same with them."""
        if self.dataset.weight is None:
            return None
        weight = np.asarray(self.dataset.weight[rows], np.float64) / self.mean_weight
        return torch.from_numpy(weight)[order].to(self.device, self.dtype)

    def _targets(self, rows: Array, order: Tensor) -> dict[str, Tensor]:
        """Labels of several targets as the loss sees them."""
        targets = {name: np.array(target[rows], np.float32) for name, target in self.dataset.targets.items()}
        return {name: torch.from_numpy(t)[order].to(self.device, self.dtype) for name, t in targets.items()}

    def _batch(self, window: _Window, low: int, high: int) -> Batch:
        """Rows `low..high` of a window are the global batch; this process takes its share of them."""
        size = high - low
        first, last = (low + size * r // self.world for r in (self.rank, self.rank + 1))
        loss_scale = (last - first) * self.world / size
        if first == last:  # fewer rows than processes: a row that counts for nothing keeps the processes in step
            first, last = low, low + 1
        cut = slice(first, last)
        item, label, log_q = None if window.item is None else window.item[cut], None, None
        if self.observed is not None:
            assert item is not None
            negatives, log_q = self._negatives(self.observed, window, cut, slice(low, high))
            item = torch.cat([item.unsqueeze(1), negatives], 1)
            label = torch.zeros(item.shape, dtype=self.dtype, device=self.device)
            label[:, 0] = 1.0
        else:
            assert window.label is not None
            label = window.label[cut]
        context = window.context
        if context is not None:
            context = Features(context.ids[cut], None if context.values is None else context.values[cut])
        return Batch(
            self.tables,
            user=None if window.user is None else window.user[cut],
            item=item,
            context=context,
            label=label,
            loss_scale=loss_scale,
            row_weight=None if window.row_weight is None else window.row_weight[cut],
            targets={name: target[cut] for name, target in window.targets.items()},
            log_q=log_q,
            row=window.row[cut],
        )

    def _negatives(
        self, observed: UserItemSet, window: _Window, own: slice, batch: slice
    ) -> tuple[Tensor, Tensor | None]:
        """Negatives of the rows `own` of a window, and their log_q; `batch`: those of all processes."""
        assert window.user is not None
        assert window.item is not None
        user, row, n = window.user[own], window.row[own], self.training.negatives
        epoch = self.epoch if self.training.redraw else 0
        if self.sampler is None:
            return draw_negatives(observed, user, row, n, seed=self.seed, epoch=epoch), None
        positives = SamplingBatch(observed, user, window.item[own], row, window.item[batch])
        items, log_q = self.sampler.draw(positives, n, self.seed, epoch)
        return items, None if log_q is None else (log_q + math.log(observed.n_items)).to(self.dtype)

    def chosen(self, model: Any, batch: Batch) -> Batch:
        """The batch with the negatives that the sampler keeps by their scores, if it does that."""
        if batch.has_candidates and isinstance(self.sampler, ChoosesByScore):
            return self.sampler.choose(model, batch, self.training.negatives)
        return batch


def _mean_weight(dataset: Dataset, rows: Array) -> float:
    assert dataset.weight is not None
    mean = float(np.asarray(dataset.weight[rows], np.float64).mean())
    if not mean:
        raise DataError("training needs rows with a weight above 0, got none")
    return mean


def _typed(features: Features, dtype: torch.dtype) -> Features:
    return features if features.values is None else Features(features.ids, features.values.to(dtype))
