"""Which side a field belongs to where no option names it, and which context gives the item away.

A negative keeps the context of its positive. An attribute of the item among the context, a title say, is then that of
the right item in every negative: it says which item to choose, and a model that finds this out looks like a good one.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np

from fmlab.data import Side
from fmlab.data.encoding.first_pass import ColumnView
from fmlab.data.encoding.plan import Plan
from fmlab.errors import DataError

log = logging.getLogger(__name__)
MIN_REPEATED = 5  # items in several rows that it takes to believe a rule
ROWS = 1 << 18


def with_inferred_sides(
    plan: Plan,
    columns: Mapping[str, ColumnView],
    *,
    unassigned: Collection[str],
    refuse: bool,
    prune: Callable[[Plan], Plan] = lambda plan: plan,
) -> Plan:
    """The plan with those `unassigned` context fields that an item (or else a user) determines moved to its side.

    `prune` may then leave out fields of the context that is left. `columns` are those of
    `fmlab.data.encoding.first_pass.FirstPass`. Raises DataError, if it should `refuse`, for a context field left that
    an item determines, or that determines the item.
    """
    sides = dict(plan.fields)
    entities: tuple[tuple[str, Side], ...] = ((plan.item, "item"), (plan.user, "user"))
    for name, side in entities:
        here = {n: columns[n] for n, s in sides.items() if s == "context"}
        found = _functionally_dependent(columns[name], here) if name else set()
        for field in [n for n in here if n in found]:
            if field in unassigned:
                sides[field] = side
                log.info("%s has one value for each %s and is taken for a field of the %s", field, side, side)
            elif side == "item" and refuse:
                raise _given_away(field, "every item has one value of it")
    plan = prune(replace(plan, fields=sides))
    aside = {*plan.numeric, *plan.intervals}
    left = [n for n, side in plan.fields.items() if side == "context" and n not in aside]
    for field in left if plan.item and refuse else ():
        if _functionally_dependent(columns[field], {plan.item: columns[plan.item]}):
            raise _given_away(field, "every value of it comes with one item")
    return plan


def _given_away(field: str, why: str) -> DataError:
    return DataError(
        f"context must not give the item away, column {field!r} does: {why}. item_fields=[{field}] makes it a feature "
        f"of the item if it has one value for each, drop_columns=[{field}] leaves it out, on_leak=allow "
        "keeps it (right where rows labeled 0 and 1 are scored)"
    )


def _functionally_dependent(by: ColumnView, columns: Mapping[str, ColumnView]) -> set[str]:
    """The columns, if they vary at all, with one value for each value of `by` (0 aside), some of which repeat."""
    size = max((int(np.max(by[n : n + ROWS])) for n in range(0, len(by), ROWS)), default=0) + 1
    times = np.zeros(size, np.int64)
    known = {n: np.zeros(size, np.int32) for n in columns}
    starts = [0, *range(max(ROWS >> 6, 1), len(by), ROWS), len(by)]  # a few rows refute most columns
    for rows in (slice(*ends) for ends in pairwise(starts)):
        who = np.asarray(by[rows])
        new = times[who] == 0
        times += np.bincount(who, minlength=size)
        for name in list(known):
            got, one = np.asarray(columns[name][rows]), known[name]
            one[who[new]] = got[new]  # of several the last: the comparison finds that they differ
            if ((one[who] != got) & (who > 0)).any():
                del known[name]
        if not known:
            return set()
    seen = times[1:] > 0
    varied = {n for n, one in known.items() if len(np.unique(one[1:][seen])) > 1}
    return varied if (times[1:] > 1).sum() >= MIN_REPEATED else set()
