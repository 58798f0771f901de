"""Peers: fmlab against the libraries that pip can install beside it, each through its own way to train."""

import contextlib
import importlib
import importlib.util
import io
import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks import plain
from benchmarks.harness import Measure, Note, Results, Setting, compare, now
from benchmarks.ours import Fit
from benchmarks.shapes import FRAPPE, TOY, Shape, labelled, whole_rows
from benchmarks.training import ADAM, DIM, HIDDEN, MODELS
from fmlab.data import Dataset

ABOUT = "rows/s on the frappe shape against installed peers"
INSTALL = {
    "torchfm": "pip install --no-deps torchfm==0.7.0",
    "deepctr_torch": "pip install --no-deps deepctr-torch==0.3.0 (then tqdm, scikit-learn, pandas, requests)",
}


def run(setting: Setting) -> Iterator[Results]:
    shape = TOY if setting.toy else FRAPPE
    data = labelled(shape)
    found = {name: importlib.util.find_spec(name) is not None for name in INSTALL}
    makers: dict[str, Callable[[str, Dataset, Shape], Measure]] = {"torchfm": _torchfm, "deepctr_torch": _deepctr}
    for model in ("lr", "fm", "deepfm") if any(found.values()) else ():
        fit = Fit(MODELS[model], {"name": "bce"}, ADAM, data, shape.batch_size)
        for peer in (p for p in makers if found[p]):
            yield compare(
                f"{shape}, {model}",
                {peer: makers[peer](model, data, shape), f"fmlab beside {peer}": fit.rows_per_second},
                setting,
                unit="rows/s",
                more=True,
                reference=peer,
            )
    yield [Note(f"{name} is not installed: {how}") for name, how in INSTALL.items() if not found[name]]


def _torchfm(name: str, data: Dataset, shape: Shape) -> Measure:
    sizes = [f.size for f in data.schema.fields]
    torch.manual_seed(0)
    made: Any = {
        "lr": lambda: _from("torchfm.model.lr", "LogisticRegressionModel")(sizes),
        "fm": lambda: _from("torchfm.model.fm", "FactorizationMachineModel")(sizes, DIM),
        "deepfm": lambda: _from("torchfm.model.dfm", "DeepFactorizationMachineModel")(sizes, DIM, HIDDEN, 0.0),
    }[name]()
    # It takes the ids of each field from 0 and adds the offsets itself.
    ids = torch.from_numpy(whole_rows(data) - np.array(data.schema.offsets, np.int32))
    batches = -(-shape.rows // shape.batch_size)
    label = torch.from_numpy(data.label)
    # Its models end in a sigmoid.
    return plain.Loop(made, ids, label, shape.batch_size, batches, F.binary_cross_entropy).rows_per_second


def _deepctr(name: str, data: Dataset, shape: Shape) -> Measure:
    logging.getLogger("root").setLevel(logging.ERROR)
    feature, deepfm = _from("deepctr_torch.inputs", "SparseFeat"), _from("deepctr_torch.models", "DeepFM")

    local = whole_rows(data) - np.array(data.schema.offsets, np.int32)
    columns = [feature(f.name, f.size, DIM) for f in data.schema.fields]
    inputs = {f.name: local[:, i] for i, f in enumerate(data.schema.fields)}
    interactions = columns if name != "lr" else []
    hidden = HIDDEN if name == "deepfm" else ()
    model: Any = deepfm(columns, interactions, use_fm=name != "lr", dnn_hidden_units=hidden, device="cpu")
    model.compile("adam", "binary_crossentropy", metrics=[])

    def rows_per_second() -> float:
        began = now()
        with contextlib.redirect_stdout(io.StringIO()):
            model.fit(inputs, data.label, batch_size=shape.batch_size, epochs=1, verbose=0)
        return shape.rows / (now() - began)

    rows_per_second()
    return rows_per_second


def _from(module: str, name: str) -> Any:
    """An object of a library that may not be installed."""
    return getattr(importlib.import_module(module), name)
