"""What models state about themselves is true: parameters, operations, papers, tests; and docs/models.md is theirs."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from fmlab_models.baselines import Constant
from torch import nn

from fmlab.data import Field, Schema
from fmlab.inspection.model_table import markdown, scored, stated
from fmlab.plugin import inventory, registry
from fmlab.run.model_size import n_parameters
from fmlab.testing.building import tiny

ROOT = Path(__file__).resolve().parents[2]
OURS = [p for p in inventory.describe("model") if registry.package(registry.find("model", p.name)) == "fmlab"]
NAMES = [p.name for p in OURS]
WIDE = Schema(
    (
        Field("user", "user", 14),
        Field("age", "user", 2, numeric=True),
        Field("day", "context", 8),
        Field("tags", "context", 9, slots=2),
        Field("item", "item", 18),
        Field("genre", "item", 6, slots=4),
        Field("brand", "item", 5),
    ),
    13,
    17,
)
PLAIN = Schema((Field("user", "user", 12), Field("item", "item", 30)), 11, 29)
SCHEMAS = {"wide": WIDE, "plain": PLAIN, "tiny": tiny("context").schema}
SMALL = {"dim": 6, "hidden": (7, 5, 4), "layers": 2, "heads": 2, "attention_dim": 8, "field_dim": 3}
SMALL |= {
    "filters": (2, 3),
    "kernel_height": 3,
    "cin_layer_sizes": (4, 3),
    "memory_slots": 6,
    "mlp_dim": 5,
    "pair_buckets": 50,
    "reduction_ratio": 2,
}
NORMALIZED = {"batch_norm": True}
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "gmlfm": [{"transform": "md"}, {"weighted": False}, {"layers": 0}],
    **{name: [{"learn_curvature": True, "curvature": 2.0}] for name in ("lorentzfm", "hyperml", "hyperts")},
    **{
        name: [
            {"linear": "plain"},
            {"geometry": "product", "learn_curvature": True, "linear": "plain"},
            {"geometry": "ball", "curvature": 2.0},
            {"geometry": "sphere", "learn_curvature": True},
        ]
        for name in ("fwfm", "fvfm", "fmfm")
    },
    **{
        name: [{"geometry": "product", "learn_curvature": True}, {"geometry": "hyperboloid"}]
        for name in ("fm", "mf", "lightgcn")
    },
    "xdeepfm": [{"split_half": True}, {"cin_layer_sizes": (6, 4, 3), "split_half": True}, {"cin_layer_sizes": ()}],
    **{name: [NORMALIZED] for name in ("deepfm", "nfm", "dcn", "widedeep", "ipnn", "deeplight", "deepifm")},
    "dcnv2": [{"rank": 3}, {"structure": "stacked"}, {"rank": 2, "structure": "stacked"}, NORMALIZED],
    "autoint": [{"hidden": ()}, NORMALIZED],
    "fibinet": [{"bilinear": "all"}, {"bilinear": "each"}, {"reduction_ratio": 40}, NORMALIZED],
    "opnn": [{"kernel": "matrix"}, NORMALIZED],
    "fgcnn": [{"pooling": 3, "n_generated": 2, "filters": (3,)}, NORMALIZED],
    "mlp": [{"hidden": (3,)}],
    **{
        name: [
            {"components": "feature"},
            {"components": "field"},
            {"factorized": False},
            {"components": "field", "factorized": False},
        ]
        for name in ("ifm", "inn")
    },
}


def cases() -> list[tuple[str, str, dict[str, Any]]]:
    """Two schemas and settings for each model, and one for each option that a formula depends on."""
    found = []
    for name in NAMES:
        known = {o.name for o in registry.schema("model", name).options}
        small = {k: v for k, v in SMALL.items() if k in known}
        found += [(name, "tiny", {}), (name, "wide", small), (name, "plain", small)]
        found += [(name, "wide", small | more) for more in OPTIONS.get(name, [])]
    sizes = (3, 1, 4, 2, 5, 3, 3)
    return [*found, ("fmfm", "wide", {"dims": sizes}), ("fmfm", "wide", {"dims": sizes, "linear": "plain"})]


@pytest.mark.parametrize(("name", "which", "options"), cases())
def test_a_stated_number_of_parameters_is_that_of_the_built_model(
    name: str, which: str, options: dict[str, Any]
) -> None:
    schema = SCHEMAS[which]
    given = {"name": name, **options}
    model = registry.build("model", given, schema, gives=nn.Module)
    assert n_parameters(given, schema) == sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_counted_without_building_the_model(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the model was built")

    monkeypatch.setattr(registry.load("model", name), "__init__", refuse)
    found = n_parameters({"name": name}, WIDE)
    assert found is not None
    assert type(found) is int


@pytest.mark.parametrize("plugin", OURS, ids=NAMES)
def test_a_model_says_what_it_is(plugin: inventory.Plugin) -> None:
    signature = plugin.signature
    assert 20 < len(signature.summary) <= 120
    if plugin.name != "constant":
        assert re.search(r"\b(19|20)\d\d\b", signature.paper), "the paper has a year"
        assert signature.paper.endswith(".")
    assert signature.paper
    assert not re.search(r"^Parameters", signature.doc, re.MULTILINE)
    for word in ("Cost", "Test", "Family"):
        assert len(stated(signature.doc, word)) == 1, word
    assert stated(signature.doc, "Cost")[0].startswith("O(")


@pytest.mark.parametrize("plugin", OURS, ids=NAMES)
def test_the_test_of_record_exists(plugin: inventory.Plugin) -> None:
    file, _, function = stated(plugin.signature.doc, "Test")[0].partition("::")
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    tests = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert function in tests
    cases = (ROOT / "tests/models/deep_equations.py").read_text("utf-8") if "deep_oracles" in file else ""
    names = plugin.target.partition(":")[2]
    assert re.search(rf"\b({names}|{plugin.name})\b", ast.unparse(tree) + cases), "the test file names the model"


def test_the_page_of_models_is_what_the_docstrings_say() -> None:
    page = (ROOT / "docs/models.md").read_text("utf-8")
    assert page == markdown(), "stale: python -m fmlab plugins --markdown > docs/models.md"


def test_the_constant_scores_every_row_0() -> None:
    model = Constant(WIDE)
    ids = torch.arange(22).view(2, 11)
    assert torch.equal(model(ids), torch.zeros(2))
    assert torch.equal(model(ids, torch.randn(2, 11)), torch.zeros(2))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fm", "two-sided"),
        ("deepfm", "separable"),
        ("ifm", "rows"),
        ("ease", "two-sided, reads interactions"),
        ("hyperml", "two-sided"),
        ("poly2", "separable"),
    ],
)
def test_how_a_model_is_scored_is_seen_from_what_it_offers(name: str, expected: str) -> None:
    assert scored(name) == expected
