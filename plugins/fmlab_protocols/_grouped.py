"""One evaluation whose figures are also given for groups of its cases."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fmlab.contracts import BlockResult, Report
from fmlab.data import Array
from fmlab.data.batch import Tables
from fmlab.evaluation import RankedLists, ScoredRows


class Grouped:
    """Judges like `inner`; `<metric>.<group>` are the figures of the cases whose row is in the group.

    `groups`: bool[rows of the data set] by name. A group without cases gives no figures.
    """

    def __init__(self, inner: RankedLists | ScoredRows, groups: Mapping[str, Array]) -> None:
        """Groups may overlap."""
        self.inner, self.rows = inner, inner.rows
        self.groups = {name: np.asarray(mask)[inner.rows] for name, mask in groups.items()}

    def __len__(self) -> int:
        """Number of blocks."""
        return len(self.inner)

    def start(self, scorer: Any, tables: Tables) -> Any:
        """As `inner`."""
        return self.inner.start(scorer, tables)

    def block(self, index: int, scorer: Any, tables: Tables, state: Any) -> BlockResult:
        """As `inner`."""
        return self.inner.block(index, scorer, tables, state)

    def finish(self, unit: Array, columns: Mapping[str, Array]) -> Report:
        """Figures of all cases, then of each group."""
        whole = self.inner.finish(unit, columns)
        values = dict(whole.values)
        for name, mask in self.groups.items():
            here = self.inner.chosen(unit, mask) if isinstance(self.inner, RankedLists) else mask[unit]
            if here.any():
                part = self.inner.finish(unit[here], {k: c[here] for k, c in columns.items()})
                values |= {f"{metric}.{name}": value for metric, value in part.values.items()}
        return Report(values, whole.units, details=whole.details)
