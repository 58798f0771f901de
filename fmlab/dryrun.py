"""One small batch through model and loss before the first epoch: contract mistakes are named at the door."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from fmlab.batch import Batch
from fmlab.errors import FmlabError
from fmlab.loaders import TrainingLoader

_ROWS = 4


def try_one_batch(model: nn.Module, loss: Any, loader: TrainingLoader, *, name: str) -> None:
    """Raise FmlabError if scores have another shape than labels, or the loss is not a finite scalar with a gradient.

    Gradients, random state and running statistics are left as they were.
    """
    batch = _head(next(iter(loader)))
    with torch.random.fork_rng(devices=[]), _kept_statistics(model):
        ids, values = batch.rows()
        with _blamed(f"model {name!r}, called with ids and values,"):
            scores = model(ids, values)
        if not isinstance(scores, Tensor) or scores.shape != batch.label.shape:
            got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            wanted = f"ids {tuple(ids.shape)} -> {tuple(batch.label.shape)}"
            raise FmlabError(f"model {name!r} must give one score a row: {wanted}, got {got}")
        if not scores.is_floating_point():
            raise FmlabError(f"model {name!r} must give scores of a floating-point type, got {scores.dtype}")
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
        raise FmlabError(f"a loss must be finite at the start, got {value.item()}; see the model's initialisation")


@contextmanager
def _kept_statistics(model: nn.Module) -> Iterator[None]:
    """What batch normalisation learns inside is forgotten."""
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


def _head(batch: Batch) -> Batch:
    n = min(_ROWS, batch.size)
    context = batch.context
    if context is not None:
        context = type(context)(context.ids[:n], None if context.values is None else context.values[:n])
    user, item = (None if t is None else t[:n] for t in (batch.user, batch.item))
    return Batch(batch.tables, user, item, context, batch.label[:n])
