"""Columns of which nearly every row has a value of its own: as categories they say nothing of rows to come.

The share of rows whose value occurs once estimates the chance that the value of a new row was never seen (Good, The
population frequencies of species and the estimation of population parameters, Biometrika 1953). Above one half a
categorical field is noise: numbers are put into intervals, other texts are left out. A time never comes again, so that
it is left out where few rows share a value.
"""

import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from fmlab.data import Array
from fmlab.data.encoding.number_parsing import parse_numbers
from fmlab.data.encoding.plan import Plan
from fmlab.data.encoding.times import FROM
from fmlab.data.encoding.transforms import quantiles
from fmlab.data.encoding.vocabulary import Vocabulary

log = logging.getLogger(__name__)
FEW = 100  # distinct values from which a column can be said to be near-unique
UNSEEN = 0.5
SHARED = 20  # rows with the same value from which even a time repeats often enough to be a category
SHOWN = 1000  # texts that are looked at to recognize a time, or a column of no numbers
YEARS = (6.3e8, 2.2e9)  # seconds of 1990 and of 2039
_NAMED = re.compile(r"time|date|stamp|when|created|updated|(^|_)(ts|at)$", re.IGNORECASE)
_ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?$")


def usable(
    plan: Plan, vocabularies: Mapping[str, Vocabulary], *, loose: Collection[str], bins: int, decimal: str
) -> Plan:
    """The plan without near-unique columns among the `loose` context fields, or with intervals of their numbers.

    The log names what becomes of a column, and how to have it otherwise.
    """
    fields, intervals = dict(plan.fields), dict(plan.intervals)
    for name in [n for n in loose if plan.fields.get(n) == "context" and n not in plan.multi and n in vocabularies]:
        texts, counts = vocabularies[name].keys, vocabularies[name].counts[1:]
        rows, distinct = int(counts.sum()), int(np.count_nonzero(counts))
        if distinct <= FEW:
            continue
        once, values = int((counts == 1).sum()) / rows, _numbers(texts, decimal)
        found = f"{name} has {distinct:,} values in {rows:,} rows"
        keep = f"context_fields=[{name}] keeps them as categories"
        if rows < SHARED * distinct and _is_time(name, texts, values, once):
            log.warning("%s, looks like a time and is left out: time=%s makes it the time, %s", found, name, keep)
        elif once <= UNSEEN:
            continue
        elif values is not None:
            known = dict(zip(texts.to_pylist(), counts.tolist(), strict=True))
            intervals[name] = tuple(quantiles(name, known, bins, decimal).tolist())
            log.warning("%s and is put into %s intervals: %s", found, len(intervals[name]) + 1, keep)
            continue
        else:
            log.warning("%s and is left out: %s", found, keep)
        del fields[name]
    if not fields and not plan.user and not plan.item:
        log.warning("all columns are near-unique: they are kept")
        return plan
    return replace(plan, fields=fields, intervals=intervals)


def _numbers(texts: Any, decimal: str) -> Array | None:
    """The texts as numbers; None if one is none, which the first ones mostly show."""
    values = None
    for some in (texts.slice(0, SHOWN), texts):
        column = pa.DictionaryArray.from_arrays(pa.array(np.arange(len(some), dtype=np.int32)), some)
        values, bad = parse_numbers(column, decimal)
        if bad:
            return None
    return values


def _is_time(name: str, texts: Any, values: Array | None, once: float) -> bool:
    """Whether the values are of the form of times, and the name or their being unique says that they are."""
    if values is None:
        return all(_ISO.match(text) for text in texts.slice(0, SHOWN).to_pylist())
    seconds = values / 1000.0 ** np.searchsorted(FROM, np.abs(values))
    if not ((seconds >= YEARS[0]) & (seconds <= YEARS[1])).all():
        return False
    return bool(_NAMED.search(name)) or once > UNSEEN
