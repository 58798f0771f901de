"""Every precision that is offered trains, judges and is loaded again as it was."""

import random
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch
from in_process import SMALL, last, metrics, train

from fmlab.config.schema import Trainer
from fmlab.errors import FmlabError
from fmlab.run.loading import load_model

OFFERED = get_args(get_type_hints(Trainer)["precision"])


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clicks with numbers among the features, which reach the model as values."""
    path, chance = tmp_path_factory.mktemp("precision") / "clicks.csv", random.Random(1)
    rows = [(chance.choice("abcd"), chance.choice("xyz"), chance.gauss(0, 1)) for _ in range(600)]
    lines = [f"{a},{b},{number:.3f},{int(number + chance.gauss(0, 1) > 0)}" for a, b, number in rows]
    path.write_text("\n".join(["site,hour,price,click", *lines]) + "\n")
    return path


@pytest.mark.parametrize("precision", OFFERED)
@pytest.mark.parametrize("model", [("model=fm",), ("model=deepfm", "model.hidden=[8]"), ("model=lorentzfm",)], ids=str)
def test_every_precision_that_is_offered_trains(precision: str, model: tuple[str, ...], clicks: Path) -> None:
    folder = clicks.parent / f"{precision}-{model[0]}"
    data = ("data=csv", f"data.path={clicks}", "data.label=click")
    settings = (*data, "data.numeric=[price]", "protocol=ctr", "trainer.max_epochs=2", f"trainer.precision={precision}")
    train(folder, *settings, *model, small=SMALL[3:])
    assert metrics(folder)["status"] == "complete"
    wanted = torch.float64 if precision == "64-true" else torch.float32
    state = last(folder)["state_dict"]
    assert {v.dtype for v in state.values() if v.is_floating_point()} == {wanted}
    loaded = load_model(folder / "checkpoints" / "last.ckpt").state_dict()
    assert all(torch.equal(loaded[k.removeprefix("model.")], v) for k, v in state.items())


@pytest.mark.parametrize("precision", ["16-true", "bf16-true", "8-true"])
def test_half_precision_weights_are_not_offered(precision: str, tmp_path: Path) -> None:
    with pytest.raises(FmlabError, match=r"trainer\.precision"):
        train(tmp_path / "run", f"trainer.precision={precision}")


@pytest.mark.parametrize("kind", ["tpu", "mps"])
def test_a_device_that_is_not_there_is_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fmlab.training.trainer.find_spec", lambda name: None)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(
        FmlabError, match=f"trainer.accelerator={kind} is not there on this machine; choices: auto, cpu"
    ):
        train(tmp_path / "run", f"trainer.accelerator={kind}")
