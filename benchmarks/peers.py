"""Peers: fmlab against the libraries that pip can install beside it, each through its own way to train."""

import contextlib
import importlib
import importlib.util
import io
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks import plain
from benchmarks.harness import Measure, Note, Results, Setting, Target, compare, now
from benchmarks.ours import Fit
from benchmarks.shapes import FRAPPE, TOY, Shape, labeled, whole_rows
from benchmarks.training import ADAM, DIM, HIDDEN, MODELS, RSGD
from fmlab.data import Dataset

ABOUT = "rows/s on the frappe shape against installed peers, or plain PyTorch where none has the model"
INSTALL = {
    "torchfm": "pip install --no-deps torchfm==0.7.0",
    "deepctr_torch": "pip install --no-deps deepctr-torch==0.3.0 (then tqdm, scikit-learn, pandas, requests)",
    "geoopt": "pip install --no-deps geoopt==0.5.1 (then scipy)",
}
_DEEP: dict[str, Any] = {"dim": DIM, "hidden": HIDDEN, "dropout": 0.0}
_MAPS = (100, 100)
OURS: dict[str, dict[str, Any]] = {
    **MODELS,
    "ffm": {"dim": DIM},
    "afm": {"dim": DIM, "attention_dim": DIM, "dropout": 0.0},
    "neumf": {"dim": DIM, "mlp_dim": DIM, "hidden": HIDDEN},
    "autoint": {"dim": DIM, "layers": 3, "heads": 2, "attention_dim": DIM},
    "xdeepfm": {**_DEEP, "maps": _MAPS},
    "opnn": {**_DEEP, "kernel": "matrix"},
    **{name: {"dim": DIM} for name in plain.PAIRS},
    "ifm": {"dim": DIM, "attention": DIM, "field_dim": DIM, "dropout": 0.0},
    **{name: _DEEP for name in ("nfm", "widedeep", "dcn", "dcnv2", "fibinet", "ipnn")},
}
SHALLOW = ("lr", "fm", "ffm", "fwfm", "fvfm", "fmfm", "transfm", "gmlfm")
BATCHES, SLOW = 24, {"xdeepfm": 3, "autoint": 8, "fibinet": 8, "opnn": 8, "afm": 8}


def run(setting: Setting) -> Iterator[Results]:
    found = {name: importlib.util.find_spec(name) is not None for name in INSTALL}
    makers = {"torchfm": _torchfm, "deepctr_torch": _deepctr, "geoopt": _geoopt, "plain loop": _plain}
    for name in setting.chosen(OURS):
        shape = TOY if setting.toy else replace(FRAPPE, rows=SLOW.get(name, BATCHES) * FRAPPE.batch_size)
        data = labeled(shape)
        made = {peer: make(name, data, shape) for peer, make in makers.items() if found.get(peer, True)}
        peers = {peer: measure for peer, measure in made.items() if measure is not None}
        if not peers:
            continue
        fastest = max(peers, key=lambda peer: peers[peer]())
        optimizer = RSGD if name == "lorentzfm" else ADAM
        fit = Fit({**OURS[name], "name": name}, {"name": "bce"}, optimizer, data, shape.batch_size)
        yield compare(
            f"{shape}, {name}",
            {**peers, "fmlab": fit.rows_per_second},
            setting,
            unit="rows/s",
            more=True,
            reference=fastest,
            targets={"fmlab": Target(ratio=_target(name))},
        )
    yield [Note(f"{name} is not installed: {how}") for name, how in INSTALL.items() if not found[name]]


def _target(name: str) -> float:
    return 10.0 if name == "lorentzfm" else 3.0 if name in SHALLOW else 1.0


def _torchfm(name: str, data: Dataset, shape: Shape) -> Measure | None:
    sizes = [f.size for f in data.schema.fields]
    sides = [0, len(sizes) - 1] if name == "neumf" else range(len(sizes))
    made = {
        "lr": ("lr", "LogisticRegressionModel", ()),
        "fm": ("fm", "FactorizationMachineModel", (DIM,)),
        "ffm": ("ffm", "FieldAwareFactorizationMachineModel", (DIM,)),
        "afm": ("afm", "AttentionalFactorizationMachineModel", (DIM, DIM, (0.0, 0.0))),
        "autoint": ("afi", "AutomaticFeatureInteractionModel", (DIM, DIM, 2, 3, (), (0.0, 0.0))),
        "nfm": ("nfm", "NeuralFactorizationMachineModel", (DIM, HIDDEN, (0.0, 0.0))),
        "neumf": ("ncf", "NeuralCollaborativeFiltering", (np.array([0]), np.array([1]), DIM, HIDDEN, 0.0)),
        "widedeep": ("wd", "WideAndDeepModel", (DIM, HIDDEN, 0.0)),
        "deepfm": ("dfm", "DeepFactorizationMachineModel", (DIM, HIDDEN, 0.0)),
        "dcn": ("dcn", "DeepCrossNetworkModel", (DIM, 3, HIDDEN, 0.0)),
        "xdeepfm": ("xdfm", "ExtremeDeepFactorizationMachineModel", (DIM, HIDDEN, 0.0, _MAPS, False)),
        "ipnn": ("pnn", "ProductNeuralNetworkModel", (DIM, HIDDEN, 0.0)),
        "opnn": ("pnn", "ProductNeuralNetworkModel", (DIM, HIDDEN, 0.0, "outer")),
    }.get(name)
    if made is None:
        return None
    torch.manual_seed(0)
    module, model, arguments = made
    peer = _from(f"torchfm.model.{module}", model)([sizes[f] for f in sides], *arguments)
    # It takes the ids of each field from 0 and adds the offsets itself.
    ids = torch.from_numpy((whole_rows(data) - np.array(data.schema.offsets, np.int32))[:, list(sides)])
    batches = -(-shape.rows // shape.batch_size)
    label = torch.from_numpy(data.label)
    # Its models end in a sigmoid.
    loop = plain.Loop(_without_normalization(peer), ids, label, shape.batch_size, batches, F.binary_cross_entropy)
    return loop.rows_per_second


def _without_normalization(model: nn.Module) -> nn.Module:
    """Perceptrons there normalize every layer, which ours do not."""
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm1d):
                setattr(module, name, nn.Identity())
    return model


