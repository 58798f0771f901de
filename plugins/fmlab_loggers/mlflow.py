"""MLflow: a tracking server, or a folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pytorch_lightning.loggers import Logger, MLFlowLogger


def mlflow(
    config: Mapping[str, Any],
    folder: Path,
    *,
    uri: Annotated[
        str | None, "tracking server or folder; null is MLFLOW_TRACKING_URI, else a folder of the run"
    ] = None,
    experiment: Annotated[str | None, "experiment that the run belongs to; null is <data>-<protocol>"] = None,
) -> Logger:
    """A run of MLflow. `uri`: of the tracking server; null is what MLFLOW_TRACKING_URI says, else a folder.

    The folder is `mlruns` in the run folder. `experiment`: null is `<data>-<protocol>`.
    Source: https://mlflow.org. It needs `pip install "fmlab[mlflow]"`.
    """
    import os

    name = experiment or f"{config['data']['name']}-{config['protocol']['name']}"
    place = uri or os.environ.get("MLFLOW_TRACKING_URI") or (folder / "mlruns").absolute().as_uri()
    if place.startswith("file:"):  # mlflow asks that its plain folders be wanted explicitly
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    tags = {"fmlab.folder": str(folder), **{str(tag): "" for tag in config.get("tags") or ()}}
    run_name = f"{config['model']['name']}-{config['seed']}"
    return MLFlowLogger(name, run_name=run_name, tracking_uri=place, tags=tags, synchronous=True)
