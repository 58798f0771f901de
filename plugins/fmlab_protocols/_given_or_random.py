"""Given or random split of rows, and the removal of judged rows that are copies of training rows."""

from typing import Literal

import numpy as np

from fmlab.data import Array, Dataset
from fmlab.data.leakage import copies, shared_rows
from fmlab.data.split import given_parts, random_parts, require, sizes
from fmlab.errors import DataError
from fmlab_protocols._labels import with_step

LEFT_OUT = 3  # the part of rows that are in none

Choice = Literal["auto", "random", "given"]


def is_given(dataset: Dataset, split: str) -> bool:
    """Whether the split that the data come with is to be taken; `auto` takes it if there is one."""
    return split == "given" or (split == "auto" and dataset.split is not None)


def parts(
    dataset: Dataset,
    split: Choice,
    validation: int | float | None,
    test: int | float | None,
    seed: int,
    kept: Array | None = None,
) -> Array:
    """The part of every row; sizes as in `fmlab.data.split.sizes`. Raises DataError where a part would be empty.

    `kept[rows]`: the other rows are in no part, and do not count for the sizes; None keeps all.
    """
    if is_given(dataset, split):
        part = given_parts(dataset)
        if kept is not None:
            part = np.where(kept, part, LEFT_OUT).astype(np.int8)
            require(*np.bincount(part, minlength=3)[:3].tolist())
        return part
    rows = dataset.rows if kept is None else int(kept.sum())
    part = random_parts(rows, *sizes(rows, validation, test), seed)
    if kept is None:
        return part
    whole = np.full(dataset.rows, LEFT_OUT, np.int8)
    whole[kept] = part
    return whole


def without_copies(data: Dataset, part: Array, on_leak: str) -> tuple[Dataset, Array]:
    """Parts of labeled rows in which no judged row is a copy of an earlier part's, as `on_leak` says.

    "error" raises DataError; "drop" puts copies into no part; "allow" leaves them. Rows that events repeat by
    themselves are counted, see `fmlab.data.leakage.copies`.
    """
    found = copies(data, part)
    if len(found.rows) and on_leak == "error":
        raise DataError(
            f"the test must not hold rows that are trained on: {len(found.rows):,} of {found.judged:,} judged rows of "
            f"{data.name!r} are copies of rows of an earlier part, where rows repeat each other in "
            f"{found.usual:.2%}; protocol.on_leak=drop leaves the copies out, on_leak=allow judges them"
        )
    if len(found.rows) and on_leak == "drop":
        part = part.copy()
        part[found.rows] = LEFT_OUT
        data = with_step(data, f"copies of rows of an earlier part, in no part: {len(found.rows):,}")
        require(*np.bincount(part, minlength=3)[:3].tolist())
    if data.user is None or data.item is None or not (shared := shared_rows(data)):
        return data, part
    return with_step(data, f"rows whose user, item and context are in another part too: {shared:,}"), part
