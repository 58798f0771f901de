"""Which interactions count, and which part each is in: pure functions of a data set; nothing is lost in silence.

A part is int8[rows]: 0 train, 1 validation, 2 test, as in `Dataset.split`.
"""

import numpy as np

from fmlab.data.dataset import Dataset
from fmlab.data.schema import Array
from fmlab.errors import DataError

TRAIN, VALIDATION, TEST = 0, 1, 2
PARTS = ("train", "validation", "test")


# --------------------------------------------------------------------------------------------- positives


def sides(dataset: Dataset) -> tuple[Array, Array]:
    """User and item index of every row; raises DataError where rows are not interactions."""
    if dataset.user is None or dataset.item is None or dataset.items is None:
        raise DataError(f"items can be ranked only for users: {dataset.name!r} has no user or no item side")
    return np.asarray(dataset.user), np.asarray(dataset.item)


# ------------------------------------------------------------------------------------------------- parts


def sizes(rows: int, validation: int | float | None, test: int | float | None) -> tuple[int, int]:
    """Rows of validation and test: a number below 1 is a share, others are rows, None the 10,000 of LorentzFM.

    None takes at most a tenth of the rows, so that small sets keep something to train on. Raises DataError when a
    part would be empty.
    """
    got = [
        min(10_000, rows // 10) if wanted is None else int(rows * wanted + 0.5) if wanted < 1 else int(wanted)
        for wanted in (validation, test)
    ]
    if rows and sum(got) >= rows:
        raise DataError(
            f"validation and test must leave rows to train on, got {got[0]:,} and {got[1]:,} of {rows:,} rows; "
            "change the sizes of the split"
        )
    require(rows - sum(got), *got)
    return got[0], got[1]


def require(train: int, validation: int, test: int, *, hint: str = "change the sizes of the split") -> None:
    """Raise DataError unless every part has rows."""
    if min(train, validation, test) < 1:
        raise DataError(
            f"every part needs at least one row, got train {train:,}, validation {validation:,}, test {test:,}; {hint}"
        )


def random_parts(rows: int, validation: int, test: int, seed: int) -> Array:
    """A uniformly random split with exactly the given sizes, the same for the same seed."""
    require(rows - validation - test, validation, test)
    chosen = np.random.default_rng(seed).choice(rows, validation + test, replace=False)
    part = np.zeros(rows, np.int8)
    part[chosen[:validation]] = VALIDATION
    part[chosen[validation:]] = TEST
    return part


def grouped_parts(key: Array, validation: int | float, test: int | float, seed: int) -> Array:
    """A random split of groups, rows with equal `key[rows]`: all of one group are in one part.

    Sizes are of rows, as in `sizes`, and are met as nearly as whole groups allow.
    """
    wanted = sizes(len(key), validation, test)
    _, group, count = np.unique(key, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(count))
    before = np.cumsum(count[order]) - count[order]
    part = np.zeros(len(count), np.int8)
    part[order[before < sum(wanted)]] = TEST
    part[order[before < wanted[0]]] = VALIDATION
    found = part[group]
    require(*np.bincount(found, minlength=3).tolist())
    return found


def user_parts(
    dataset: Dataset, validation: int | float, test: int | float, seed: int | None, *, hint: str = ""
) -> Array:
    """Of each user a share is validation and a share test, or, for whole numbers, so many interactions.

    `seed` None: the latest are the test, those before them the validation; ties in time, and data without times, are
    in row order. Shares are rounded down; a user with less than one row of a part gets one while two are left to train
    on, the test first: the rule of RecBole (Zhao et al., CIKM 2021). Whole numbers leave a user with no more rows
    than they want in training alone.
    """
    user, _ = sides(dataset)
    count = np.bincount(user, minlength=dataset.schema.n_users)
    if seed is not None:
        order = np.random.default_rng(seed).permutation(dataset.rows)
        order = order[np.argsort(user[order], kind="stable")]
    else:
        order = np.lexsort((user,) if dataset.time is None else (np.asarray(dataset.time), user))
    n_validation, n_test = (
        np.floor(wanted * count).astype(np.int64) if wanted < 1 else np.full(len(count), int(wanted))
        for wanted in (validation, test)
    )
    for number, wanted in ((n_test, test), (n_validation, validation)):
        if wanted < 1:
            left = count - n_validation - n_test
            number[(left > 1) & (wanted * count < 1)] += 1
    few = n_validation + n_test >= count
    n_validation[few] = n_test[few] = 0
    from_end = np.repeat(count.cumsum(), count) - np.arange(dataset.rows)  # 1 for the last row of a user
    owner = user[order]
    part = np.zeros(dataset.rows, np.int8)
    held = from_end <= (n_test + n_validation)[owner]
    part[order[held]] = VALIDATION
    part[order[from_end <= n_test[owner]]] = TEST
    require(*np.bincount(part, minlength=3).tolist())
    return part


def fold_parts(key: Array, folds: int, fold: int, validation: int | float, seed: int) -> Array:
    """Fold number `fold` of `folds` is the test, a share of the others' rows the validation.

    Rows of equal `key[rows]` are in one fold. Folds are equally large, as nearly as whole groups allow.
    """
    if not 0 <= fold < folds:
        raise DataError(f"fold must be from 0 to {folds - 1}, got {fold}")
    _, group, count = np.unique(key, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(count))
    number = np.empty(len(count), np.int64)
    number[order] = ((np.cumsum(count[order]) - count[order]) * folds) // len(key)
    part = np.zeros(len(key), np.int8)
    tested = number[group] == fold
    part[tested] = TEST
    rest = np.flatnonzero(~tested)
    wanted = int(len(rest) * validation + 0.5) if validation < 1 else int(validation)
    other = np.random.default_rng([seed, fold]).permutation(np.unique(group[rest]))
    before = np.cumsum(count[other]) - count[other]
    part[np.isin(group, other[before < wanted]) & ~tested] = VALIDATION
    require(*np.bincount(part, minlength=3).tolist())
    return part


def leave_one_out_parts(dataset: Dataset) -> Array:
    """Each user's last interaction is test, the last but one validation; ties in time are settled by row order.

    Without times the order of rows is taken for the order of time. Users with fewer than 3 interactions are trained
    on only. Raises DataError if no user has 3.
    """
    test = _last(dataset, np.arange(dataset.rows), 3)
    if not len(test):
        users = dataset.schema.n_users
        raise DataError(f"leave-one-out needs users with 3 or more interactions, got none of {users:,}")
    return tested_parts(dataset, test)


def tested_parts(dataset: Dataset, test: Array) -> Array:
    """The given rows are the test, and of their users the last of 2 or more other interactions is the validation."""
    user, _ = sides(dataset)
    part = np.zeros(dataset.rows, np.int8)
    part[test] = TEST
    tested = np.bincount(user[test], minlength=dataset.schema.n_users) > 0
    part[_last(dataset, np.flatnonzero((part == TRAIN) & tested[user]), 2)] = VALIDATION
    require(*np.bincount(part, minlength=3).tolist())
    return part


def _last(dataset: Dataset, rows: Array, least: int) -> Array:
    """Of the given rows, the last of each user that has `least` or more."""
    user = sides(dataset)[0][rows]
    order = np.lexsort((user,) if dataset.time is None else (np.asarray(dataset.time)[rows], user))  # stable
    count = np.bincount(user, minlength=dataset.schema.n_users)
    return rows[order[np.cumsum(count)[count >= least] - 1]]


def given_parts(dataset: Dataset) -> Array:
    """The split that the source comes with; raises DataError if there is none, or one of its parts is empty."""
    if dataset.split is None:
        raise DataError(f"{dataset.name!r} does not come split; choose split=random")
    part = np.asarray(dataset.split)
    if part.size and (part.min() < TRAIN or part.max() > TEST):
        raise DataError(f"parts are 0 train, 1 validation, 2 test; got {part.min()} to {part.max()}")
    count = np.bincount(part, minlength=3)
    require(*count.tolist(), hint="this is the split the data come with; protocol.split=random makes another")
    return part
