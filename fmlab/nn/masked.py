"""Embedding tables while a structure search runs on them, and without what it dropped."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fmlab.contracts import GatesPairs
from fmlab.errors import FmlabError
from fmlab.manifolds import Euclidean, manifold_of
from fmlab.nn.features import EmbeddingTable
from fmlab.nn.pair_gates import MaskedPairs
from fmlab.nn.sparse_lookup import IdGrouping, gather, incidence, read


class GatedTable(EmbeddingTable):
    """A table whose rows a gate changes before the model sees them."""

    def __init__(self, whole: EmbeddingTable, gate: Callable[[Tensor, Tensor], Tensor]) -> None:
        """`gate(rows[d, width], at[d])` gives the rows `at` as the model sees them."""
        super().__init__(whole.weight, first=whole.first)
        self.__dict__["gate"] = gate

    def rows(self, ids: Tensor) -> tuple[Tensor, IdGrouping]:
        """The distinct rows that `ids[*batch, c]` read, through the gate, and which of them stands where."""
        at = incidence(self._local(ids))
        return self.__dict__["gate"](read(self.weight, at), at.distinct), at

    def forward(self, ids: Tensor) -> Tensor:
        """`ids[*batch]` -> `[*batch, width]`."""
        return gather(*self.rows(ids))

    def dense(self) -> Tensor:
        """The rows of all features, `[n, width]`."""
        found: Tensor = self.__dict__["gate"](self.weight, torch.arange(len(self.weight), device=self.weight.device))
        return found


class MaskedTable(EmbeddingTable):
    """A table of whose numbers some are 0 for good: they start at 0, and no gradient reaches them.

    `kept[rows, width]`, bool, says which are trained; it is part of checkpoints. As dropped numbers are zeros in the
    table itself, whatever reads the table scores right, an exported program too.
    """

    kept: Tensor

    def __init__(self, whole: EmbeddingTable) -> None:
        """In place of `whole`; everything is kept until `keep` says otherwise."""
        super().__init__(whole.weight, first=whole.first)
        self.register_buffer("kept", torch.ones_like(whole.weight, dtype=torch.bool))

    @torch.no_grad()
    def keep(self, kept: Tensor) -> None:
        """Drop all numbers but `kept[rows, width]`, bool."""
        self.kept.copy_(kept)
        self.weight.mul_(self.kept)

    @property
    def dropped(self) -> int:
        """Numbers that were dropped."""
        return int(self.kept.numel() - self.kept.sum())

    def rows(self, ids: Tensor) -> tuple[Tensor, IdGrouping]:
        """The distinct rows that `ids[*batch, c]` read, and which of them stands where."""
        rows, at = super().rows(ids)
        return (rows * self.kept[at.distinct] if self._trains() else rows), at

    def dense(self) -> Tensor:
        """The rows of all features, `[n, width]`."""
        return self.weight * self.kept if self._trains() else self.weight

    def _trains(self) -> bool:
        return torch.is_grad_enabled() and not torch.compiler.is_exporting() and self.weight.requires_grad


def searched_tables(model: nn.Module, search: str, model_name: str) -> dict[str, EmbeddingTable]:
    """The tables of features of a model by name, of which a search may drop numbers.

    Raises FmlabError where the model has none, where it reads them otherwise than row by row, and for points of curved
    spaces.
    """
    refused = "it takes search=none"
    if getattr(model, "whole_tables", False):
        raise FmlabError(f"{model_name} reads its tables as a whole, got search={search}; {refused}")
    found = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, EmbeddingTable) and module.first is not None and getattr(module, "of_features", False)
    }
    if not found:
        raise FmlabError(
            f"search={search} needs a model with embedding tables of features, {model_name} has none; {refused}"
        )
    for table in found.values():
        if not isinstance(manifold := manifold_of(table.weight), Euclidean):
            kind = type(manifold).__name__
            raise FmlabError(
                f"search={search} drops numbers of flat vectors, those of {model_name} are points of a {kind} "
                f"manifold; {refused}, or geometry=euclidean where the model has it"
            )
    return found


def replace_tables(model: nn.Module, make: Callable[[str, EmbeddingTable], EmbeddingTable]) -> None:
    """Put `make(name, table)` in place of each table of features."""
    paths = {id(module): name for name, module in model.named_modules()}
    for module in list(model.modules()):
        for key, child in list(module.named_children()):
            if isinstance(child, EmbeddingTable) and child.of_features:
                setattr(module, key, make(paths[id(child)], child))


def n_dropped(model: nn.Module) -> int:
    """Parameters of a model that a search dropped: numbers of tables, and those of pairs alone."""
    found = sum(module.dropped for module in model.modules() if isinstance(module, MaskedTable))
    for gates in (m for m in model.modules() if isinstance(m, MaskedPairs)):
        assert isinstance(model, GatesPairs)
        found += int(model.pair_parameters()[~gates.kept.cpu()].sum())
    return found


def n_pairs(model: nn.Module, fields: int) -> int:
    """Pairs of so many fields if the model can weigh them, else 0."""
    return fields * (fields - 1) // 2 if isinstance(model, GatesPairs) else 0
