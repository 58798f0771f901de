"""Lists of the best items for queries, as tables."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fmlab.data.batch import Features, as_features
from fmlab.data.encoding.fitted_encoder import QUERY, Encoder
from fmlab.errors import FmlabError, choices
from fmlab.run.seen_items import Exclude
from fmlab.run.serving_inputs import PARTS_KNOWN
from fmlab.serving.ranking import Found
from fmlab.serving.table_writer import names_of_added

if TYPE_CHECKING:
    from fmlab.serving.loaded_run import LoadedRun

ADDED = ("rank", "score")


def check_k(k: object) -> None:
    """Raise FmlabError unless lists can have so many items."""
    if not isinstance(k, int) or isinstance(k, bool) or k < 1:
        raise FmlabError(f"a list has 1 or more items, got k={k!r}")


def check_context(context: Mapping[str, object], encoder: Encoder) -> None:
    """Raise FmlabError where a context names what is no column of it."""
    wanted = [c.name for c in encoder.columns("context")]
    if strange := [name for name in context if name not in wanted]:
        raise FmlabError(f"the model has no context column {strange[0]!r}; {choices(str(strange[0]), wanted)}")


class Lists:
    """Makes lists for batches of queries, and counts.

    `queries`: how many there were. `unknown`: users that training did not know; `by_popularity`: those of them for whom
    the model would not tell items apart better than for nobody. `short`: items that were too few for whole lists.
    """

    def __init__(self, run: "LoadedRun", k: int, exclude: Exclude) -> None:
        """Raises DataError where rows have no users and items."""
        self.run, self.k, self.exclude = run, k, exclude
        self.ranker = run.ranker
        encoder = run.encoder
        self.user, self.item = encoder.id_column("user"), encoder.id_column("item")
        self.shown = list(
            dict.fromkeys(
                (self.user, *(c.name for c in encoder.columns("context") if {*c.fields} - {*encoder.row_inputs}))
            )
        )
        read = (*self.shown, self.item)
        rank, self.score = names_of_added(read, read, ADDED, "the data")
        self.header = [*self.shown, rank, self.item, self.score]
        self.items = run.item_texts
        self.tallies = encoder.tallies()
        self.queries = self.unknown = self.by_popularity = self.short = 0
        self.trained = run.trained_users
        self.places: list[Any] = []  # of the last batch, the query that each answer is for
        self.cold: list[Any] = []  # and which queries were ranked by popularity

    def of(self, rows: Any) -> Any:
        """Of a batch of queries (dictionary-encoded text) a record batch with the columns `header`."""
        queries = as_features(self.run.encoder.encode(rows, self.tallies, *QUERY))
        number = queries.ids[:, 0].numpy().astype(np.int64) - self.run.data.schema.offsets[0] - 1
        names = rows[self.user].to_pylist()
        self.queries += len(rows)
        self.unknown += int((number < 0).sum())
        fresh = (number < 0) | ~self.trained[number]
        made, given = [], self.run.model_inputs.query(rows, number, PARTS_KNOWN[self.exclude], self.tallies)
        self.places, self.cold = [], []
        for part in self.ranker.blocks(len(rows)):
            cut = Features(queries.ids[part], None if queries.values is None else queries.values[part])
            met, seen = None, self.run.data.seen
            if seen is not None and self.exclude != "none":
                met = seen.of(number[part].tolist(), names[part], self.exclude)
            found = self.ranker.top(cut, self.k, met, fresh[part], given.cut(part))
            self.by_popularity += int(found.cold.sum())
            self.short += self.k * len(cut.ids) - len(found.query)
            self.places.append(found.query + part.start)
            self.cold.append(found.cold)
            made.append(self._answers(rows.slice(part.start, part.stop - part.start), found))
        return pa.concat_batches(made)

    def _answers(self, rows: Any, found: Found) -> Any:
        first = np.searchsorted(found.query, found.query)  # where the list of each query begins
        columns = [rows[name].take(pa.array(found.query)).cast(pa.string()) for name in self.shown]
        rank = pa.array((np.arange(len(found.query)) - first + 1).astype(np.int32))
        score = np.where(found.cold[found.query], found.score, self.run.data.scale.served(found.score))
        texts = self.items.take(pa.array(found.item))
        return pa.RecordBatch.from_arrays([*columns, rank, texts, pa.array(score)], names=self.header)
