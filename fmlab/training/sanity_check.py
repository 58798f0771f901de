"""One small batch through model and loss before the first epoch: breaches of a contract show before training."""

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from fmlab.contracts import BlockResult, Report, Task, is_two_sided
from fmlab.contracts.checks import check_report
from fmlab.data.batch import Batch
from fmlab.data.source_checks import named_plugin
from fmlab.errors import DataError, FmlabError
from fmlab.training.loader import TrainingLoader

_ROWS = 4


def try_one_batch(model: nn.Module, loss: Any, loader: TrainingLoader, *, name: str) -> None:
    """Raise FmlabError if scores have another shape than labels, or the loss is not a finite scalar with a gradient.

    Gradients, random state and running statistics are left as they were.
    """
    batch = next(iter(loader))
    batch = batch.head(min(_ROWS, batch.size))
    with torch.random.fork_rng(devices=[]), _kept_statistics(model):
        batch = loader.chosen(model, batch)
    with torch.random.fork_rng(devices=[]), _kept_statistics(model):
        ids, values = batch.rows()
        given = [ids] if values is None else [ids, values]
        before = [tensor.clone() for tensor in given]
        more = batch.whole(model)
        with _blamed(f"model {name!r}, called with {' and '.join(('ids', 'values', *more))},"):
            scores = model(ids, values, **more)
        if not all(map(torch.equal, before, given)):
            raise FmlabError(f"model {name!r} must leave ids and values as they are, and changes them in place")
        scores = _of_targets(scores, batch, name)
        if not isinstance(scores, Tensor) or scores.shape != batch.label.shape:
            got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            wanted = f"ids {tuple(ids.shape)} -> {tuple(batch.label.shape)}"
            raise FmlabError(f"model {name!r} must give one score a row: {wanted}, got {got}")
        if not scores.is_floating_point():
            raise FmlabError(f"model {name!r} must give scores of a floating-point type, got {scores.dtype}")
        _try_sides(model, batch, name)
        if not any(p.requires_grad for p in model.parameters()):
            return
        with _blamed(f"loss {type(loss).__name__} on model {name!r}"):
            value = loss(model, batch)
    if not isinstance(value, Tensor) or value.dim() != 0:
        got = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise FmlabError(f"a loss must be a scalar tensor, got {got}")
    if not value.requires_grad:
        raise FmlabError("a loss must depend on the model's parameters, got one without a gradient")
    if not torch.isfinite(value):
        raise FmlabError(f"a loss must be finite at the start, got {value.item()}; see the model's initialization")
    _try_corrections(model, loss, batch)


def _of_targets(scores: Any, batch: Batch, name: str) -> Any:
    """The score of the first of several targets, if there is one of each; raises FmlabError where targets differ."""
    got = sorted(map(str, scores)) if isinstance(scores, Mapping) else []
    if batch.targets and got != sorted(batch.targets):
        said = f"scores of {', '.join(got)}" if got else "one score"
        raise FmlabError(
            f"the data have the targets {', '.join(batch.targets)}: forward must give a score of each by name, model "
            f"{name!r} gives {said}; choose a model of several targets, or data.label=COLUMN for one"
        )
    if got and not batch.targets:
        raise FmlabError(
            f"model {name!r} gives scores of the targets {', '.join(got)}, the rows trained on have one label; "
            "give data.targets=[...] and a protocol of labeled rows, or choose another model"
        )
    if not got:
        return scores
    wrong = next((t for t, s in scores.items() if not isinstance(s, Tensor) or s.shape != batch.label.shape), None)
    return scores[next(iter(batch.targets))] if wrong is None else scores[wrong]


def _try_corrections(model: nn.Module, loss: Any, batch: Batch) -> None:
    """Whether a loss follows weights of rows and chances of candidates; raises FmlabError if it ignores them."""
    who, weight, log_q = type(loss).__name__, batch.row_weight, batch.log_q
    if weight is not None and weight.any() and _ignores(model, loss, batch, row_weight=2 * weight):
        raise FmlabError(
            f"a loss must follow the weights of rows (Batch.row_weight) where the data have them, {who} does not; "
            "leave out data.weight, or choose another loss"
        )
    if log_q is not None and _ignores(model, loss, batch, log_q=log_q + torch.arange(log_q.shape[1]).to(log_q)):
        raise FmlabError(
            f"a loss must subtract log_q (fmlab.api.tempered_score) where the sampler gives it, {who} does not; "
            "set sampler.log_q_correction=false, or choose another loss"
        )


def _ignores(model: nn.Module, loss: Any, batch: Batch, **other: Tensor) -> bool:
    """Whether a loss is the same on a batch with other parts, without dropout."""
    training = model.training
    model.eval()
    with torch.no_grad():
        same = torch.equal(loss(model, batch), loss(model, replace(batch, **other)))  # type: ignore[arg-type]
    model.train(training)
    return same