def _is_error(record: logging.LogRecord) -> bool:
    """A filter of what is logged by the root logger itself, as libraries without a logger of their own do."""
    return record.levelno >= logging.ERROR


def _deepctr(name: str, data: Dataset, shape: Shape) -> Measure | None:
    hidden: dict[str, Any] = {"dnn_hidden_units": HIDDEN}
    made: tuple[str, dict[str, Any]] | None = {
        "lr": ("DeepFM", {"use_fm": False, "dnn_hidden_units": ()}),
        "fm": ("DeepFM", {"dnn_hidden_units": ()}),
        "deepfm": ("DeepFM", hidden),
        "afm": ("AFM", {"attention_factor": DIM}),
        "nfm": ("NFM", hidden),
        "widedeep": ("WDL", hidden),
        "dcn": ("DCN", {"cross_num": 3, **hidden}),
        "dcnv2": ("DCN", {"cross_num": 3, "cross_parameterization": "matrix", **hidden}),
        "xdeepfm": ("xDeepFM", {"cin_layer_size": _MAPS, "cin_split_half": False, **hidden}),
        "autoint": ("AutoInt", {"att_layer_num": 3, "att_head_num": 2, "dnn_hidden_units": ()}),
        "fibinet": ("FiBiNET", hidden),
        "ipnn": ("PNN", hidden),
        "opnn": ("PNN", {"use_inner": False, "use_outter": True, **hidden}),
    }.get(name)
    if made is None:
        return None
    logging.getLogger().addFilter(_is_error)  # it warns that it cannot look for a newer version of itself
    feature, make = _from("deepctr_torch.inputs", "SparseFeat"), _from("deepctr_torch.models", made[0])
    local = whole_rows(data) - np.array(data.schema.offsets, np.int32)
    columns = [feature(f.name, f.size, DIM) for f in data.schema.fields]
    inputs = {f.name: local[:, i] for i, f in enumerate(data.schema.fields)}
    given = {"dnn_feature_columns": columns if name != "lr" else []}
    if made[0] != "PNN":
        given["linear_feature_columns"] = columns
    model = make(**given, **made[1], device="cpu")
    model.compile("adam", "binary_crossentropy", metrics=[])

    def rows_per_second() -> float:
        began = now()
        with contextlib.redirect_stdout(io.StringIO()):
            model.fit(inputs, data.label, batch_size=shape.batch_size, epochs=1, verbose=0)
        return shape.rows / (now() - began)

    rows_per_second()
    return rows_per_second


def _geoopt(name: str, data: Dataset, shape: Shape) -> Measure | None:
    """LorentzFM as its users would write it: geoopt's manifold and optimizer, all pairs of fields."""
    if name != "lorentzfm":
        return None
    geoopt = importlib.import_module("geoopt")
    torch.manual_seed(0)
    model = plain.LorentzFM(data.schema.n_features, DIM - 1, len(data.schema.fields))
    points = torch.cat([torch.zeros(data.schema.n_features, 1), 0.1 * torch.randn(data.schema.n_features, DIM - 1)], 1)
    manifold = geoopt.Lorentz()
    model.embedding.weight = geoopt.ManifoldParameter(manifold.projx(points), manifold=manifold)
    model.ambient = True
    ids, label = torch.from_numpy(whole_rows(data)), torch.from_numpy(data.label)
    optimizer = geoopt.optim.RiemannianSGD(model.parameters(), lr=0.1)
    batches = min(8, -(-shape.rows // shape.batch_size))
    return plain.Loop(model, ids, label, shape.batch_size, batches, optimizer=optimizer).rows_per_second


def _plain(name: str, data: Dataset, shape: Shape) -> Measure | None:
    """Models that none of these libraries has, as a textbook writes them: every pair of fields for itself."""
    if name not in plain.PAIRS:
        return None
    torch.manual_seed(0)
    model = plain.Pairs(data.schema.n_features, DIM, len(data.schema.fields), name)
    ids, label = torch.from_numpy(whole_rows(data)), torch.from_numpy(data.label)
    return plain.Loop(model, ids, label, shape.batch_size, -(-shape.rows // shape.batch_size)).rows_per_second


def _from(module: str, name: str) -> Any:
    """An object of a library that may not be installed."""
    return getattr(importlib.import_module(module), name)
