"""Every installed model of fmlab keeps the contract."""

from importlib.metadata import entry_points
from typing import Any

import pytest
from torch import nn

from fmlab.data import Schema
from fmlab.plugin.registry import build
from fmlab.testing import ModelContract

# What the learning test needs beyond the defaults: learning rates for a full batch of a small table, and how well a
# model must do.
SMALL: dict[str, dict[str, Any]] = {
    **{
        name: {"dim": 4, "hidden": (8, 6), "dropout": 0.1}
        for name in ("nfm", "widedeep", "dcn", "dcnv2", "xdeepfm", "fibinet", "ipnn", "opnn", "fgcnn", "deeplight")
    },
    "afm": {"dim": 4, "dropout": 0.1},
    "autoint": {"dim": 4, "layers": 2, "attention_dim": 8},
    "fignn": {"dim": 4},
    "ifm": {"dim": 8, "attention_dim": 32, "field_dim": 4},
    "inn": {"dim": 8, "attention_dim": 32, "field_dim": 4},
    "deepifm": {"dim": 8, "attention_dim": 32, "field_dim": 4, "hidden": (8, 6)},
    "deepfm": {"dim": 4, "hidden": (8, 6), "dropout": 0.1},
    "cml": {"dim": 8},
    "hyperml": {"dim": 8},
    "catboost": {"rounds": 20, "depth": 4},
    "lightgbm": {"rounds": 20, "leaves": 7, "min_data_in_leaf": 1},
}
LEARNING: dict[str, dict[str, Any]] = {
    **{
        name: {"accuracy": 0.9}
        for name in ("nfm", "afm", "dcn", "dcnv2", "xdeepfm", "autoint", "fibinet", "ipnn", "opnn", "fignn")
    },
    "deeplight": {"accuracy": 0.9},
    "popularity": {"accuracy": 0.6},
    "lr": {"accuracy": 0.7},
    "mf": {"accuracy": 0.9},
    "fm": {"accuracy": 0.9},
    "deepfm": {"accuracy": 0.9},
    "lorentzfm": {"accuracy": 0.9, "optimizer": {"lr": 1.0}},
    "cml": {"accuracy": 0.9, "optimizer": {"lr": 0.1}},
    "hyperml": {"accuracy": 0.9, "optimizer": {"lr": 0.1}},
}
OURS = sorted({e.name for e in entry_points(group="fmlab.model") if e.value.startswith("fmlab_models.")})


def _contract(name: str) -> type[ModelContract]:
    def make(self: ModelContract, schema: Schema) -> nn.Module:
        return build("model", {"name": name, **SMALL.get(name, {})}, schema)

    return type(f"Test_{name}", (ModelContract,), {"make": make, **LEARNING.get(name, {})})


for _name in OURS:
    globals()[f"Test_{_name}"] = _contract(_name)


class TestNormalised(ModelContract):
    """Batch normalization, whose statistics are those of all rows of a step, negatives among them."""

    accuracy = 0.9

    def make(self, schema: Schema) -> nn.Module:
        return build("model", {"name": "dcn", **SMALL["dcn"], "batch_norm": True}, schema)


def test_no_model_of_this_list_has_lost_its_entry_point() -> None:
    assert set(OURS) >= {"constant", *LEARNING}


def test_the_contract_of_a_model_that_breaks_it_fails() -> None:
    class PluginError(ModelContract):
        def make(self, schema: Schema) -> nn.Module:
            model = build("model", {"name": "fm"}, schema)
            side = model.encode_item
            model.encode_query = lambda ids, values=None: (side(ids, values)[0] + 1e-6, side(ids, values)[1])
            model.forward = lambda ids, values=None: side(ids, values)[0]
            return model

    with pytest.raises(AssertionError):
        PluginError().test_the_sides_add_up_to_the_whole("numeric")
