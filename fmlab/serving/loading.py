"""A trained model ready to score, from a run folder or a checkpoint."""

import json
from pathlib import Path

from fmlab.errors import FmlabError, StorageError
from fmlab.evaluation.probability_calibration import Calibration
from fmlab.records.folder import ENSEMBLE, SERVING, RunFolder
from fmlab.run.derived_fields_model import model_of_base_rows
from fmlab.run.loading import identity_of, model_of
from fmlab.run.locate import locate
from fmlab.run.published import read_trained
from fmlab.run.serving_data import ServingData
from fmlab.run.serving_file import read_serving_data
from fmlab.serving.loaded_run import LoadedRun


def load(path: Path) -> LoadedRun:
    """The run of a folder or checkpoint (`fmlab.run.locate`); raises StorageError, FmlabError where parts do not
    belong."""
    place = locate(path)
    if place.checkpoint.name == ENSEMBLE:
        from fmlab.serving.ensemble import load_ensemble

        return load_ensemble(place, load)
    try:
        saved = read_trained(place.checkpoint)
    except MemoryError as error:
        raise StorageError(f"{place.checkpoint} is larger than the memory") from error
    identity, schema = identity_of(saved, place.checkpoint)
    held = place.folder / SERVING
    if not held.is_file():
        raise StorageError(
            f"a run keeps what serving needs in {SERVING}, {place.folder} has none: it was trained by an earlier "
            "version of fmlab, or copied without that file; copy it from the run folder, or train again"
        )
    data = read_serving_data(held)
    if data.trained != schema or data.fingerprint != identity.get("data"):
        raise FmlabError(f"{held} and {place.checkpoint} must come from one run, they are of other data")
    model = model_of_base_rows(model_of(saved, place.checkpoint), data.derived)
    calibration = _calibration(RunFolder(place.folder).calibration, data)
    return LoadedRun(place.folder, place.checkpoint, identity, model, data, calibration)


def _calibration(path: Path, data: ServingData) -> Calibration | None:
    """That of a run folder, None without one; raises StorageError for one that is malformed or of other targets."""
    if not path.is_file():
        return None
    try:
        found = Calibration.from_dict(json.loads(path.read_text(encoding="utf-8")))
        if set(found.maps) != set(data.targets or ("",)):
            raise ValueError("it is of other targets")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StorageError(f"{path} is malformed: {type(error).__name__}: {error}") from error
    return found