def check_draws(loader: TrainingLoader, name: str) -> None:
    """Raise FmlabError if a sampler gives other shapes, types or items than it must, on the first positives."""
    batch = next(iter(loader)) if loader.sampler is not None else None
    if batch is None or batch.item is None:
        return
    who, n = named_plugin("sampler", name), loader.training.negatives * loader.drawn
    items, wanted = batch.item[:, 1:], (batch.size, n)
    if items.dtype != torch.int64 or items.shape != wanted:
        raise FmlabError(f"{who}: draw must give items int64{list(wanted)}, got {items.dtype}{list(items.shape)}")
    if items.min() < 0 or items.max() >= loader.dataset.schema.n_items:
        got = f"{int(items.min())} to {int(items.max())}"
        raise FmlabError(f"{who}: items of draw must be in [0, {loader.dataset.schema.n_items}), got {got}")
    if batch.log_q is not None and (batch.log_q.shape != batch.item.shape or not batch.log_q.isfinite().all()):
        rule = f"log_q of draw must be finite and of the shape {list(batch.item.shape)}, one for the positive first"
        raise FmlabError(f"{who}: {rule}, got {list(batch.log_q.shape)}")


def _try_sides(model: Any, batch: Batch, name: str) -> None:
    """Whether what a model gives for a side has the shapes that ranking joins; raises FmlabError."""
    if not is_two_sided(model) or batch.item is None or batch.tables.items is None:
        return
    widths = []
    sides = (
        ("encode_query", batch.query(), batch.given(model)),
        ("encode_item", batch.tables.items.take(batch.item), batch.tables.item(model, batch.item)),
    )
    for side, features, more in sides:
        lead, method = features.ids.shape[:-1], getattr(model, side)
        with _blamed(f"`{side}` of model {name!r}"):
            given = method(*features, **more.named(method))
        pair = isinstance(given, tuple) and len(given) == 2 and all(isinstance(t, Tensor) for t in given)
        if not pair or given[0].shape != lead or given[1].shape[:-1] != lead:
            got = [tuple(t.shape) for t in given] if pair else type(given).__name__
            rule = f"(bias {tuple(lead)}, vector {(*lead, 'd')})"
            raise FmlabError(
                f"`{side}` of model {name!r} must give {rule} for ids {tuple(features.ids.shape)}, got {got}"
            )
        widths.append(given[1].shape[-1])
    if widths[0] != widths[1]:
        what = f"vectors of `encode_query` and `encode_item` of model {name!r}"
        raise FmlabError(f"{what} must be of one length, got {widths}")


def try_evaluation(task: Task, model: nn.Module, loader: TrainingLoader, *, name: str) -> None:
    """Score one block by an evaluation of a protocol's own: whether it gives what is joined and monitored.

    Those of `fmlab.evaluation` say themselves which metrics they have. Raises FmlabError naming the protocol.
    """
    evaluation, who = task.validation, named_plugin("protocol", name)
    if isinstance(getattr(evaluation, "metrics", None), Mapping):
        return
    training = model.training
    try:
        model.eval()
        with torch.random.fork_rng(devices=[]), torch.no_grad(), _blamed(f"{who}: a block of its validation"):
            state = evaluation.start(model, loader.tables)
            outcome = evaluation.block(0, model, loader.tables, state)
        if not isinstance(outcome, BlockResult):
            raise FmlabError(f"{who}: block must give a fmlab.contracts.BlockResult, got {type(outcome).__name__}")
        try:
            columns = {n: c.cpu().numpy() for n, c in outcome.columns.items()}
            report = evaluation.finish(outcome.unit.cpu().numpy(), columns)
        except DataError:  # it is undefined on so few cases
            return
        except Exception as error:
            raise FmlabError(f"{who}: finish fails on one block: {type(error).__name__}: {error}") from error
    finally:
        model.train(training)
    if not isinstance(report, Report):
        raise FmlabError(f"{who}: finish must give a fmlab.contracts.Report, got {type(report).__name__}")
    check_report(report.values, task.monitor, who)


@contextmanager
def _kept_statistics(model: nn.Module) -> Iterator[None]:
    """What batch normalization learns inside is forgotten."""
    buffers = [b for m in model.modules() if isinstance(m, _NormBase) for b in m.buffers()]
    before = [b.clone() for b in buffers]
    try:
        yield
    finally:
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)


@contextmanager
def _blamed(what: str) -> Iterator[None]:
    """Names whose call failed, and where."""
    try:
        yield
    except (FmlabError, OSError, MemoryError):
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        text = str(error).split("\n")[0]
        where = f"{Path(last.filename).name}:{last.lineno}"
        raise FmlabError(f"{what} failed: {type(error).__name__}: {text} ({where})") from error
