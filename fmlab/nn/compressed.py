"""Embedding tables that are stored as a table plugin says, in place of the tables of any model."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fmlab.contracts.table import TableLayout
from fmlab.data import Schema
from fmlab.errors import FmlabError
from fmlab.manifolds import Euclidean, ManifoldParameter, manifold_of, step_scale_of
from fmlab.nn.features import EmbeddingTable
from fmlab.nn.sparse_lookup import IdGrouping, gather, incidence, read

Make = Callable[[Schema, range, int], Any]


class CompressedTable(EmbeddingTable):
    """A table of `n` features in component tables and matrices, as a layout says.

    Gradients of component tables are row-sparse, as those of a whole table; those of matrices are dense.
    """

    def __init__(self, whole: EmbeddingTable, layout: TableLayout) -> None:
        """In place of `whole`. Raises FmlabError where rows are points of a curved space and the layout makes others
        of them."""
        nn.Module.__init__(self)
        self.first, self.of_features = whole.first, False
        self.features, self.width = whole.weight.shape
        self.layout = layout
        check_points_stay(whole.weight, layout)
        manifold = manifold_of(whole.weight)
        curved = not isinstance(manifold, Euclidean)
        starts = iter(layout.start(whole.weight.detach()))
        scale = step_scale_of(whole.weight)
        self.parts, self.shared = nn.ParameterList(), nn.ParameterList()
        self._parts: dict[int, range] = {}  # by the number of the group; groups without features have none
        self._shared: dict[int, range] = {}
        for number, group in enumerate(layout.groups):
            tables = [next(starts) for _ in group.tables]
            shared = [next(starts) for _ in group.shared]
            if not all(len(table) for table in tables):
                continue
            self._parts[number] = range(len(self.parts), len(self.parts) + len(tables))
            self._shared[number] = range(len(self.shared), len(self.shared) + len(shared))
            self.parts.extend(
                ManifoldParameter(t, manifold, step_scale=scale) if curved else nn.Parameter(t) for t in tables
            )
            self.shared.extend(nn.Parameter(t) for t in shared)

    def feature_rows(self) -> dict[str, range]:
        """None: a row belongs to several features, or an embedding is more than a row."""
        return {}

    def embedding_parameters(self) -> list[str]:
        """Parameters that are embeddings though no row is that of one feature."""
        return [f"parts.{n}" for n in range(len(self.parts))]

    def rows(self, ids: Tensor) -> tuple[Tensor, IdGrouping]:
        """The distinct rows that `ids[*batch, c]` read, `[d, width]`, and which of them stands where."""
        local = self._local(ids).long()
        if self.layout.one_row:
            at = incidence(self.layout(local.reshape(-1))[0][0].view(ids.shape))
            return self._rows(0, at), at
        at = incidence(local)
        return self._embedded(at.distinct), at

    def forward(self, ids: Tensor) -> Tensor:
        """`ids[*batch]` -> `[*batch, width]`."""
        return gather(*self.rows(ids))

    def dense(self) -> Tensor:
        """The rows of all features, `[n, width]`."""
        device = next(tensor.device for tensor in self.state_dict().values())
        return self.forward(self.first + torch.arange(self.features, device=device))

    def _embedded(self, ids: Tensor) -> Tensor:
        """Embeddings of distinct features."""
        places = self.layout(ids)
        if torch.compiler.is_exporting():  # a graph whose shapes do not depend on the ids
            return self._in_every_group(places)
        found, where = [], []
        for group in self._parts:
            of_group = places[group]
            have = (of_group[0] >= 0).nonzero().squeeze(-1)
            if len(have):
                some = len(have) < len(ids)
                rows = [
                    self._read(n, place.index_select(0, have) if some else place)
                    for n, place in zip(self._parts[group], of_group, strict=True)
                ]
                found.append(self._embed(group, rows))
                where.append(have)
        if len(found) == 1:
            return found[0]
        order = torch.cat(where)
        back = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
        return torch.cat(found).index_select(0, back)

    def _in_every_group(self, places: Any) -> Tensor:
        """The sum over groups, of which all but one give zeros for a feature."""
        total: Any = 0.0
        for group, numbers in self._parts.items():
            rows = [
                torch.where((place >= 0).unsqueeze(-1), self._read(n, place.clamp_min(0)), 0.0)
                for n, place in zip(numbers, places[group], strict=True)
            ]
            total = total + self._embed(group, rows)
        return total

    def _embed(self, group: int, rows: list[Tensor]) -> Tensor:
        return self.layout.embed(group, rows, [self.shared[n] for n in self._shared[group]])

    def _read(self, number: int, place: Tensor) -> Tensor:
        at = incidence(place)
        return gather(self._rows(number, at), at)

    def _rows(self, number: int, at: IdGrouping) -> Tensor:
        """The distinct rows of a component table."""
        return read(self.parts[number], at)


class Place(NamedTuple):
    """A table of features in a model, the attribute that holds it, and how a plugin stores it."""

    owner: nn.Module
    name: str
    table: EmbeddingTable
    layout: TableLayout


def layouts(model: nn.Module, schema: Schema, make: Make, name: str, model_name: str) -> list[Place]:
    """The tables of features of a model and their layouts; raises FmlabError where it has none, or takes others.

    `make(schema, fields, width)` gives the `TableLayout` of a table, or None for a whole one, which is left out.
    """
    if getattr(model, "whole_tables", False):
        raise FmlabError(f"{model_name} reads its tables as a whole, got table={name}; it takes table=full")
    places = [
        (module, key, child)
        for module in model.modules()
        for key, child in module.named_children()
        if type(child) is EmbeddingTable and child.of_features
    ]
    if not places:
        raise FmlabError(
            f"table={name} needs a model with embedding tables of features, {model_name} has none; it takes table=full"
        )
    made = [(*place, make(schema, fields_of(schema, place[2]), place[2].weight.shape[1])) for place in places]
    found = [Place(*one) for one in made if one[3] is not None]
    for place in found:
        check_points_stay(place.table.weight, place.layout)
    return found


def check_points_stay(weight: Tensor, layout: TableLayout) -> None:
    """Raise FmlabError where rows are points of a curved space and the layout makes others of them."""
    manifold = manifold_of(weight)
    if not isinstance(manifold, Euclidean) and not layout.one_row:
        raise FmlabError(
            f"embeddings that are made of several numbers must be those of flat space, got points of a "
            f"{type(manifold).__name__} manifold; table=hashed has one row for each feature"
        )


def compress(model: nn.Module, schema: Schema, make: Make, name: str, model_name: str) -> None:
    """Put compressed tables in place of all tables of features of a model, as `layouts`."""
    for owner, key, table, layout in layouts(model, schema, make, name, model_name):
        setattr(owner, key, CompressedTable(table, layout))


def uncompressed(model: nn.Module) -> int | None:
    """The numbers of compressed tables where these are as many as those of whole ones; None where they are fewer."""
    tables = [m for m in model.modules() if isinstance(m, CompressedTable)]
    stored = sum(p.numel() for table in tables for p in table.parameters())
    return stored if tables and stored >= sum(t.features * t.width for t in tables) else None


def fields_of(schema: Schema, table: EmbeddingTable) -> range:
    """Numbers of the fields whose features a table has, which are neighbors."""
    stop = table.first + len(table.weight)
    numbers = [n for n, offset in enumerate(schema.offsets) if table.first <= offset < stop]
    return range(numbers[0], numbers[-1] + 1)
