"""Every installed loss of fmlab keeps the contract."""

from importlib.metadata import entry_points
from typing import Any

import torch
from torch import nn

from fmlab.contracts import Loss
from fmlab.plugin.registry import build
from fmlab.testing import LossContract, tiny

VARIANTS: list[dict[str, Any]] = [
    {"name": "bce"},
    {"name": "bce", "reduction": "mean"},
    {"name": "bpr"},
    {"name": "bpr", "reduction": "mean"},
    {"name": "squared"},
    {"name": "squared", "reduction": "mean"},
    {"name": "hinge"},
    {"name": "hinge", "margin": 0.1, "reduction": "mean"},
    {"name": "sampled_softmax"},
    {"name": "sampled_softmax", "temperature": 0.5},
]


def _contract(options: dict[str, Any]) -> type[LossContract]:
    def make(self: LossContract) -> Loss:
        return build("loss", options)

    return type("Test_" + "_".join(str(v) for v in options.values()), (LossContract,), {"make": make})


for _options in VARIANTS:
    _class = _contract(_options)
    globals()[_class.__name__] = _class


class TestHingeWithDistortion(LossContract):
    def make(self) -> Loss:
        return build("loss", {"name": "hinge", "distortion_weight": 0.5})

    def model(self, size: float) -> nn.Module:
        torch.manual_seed(0)
        model = build("model", {"name": "hyperml", "dim": 3}, tiny("interactions").schema)
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(p.manifold.project(0.3 * size * torch.randn_like(p)))
        return model


def test_every_loss_of_the_package_is_under_contract() -> None:
    ours = {e.name for e in entry_points(group="fmlab.loss") if e.value.startswith("fmlab_losses.")}
    assert ours == {v["name"] for v in VARIANTS}
