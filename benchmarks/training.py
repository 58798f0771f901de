"""Training: rows a second of fmlab's Trainer against a plain PyTorch loop."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from benchmarks import plain
from benchmarks.harness import Results, Setting, Target, compare
from benchmarks.ours import Fit
from benchmarks.shapes import FRAPPE, TOY, WIDE, Shape, labeled, whole_rows

ABOUT = "through the Lightning Trainer, second epoch, against a plain PyTorch loop with dense Adam"
DIM = 10
HIDDEN = (128, 128, 128)
MODELS: dict[str, dict[str, Any]] = {
    "lr": {"name": "lr"},
    "fm": {"name": "fm", "dim": DIM},
    "lorentzfm": {"name": "lorentzfm", "dim": DIM},
    "deepfm": {"name": "deepfm", "dim": DIM, "hidden": HIDDEN, "dropout": 0.0},
}
ADAM = {"name": "adam", "lr": 1e-3, "weight_decay": 0.0}
RSGD = {"name": "rsgd", "lr": 0.1}
TARGETS = {("A", "fm"): 5.0, ("A", "lorentzfm"): 5.0, ("C", "fm"): 4.0, ("C", "lorentzfm"): 15.0}


def run(setting: Setting) -> Iterator[Results]:
    for shape in (TOY,) if setting.toy else (FRAPPE, WIDE):
        data = labeled(shape)
        ids, label = torch.from_numpy(whole_rows(data)), torch.from_numpy(data.label)
        for name in setting.chosen(MODELS):
            optimizer = RSGD if name == "lorentzfm" else ADAM
            fit = Fit(MODELS[name], {"name": "bce"}, optimizer, data, shape.batch_size)
            # The plain loop is slow on the wide shape: a few batches tell its speed.
            batches = 8 if shape is WIDE else 24
            loop = plain.Loop(textbook(name, data.schema.n_features, shape), ids, label, shape.batch_size, batches)
            target = TARGETS.get((shape.name, name))
            yield compare(
                f"{shape}, {name}",
                {"plain loop, Adam": loop.rows_per_second, f"fmlab, {optimizer['name']}": fit.rows_per_second},
                setting,
                unit="rows/s",
                more=True,
                reference="plain loop, Adam",
                targets=None if target is None else {f"fmlab, {optimizer['name']}": Target(ratio=target)},
            )


def textbook(name: str, features: int, shape: Shape) -> nn.Module:
    """The plain model of that name."""
    torch.manual_seed(0)
    columns = len(shape.vocabularies)
    if name == "lr":
        return plain.LR(features)
    if name == "fm":
        return plain.FM(features, DIM)
    if name == "lorentzfm":
        return plain.LorentzFM(features, DIM, columns)
    return plain.DeepFM(features, DIM, columns, HIDDEN)
