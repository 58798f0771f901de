"""An index that finds the best items of a query without looking at all: usearch, over an exact reduction.

The order of items of a two-sided model is that of inner products of `(query vector, 1)` with `(item vector, bias)`.
An index of distances finds largest inner products once each item has one more coordinate, `sqrt(M^2 - |x|^2)` with M
the longest item, and each query a 0 there: `|q - x|^2 = |q|^2 + M^2 - 2 <q, x>`. What the index leaves out is measured
as recall@10 against the exact ranking.

Source: Bachrach et al., Speeding up the Xbox recommender system using a Euclidean transformation for inner-product
spaces, RecSys 2014, theorem 1.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fmlab.contracts import is_two_sided
from fmlab.data import Array
from fmlab.data.batch import Features, as_features
from fmlab.errors import FmlabError
from fmlab.serving.model_export import sample
from fmlab.serving.vectors import vectors_of

if TYPE_CHECKING:
    from fmlab.serving.loaded_run import LoadedRun

FILE, SEEN = "items.usearch", "seen.parquet"
K, QUERIES, GOAL = 10, 500, 0.99
CONNECTIVITY, BUILD, FIRST, MOST = 32, 256, 64, 4096


def write_index(run: "LoadedRun", folder: Path) -> dict[str, Any]:
    """Write items.usearch; returns what the manifest says of it. Raises FmlabError where there is no exact
    reduction."""
    try:
        from usearch.index import Index
    except ImportError as error:
        raise FmlabError(f'--format ann needs the package {error.name}: pip install "fmlab[ann]"') from error
    if run.data.items is None:
        raise FmlabError(f"an index is of items: the rows of {run.data.name!r} have none")
    if not is_two_sided(run.model):
        raise FmlabError(f"an index finds inner products, and the score of {run.name} is no product of two sides")
    items = vectors_of(run.model.encode_item, as_features(run.data.items)).numpy()
    queries = vectors_of(run.model.encode_query, _queries(run), bias=False).numpy()
    longest = float(np.linalg.norm(items, axis=1).max())
    scale = 1 / longest if longest > 0 else 1.0  # float32 then holds the coordinates of any model
    reduced = lifted(items * scale)
    index = Index(
        ndim=reduced.shape[1],
        metric="l2sq",
        dtype="f32",
        connectivity=CONNECTIVITY,
        expansion_add=BUILD,
        expansion_search=FIRST,
    )
    index.add(np.arange(len(reduced)), reduced, threads=1)
    k = min(K, len(items))
    exact = _exact(queries, items, k)
    asked = np.concatenate([_unit(queries), np.zeros((len(queries), 1))], 1).astype(np.float32)
    search, found = FIRST, 0.0
    while True:  # as wide as the goal needs
        index.expansion_search = search
        found = recall(index.search(asked, k, threads=1).keys.reshape(len(asked), k), queries @ items.T, exact)
        if found >= GOAL or search >= min(MOST, 2 * len(items)):
            break
        search *= 2
    index.save(str(folder / FILE))
    _write_seen(run, folder)
    return {
        "file": FILE,
        "dim": int(reduced.shape[1]),
        "metric": "l2sq",
        "product": "(1 - distance / 2) * length of the query / scale_of_items, by which items are ordered",
        "query": "a row of query_vectors.npy (its last number is 1) divided by its length, then 0",
        "scale_of_items": scale,
        "recall_at_10": found,
        "queries": len(queries),
        "expansion_search": search,
        "connectivity": CONNECTIVITY,
    }


def _write_seen(run: "LoadedRun", folder: Path) -> None:
    """seen.parquet: rows of users and of items that they have met, in any part of the data, in the order of users."""
    import pyarrow as pa
    from pyarrow import parquet

    if (seen := run.data.seen) is not None:
        user, item = np.divmod(seen.key, max(1, seen.n_items))
        known = user < seen.n_users  # the others have no row in users.parquet
        parquet.write_table(pa.table({"user": user[known], "item": item[known]}), folder / SEEN)


def lifted(items: Array) -> Array:
    """Items no longer than 1 with the coordinate that makes all of them 1 long, float32."""
    rest = np.sqrt(np.maximum(0, 1 - np.square(items).sum(1, keepdims=True)))
    return np.concatenate([items, rest], 1).astype(np.float32)


def recall(found: Array, scores: Array, exact: Array) -> float:
    """The mean share of the exact lists in the found ones; items of equal score stand for each other."""
    worst = np.take_along_axis(scores, exact[:, -1:], 1)
    good = np.take_along_axis(scores, np.minimum(found.astype(np.int64), scores.shape[1] - 1), 1) >= worst
    return float(good.mean())


def _exact(queries: Array, items: Array, k: int) -> Array:
    return np.argsort(-(queries @ items.T), axis=1, kind="stable")[:, :k]


def _unit(queries: Array) -> Array:
    """Order of items of a query does not depend on its length."""
    return queries / np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-300)


def _queries(run: "LoadedRun") -> Features:
    """Users of the data, in random contexts where there are contexts."""
    table = as_features(sample(run.data, QUERIES))
    part = run.data.schema.query
    return Features(table.ids[:, part], None if table.values is None else table.values[:, part])
