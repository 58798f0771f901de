"""Finds the best items of users in an exported index: usearch, NumPy and PyArrow alone.

    python search.py 42 007                        # user, rank, item, and the product by which items are ordered

It stands in each export of the format ann, beside items.usearch and the ids, and may be copied into a program:

    searcher = Searcher(folder)
    searcher.search("42", k=10, exclude={"260"})   # -> [("1196", 2.31), ...], best first

What a user has met is not in the folder: `exclude` names items that are left out. The score of the model is a strictly
increasing function of the product and of the user.
"""

import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np


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

    def search(self, user: str, k: int = 10, exclude: Collection[str] = ()) -> list[tuple[str, float]]:
        """The `k` best items of a user of the training; raises KeyError for another one."""
        if self.queries is None:
            raise KeyError("a query is a user in a context: give search_vector what encode_query makes of it")
        return self.search_vector(self.queries[self.users[user]], k, exclude)

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


def main() -> None:
    """Print the ten best items of the users that are named."""
    searcher = Searcher(Path(__file__).parent)
    for user in sys.argv[1:]:
        for rank, (item, product) in enumerate(searcher.search(user), 1):
            print(f"{user},{rank},{item},{product:.6g}")


if __name__ == "__main__":
    main()
