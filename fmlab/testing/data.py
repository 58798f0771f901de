"""What every prepared data set must hold."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from fmlab.data import SIDES, Dataset, Schema
from fmlab.data.store.validation import check


class DataContract:
    """Subclass it and write `make`, on a small raw file or generator of your own."""

    def make(self, folder: Path) -> Dataset:
        """Prepare the data set; `folder` is empty and may be written to."""
        raise NotImplementedError

    @pytest.fixture
    def dataset(self, tmp_path: Path) -> Dataset:
        """The data set under test."""
        return self.make(tmp_path)

    def test_it_keeps_the_rules(self, dataset: Dataset) -> None:
        """Shapes, ranges and finiteness."""
        check(dataset)

    def test_the_schema_survives_a_checkpoint(self, dataset: Dataset) -> None:
        """Through built-in containers."""
        assert Schema.from_dict(dataset.schema.to_dict()) == dataset.schema

    def test_arrays_have_the_types_that_batches_expect(self, dataset: Dataset) -> None:
        """int32 ids and indices, float32 values, float32 or float64 labels, int64 microseconds."""
        floats = (np.float32, np.float64)
        wanted = {"user": (np.int32,), "item": (np.int32,), "label": floats, "time": (np.int64,), "split": (np.int8,)}
        for name, kinds in wanted.items():
            column = getattr(dataset, name)
            assert column is None or column.dtype in kinds, f"{name} is {column.dtype}"
        for table in (dataset.users, dataset.context, dataset.items):
            if table is not None:
                assert table.ids.dtype == np.int32
                assert table.values is None or table.values.dtype == np.float32

    def test_the_first_field_of_a_side_names_its_entities(self, dataset: Dataset) -> None:
        """User u has feature u + 1 of a field with one feature a user and one unknown, and so have items."""
        schema = dataset.schema
        sides = (("user", dataset.users, schema.n_users), ("item", dataset.items, schema.n_items))
        for side, table, count in sides:
            if table is None:
                continue
            first = next(i for i, f in enumerate(schema.fields) if f.side == side)
            assert schema.fields[first].size == count + 1
            expected = schema.offsets[first] + 1 + np.arange(count)
            np.testing.assert_array_equal(table.ids[:, 0], expected)

    def test_every_step_of_preparation_only_removes(self, dataset: Dataset) -> None:
        """Rows, users and items never grow from one step to the next, and the last step says what is there."""
        for before, after in pairwise(dataset.steps):
            assert after.rows <= before.rows
            assert after.users <= before.users
            assert after.items <= before.items
        if dataset.steps:
            assert dataset.steps[-1].rows == dataset.rows

    def test_preparing_twice_gives_the_same(self, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> None:
        """Nothing depends on the order of sets or on the clock."""
        other = self.make(tmp_path_factory.mktemp("again"))
        assert other.schema == dataset.schema
        rows = np.arange(dataset.rows)
        np.testing.assert_array_equal(other.row_ids(rows).ids, dataset.row_ids(rows).ids)
        for name in ("user", "item", "label", "time", "split"):
            a, b = getattr(dataset, name), getattr(other, name)
            assert (a is None) == (b is None)
            assert a is None or np.array_equal(a, b)

    def test_vectors_and_sequences_are_as_their_fields_say(self, dataset: Dataset) -> None:
        """float32 vectors, int32 ids with int64 ends, one for each user, item or row; padding is no id of theirs."""
        for field in dataset.schema.vectors:
            vectors = dataset.vectors[field.name]
            assert vectors.dtype == np.float32
            assert vectors.shape == (dataset.entities(field.side), field.width)
        for field in dataset.schema.sequences:
            lists = dataset.sequences[field.name]
            assert (lists.ends.dtype, lists.ids.dtype) == (np.int64, np.int32)
            assert len(lists) == dataset.entities(field.side)

    def test_sides_stand_in_order(self, dataset: Dataset) -> None:
        """User, context, item: the columns of a query come before those of an item."""
        sides = [SIDES.index(f.side) for f in dataset.schema.fields]
        assert sides == sorted(sides)
