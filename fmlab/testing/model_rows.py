"""Rows and batches that contract tests of models score: whole, by sides, and with other histories."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fmlab.contracts import is_late_interaction, is_two_sided
from fmlab.data.batch import Batch, Features
from fmlab.data.model_inputs import History, ModelInputs
from fmlab.testing.building import AskedKind, Kind, candidates, labeled, tiny

EveryKind = Kind | AskedKind


@dataclass(frozen=True)
class Rows:
    """Whole rows, and what a model asks for of them."""

    ids: Tensor
    values: Tensor | None
    given: ModelInputs

    def scores(self, model: nn.Module) -> Tensor:
        scores: Tensor = model(self.ids, self.values, **self.given.named(model))
        return scores

    def each(self, change: Callable[[Tensor], Tensor]) -> "Rows":
        return Rows(change(self.ids), None if self.values is None else change(self.values), self.given.map(change))


def whole_rows(model: nn.Module, kind: EveryKind) -> Rows:
    """Labeled rows of a tiny data set of this kind, as precise as the model."""
    batch = typed(model, labeled(tiny(kind)))
    return Rows(*batch.rows(), ModelInputs(batch.whole(model)))


def typed(model: nn.Module, batch: Batch) -> Batch:
    """With vectors as precise as the model."""
    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    auxiliary = batch.tables.auxiliary
    assert auxiliary is not None
    return replace(batch, tables=replace(batch.tables, auxiliary=auxiliary.to(auxiliary.device, dtype)))


def batches(kind: EveryKind) -> list[Batch]:
    """Labeled rows, and candidates where the data have items."""
    dataset = tiny(kind)
    return [labeled(dataset)] if dataset.item is None else [labeled(dataset), candidates(dataset)]


def by_sides(model: Any, batch: Batch) -> list[Tensor]:
    """Scores of the batch by each way that the model offers besides `forward`."""
    if batch.item is None or batch.tables.items is None:
        return []
    query, items, found = batch.query(), batch.tables.items.take(batch.item), []
    given, own = batch.given(model), batch.tables.item(model, batch.item)
    if batch.has_candidates:
        query = Features(query.ids.unsqueeze(1), None if query.values is None else query.values.unsqueeze(1))
        given = given.with_item_axis()

    def of(side: Any, features: Features, more: ModelInputs) -> Any:
        return side(*features, **more.named(side))

    if is_two_sided(model):
        (a, p), (b, q) = of(model.encode_query, query, given), of(model.encode_item, items, own)
        found.append(model.link(a + b + (p * q).sum(-1)))
    if is_late_interaction(model):
        found.append(model.interact(of(model.query_state, query, given), of(model.item_state, items, own)))
    return found


def gradients(model: nn.Module, scores: Tensor) -> list[Tensor]:
    """Dense gradients of a random combination of the scores."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        return []
    torch.manual_seed(1)
    found = torch.autograd.grad((scores * torch.randn_like(scores)).sum(), parameters)
    return [g.to_dense() for g in found]


def shortened(history: History, by: int) -> History:
    """Without the oldest items."""
    values, time = (None if t is None else t[:, by:] for t in (history.values, history.time))
    vectors = {n: v[:, by:] for n, v in history.vectors.items()}
    return History(history.ids[:, by:], history.mask[:, by:], values, time, vectors)


def widened(history: History, by: int) -> History:
    """With more padding in front, that holds some ids."""
    ids, mask, values, time, vectors = history

    def padded(tensor: Tensor) -> Tensor:
        return torch.cat([tensor[:, :1].expand(-1, by, *tensor.shape[2:]), tensor], 1)

    mask = torch.cat([mask.new_zeros(len(mask), by), mask], 1)
    values, time = (None if t is None else padded(t) for t in (values, time))
    return History(padded(ids), mask, values, time, {n: padded(v) for n, v in vectors.items()})
