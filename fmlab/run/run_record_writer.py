"""metrics.json, config.yaml and environment.json of a run."""

from typing import Any

from omegaconf import OmegaConf

from fmlab.files import write_json, write_text
from fmlab.records import environment
from fmlab.records.folder import RunFolder
from fmlab.records.record import VERSION
from fmlab.terminal.redaction import redacted
from fmlab.training.distributed import is_first_process


class RunRecord:
    """metrics.json, kept true while the run goes on; only the first process writes."""

    def __init__(self, folder: RunFolder, config: dict[str, Any]) -> None:
        self.path = folder.metrics
        self.content: dict[str, Any] = {"schema_version": VERSION, "status": "running"}
        parts = ("data", "protocol", "model", "loss", "optimizer", "scheduler")
        names = {k: config[k]["name"] for k in parts if k in config}
        self.content |= names | {"seed": config["seed"], "batch_size": config["batch_size"]}
        if is_first_process():
            write_text(folder.config, OmegaConf.to_yaml(OmegaConf.create(redacted(config))))
            write_json(folder.environment, environment.describe())
        self.update()

    def note(self, **more: Any) -> None:
        """Facts that the next update writes, so that what is found together is written once."""
        self.content |= more

    def update(self, **more: Any) -> None:
        """Facts that are written at once, with all that was noted."""
        self.content |= more
        if is_first_process():
            write_json(self.path, self.content)

    def test_metrics(self) -> dict[str, float]:
        return {f"test/{k}": v for k, v in self.content.get("test", {}).items()}
