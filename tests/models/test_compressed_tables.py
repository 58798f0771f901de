"""Models with tables that share rows, against the same models with whole tables of the rows that these make."""

from functools import partial
from typing import Any

import pytest
import torch
from fmlab_models.fm import FM
from fmlab_models.hyperml import HyperML
from torch import Tensor, nn

from fmlab.data import Field, Schema
from fmlab.errors import FmlabError
from fmlab.manifolds import manifold_of
from fmlab.nn.compressed import CompressedTable, compress
from fmlab.nn.features import EmbeddingTable
from fmlab.plugin import inventory, registry
from fmlab.plugin.registry import build
from fmlab.run.loading import build_model
from fmlab.run.model_size import n_parameters
from fmlab.testing import ModelContract, labeled, tiny

WIDE = Schema(
    (
        Field("user", "user", 60),
        Field("age", "user", 2, numeric=True),
        Field("tags", "context", 45, slots=2),
        Field("item", "item", 70),
        Field("brand", "item", 25),
    ),
    59,
    69,
)
TABLES: list[dict[str, Any]] = [
    {"name": "hashed", "buckets": 10},
    {"name": "qr", "collisions": 4},
    {"name": "qr", "collisions": 3, "operation": "sum"},
    {"name": "tensor_train", "rank": 2},
    {"name": "mixed", "alpha": 0.3},
    {"name": "mixed", "dims": (4, 1, 3, 2, 9)},
]
NAMES = [p.name for p in inventory.describe("model") if registry.package(registry.find("model", p.name)) == "fmlab"]
WITHOUT = {
    *("constant", "popularity", "lookup", "ease", "slim", "itemknn", "rp3beta", "bm25", "ials", "lightgcn", "ngcf"),
    *("deeplight", "catboost", "lightgbm"),
}
CURVED = {"lorentzfm", "hyperml"}
SMALL: dict[str, Any] = {"dim": 6, "hidden": (7, 5), "layers": 2, "heads": 2, "attention_dim": 8, "field_dim": 3}
SMALL |= {"filters": (2, 3), "kernel_height": 3, "cin_layer_sizes": (4, 3), "pair_buckets": 50, "reduction_ratio": 2}


def options_of(name: str) -> dict[str, Any]:
    known = {o.name for o in registry.schema("model", name).options}
    return {"name": name, **{k: v for k, v in SMALL.items() if k in known}}


def rows(n: int = 30) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    columns = [
        WIDE.offsets[f] + torch.randint(0, WIDE.fields[f].size, (n,), generator=generator) for f in WIDE.column_field
    ]
    return torch.stack(columns, 1).int(), torch.randn(n, len(columns), generator=generator)


def tables_of(model: nn.Module) -> dict[str, Any]:
    return {name: m for name, m in model.named_modules() if isinstance(m, EmbeddingTable) and m.first is not None}


@pytest.mark.parametrize("table", TABLES, ids=lambda t: "-".join(map(str, t.values())))
@pytest.mark.parametrize("name", NAMES)
def test_a_model_scores_as_with_whole_tables_of_the_same_rows(name: str, table: dict[str, Any]) -> None:
    whole = build_model(options_of(name), WIDE, 0)
    if name in WITHOUT or (name in CURVED and table["name"] != "hashed"):
        with pytest.raises(FmlabError, match=r"it takes table=full|table=hashed has one row"):
            build_model(options_of(name), WIDE, 0, table)
        return
    model = build_model(options_of(name), WIDE, 0, table)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert n_parameters(options_of(name), WIDE, table) == sum(p.numel() for p in trained)
    gained = sum(p.numel() for p in whole.parameters()) - sum(p.numel() for p in trained)
    assert gained > 0 or (gained == 0 and name in ("lr", "poly2") and table["name"] == "mixed"), "a number is no wider"
    ids, values = rows()
    shared, plain = tables_of(model), tables_of(whole)
    assert shared.keys() == plain.keys()
    torch.manual_seed(1)
    with torch.no_grad():
        for key, one in shared.items():
            if isinstance(one, CompressedTable):
                for part in one.parameters():
                    part.copy_(manifold_of(part).project(part + 0.3 * torch.randn(part.shape)))
                plain[key].weight.copy_(one.dense())
    model.eval()
    whole.eval()
    expected = whole(ids, values)
    torch.testing.assert_close(model(ids, values), expected, rtol=1e-5, atol=1e-5)
    wanted = torch.autograd.grad(expected.sin().sum(), [t.weight for t in plain.values()], allow_unused=True)
    loss = model(ids, values).sin().sum()
    for (_, one), of_whole in zip(shared.items(), wanted, strict=True):
        if not isinstance(one, CompressedTable) or of_whole is None:
            continue
        found = torch.autograd.grad(loss, list(one.parameters()), retain_graph=True)
        assert [g.is_sparse for g in found] == [True] * len(one.parts) + [False] * len(one.shared)
        through = torch.autograd.grad(one.dense(), list(one.parameters()), of_whole.to_dense())  # by the chain rule
        for a, b in zip(found, through, strict=True):
            torch.testing.assert_close(a.to_dense(), b.to_dense(), rtol=1e-4, atol=1e-5)


