"""Options of models, losses and optimizers under the names of the release before."""

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from fmlab.config import composition
from fmlab.config.renames import of_now
from fmlab.errors import FmlabError
from fmlab.plugin import registry, renames
from fmlab.sweep.spec import read
from fmlab.testing.building import tiny
from fmlab.training.resume_checks import refuse_mismatch

RENAMED: list[tuple[str, str, str, str, Any]] = [
    ("model", "gmlfm", "start", "init", "identity"),
    ("model", "xdeepfm", "maps", "cin_layer_sizes", (6, 4)),
    ("model", "fgcnn", "height", "kernel_height", 3),
    ("model", "fgcnn", "new", "n_generated", 2),
    *(("model", m, "aspects", "components", "field") for m in ("ifm", "inn")),
    *(("model", m, "factorised", "factorized", False) for m in ("ifm", "inn")),
    *(("model", m, "attention", "attention_dim", 5) for m in ("ifm", "inn", "deepifm")),
    *(("model", m, "samples", "n_pairs", 3) for m in ("ifm", "deepifm")),
    ("model", "ials", "unobserved", "unobserved_weight", 0.5),
    ("model", "ials", "sweeps", "n_iterations", 2),
    ("model", "ials", "exponent", "reg_exponent", 0.5),
    ("model", "lrml", "slots", "memory_slots", 4),
    ("model", "itemknn", "neighbours", "n_neighbors", 7),
    ("model", "fibinet", "reduction", "reduction_ratio", 2),
    ("model", "poly2", "buckets", "pair_buckets", 50),
    ("model", "lightgbm", "least", "min_data_in_leaf", 3),
    ("model", "lightgbm", "columns", "feature_fraction", 1.0),
    ("loss", "hinge", "distortion", "distortion_weight", 0.5),
    *(("optimizer", o, "exact", "exponential_map", True) for o in ("rsgd", "radagrad")),
    *(("optimizer", o, "max_norm", "max_step", 0.5) for o in ("rsgd", "radagrad")),
    ("optimizer", "radagrad", "initial", "initial_accumulator", 0.5),
]
PARTS = {"model": "hyperml", "loss": "hinge", "optimizer": "rsgd"}
IDS = [f"{plugin}.{old}" for _, plugin, old, _, _ in RENAMED]


@pytest.fixture(autouse=True)
def _warn_again() -> None:
    renames.forget_warnings()


def test_every_former_name_of_a_model_a_loss_and_an_optimizer_is_tried() -> None:
    declared = {
        (kind, name, r.old, option.name)
        for kind in ("model", "loss", "optimizer")
        for name in registry.names(kind)
        for option in registry.schema(kind, name).options
        for r in option.renamed
    }
    assert declared == {case[:4] for case in RENAMED}


@pytest.mark.parametrize(("kind", "plugin", "old", "new", "value"), RENAMED, ids=IDS)
def test_the_old_name_is_taken_with_a_warning(
    kind: str, plugin: str, old: str, new: str, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert registry.check(kind, {"name": plugin, old: value})[new] == value
    assert f"{kind}.{old} is called {kind}.{new} now" in caplog.text
    renames.forget_warnings()
    text = "[" + ",".join(map(str, value)) + "]" if isinstance(value, tuple) else str(value).lower()
    model = {"loss": "model=cml", "optimizer": "model=lorentzfm"}.get(kind, "model=fm")
    typed = [f"{kind}={plugin}", f"{kind}.{old}={text}", "data=synthetic", *([model] if kind != "model" else [])]
    composed = OmegaConf.to_container(composition.compose(typed), resolve=True)
    assert isinstance(composed, dict)
    found = composed[kind]
    assert (found[new] if not isinstance(value, tuple) else tuple(found[new])) == value
    assert old not in found
    saved = of_now({kind: {"name": plugin, old: value}})  # the config.yaml of an earlier run
    assert saved[kind] == {"name": plugin, new: value}


def test_a_sweep_searches_an_option_by_its_old_name() -> None:
    sweep = read("s", {"sampler": "grid", "fixed": {"model": "lrml"}, "space": {"model.slots": {"choice": [2, 3]}}})
    overrides = [b.overrides for b in sweep.space.branches()]
    assert any("model.slots" in o for o in overrides)
    assert composition.compose(["model=lrml", "model.slots=2", "data=synthetic"]).model.memory_slots == 2


def test_a_run_of_the_release_before_is_resumed() -> None:
    """Its options have their former names, and lack those that are new."""
    now = {kind: registry.check(kind, {"name": name}) | {"name": name} for kind, name in PARTS.items()}
    saved = {kind: dict(options) for kind, options in now.items()}
    saved["optimizer"]["exact"], saved["optimizer"]["max_norm"] = (
        saved["optimizer"].pop(new) for new in ("exponential_map", "max_step")
    )
    saved["loss"]["distortion"] = saved["loss"].pop("distortion_weight")
    del saved["model"]["learn_curvature"]
    refuse_mismatch(Path("x"), saved, now)
    saved["loss"]["distortion"] = 0.25
    with pytest.raises(FmlabError, match=r"loss\.distortion_weight: 0\.25 there, 0\.0 here"):
        refuse_mismatch(Path("x"), saved, now)


def test_a_model_with_old_names_in_its_checkpoint_is_built() -> None:
    schema = tiny("interactions").schema
    torch.manual_seed(0)
    old = registry.build("model", {"name": "lrml", "dim": 3, "slots": 4}, schema, gives=nn.Module)
    torch.manual_seed(0)
    new = registry.build("model", {"name": "lrml", "dim": 3, "memory_slots": 4}, schema, gives=nn.Module)
    assert all(torch.equal(a, b) for a, b in zip(old.parameters(), new.parameters(), strict=True))
