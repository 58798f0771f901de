"""A trained model in the layout of the Hugging Face Hub, and the one way to read a trained model in either layout.

| file                | what                                                                              |
|---------------------|-----------------------------------------------------------------------------------|
| `README.md`         | the model card                                                                    |
| `config.json`       | options of the model, its schema, what it was trained with; the sha256 of weights |
| `model.safetensors` | the weights; reading them executes nothing                                        |
| `serving.bin`       | the fitted encoder, and who has met what, as in a run folder                      |
| `metrics.json`      | the record of the run                                                             |
| `calibration.json`  | where there is one                                                                |
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fmlab.errors import FmlabError, StorageError
from fmlab.files import digest, write_json
from fmlab.records.folder import WEIGHTS
from fmlab.run.tensor_file import read_tensors, write_tensors
from fmlab.training.checkpoint_entries import IDENTITY, MODEL_PREFIX, PARAMETERS
from fmlab.training.checkpoint_format import read_checkpoint
from fmlab.training.checkpoint_validation import check_checkpoint
from fmlab.untrusted.parsing import read_json

CONFIG = "config.json"
LIBRARY = "fmlab"


def read_trained(path: Path) -> dict[str, Any]:
    """The containers of a checkpoint, or of `model.safetensors` with `config.json` beside it, as of a checkpoint.

    Raises StorageError where it is missing or damaged, FmlabError where it is foreign.
    """
    if path.name != WEIGHTS:
        return read_checkpoint(path)
    beside = path.with_name(CONFIG)
    try:
        config = read_json(beside)
        if not isinstance(config, dict) or config.get("library_name") != LIBRARY:
            raise FmlabError(f"{beside} must be written by fmlab, its library_name is another")
        if config.get("sha256") != digest(path).sha256:
            raise StorageError(f"{path} is damaged: its sha256 is not the one that {beside} names")
        saved = {
            IDENTITY: config.get("identity"),
            PARAMETERS: {MODEL_PREFIX + n: t for n, t in read_tensors(path).items()},
        }
        check_checkpoint(saved)
    except OSError as error:
        raise StorageError(f"{error.filename or beside} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{path} or {beside} is malformed: {error}") from error
    return saved


def write_published(folder: Path, saved: Mapping[str, Any], version: str) -> None:
    """Write `model.safetensors` and `config.json` of the containers that `read_trained` gave."""
    state = {n.removeprefix(MODEL_PREFIX): t for n, t in saved[PARAMETERS].items() if n.startswith(MODEL_PREFIX)}
    identity = saved[IDENTITY]
    write_tensors(folder / WEIGHTS, state, {"format": "pt"})
    config = {
        "library_name": LIBRARY,
        "version": version,
        "model_type": identity["model"]["name"],
        "sha256": digest(folder / WEIGHTS).sha256,
        "identity": identity,
    }
    write_json(folder / CONFIG, config)
