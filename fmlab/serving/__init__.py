"""What a trained run is used for: scores of rows (`predict`), items for users (`recommend`), files (`export`).

from fmlab.serving import load_run

run = load_run("runs/.../2026-01-01_12-00-00")  # a run folder, a sweep folder, or a checkpoint in one
run.predict(frame)  # a pandas frame with the raw columns -> a frame with `score`
run.recommend(["42", "007"], k=10)
"""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fmlab.serving.loaded_run import LoadedRun

__all__ = ["load_run"]


def load_run(path: "str | PathLike[str]") -> "LoadedRun":
    """A trained model from its run folder, from a sweep folder, or from a checkpoint in one; no other file is read.

    Raises StorageError (a subclass of FmlabError) where there is none or it is damaged, FmlabError where the files are
    not of one run. Nothing that the files hold is executed.
    """
    from fmlab.serving.loading import load

    return load(Path(path))
