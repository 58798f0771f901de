"""TensorBoard: event files in the run folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pytorch_lightning.loggers import Logger, TensorBoardLogger


def tensorboard(
    config: Mapping[str, Any],
    folder: Path,
    *,
    subfolder: Annotated[str, "folder in the run folder that holds the event files"] = "tensorboard",
) -> Logger:
    """Event files in `<run folder>/<subfolder>`: `tensorboard --logdir runs` shows all runs.

    Source: https://www.tensorflow.org/tensorboard. It needs `pip install "fmlab[tensorboard]"`.
    """
    return TensorBoardLogger(folder, name=subfolder, version="", default_hp_metric=False)