def test_a_product_starts_with_the_vectors_of_the_model_and_every_part_moves() -> None:
    model: Any = build_model({"name": "fm", "dim": 4}, WIDE, 0, {"name": "qr"})
    whole: Any = build_model({"name": "fm", "dim": 4}, WIDE, 0)
    own, remainders, quotients = model.table.parts
    assert torch.equal(own, whole.table.weight[60:62]), "the numeric field has two features, which share nothing"
    assert torch.equal(remainders[:15], whole.table.weight[:15])
    assert (quotients == 1).all()
    model(*rows()).sum().backward()
    assert all(p.grad.to_dense().any() for p in model.table.parts)


@pytest.mark.parametrize("table", TABLES, ids=lambda t: "-".join(map(str, t.values())))
def test_only_read_rows_have_gradients(table: dict[str, Any]) -> None:
    model: Any = build_model({"name": "fm", "dim": 8}, WIDE, 0, table)
    ids, _ = rows(2)
    model(ids).sum().backward()
    places = [place for group in model.table.layout(ids.long().flatten().unique()) for place in group]
    tables = [rows for group in model.table.layout.groups for rows, _ in group.tables]
    read = [sorted(set(place[place >= 0].tolist())) for place, rows in zip(places, tables, strict=True) if rows]
    assert [part.grad._indices()[0].tolist() for part in model.table.parts] == read


def test_what_cannot_share_rows_is_refused() -> None:
    for name, why in (("lightgcn", "has none"), ("catboost", "has none"), ("deeplight", "reads its tables as a whole")):
        with pytest.raises(FmlabError, match=f"{why}.*table=full|{why}"):
            build_model(options_of(name), Schema(WIDE.fields[::3], 59, 69), 0, {"name": "hashed", "buckets": 10})
    ball: Any = HyperML(WIDE, dim=3)
    with pytest.raises(FmlabError, match=r"must be those of flat space, got points of a Poincare .*; table=hashed"):
        compress(ball, WIDE, partial(build, "table", {"name": "qr"}), "qr", "hyperml")
    compress(ball, WIDE, partial(build, "table", {"name": "hashed", "buckets": 10}), "hashed", "hyperml")
    part = ball.tables.user.parts[0]
    assert manifold_of(part) == HyperML(WIDE, dim=3).manifold
    assert len(part) == 10


def test_a_whole_table_is_what_it_was() -> None:
    plain, full = (build_model({"name": "fm"}, WIDE, 3, t) for t in (None, {"name": "full"}))
    assert type(full.table) is EmbeddingTable
    assert torch.equal(plain.table.weight, full.table.weight)
    assert list(full.state_dict()) == list(FM(WIDE).state_dict())


def _contract(name: str, table: dict[str, Any]) -> type[ModelContract]:
    def make(self: ModelContract, schema: Schema) -> nn.Module:
        model = build("model", {"name": name, "dim": 6}, schema)
        compress(model, schema, partial(build, "table", table), str(table["name"]), name)
        return model

    title = "_".join(["Test", name, *map(str, table.values())])
    return type(title, (ModelContract,), {"make": make, "accuracy": 0.4})


CONTRACTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("fm", {"name": "qr", "collisions": 2}),
    ("fwfm", {"name": "hashed", "buckets": 3}),
    ("mf", {"name": "qr", "collisions": 2, "operation": "sum"}),
    ("fm", {"name": "tensor_train", "rank": 1, "cores": 2}),
    ("mf", {"name": "tensor_train", "rank": 1, "cores": 2}),
    ("fm", {"name": "mixed", "alpha": 0.6}),
    ("fwfm", {"name": "mixed", "alpha": 0.6}),
)
for _name, _table in CONTRACTS:
    _made = _contract(_name, _table)
    globals()[_made.__name__] = _made


@pytest.mark.parametrize(("name", "table"), CONTRACTS)
def test_tiny_data_are_compressed(name: str, table: dict[str, Any]) -> None:
    """Else the contracts above would say nothing."""
    model = _contract(name, table)().make(tiny("context").schema)
    tables = [m for m in model.modules() if isinstance(m, CompressedTable)]
    assert tables
    assert sum(p.numel() for t in tables for p in t.parameters()) < sum(t.features * t.width for t in tables)
    assert torch.isfinite(model(*labeled(tiny("context")).rows())).all()
