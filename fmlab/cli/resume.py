"""`fmlab resume RUN`: go on with a run, of which its folder says all that is needed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fmlab.config.overrides import override
from fmlab.errors import FmlabError, StorageError
from fmlab.records.folder import RunFolder
from fmlab.terminal.redaction import HIDDEN
from fmlab.untrusted.parsing import read_json, read_yaml
from fmlab.workflow.options import overrides_of

USAGE = "fmlab resume RUN [OPTION=VALUE ...]: go on from the last checkpoint; RUN is a run folder or last"
_OWN = ("ckpt_path", "if_exists", "warm_start")
_FOLDERS = ("data_dir", "cache_dir", "root", "cache")  # of the machine that the run began on, also by their old names


def options_of(path: Path) -> dict[str, Any]:
    """The options in the config.yaml of a run folder; raises StorageError, FmlabError for what cannot be composed.

    A value that is an interpolation was not written by a run, and a secret is not in the file.
    """
    try:
        config = read_yaml(RunFolder(path).config)
    except (OSError, ValueError) as error:
        raise StorageError(f"{RunFolder(path).config} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise StorageError(f"{RunFolder(path).config} must hold the options of a run")
    for key, value in _leaves(config, ""):
        if isinstance(value, str) and "${" in value:
            raise FmlabError(f"{key} of a run folder must be a plain value, got {value!r}")
    return {str(k): v for k, v in config.items() if k not in _OWN and not (k in _FOLDERS and _is_absolute(v))}


def overrides(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Overrides from the folder, and those typed, of `RUN [OPTION=VALUE ...]`; raises FmlabError."""
    if not arguments or "=" in arguments[0] or arguments[0].startswith("-"):
        raise FmlabError(f"resume takes a run: {USAGE}")
    from fmlab.run.locate import locate, run_folder

    place = run_folder(Path(arguments[0]))
    typed = list(arguments[1:])
    if wrong := [a for a in typed if "=" not in a or a.startswith("-")]:
        raise FmlabError(f"resume takes options such as trainer.max_epochs=20, got {wrong[0]!r}; {USAGE}")
    config = options_of(place)
    keys = {t.partition("=")[0] for t in typed}
    hidden = [key for key, value in _leaves(config, "") if value == HIDDEN and key not in keys]
    if hidden:
        raise FmlabError(f"a run folder holds no secrets: type {' '.join(f'{key}=...' for key in hidden)}")
    if _is_complete(place) and not typed:
        raise FmlabError(f"{place} is complete; train it longer with trainer.max_epochs=..., got no option")
    locate(place, "last")  # it says why there is nothing to go on from
    own = [override("hydra.run.dir", str(place)), "if_exists=resume"]
    return [o for o in overrides_of(config) if o.partition("=")[0] not in keys], [*typed, *own]


def _is_complete(place: Path) -> bool:
    try:
        found = read_json(RunFolder(place).metrics)
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("status") == "complete"


def _is_absolute(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("/", "~"))


def _leaves(tree: Any, prefix: str) -> list[tuple[str, Any]]:
    if isinstance(tree, Mapping):
        return [pair for k, v in tree.items() for pair in _leaves(v, f"{prefix}.{k}".lstrip("."))]
    if isinstance(tree, list):
        return [pair for v in tree for pair in _leaves(v, prefix)]
    return [(prefix, tree)]
