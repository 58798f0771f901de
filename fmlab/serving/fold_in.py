"""Lists for a user of whom only a history is known: the model stays as it is, nothing is trained.

| the model has         | the scores of all items                                                                 |
|-----------------------|-----------------------------------------------------------------------------------------|
| `fold_in` (`FoldsIn`) | its own: exact for EASE and ItemKNN, the step of a sweep for iALS                       |
| `TwoSided`            | those of a query vector that least squares predict from the history (`QueryPredictor`)  |
| neither               | refused                                                                                 |

A history of no known item gets the items that were trained on most.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from fmlab.contracts import FoldsIn, is_two_sided
from fmlab.data import Array
from fmlab.data.batch import as_features
from fmlab.errors import FmlabError
from fmlab.evaluation.item_scorer import refuse_non_finite
from fmlab.run.seen_items import TRAIN
from fmlab.serving.frames import cells_batch
from fmlab.serving.ranking import best_of
from fmlab.serving.vectors import vectors_of

if TYPE_CHECKING:
    import pandas as pd

    from fmlab.serving.loaded_run import LoadedRun

SHRINK = 10.0  # a history of so many items counts half
MOST = 20_000  # users that a prediction is fitted to
RIDGE = 1e-9  # of the mean square of each input: it keeps the system solvable


class Folded(NamedTuple):
    """The list of one history: numbers of items, scores, whether popularity ranked it, and how many of the history the
    model does not know."""

    item: Array
    score: Array
    by_popularity: bool
    unknown: int

    def table(self, run: "LoadedRun") -> "pd.DataFrame":
        """The list as `LoadedRun.recommend` gives it."""
        import pandas as pd

        texts = run.item_texts.take(pa.array(self.item)).to_pylist()
        rank = np.arange(1, len(texts) + 1, dtype=np.int32)
        found = pd.DataFrame({"rank": rank, run.encoder.id_column("item"): texts, "score": self.score})
        found.attrs["by_popularity"], found.attrs["unknown_items"] = int(self.by_popularity), self.unknown
        return found


class QueryPredictor:
    """Predicts the vector of a user from the items met, as least squares fit it to the users of the training.

    The input of a user who has met n items is `sum of their item vectors / (n + 10)`, and `n / (n + 10)`; the output is
    the user's query vector less that of an unknown user. Both are those of `TwoSided`, so that the geometry of the
    model does not matter. A closed form gives the matrix; no parameter of the model changes.
    """

    @torch.no_grad()
    def __init__(self, run: "LoadedRun") -> None:
        """Raises FmlabError where the score is no product of two sides, or training users are not known."""
        model, data = run.model, run.data
        if not is_two_sided(model):
            raise FmlabError(
                f"a history is folded into a model with fold_in or two sides, {run.name} has neither; models that "
                "have: ease, itemknn, rp3beta, bm25, ials, mf, fm, lorentzfm, hyperml"
            )
        assert data.users is not None
        assert data.items is not None
        if data.has_context:
            raise FmlabError(
                f"a history is folded in where a query is a user alone, that of {run.name} also has a context"
            )
        if data.seen is None:
            raise FmlabError(f"a history is folded in by what training users have met, the run of {run.name} has none")
        query = run.ranker.nobody
        both = vectors_of(model.encode_item, as_features(data.items))
        self.items, self.bias = both[:, :-1], both[:, -1]
        users = np.flatnonzero(data.seen.trained)
        users = users[np.linspace(0, len(users) - 1, min(MOST, len(users))).astype(np.int64)] if len(users) else users
        nobody = vectors_of(model.encode_query, query)[0, :-1]
        target = vectors_of(model.encode_query, as_features(data.users.take(users)))[:, :-1] - nobody
        inputs = self._inputs(users, data.seen.key[data.seen.part == TRAIN], data.schema.n_items)
        size = inputs.square().mean(0).sqrt().clamp_min(torch.finfo(inputs.dtype).tiny)  # coordinates differ in scale
        inputs = inputs / size
        gram = inputs.T @ inputs
        ridge = RIDGE * len(users) * torch.eye(len(gram), dtype=gram.dtype)
        self.matrix, self.nobody = torch.linalg.solve(gram + ridge, inputs.T @ target) / size.unsqueeze(1), nobody
        self.query_bias, _ = (t.double() for t in model.encode_query(*query))
        self.link = model.link

    @torch.no_grad()
    def fold_in(self, item: Tensor) -> Tensor:
        """`item[n]` -> scores of all items before the link, which increases."""
        total = torch.cat([self.items[item].sum(0), torch.tensor([float(len(item))], dtype=self.items.dtype)])
        vector = self.nobody + (total / (len(item) + SHRINK)) @ self.matrix
        return self.items @ vector + self.bias + self.query_bias

    def _inputs(self, users: Array, key: Array, n_items: int) -> Tensor:
        who, what = key // n_items, torch.from_numpy(key % n_items)
        at = np.searchsorted(users, who)
        kept = (at < len(users)) & (users[np.minimum(at, len(users) - 1)] == who)
        place, what = torch.from_numpy(at[kept]), what[torch.from_numpy(kept)]
        count = torch.bincount(place, minlength=len(users)).to(self.items.dtype)
        total = self.items.new_zeros(len(users), self.items.shape[1])
        for low in range(0, len(place), 1 << 18):  # the vectors of all pairs may be many
            part = slice(low, low + (1 << 18))
            total.index_add_(0, place[part], self.items[what[part]])
        return torch.cat([total, count.unsqueeze(1)], 1) / (count + SHRINK).unsqueeze(1)


def fold_in_method(run: "LoadedRun") -> Any:
    """What folds histories into the model of a run; raises FmlabError, DataError where nothing can."""
    run.ranker  # noqa: B018 - it refuses data without users and items
    return run.model if isinstance(run.model, FoldsIn) else QueryPredictor(run)


@torch.no_grad()
def fold_in(run: "LoadedRun", history: Sequence[Any], k: int, *, keep_history: bool = False) -> Folded:
    """The `k` best items for a history of ids; those of the history are left out unless `keep_history`."""
    known, unknown = _numbers(run, history)
    popularity = run.data.popularity
    if not len(known):
        if popularity is None:
            raise FmlabError("a history must have an item that training knew, and there are no popular ones instead")
        scores = torch.from_numpy(np.asarray(popularity)).double()
    else:
        scores = run.folds.fold_in(torch.from_numpy(known)).clone()
        refuse_non_finite(scores)
        if not keep_history:
            scores[torch.from_numpy(known)] = -torch.inf
    _, item, value = best_of(scores.unsqueeze(0), k)
    if len(known):
        value = torch.from_numpy(run.data.scale.served(run.folds.link(value).float().numpy()))
    return Folded(item.numpy(), value.numpy(), not len(known), unknown)


def _numbers(run: "LoadedRun", history: Sequence[Any]) -> tuple[Array, int]:
    """Numbers of the items that training knew, each once, and how many others there are."""
    encoder = run.encoder
    if not history:
        return np.zeros(0, np.int64), 0
    rows = cells_batch([{encoder.id_column("item"): one} for one in history], encoder, "item")
    ids = encoder.encode(rows, encoder.tallies(), "item").ids[:, 0].astype(np.int64)
    schema = run.data.schema
    number = ids - schema.offsets[schema.column_field[schema.columns("item").start]] - 1
    return np.unique(number[number >= 0]), int((number < 0).sum())


def check_history(history: object) -> Sequence[Any]:
    """The ids of a history as a list; raises FmlabError for what is none."""
    if isinstance(history, str | bytes | Mapping) or not isinstance(history, Iterable):
        raise FmlabError(f"a history is a list of ids of items, got {history!r:.60}")
    return list(history)
