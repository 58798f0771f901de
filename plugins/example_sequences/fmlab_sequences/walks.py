"""A data set whose next item follows from the last ones: it needs no file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd

from fmlab.api import Dataset, Range, RawFile, encode_table


class Walks:
    """Users walk around a ring of items: the next item is one of the few after the last one.

    Source: generated.

    Each step goes 1 to `stride` items ahead; users begin anywhere, so that neither the user nor popularity tells the
    next item, and the last item does. With `labeled` every step stands beside one to an item drawn at random, labeled
    1 and 0, at the same time. With `log` each row carries the items before it in a column of its own, whose ids are
    those of items, in place of times.
    """

    defaults = {"protocol": "leave_one_out"}
    raw: tuple[RawFile, ...] = ()
    version = "1"
    license = "none needed: the data are generated"
    citation = "none"

    def __init__(
        self,
        root: Path,
        *,
        users: Annotated[int, Range(2, None)] = 300,
        items: Annotated[int, Range(10, None)] = 60,
        steps: Annotated[int, Range(3, None)] = 12,
        stride: Annotated[int, Range(1, None)] = 2,
        labeled: bool = False,
        log: bool = False,
        seed: Annotated[int, Range(0, None)] = 0,
    ) -> None:
        """`steps`: of each user."""
        self.users, self.items, self.steps, self.stride = users, items, steps, stride
        self.labeled, self.log, self.seed = labeled, log, seed

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """The same options give the same rows."""
        rng = np.random.default_rng(self.seed)
        ahead = rng.integers(1, self.stride + 1, (self.users, self.steps))
        place = (rng.integers(0, self.items, (self.users, 1)) + ahead.cumsum(1)) % self.items
        start = rng.integers(0, 1_000_000, (self.users, 1))
        rows = pd.DataFrame(
            {
                "walker": np.repeat(np.arange(self.users), self.steps),
                "place": place.reshape(-1),
                "second": 1_600_000_000 + (start + 60 * np.arange(self.steps)).reshape(-1),
                "before": [row[:n].tolist() for row in place for n in range(self.steps)],
                "clicked": 1,
            }
        )
        if self.labeled:
            other = rows.assign(clicked=0, place=rng.integers(0, self.items, len(rows)))
            rows = pd.concat([rows, other]).sort_index(kind="stable")
        rows = rows.astype({"walker": str, "place": str})
        rows["before"] = [[str(n) for n in before] for before in rows["before"]]
        return encode_table(
            "walks",
            rows,
            workspace,
            user="walker",
            item="place",
            label="clicked" if self.labeled else "",
            time="" if self.log else "second",
            sequences={"before": "place"} if self.log else {},
            ignore=[*([] if self.labeled else ["clicked"]), *(["second"] if self.log else ["before"])],
        )
