"""The splits that the composed protocol offers, as one function of their options."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from fmlab.data import Array, Dataset
from fmlab.data.leakage import event_hash
from fmlab.data.split import (
    TEST,
    fold_parts,
    given_parts,
    grouped_parts,
    random_parts,
    require,
    sides,
    sizes,
    user_parts,
)
from fmlab.errors import DataError
from fmlab_protocols._described import GIVEN
from fmlab_protocols.temporal import temporal_parts

Split = Literal["auto", "random", "user_random", "user_time", "time", "k_fold", "given"]
Group = Literal["none", "pair", "user", "item", "siblings"]


@dataclass(frozen=True)
class SplitRule:
    """How rows become parts. `fold`: the fold that is the test, or which repetition of another split this is."""

    split: Split
    validation: int | float
    test: int | float
    group: Group
    folds: int
    fold: int
    seed: int

    def parts(self, data: Dataset) -> Array:
        """The part int8[rows] of every row; raises DataError where a part would be empty."""
        kind = self.kind(data)
        seed = self.seed if not self.fold or kind == "k_fold" else _mixed(self.seed, self.fold)
        if self.group != "none" and kind not in ("random", "k_fold"):
            raise DataError(f"rows are kept together by group={self.group} in split=random and k_fold, got {kind}")
        if self.fold and kind in ("given", "time", "user_time"):
            raise DataError(f"split={kind} draws nothing that could be repeated, got fold={self.fold}")
        if kind == "given":
            return given_parts(data)
        if kind == "time":
            if data.time is None:
                raise DataError(f"a split by time needs times; {data.name!r} has none")
            return temporal_parts(np.asarray(data.time), self.validation, self.test)
        if kind in ("user_random", "user_time"):
            return user_parts(data, self.validation, self.test, None if kind == "user_time" else seed)
        if kind == "k_fold":
            return fold_parts(self._key(data), self.folds, self.fold, self.validation, seed)
        if self.group == "none":
            return random_parts(data.rows, *sizes(data.rows, self.validation, self.test), seed)
        return grouped_parts(self._key(data), self.validation, self.test, seed)

    def kind(self, data: Dataset) -> Split:
        """The split, with that of the data in place of `auto`."""
        if self.split != "auto":
            return self.split
        return (
            "user_random"
            if data.split is None and data.user is not None
            else "given"
            if data.split is not None
            else "random"
        )

    def rows_before_test(self, data: Dataset, part: Array) -> Array | None:
        """Training and validation rows where they came before the test rows, of the user or of all; else None."""
        return np.flatnonzero(part < TEST) if self.kind(data) in ("user_time", "time") else None

    def _key(self, data: Dataset) -> Array:
        if self.group == "none":
            return np.arange(data.rows)
        if self.group == "siblings":
            return event_hash(data)
        user, item = sides(data)
        pair = user.astype(np.int64) * data.schema.n_items + item
        return {"pair": pair, "user": user, "item": item}[self.group]

    def described(self, data: Dataset) -> str:
        """What a report says of it."""
        kind = self.kind(data)
        if kind == "given":
            return GIVEN
        held = f"validation {self.validation:g}"
        held += f", fold {self.fold} of {self.folds}" if kind == "k_fold" else f", test {self.test:g}"
        kept = "" if self.group == "none" else f", rows of one {self.group} together"
        if self.group == "siblings":
            kept = ", siblings together"
        return f"{kind}, {held}{kept}, seed {self.seed}" + (
            f", repetition {self.fold}" if self.fold and kind != "k_fold" else ""
        )


def without_pairs_before(data: Dataset, part: Array) -> Array:
    """Parts in which a pair of user and item that an earlier part has is in none."""
    user, item = sides(data)
    key = user.astype(np.int64) * data.schema.n_items + item
    order = np.lexsort((part, key))
    again = np.r_[False, key[order][1:] == key[order][:-1]]
    left = part.copy()
    left[order[again]] = 3
    require(*np.bincount(left, minlength=4)[:3].tolist())
    return left


def moment(text: str, option: str) -> int | None:
    """A date or time of ISO 8601, UTC unless it says otherwise, in microseconds since 1970; None for empty text."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise DataError(f"{option} must be a date such as 2015-06-30, got {text!r}") from error
    aware = found if found.tzinfo else found.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1_000_000)


def _mixed(seed: int, repetition: int) -> int:
    """A seed of its own for each repetition."""
    return int(np.random.SeedSequence([seed, repetition]).generate_state(1)[0])
