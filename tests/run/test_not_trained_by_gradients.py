"""Models that gradients do not train name no loss and no optimizer, anywhere."""

import json
import re
from pathlib import Path

import pytest
import torch
from fmlab_models.ease import EASE
from in_process import train

from fmlab.config.composition import compose
from fmlab.config.help import help_on
from fmlab.errors import FmlabError
from fmlab.report.runs import find_runs
from fmlab.run.loading import load_model
from fmlab.serving import load_run
from fmlab.training.checkpoint_format import SafeCheckpointIO, read_checkpoint

MODELS = ("ease", "itemknn", "rp3beta", "bm25", "ials", "popularity", "constant")
NONE = ("loss", "optimizer", "scheduler", "sampler")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("closed") / "run"
    train(folder, "model=ease")
    return folder


@pytest.mark.parametrize("model", MODELS)
def test_configs_have_no_such_groups(model: str) -> None:
    config = compose([f"model={model}"])
    assert not set(NONE) & set(config)
    assert not any(line.startswith(f"{group}=") for line in help_on(dict(config)).splitlines() for group in NONE)
    assert not set(NONE) & set(compose([f"model={model}", "protocol=rating"]))  # which binds a loss


@pytest.mark.parametrize("option", ["loss=bce", "optimizer=adam", "optimizer.lr=0.1", "scheduler=cosine"])
def test_one_that_is_given_is_refused(option: str) -> None:
    group = option.partition("=")[0].partition(".")[0]
    rule = rf"ease is not trained by gradients and takes no {group}, got {option}"
    with pytest.raises(FmlabError, match=rule.replace(".", r"\.")):
        compose(["model=ease", option])


def test_a_run_folder_shows_none(run: Path) -> None:
    content = json.loads((run / "metrics.json").read_text("utf-8"))
    identity = read_checkpoint(run / "checkpoints" / "best.ckpt")["fmlab"]
    for group in NONE:
        assert group not in content
        assert group not in identity
        assert f"\n{group}:" not in (run / "config.yaml").read_text("utf-8")
    assert content["status"] == "complete"


def test_what_is_solved_for_long_is_told_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("fmlab.run.building._LONG", 0.0)
    order: list[str] = []
    fit = EASE.fit_interactions
    monkeypatch.setattr(EASE, "fit_interactions", lambda *args: (order.extend(caplog.messages[-1:]), fit(*args))[1])
    with caplog.at_level("INFO", "fmlab"):
        train(tmp_path / "run", "model=ease")
    (told,) = order
    assert re.fullmatch(r"ease: \S+ kB in memory; solving for it takes about 0\.0 minutes of a core", told)


def test_reports_and_serving_read_it(run: Path) -> None:
    (found,), unreadable = find_runs(run)
    assert not unreadable
    assert found.config.get("loss.name") is None
    assert load_run(run).name == "ease"


def test_a_checkpoint_of_before_loads(run: Path, tmp_path: Path) -> None:
    saved = read_checkpoint(run / "checkpoints" / "best.ckpt")
    saved["fmlab"] |= {"loss": {"name": "bce", "reduction": "row"}, "optimizer": {"name": "sgd", "lr": 0.01}}
    SafeCheckpointIO().save_checkpoint(saved, tmp_path / "old.ckpt")
    old, new = load_model(tmp_path / "old.ckpt"), load_model(run / "checkpoints" / "best.ckpt")
    assert torch.equal(old.weight, new.weight)


def test_the_time_of_solving_is_that_of_training(run: Path) -> None:
    content = json.loads((run / "metrics.json").read_text())
    assert content["seconds_fit"] > 0
    assert "epochs" not in content
