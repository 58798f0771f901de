"""Finds the best items of users in an exported index: usearch, NumPy and PyArrow alone.

    python search.py 42 007                        # user, rank, item, and the product by which items are ordered

It stands in each export of the format ann, beside items.usearch and the ids, and may be copied into a program:

    searcher = Searcher(folder)
    searcher.search("42", k=10, exclude={"260"})   # -> [("1196", 2.31), ...], best first

Items that the user has met are left out, as `fmlab recommend` does; `seen=True` lists them too. `exclude` names more
items to leave out. The score of the model is a strictly increasing function of the product and of the user.
"""

import json
import sys
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

_COMPARED = 100_000  # users among which the nearest name is looked for


class SearchError(KeyError):
    """What is asked for is not in the folder; the message says what is."""

    def __str__(self) -> str:
        """The message, which KeyError would put in quotes."""
        return str(self.args[0])


class Searcher:
    """An exported index with its ids, and the queries of the users where a user alone is a query."""

    def __init__(self, folder: str | Path) -> None:
        """Read the files of the folder."""
        from pyarrow import parquet
        from usearch.index import Index

        place = Path(folder)
        self.about = json.loads((place / "manifest.json").read_text(encoding="utf-8"))["ann"]
        self.index = Index.restore(str(place / self.about["file"]))
        self.index.expansion_search = self.about["expansion_search"]
        self.items = parquet.read_table(place / "items.parquet")["id"].to_pylist()
        self.users, self.queries = {}, None
        if (place / "query_vectors.npy").is_file():
            users = parquet.read_table(place / "users.parquet")["id"].to_pylist()
            self.users = {name: row for row, name in enumerate(users)}
            self.queries = np.load(place / "query_vectors.npy", mmap_mode="r")
        self.seen_users = self.seen_items = np.zeros(0, np.int64)  # rows of pairs, in the order of users
        if (place / "seen.parquet").is_file():
            pairs = parquet.read_table(place / "seen.parquet")
            self.seen_users, self.seen_items = pairs["user"].to_numpy(), pairs["item"].to_numpy()

    def search(
        self, user: str, k: int = 10, exclude: Collection[str] = (), *, seen: bool = False
    ) -> list[tuple[str, float]]:
        """The `k` best items of a user, without those of `exclude` and, unless `seen`, those that the user has met.

        Raises SearchError for a user that is not one of the training.
        """
        if self.queries is None:
            raise SearchError("a query is a user in a context: give search_vector what encode_query makes of it")
        row = self._row(user)
        return self.search_vector(self.queries[row], k, exclude if seen else {*exclude, *self._met(row)})

    def _row(self, user: str) -> int:
        if user not in self.users:
            near = get_close_matches(str(user), self.users, n=1) if len(self.users) <= _COMPARED else []
            hint = f"did you mean {near[0]!r}?" if near else "users.parquet lists them"
            raise SearchError(f"a user must be one of the {len(self.users):,} of the training, got {user!r}; {hint}")
        return self.users[user]

    def _met(self, row: int) -> list[str]:
        low, high = np.searchsorted(self.seen_users, [row, row + 1])
        return [self.items[n] for n in self.seen_items[low:high]]

    def search_vector(self, query: Any, k: int = 10, exclude: Collection[str] = ()) -> list[tuple[str, float]]:
        """The same of a query `[d + 1]`: a row of query_vectors.npy, or a vector of your own with a 1 after it."""
        vector = np.asarray(query, np.float64)
        length = float(np.linalg.norm(vector)) or 1.0
        asked = np.append(vector / length, 0).astype(np.float32)
        hits = self.index.search(asked, min(k + len(exclude), len(self.items)))
        scale = length / self.about["scale_of_items"]
        found = [
            (self.items[int(n)], (1 - float(d) / 2) * scale) for n, d in zip(hits.keys, hits.distances, strict=True)
        ]
        return [(name, product) for name, product in found if name not in exclude][:k]


def main() -> int:
    """Print the ten best items of the users that are named; returns the exit code, 2 for a user that is not there."""
    searcher = Searcher(Path(__file__).parent)
    try:
        for user in sys.argv[1:]:
            for rank, (item, product) in enumerate(searcher.search(user), 1):
                print(f"{user},{rank},{item},{product:.6g}")
    except SearchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
