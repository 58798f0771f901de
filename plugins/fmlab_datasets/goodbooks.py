"""Goodbooks-10k: ratings of the ten thousand books with most ratings."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fmlab.data import Dataset
from fmlab.data.encoding.plan import Plan
from fmlab.data.source import RawFile
from fmlab_datasets.options import Fields, chosen_fields
from fmlab_datasets.streams import attributes, first_found, joined, prepared, table

RAW_ADDRESS = "https://raw.githubusercontent.com/zygmuntz/goodbooks-10k/master/"
COLUMNS = {"authors": "authors", "original_publication_year": "year", "language_code": "language"}


class Goodbooks:
    """Goodbooks-10k: about 6 million ratings of 10,000 books by 53,424 users.

    Source: Z. Zajac, Goodbooks-10k, github.com/zygmuntz/goodbooks-10k, 2017

    `label` is the number of stars; every rating counts, as in HyperML. Rows are in order of time, without times.
    `fields` of the books (authors as one text, year, language) may be left out. A sample in `ratings_random.csv` is
    read as well.
    """

    defaults = {"protocol": "leave_one_out"}
    version = "1"
    license = "CC BY-SA 4.0"
    citation = "Z. Zajac: Goodbooks-10k: a new dataset for book recommendations, FastML 2017"

    def __init__(
        self,
        root: Path,
        *,
        fields: Fields = ("authors", "year", "language"),
    ) -> None:
        """Raises DataError for an unknown field."""
        self.fields = chosen_fields(fields, COLUMNS.values(), "Goodbooks")
        folders, ends = ("goodbooks/", "goodbooks-sample/", ""), (".csv", ".csv.gz", ".zip")

        def candidates(*stems: str) -> list[RawFile]:
            names = [f"{f}{s}{e}" for f in folders for s in stems for e in ends]
            return [RawFile(n, (f"{RAW_ADDRESS}{stems[0]}.csv",) if n.endswith(".csv") else ()) for n in names]

        ratings = first_found(root, "goodbooks", *candidates("ratings", "ratings_random"))
        books = first_found(root, "goodbooks", *candidates("books"))
        self.raw: Sequence[RawFile] = (ratings, books) if self.fields else (ratings,)

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """Read `ratings.csv` and `books.csv`."""
        ratings, *books = (files[raw.path] for raw in self.raw)
        stream = table(ratings, {"user_id": "u", "book_id": "i", "rating": "stars"})
        plan = Plan(user="u", item="i", label="stars", fields=dict.fromkeys(self.fields, "item"))
        if books:
            known = attributes(table(books[0], {"book_id": "i", **COLUMNS}), "i")
            stream = joined(stream, "i", {f: known[f] for f in self.fields})
        return prepared("goodbooks", stream, plan, workspace, whole=5_976_479)
