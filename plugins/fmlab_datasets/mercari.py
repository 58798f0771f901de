"""Mercari: purchases of second-hand goods, the data of GML-FM; not public."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from fmlab.data import Dataset
from fmlab.data.encoding.plan import Plan
from fmlab.data.source import RawFile
from fmlab.plugin.option import Range, Renamed
from fmlab_datasets.options import TimeColumn
from fmlab_datasets.streams import Stream, first_found, frequent, prepared, table

FIELDS = ("category", "condition", "shipping_method", "origin", "duration")
PAGE = "the authors of GML-FM (the data are Mercari's own; hf.co/datasets/mercari-us/merrec is public, and other data)"
LICENSE = "not public"
CITATION = "Y. Guo et al.: Enhancing Factorization Machines with Generalized Metric Learning, IEEE TKDE 2022"


class Mercari:
    """What both categories share: a CSV with the columns user, item and the five fields of an item, in order of time.

    The data are private: names of files and columns are ours. A second-hand item is sold once, so that nearly every
    item has one interaction. Users with fewer than `min_interactions` items are left out.
    """

    defaults = {"protocol": "rating"}
    version = "1"
    license = LICENSE
    citation = CITATION
    name: str

    def __init__(
        self,
        root: Path,
        *,
        min_interactions: Annotated[int, Range(1, None), "fewest items of a user", Renamed("least")] = 5,
        time: TimeColumn = "",
    ) -> None:
        """`time` names a column of times, if there is one; users with fewer items are left out."""
        self.min_interactions, self.time = min_interactions, time
        names = [f"mercari/{self.name.removeprefix('mercari-')}.csv{gz}" for gz in ("", ".gz")]
        self.raw: Sequence[RawFile] = (first_found(root, self.name, *(RawFile(n, page=PAGE) for n in names)),)

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """Read the table, twice if users are left out."""
        (path,) = files.values()
        columns = {"user": "u", "item": "i", **{n: n for n in FIELDS}, **({self.time: "when"} if self.time else {})}

        def rows() -> Stream:
            return table(path, columns)

        stream, before = frequent(rows(), rows(), self.min_interactions)
        plan = Plan(user="u", item="i", time="when" if self.time else "", fields=dict.fromkeys(FIELDS, "item"))
        return prepared(self.name, stream, plan, workspace, before=before)


class MercariTicket(Mercari):
    """Mercari Tickets: 46,712 purchases of 45,998 items by 3,855 users, with 5 fields of an item.

    Paper: Guo et al., Enhancing Factorization Machines with Generalized Metric Learning, IEEE TKDE 2022
    """

    name = "mercari-ticket"


class MercariBooks(Mercari):
    """Mercari Books: 373,790 purchases of 367,968 items by 26,080 users, with 5 fields of an item.

    Paper: Guo et al., Enhancing Factorization Machines with Generalized Metric Learning, IEEE TKDE 2022
    """

    name = "mercari-books"
