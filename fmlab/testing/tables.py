"""What every table plugin must do."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

from fmlab.contracts.table import RowSharing

_FIELDS = ((1,), (2,), (7,), (1000,), (3, 40, 1, 500), (20, 20))


class TableContract:
    """Subclass it and write `make`. A plugin that gives None has nothing to share."""

    def make(self, sizes: Sequence[int]) -> RowSharing | None:
        """Your table, for fields with so many features, with options small enough to share rows."""
        raise NotImplementedError

    def _made(self, sizes: Sequence[int]) -> Any:
        found = self.make(sizes)
        if found is None:
            pytest.skip("every feature has a row of its own")
        return found

    @pytest.mark.parametrize("sizes", _FIELDS)
    def test_every_feature_has_rows_that_are_there(self, sizes: Sequence[int]) -> None:
        """int64, the first of each feature from 0 on, others from -1 on; as many components as `rows`."""
        sharing = self._made(sizes)
        places = sharing(torch.arange(sum(sizes)))
        assert len(places) == len(sharing.rows)
        for number, (place, rows) in enumerate(zip(places, sharing.rows, strict=True)):
            assert rows >= 1
            assert place.dtype == torch.int64
            assert place.shape == (sum(sizes),)
            assert place.min() >= (0 if number == 0 else -1)
            assert place.max() < rows

    @pytest.mark.parametrize("sizes", _FIELDS)
    def test_a_table_is_made_of_those_of_its_fields(self, sizes: Sequence[int]) -> None:
        """As many rows, no row of two fields, and features share within a field what they share alone."""
        sharing = self._made(sizes)
        alone = [self._made((size,)) for size in sizes]
        assert sum(sharing.rows) == sum(sum(one.rows) for one in alone)
        assert sharing.rows[0] <= sum(sizes)
        start, seen = 0, [set[int]() for _ in sharing.rows]
        for size, one in zip(sizes, alone, strict=True):
            whole = sharing(torch.arange(start, start + size))
            for number, place in enumerate(whole):
                used = set(place[place >= 0].tolist())
                assert not used & seen[number], "two fields share a row"
                seen[number] |= used
            pairs = [torch.stack(list(p), 1) for p in (whole, one(torch.arange(size)))]
            same = [len(torch.unique(p, dim=0)) for p in pairs]
            assert same[0] == same[1]
            start += size

    def test_it_has_no_parameters_and_nothing_to_save(self) -> None:
        """What a checkpoint holds are the component tables."""
        sharing = self._made((3, 1000))
        assert isinstance(sharing, nn.Module)
        assert not list(sharing.parameters())
        assert not sharing.state_dict()
        assert sharing.combine in ("product", "sum")

    def test_large_fields_take_fewer_rows(self) -> None:
        """Else there is no use of it."""
        assert sum(self._made((100_000,)).rows) < 100_000
