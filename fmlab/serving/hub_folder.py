"""A trained model in the layout of the Hugging Face Hub."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmlab.errors import FmlabError, StorageError

if TYPE_CHECKING:
    from fmlab.serving.loaded_run import LoadedRun

PRIVATE = ("warm_start", "error")  # of a record: they may hold paths of this machine


def write_hub_folder(run: "LoadedRun", folder: Path) -> None:
    """Write the files of the layout; raises FmlabError for an ensemble, which is not one model."""
    from fmlab import __version__
    from fmlab.files import write_json, write_text
    from fmlab.records.folder import ENSEMBLE, SERVING, RunFolder
    from fmlab.records.record import read_record
    from fmlab.run.published import read_trained, write_published
    from fmlab.serving.model_card import model_card

    if run.checkpoint.name == ENSEMBLE:
        raise FmlabError("a folder of the hub holds one model, an ensemble has several: export one of its members")
    place = RunFolder(run.folder)
    record: dict[str, Any] = {}
    if place.metrics.is_file():
        try:
            record = {k: v for k, v in read_record(place.metrics).items() if k not in PRIVATE}
        except (OSError, ValueError) as error:
            raise StorageError(f"{place.metrics} cannot be read: {error}") from error
        write_json(folder / place.metrics.name, record)
    write_published(folder, read_trained(run.checkpoint), __version__)
    for path in (run.folder / SERVING, place.calibration):
        if path.is_file():
            shutil.copyfile(path, folder / path.name)
    write_text(folder / "README.md", model_card(run, record, __version__))
