"""Operations of a score, counted while it is computed.

Counted as one: an addition, a multiplication, a division, a comparison that chooses a number, a function of a number.
Matrix products and convolutions are counted by the formulas of torch's `FlopCounterMode`, a multiplication and an
addition each; the mode itself looks after modules too, and fails on tables that a module is given as they stand.
Reading, copying and arranging numbers is free, as is arithmetic on ids.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from fmlab.data import Dataset
from fmlab.data.batch import Features, Tables, as_features
from fmlab.data.model_inputs import ModelInputs, history_length, inputs_of_model


@dataclass
class Count:
    """`products`: of matrix products and convolutions. `others`: all else. `unknown`: operations not counted."""

    products: int = 0
    others: int = 0
    unknown: set[str] = field(default_factory=set)

    @property
    def total(self) -> int:
        """All that was counted."""
        return self.products + self.others


@contextmanager
def counting() -> Iterator[Count]:
    """Count what is computed inside, without gradients."""
    count = Count()
    with torch.no_grad(), _Counter(count):
        yield count


def of_row(model: nn.Module, dataset: Dataset) -> Count:
    """Operations of the score of the data's first row alone, in evaluation mode; the model's mode stays as it was."""
    training = model.training
    model.eval()
    try:
        with counting() as count:
            model(*whole(*first_rows(dataset, 1)), **asked_of_first_rows(model, dataset, 1))
    finally:
        model.train(training)
    return count


def first_rows(dataset: Dataset, n: int) -> tuple[Features, Features | None]:
    """Query columns and item columns of the first rows."""
    parts = []
    if dataset.users is not None and dataset.user is not None:
        parts.append(as_features(dataset.users.take(dataset.user[:n])))
    if dataset.context is not None:
        parts.append(as_features(dataset.context.take(np.arange(n))))
    query = parts[0] if len(parts) == 1 else parts[0].join(parts[1])
    if dataset.items is None or dataset.item is None:
        return query, None
    return query, as_features(dataset.items.take(dataset.item[:n]))


def asked_of_first_rows(model: nn.Module, dataset: Dataset, n: int) -> dict[str, Any]:
    """What `forward` of a model asks for of the first rows, with histories as they are at the end of the data."""
    if not inputs_of_model(model):
        return {}
    tables = Tables.of(dataset, np.arange(dataset.rows))
    user, item = (
        None if c is None else torch.from_numpy(np.asarray(c[:n], np.int64)) for c in (dataset.user, dataset.item)
    )
    given = tables.query(model, user, torch.arange(n))
    if "history" in inputs_of_model(model) and user is not None and dataset.schema.history is None:
        assert tables.auxiliary is not None
        now = tables.auxiliary.query({"history": True}, tables.items, user, None, history_length(model))
        given = ModelInputs({**given.values, **now.values})
    return (given if item is None else given.join(tables.item(model, item))).named(model)


def whole(query: Features, items: Features | None) -> Features:
    """Both sides in one row."""
    return query if items is None else query.join(items)


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, count: Count) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = count

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        out = result[0] if isinstance(result, tuple | list) and result else result
        if isinstance(out, Tensor) and out.is_floating_point():
            if func.overloadpacket in flop_registry:
                self.count.products += flop_registry[func.overloadpacket](*args, **kwargs, out_val=result)
            operations = _others(func, args, kwargs, out)
            if operations is None:
                self.count.unknown.add(str(func.overloadpacket.__name__))
            else:
                self.count.others += operations
        return result


def _others(func: Any, args: Any, kwargs: Any, out: Tensor) -> int | None:
    name = func.overloadpacket.__name__
    if func.overloadpacket in flop_registry:
        has_bias = name in ("addmm", "baddbmm") or ("convolution" in name and args[2] is not None)
        return out.numel() if has_bias else 0
    if func.is_view or name.rstrip("_") in _FREE or name.startswith(("new_", "empty", "rand")):
        return 0
    special = _SPECIAL.get(name)
    if special is not None:
        return special(args, kwargs, out)
    if name in _REDUCTIONS:
        return _REDUCTIONS[name] * args[0].numel()
    if torch.Tag.pointwise in func.tags:
        return _POINTWISE.get(name.rstrip("_"), 1) * out.numel()
    return None


_FREE = frozenset(
    [
        "_to_copy",
        "_reshape_alias",
        "_unsafe_view",
        "alias",
        "arange",
        "bernoulli",
        "cat",
        "clone",
        "constant_pad_nd",
        "copy",
        "detach",
        "embedding",
        "expand",
        "eye",
        "fill",
        "flip",
        "full",
        "full_like",
        "gather",
        "index",
        "index_copy",
        "index_put",
        "index_select",
        "lift_fresh",
        "masked_fill",
        "masked_select",
        "native_dropout",
        "ones",
        "ones_like",
        "repeat",
        "roll",
        "scalar_tensor",
        "scatter",
        "select_scatter",
        "slice_scatter",
        "sort",
        "split_with_sizes_copy",
        "squeeze",
        "stack",
        "swapaxes",
        "t",
        "topk",
        "transpose",
        "tril",
        "triu",
        "unsafe_split",
        "unsafe_split_with_sizes",
        "unsqueeze",
        "where",
        "zero",
        "zeros",
        "zeros_like",
    ]
)
_POINTWISE = {"addcmul": 2, "addcdiv": 2, "lerp": 3}
_REDUCTIONS = {
    "sum": 1,
    "mean": 1,
    "prod": 1,
    "amax": 1,
    "amin": 1,
    "max": 1,
    "min": 1,
    "cumsum": 1,
    "logsumexp": 3,
    "linalg_vector_norm": 2,
    "_softmax": 5,  # the largest, a difference, exp, a sum, a division
    "_log_softmax": 4,
}


def _bags(args: Any, kwargs: Any, out: Tensor) -> int:
    """Sums of rows of a table, which may be weighted: `(weight, indices, offsets, ..., per_sample_weights, ...)`."""
    weighted = any(isinstance(a, Tensor) and a.is_floating_point() for a in (*args[1:], *kwargs.values()))
    return int(args[1].numel() * args[0].shape[1] * (1 + weighted))


_SPECIAL: dict[str, Callable[[Any, Any, Tensor], int]] = {
    "_embedding_bag": _bags,
    "_embedding_bag_forward_only": _bags,
    "dot": lambda args, kwargs, out: 2 * args[0].numel(),
    "mv": lambda args, kwargs, out: 2 * args[0].numel(),
    "index_add": lambda args, kwargs, out: args[3].numel(),
    "index_add_": lambda args, kwargs, out: args[3].numel(),
    "_cdist_forward": lambda args, kwargs, out: 3 * out.numel() * args[0].shape[-1],
    "max_pool2d_with_indices": lambda args, kwargs, out: out.numel() * prod(args[1]),
    "native_batch_norm": lambda args, kwargs, out: 4 * out.numel(),  # by statistics that are known
    "native_layer_norm": lambda args, kwargs, out: 8 * out.numel(),
}
