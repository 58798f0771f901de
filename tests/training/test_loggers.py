"""Loggers of other packages: several at once, and none that fails stops a run."""

import logging
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.loggers import Logger

from fmlab.config.composition import compose
from fmlab.errors import FmlabError
from fmlab.plugin import registry
from fmlab.run.experiment import run
from fmlab.training import loggers

SMALL = (
    *("data=synthetic", "data.users=30", "data.items=20", "data.positives=6", "batch_size=64", "model=mf"),
    *("trainer.max_epochs=2", "trainer.accelerator=cpu", "trainer.threads=1", "trainer.progress=false"),
)
CONFIG: dict[str, Any] = {
    "data": {"name": "toy"},
    "model": {"name": "fm", "api_key": "plantedkey0123456789"},
    "protocol": {"name": "ctr"},
    "seed": 3,
    "tags": [],
}


class Broken(Logger):
    """Fails at the second call."""

    name, version, calls = "broken", None, 0

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        pass

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.calls += 1
        if self.calls > 1:
            raise ConnectionError("the server is away")


def test_several_loggers_of_one_run_each_have_its_curves_and_its_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    config = compose(
        [*SMALL, "logger=[tensorboard,mlflow]", 'logger.options=["mlflow.experiment=mine"]', f"cache_dir={tmp_path}"]
    )
    run(config, tmp_path / "run")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    tags = events.Tags()["scalars"]
    monitored = next(tag for tag in tags if tag.startswith("val/"))
    assert len(events.Scalars(monitored)) >= 2
    assert any(tag.startswith("test/") for tag in tags)
    written = list((tmp_path / "run" / "mlruns").rglob("metrics/val/*"))
    assert any(len(path.read_text().splitlines()) >= 2 for path in written)
    assert any("mine" in path.read_text() for path in (tmp_path / "run" / "mlruns").rglob("meta.yaml"))


def test_a_logger_that_fails_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = registry.build
    monkeypatch.setattr(registry, "build", lambda kind, *a, **k: Broken() if kind == "logger" else real(kind, *a, **k))
    (made,) = loggers.build({"name": "tensorboard", "subfolder": "tensorboard"}, CONFIG, tmp_path)
    with caplog.at_level(logging.WARNING):
        for step in range(4):
            made.log_metrics({"train/loss": 0.5}, step)
        loggers.close([made], {"test/auc": 0.7}, failed=False)
    assert [r.message for r in caplog.records] == ["tensorboard stopped logging this run: the server is away"]

    def away(*_: Any, **__: Any) -> Any:
        raise ModuleNotFoundError("no module tensorboard")

    monkeypatch.setattr(registry, "build", away)
    assert loggers.build({"name": "tensorboard", "subfolder": "x"}, CONFIG, tmp_path) == []


def test_secrets_stay_here(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (made,) = loggers.build({"name": "tensorboard", "subfolder": "tb"}, CONFIG, tmp_path)
    loggers.close([made], {}, failed=False)
    assert all(b"plantedkey" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["logger=[csv,csv]"], "several loggers are different ones, got csv, csv"),
        (["logger=[none,csv]"], "logger=none is no logger and stands alone, got none, csv"),
        (
            ["logger=[csv,nothing]"],
            "logger.name must be a logger, got 'nothing'; did you mean 'none'? choices: csv, mlflow",
        ),
        (
            ["logger=[csv,wandb]", 'logger.options=["wandb.projekt=x"]'],
            "projekt is not an option of wandb; did you mean",
        ),
        (["logger=[csv]", 'logger.options=["wandb.project=x"]'], "logger.options must be like wandb.project=mine"),
    ],
)
def test_what_is_wrong_with_several_is_said(overrides: list[str], said: str) -> None:
    with pytest.raises(FmlabError) as caught:
        compose(overrides)
    assert said in str(caught.value)
