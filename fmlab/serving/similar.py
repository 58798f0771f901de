"""Items that a model takes for alike: exact, by the geometry that the model itself gives its items."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from fmlab.contracts import ComparesItems, ManifoldEmbeddings, is_late_interaction, is_two_sided
from fmlab.data import Array
from fmlab.data.batch import Features, as_features
from fmlab.errors import DataError, FmlabError, choices
from fmlab.evaluation.item_scorer import refuse_non_finite
from fmlab.serving.ranking import best_of

if TYPE_CHECKING:
    from fmlab.serving.loaded_run import LoadedRun

Measure = Literal["auto", "inner", "cosine", "distance"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
CELLS = 1 << 22  # numbers held at once
OWN = 16  # numbers that a model of its own measure is taken to hold for each pair
INNER = "inner product of item vectors"
COSINE = "cosine of item vectors"
OF_STATES = "cosine of item states"
DISTANCE = "minus the distance of the items' points"
Compare = Callable[[Features], Tensor]  # items [q, columns] -> [q, items]


class SimilarItems:
    """Of items the most alike. `measure`: what the numbers are, in words; larger is more alike."""

    @torch.no_grad()
    def __init__(self, run: "LoadedRun", measure: Measure = "auto") -> None:
        """`measure`: the model's own (auto), or the one named. Raises DataError where rows have no items, FmlabError
        where the model has no such measure, or the same vector for all items."""
        if measure not in MEASURES:
            raise FmlabError(f"a measure must be one of {', '.join(MEASURES)}, got {measure!r}")
        if run.data.items is None:
            raise DataError(f"items are compared with items: the rows of {run.data.name!r} have none")
        if "vectors" in run.model_inputs.names or "sequences" in run.model_inputs.names:
            raise FmlabError(f"items are compared by their features, {run.name} reads vectors or sequences of them too")
        self.run, self.items = run, as_features(run.data.items)
        self.column = run.encoder.id_column("item")
        self.keys = run.item_texts
        self.measure, self.width, self._compare = _comparison(run.model, run.name, self.items, measure)

    def numbers(self, rows: Any) -> Array:
        """Numbers of the items of a batch of dictionary-encoded text; raises DataError for one that is not known."""
        found = self.run.encoder.encode(rows, self.run.encoder.tallies(), "item").ids[:, 0].astype(np.int64)
        field = next(n for n, f in enumerate(self.run.data.schema.fields) if f.name == self.run.data.id_field("item"))
        number: Array = found - self.run.data.schema.offsets[field] - 1
        if (number < 0).any():
            text = rows[self.column][int(np.flatnonzero(number < 0)[0])].as_py()
            near = choices(str(text), self.keys.to_pylist()).partition("choices: ")[0]
            raise DataError(
                f"items are compared that training knew, got {text!r}; {near}there are {len(self.keys):,} items"
            )
        return number

    def compare(self, at: Tensor) -> Tensor:
        """How alike the items `at[q]` are to all, `[q, items]`."""
        return self._compare(self.items.take(at))

    @torch.no_grad()
    def top(self, number: Array, k: int) -> tuple[Array, Array, Array]:
        """Places in `number`, numbers of the items most like those, and how much; an item is not like itself."""
        parts = []
        size = max(1, CELLS // max(1, len(self.keys) * self.width))
        for low in range(0, len(number), size):
            at = torch.from_numpy(number[low : low + size])
            scores = self.compare(at)
            refuse_non_finite(scores)
            scores = scores.clone()
            scores[torch.arange(len(at)), at] = -torch.inf
            place, item, value = best_of(scores, k)
            parts.append((place.numpy() + low, item.numpy(), value.numpy()))
        if not parts:
            none = np.zeros(0, np.int64)
            return none, none, np.zeros(0, np.float32)
        places, items, values = zip(*parts, strict=True)
        return np.concatenate(places), np.concatenate(items), np.concatenate(values)

    def of(self, rows: Any, k: int) -> Any:
        """Of a batch of items (dictionary-encoded text) a record batch: the item, `rank`, `similar`, `score`."""
        number = self.numbers(rows)
        place, item, value = self.top(number, k)
        first = np.searchsorted(place, place)
        rank = pa.array((np.arange(len(place)) - first + 1).astype(np.int32))
        columns = [self.keys.take(pa.array(number[place])), rank, self.keys.take(pa.array(item)), pa.array(value)]
        return pa.RecordBatch.from_arrays(columns, names=self.header)

    @property
    def header(self) -> list[str]:
        """Columns of `of`."""
        return [self.column, "rank", "similar", "score"]


def _comparison(model: nn.Module, name: str, items: Features, measure: Measure) -> tuple[str, int, Compare]:
    """The measure in words, numbers of an item, and the function; raises FmlabError where there is none."""
    if measure == "auto" and isinstance(model, ComparesItems):
        compares = model
        return compares.item_measure, OWN, lambda query: compares.compare_items(*query, *items)
    if measure in ("auto", "distance") and isinstance(model, ManifoldEmbeddings):
        points = _whole(lambda *cut: (model.item_points(*cut),), items)
        manifold = model.manifold
        what = f"{DISTANCE} ({type(manifold).__name__} manifold)"
        return what, points.shape[1], lambda query: _distances(manifold, model.item_points(*query), points)
    if measure == "distance":
        raise FmlabError(f"a distance of items needs a model whose items are points of a manifold, {name} is none")
    if is_two_sided(model):
        side: Callable[..., tuple[Tensor, ...]] = lambda *cut: (model.encode_item(*cut)[1],)  # noqa: E731
        what = INNER if measure == "inner" else COSINE
    elif is_late_interaction(model):
        side, what = model.item_state, OF_STATES.replace("cosine", "inner product" if measure == "inner" else "cosine")
    else:
        raise FmlabError(f"items are compared by their vectors, {name} has no part that reads the item alone")
    vectors = _whole(side, items)
    if len(vectors) > 1 and bool((vectors == vectors[:1]).all()):
        raise FmlabError(f"items are compared by their vectors, those of {name} are all equal")
    if measure != "inner":
        vectors = nn.functional.normalize(vectors, dim=1)
    first = int(items.ids[0, 0])  # the first field of a side names its entities in their order
    return what, 1, lambda query: vectors[query.ids[:, 0].long() - first] @ vectors.T


def _distances(manifold: Any, left: Tensor, right: Tensor) -> Tensor:
    found: Tensor = -manifold.dist(left.unsqueeze(1), right.unsqueeze(0))
    return found


def _whole(side: Callable[..., tuple[Tensor, ...]], items: Features) -> Tensor:
    """What a side gives for all items, `[items, numbers]`, in chunks of bounded size."""
    return torch.cat([torch.cat([_flat(state) for state in side(*cut)], 1) for cut in _chunks(items)])


def _flat(state: Tensor) -> Tensor:
    return state.flatten(1) if state.dim() > 1 else state.unsqueeze(1)


def _chunks(items: Features, size: int = 1 << 14) -> Iterator[Features]:
    for low in range(0, len(items.ids), size):
        values = None if items.values is None else items.values[low : low + size]
        yield Features(items.ids[low : low + size], values)
