"""The split that three protocols share: as the data come, or at random."""

from dataclasses import replace
from typing import Literal

from fmlab.data import Array, Dataset, Step
from fmlab.overlap import shared_rows
from fmlab.split import given_parts, random_parts, sizes

Choice = Literal["auto", "random", "given"]


def is_given(dataset: Dataset, split: str) -> bool:
    """Whether the split that the data come with is to be taken; `auto` takes it if there is one."""
    return split == "given" or (split == "auto" and dataset.split is not None)


def parts(
    dataset: Dataset, split: Choice, validation: int | float | None, test: int | float | None, seed: int
) -> Array:
    """The part of every row; sizes as in `fmlab.split.sizes`. Raises DataError where a part would be empty."""
    if is_given(dataset, split):
        return given_parts(dataset)
    return random_parts(dataset.rows, *sizes(dataset.rows, validation, test), seed)


def with_shared(data: Dataset) -> Dataset:
    """With a step that counts what parts of the given split share: labelled events may repeat, so it is no error."""
    if data.user is None or data.item is None or not (shared := shared_rows(data)):
        return data
    schema, name = data.schema, f"rows whose user, item and context are in another part too: {shared:,}"
    step = Step(name, data.rows, schema.n_users, schema.n_items, schema.n_features)
    return replace(data, steps=(*data.steps, step))
