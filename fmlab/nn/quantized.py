"""Embedding tables in 8 bits, in place of the tables of a trained model."""

import torch
from torch import Tensor, nn

from fmlab.errors import FmlabError
from fmlab.manifolds import Manifold, manifold_of
from fmlab.nn.compressed import CompressedTable
from fmlab.nn.features import EmbeddingTable
from fmlab.nn.sparse_lookup import IdGrouping, gather, incidence

INT8 = "int8"
_LARGEST = 127
_UP = 1 + 2**-7  # the next number of bfloat16 is no farther


class QuantizedRows(nn.Module):
    """Rows of whole numbers from -127 to 127, times a scale for each row: `codes int8[n, width]`, `scale[n, 1]`.

    The scale is the largest absolute number of a row, divided by 127 and rounded up to bfloat16, so that no number
    moves by more than half of it and zeros stay zeros: a row takes `width + 2` bytes. Tables in double precision keep
    scales of it. Rows that were points of a manifold are projected onto it when they are read.

    Paper: Guan, Malevich, Yang, Park, Yuen, Post-training 4-bit quantization on embedding tables, 2019, the symmetric
      row-wise quantization of section 2, with 8 bits.
    """

    codes: Tensor
    scale: Tensor

    def __init__(self, rows: Tensor) -> None:
        """`rows[n, width]` of floating point."""
        super().__init__()
        self.manifold: Manifold = manifold_of(rows)
        rows = rows.detach()
        exact = rows.abs().amax(1, keepdim=True) / _LARGEST
        scale = exact
        if rows.dtype != torch.float64:
            scale = exact.to(torch.bfloat16)
            scale = torch.where(scale < exact, (exact * _UP).to(torch.bfloat16), scale)
        codes = torch.where(scale > 0, rows / scale, torch.zeros_like(rows)).round().clamp(-_LARGEST, _LARGEST)
        self.register_buffer("codes", codes.to(torch.int8))
        self.register_buffer("scale", scale)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.codes)

    def forward(self, place: Tensor) -> Tensor:
        """Rows `[n, width]` at `place[n]`."""
        dtype = torch.float32 if self.scale.dtype == torch.bfloat16 else self.scale.dtype
        rows = self.codes.index_select(0, place).to(dtype) * self.scale.index_select(0, place).to(dtype)
        return self.manifold.project(rows)


class QuantizedTable(EmbeddingTable):
    """A whole table in 8 bits. It has no parameters: it is not trained any more."""

    def __init__(self, whole: EmbeddingTable) -> None:
        """In place of `whole`."""
        nn.Module.__init__(self)
        self.first, self.of_features = whole.first, whole.of_features
        self.stored = QuantizedRows(whole.weight)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The rows of all features, `[n, width]`."""
        return self.dense()

    def feature_rows(self) -> dict[str, range]:
        """None: there is nothing to train."""
        return {}

    def rows(self, ids: Tensor) -> tuple[Tensor, IdGrouping]:
        """The distinct rows that `ids[*batch, c]` read, `[d, width]`, and which of them stands where."""
        at = incidence(self._local(ids))
        return self.stored(at.distinct), at

    def forward(self, ids: Tensor) -> Tensor:
        """`ids[*batch]` -> `[*batch, width]`."""
        return gather(*self.rows(ids))

    def dense(self) -> Tensor:
        """The rows of all features, `[n, width]`."""
        return self.stored(torch.arange(len(self.stored), device=self.stored.codes.device))


class QuantizedComponents(CompressedTable):
    """A compressed table whose component tables are in 8 bits; its matrices stay as they are."""

    def __init__(self, table: CompressedTable) -> None:
        """In place of `table`."""
        nn.Module.__init__(self)
        for name in ("first", "of_features", "features", "width", "layout", "shared", "_parts", "_shared"):
            setattr(self, name, getattr(table, name))
        for matrix in self.shared:
            matrix.requires_grad_(False)
        self.stored = nn.ModuleList(QuantizedRows(part) for part in table.parts)

    def embedding_parameters(self) -> list[str]:
        """None: there is nothing to train."""
        return []

    def _rows(self, number: int, at: IdGrouping) -> Tensor:
        return self.stored[number](at.distinct)


def quantize(model: nn.Module, name: str) -> None:
    """Put tables in 8 bits in place of all embedding tables of a model whose rows have two numbers or more.

    Raises FmlabError for a model that has none, or that reads its tables as a whole. `name`: that of the model.
    """
    if getattr(model, "whole_tables", False):
        raise FmlabError(f"tables in 8 bits are read row by row, {name} reads its tables as a whole")
    places = [
        (module, key, table)
        for module in model.modules()
        for key, table in module.named_children()
        if isinstance(table, EmbeddingTable) and _width(table) > 1
    ]
    if not places:
        raise FmlabError(
            f"8 bits and a scale for each row take less than rows of two numbers or more, {name} has no embedding "
            "tables with such rows"
        )
    for owner, key, table in places:
        made = QuantizedComponents(table) if isinstance(table, CompressedTable) else QuantizedTable(table)
        setattr(owner, key, made)


def _width(table: EmbeddingTable) -> int:
    return table.width if isinstance(table, CompressedTable) else table.weight.shape[1]


def quantized_tables(model: nn.Module) -> int:
    """How many tables are in 8 bits."""
    return sum(isinstance(m, QuantizedTable | QuantizedComponents) for m in model.modules())
