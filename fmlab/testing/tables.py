"""What every table plugin must do."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

from fmlab.contracts.table import TableLayout
from fmlab.data import Field, Schema

_FIELDS = ((1,), (2,), (7,), (1000,), (3, 40, 1, 500), (20, 20))
_WIDTH = 9
every_size = pytest.mark.parametrize("sizes", _FIELDS)


class TableContract:
    """Subclass it and write `make`. A plugin that gives None keeps tables as they are."""

    def make(self, schema: Schema, fields: range, width: int) -> TableLayout | None:
        """Your table, with options small enough that fields of 20 features and 9 numbers are compressed."""
        raise NotImplementedError

    def _made(self, sizes: Sequence[int], width: int = _WIDTH) -> Any:
        """Of the fields between two others, which the table does not have."""
        every = (5, *sizes, 6)
        schema = Schema(tuple(Field(f"field{n}", "context", size) for n, size in enumerate(every)), 0, 0)
        found = self.make(schema, range(1, len(every) - 1), width)
        if found is None:
            pytest.skip("every feature has a row of its own")
        return found

    @every_size
    def test_every_feature_is_in_one_group_and_has_rows_that_are_there(self, sizes: Sequence[int]) -> None:
        """int64, one row of each component table of its group, -1 in those of others."""
        layout = self._made(sizes)
        places = layout(torch.arange(sum(sizes)))
        assert len(places) == len(layout.groups)
        member = torch.zeros(sum(sizes), dtype=torch.int64)
        for group, of_group in zip(layout.groups, places, strict=True):
            assert len(of_group) == len(group.tables)
            assert group.tables, "a group has a component table"
            for place, (rows, _) in zip(of_group, group.tables, strict=True):
                assert place.dtype == torch.int64
                assert place.shape == (sum(sizes),)
                assert place.min() >= -1
                assert place.max() < rows
                assert torch.equal(place >= 0, of_group[0] >= 0)
            member += of_group[0] >= 0
        assert (member == 1).all()

    @every_size
    def test_rows_become_embeddings(self, sizes: Sequence[int]) -> None:
        """Of the width of the table; rows of zeros become zeros, and every row that is read matters."""
        layout = self._made(sizes)
        for number, (group, of_group) in enumerate(zip(layout.groups, self._places(layout, sizes), strict=True)):
            have = of_group[0] >= 0
            shared = [torch.randn(shape) for shape in group.shared]
            rows = [torch.randn(int(have.sum()), columns, requires_grad=True) for _, columns in group.tables]
            made = layout.embed(number, rows, shared)
            assert made.shape == (int(have.sum()), _WIDTH)
            assert not layout.embed(number, [torch.zeros_like(r) for r in rows], shared).any()
            if have.any():
                for grad in torch.autograd.grad(made.square().sum(), rows):
                    assert grad.any(1).all()

    @every_size
    def test_one_row_is_a_row_as_it_stands(self, sizes: Sequence[int]) -> None:
        """Points of curved spaces are left as they are."""
        layout = self._made(sizes)
        if not layout.one_row:
            pytest.skip("an embedding is made of several numbers")
        ((table,),) = (group.tables for group in layout.groups)
        rows = torch.randn(table)
        assert torch.equal(layout.embed(0, [rows], []), rows)

    @pytest.mark.parametrize("device", ["cpu", "meta"])
    @every_size
    def test_it_says_what_tables_start_with(self, sizes: Sequence[int], device: str) -> None:
        """As many numbers as its groups say, also on the device of no numbers; embeddings start as large as before."""
        layout = self._made(sizes)
        torch.manual_seed(0)
        made = list(layout.start(0.1 * torch.randn(sum(sizes), _WIDTH, device=device)))
        shapes = [shape for group in layout.groups for shape in (*group.tables, *group.shared)]
        assert [tuple(t.shape) for t in made] == shapes
        assert sum(t.numel() for t in made) == sum(group.n_parameters for group in layout.groups)
        assert all(t.device.type == device for t in made)
        if device == "meta":
            return
        rest, found = iter(made), []
        for number, (group, of_group) in enumerate(zip(layout.groups, self._places(layout, sizes), strict=True)):
            tables = [next(rest) for _ in group.tables]
            shared = [next(rest) for _ in group.shared]
            have = of_group[0] >= 0
            read = [table[place[have]] for table, place in zip(tables, of_group, strict=True)]
            found.append(layout.embed(number, read, shared))
        size = torch.cat(found).square().mean().sqrt()
        assert sum(sizes) < 20 or 0.05 < size < 0.2

    def test_it_has_no_parameters_and_nothing_to_save(self) -> None:
        """What a checkpoint holds are the component tables and matrices."""
        layout = self._made((3, 1000))
        assert isinstance(layout, nn.Module)
        assert not list(layout.parameters())
        assert not layout.state_dict()

    def test_large_fields_take_fewer_numbers(self) -> None:
        """Else there is no use of it."""
        layout = self._made((100_000,), 17)
        assert sum(group.n_parameters for group in layout.groups) < 17 * 100_000

    def _places(self, layout: Any, sizes: Sequence[int]) -> Any:
        return layout(torch.arange(sum(sizes)))
