"""Each row once an epoch, the same batches for any number of processes, negatives that are no training positives."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fmlab.contracts import Training
from fmlab.data import Dataset, Field, Schema, Table
from fmlab.errors import DataError
from fmlab.training import loader as loaders
from fmlab.training.loader import TrainingLoader


def interactions(n_users: int = 30, n_items: int = 40, rows: int = 200, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    pairs = rng.choice(n_users * n_items, rows, replace=False)
    schema = Schema((Field("user", "user", n_users + 1), Field("item", "item", n_items + 1)), n_users, n_items)
    return Dataset(
        name="tiny",
        schema=schema,
        rows=rows,
        user=(pairs // n_items).astype(np.int32),
        item=(pairs % n_items).astype(np.int32),
        users=Table(np.arange(1, n_users + 1, dtype=np.int32)[:, None]),
        items=Table(np.arange(n_users + 2, n_users + n_items + 2, dtype=np.int32)[:, None]),
        label=np.ones(rows, np.float32),
    )


def labeled(rows: int) -> Dataset:
    schema = Schema((Field("row", "context", rows + 1),))
    context = Table(np.arange(1, rows + 1, dtype=np.int32)[:, None])
    return Dataset(name="rows", schema=schema, rows=rows, context=context, label=np.arange(rows, dtype=np.float32))


def batches(loader: TrainingLoader, epoch: int = 0, rank: int = 0, world: int = 1) -> list:
    loader.epoch = epoch
    return list(loader.place(torch.device("cpu"), rank, world))


def test_every_row_is_in_exactly_one_batch_and_order_changes_with_the_epoch() -> None:
    loader = TrainingLoader(labeled(103), Training(np.arange(103)), batch_size=10, seed=1)
    epochs = [torch.cat([b.label for b in batches(loader, e)]) for e in (0, 1, 0)]
    assert len(loader) == 11
    assert torch.equal(epochs[0].sort().values, torch.arange(103.0))
    assert not torch.equal(epochs[0], epochs[1])
    assert torch.equal(epochs[0], epochs[2])


def test_labels_stay_with_their_rows() -> None:
    loader = TrainingLoader(labeled(50), Training(np.arange(0, 50, 2)), batch_size=7, seed=0)
    for batch in batches(loader):
        assert torch.equal(batch.rows().ids[:, 0] - 1, batch.label.to(torch.int32))


def test_windows_of_chunks_cover_a_set_larger_than_one_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaders, "CHUNK", 8)
    monkeypatch.setattr(loaders, "WINDOW", 32)
    loader = TrainingLoader(labeled(203), Training(np.arange(203)), batch_size=10, seed=3)
    seen = batches(loader)
    assert len(seen) == len(loader)
    assert torch.equal(torch.cat([b.label for b in seen]).sort().values, torch.arange(203.0))


def test_no_epoch_ends_on_rows_that_lie_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows sorted by label, a few more than two windows hold: about one in three is positive at the end as well."""
    monkeypatch.setattr(loaders, "CHUNK", 64)
    monkeypatch.setattr(loaders, "WINDOW", 2560)
    more = 60
    rows = 2 * 2560 + more
    data = replace(labeled(rows), label=np.where(np.arange(rows) < rows // 3, 1, -1).astype(np.float32))
    for epoch in range(5):
        loader = TrainingLoader(data, Training(np.arange(rows)), batch_size=50, seed=0)
        positive = torch.cat([b.label for b in batches(loader, epoch)]) > 0
        assert 0.1 < float(positive[-more:].float().mean()) < 0.6


@pytest.mark.parametrize("batch_size", [1, 7, 33, 64, 300])
@pytest.mark.parametrize("rows", [31, 32, 33, 65, 100])
def test_windows_are_of_one_size(monkeypatch: pytest.MonkeyPatch, batch_size: int, rows: int) -> None:
    monkeypatch.setattr(loaders, "CHUNK", 8)
    monkeypatch.setattr(loaders, "WINDOW", 32)
    loader = TrainingLoader(labeled(rows), Training(np.arange(rows)), batch_size=batch_size, seed=3)
    seen = [b.label for b in batches(loader)]
    assert [len(b) for b in seen[:-1]] == [batch_size] * (len(loader) - 1)
    assert torch.equal(torch.cat(seen).sort().values, torch.arange(float(rows)))
    sizes = [-(-(stop - start) // batch_size) for start, stop in loader._windows()]
    assert max(sizes) - min(sizes) <= 1


def test_the_scale_of_the_loss_has_its_former_name_for_one_release() -> None:
    batch = batches(TrainingLoader(labeled(20), Training(np.arange(20)), batch_size=10, seed=0))[0]
    with pytest.warns(DeprecationWarning, match="loss_scale"):
        assert batch.weight == batch.loss_scale == 1.0


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("rows", [97, 101])
def test_processes_share_the_global_batches_of_one_process(world: int, rows: int) -> None:
    data, training = interactions(rows=rows), Training(np.arange(rows), negatives=3)
    whole = batches(TrainingLoader(data, training, batch_size=10, seed=5), epoch=2)
    shares = [batches(TrainingLoader(data, training, batch_size=10, seed=5), 2, r, world) for r in range(world)]
    for step, batch in enumerate(whole):
        parts = [s[step] for s in shares]
        counted = [p for p in parts if p.loss_scale > 0]
        assert torch.equal(torch.cat([p.item for p in counted]), batch.item)
        # The mean over processes of weighted means is the mean over the global batch.
        mean = sum(float(p.item.double().mean()) * p.loss_scale for p in parts) / world
        assert mean == pytest.approx(float(batch.item.double().mean()), rel=1e-12)


def test_negatives_are_never_training_positives_and_are_redrawn_each_epoch() -> None:
    data = interactions()
    train = np.arange(0, 200, 2)
    loader = TrainingLoader(data, Training(train, negatives=5), batch_size=16, seed=0)
    known = {(int(data.user[r]), int(data.item[r])) for r in train}
    drawn = []
    for epoch in (0, 1):
        seen = batches(loader, epoch)
        for batch in seen:
            pairs = [(int(u), int(i)) for u, row in zip(batch.user, batch.item[:, 1:], strict=True) for i in row]
            assert not known & set(pairs)
            assert torch.equal(batch.label[0], torch.tensor([1.0, 0, 0, 0, 0, 0]))
        drawn.append(torch.cat([b.item[:, 1:].reshape(-1) for b in seen]))
    assert not torch.equal(drawn[0].sort().values, drawn[1].sort().values)


def test_negatives_of_a_row_do_not_depend_on_the_batch_size() -> None:
    data, training = interactions(), Training(np.arange(200), negatives=4)

    def by_pair(batch_size: int) -> dict:
        seen = batches(TrainingLoader(data, training, batch_size=batch_size, seed=9))
        return {(int(u), int(i[0])): i[1:].tolist() for b in seen for u, i in zip(b.user, b.item, strict=True)}

    assert by_pair(7) == by_pair(64)


def test_an_empty_training_part_is_refused() -> None:
    with pytest.raises(DataError, match="at least one row"):
        TrainingLoader(labeled(5), Training(np.arange(0)), batch_size=2, seed=0)
