"""Options as Python writes them, as the overrides that the command line would take."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fmlab.config.overrides import override
from fmlab.config.validation import GROUPS
from fmlab.errors import FmlabError, StorageError, choices
from fmlab.plugin import registry
from fmlab.records.folder import RunFolder
from fmlab.untrusted.parsing import read_yaml

_OWN = ("ckpt_path", "if_exists", "warm_start")
_FOLDERS = ("data_dir", "cache_dir", "root", "cache")  # of the machine that a run began on, also by their old names


def overrides_of(options: Mapping[str, Any]) -> list[str]:
    """Overrides of nested or dotted options.

    `{"model": {"name": "fm", "dim": 16}, "trainer.max_epochs": 3, "loss": "bpr"}` gives
    `["loss=bpr", "model=fm", "model.dim=16", "trainer.max_epochs=3"]`: names of groups first, as their options need
    them. Raises FmlabError for a value that no option can have.
    """
    chosen: list[str] = []
    given: list[str] = []
    for key, value in options.items():
        if key in GROUPS and isinstance(value, Mapping):
            if (name := value.get("name")) is not None:
                chosen.append(override(key, _plain(key, name)))
            given += [override(f"{key}.{k}", _plain(f"{key}.{k}", v)) for k, v in value.items() if k != "name"]
        elif key in GROUPS or key == "experiment":
            chosen.append(override(key, _plain(key, value)))
        else:
            given.append(override(key, _plain(key, value)))
    return sorted(chosen) + given


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
    for key, value in leaves(config):
        if isinstance(value, str) and "${" in value:
            raise FmlabError(f"{key} of a run folder must be a plain value, got {value!r}")
    return {str(k): v for k, v in config.items() if k not in _OWN and not (k in _FOLDERS and _is_absolute(v))}


def leaves(tree: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """The plain values in nested containers, by their dotted keys."""
    if isinstance(tree, Mapping):
        return [pair for k, v in tree.items() for pair in leaves(v, f"{prefix}.{k}".lstrip("."))]
    if isinstance(tree, list):
        return [pair for v in tree for pair in leaves(v, prefix)]
    return [(prefix, tree)]


def data_of(data: object, roles: Mapping[str, Any], frame_file: Path | None) -> dict[str, Any]:
    """The group `data` of a data set's name, of a file or of a mapping of options; raises FmlabError.

    `roles`: columns of users, items, labels and times. `frame_file`: where a frame was written to.
    """
    found: dict[str, Any]
    if isinstance(data, Mapping):
        if "name" not in data and len(data) > 1 and all(map(_is_column, data.values())):
            raise FmlabError(
                "data as a mapping holds the options of a data set, {'name': ..., ...}, got columns "
                f"{', '.join(map(str, data))}; pandas.DataFrame makes a frame of them"
            )
        found = dict(data)
    elif frame_file is not None:
        found = {"name": "csv", "path": str(frame_file)}
    elif isinstance(data, str) and registry.is_claimed("data", data):
        found = {"name": data}
    elif isinstance(data, str | Path) and Path(data).expanduser().is_file():
        found = {"name": "csv", "path": str(Path(data).expanduser().absolute())}
    else:
        if not isinstance(data, str | Path):
            kind = type(data).__name__
            raise FmlabError(
                f"data must be a frame, a file or a data set's name, got {kind}; pandas.DataFrame makes one"
            )
        hint = choices(str(data), registry.names("data"))
        raise FmlabError(f"data must be a frame, a file or a data set's name, and {data} is no file; {hint}")
    return found | {k: v for k, v in roles.items() if v}


def _is_column(value: object) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, str)


def merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Options of several places; what a later one gives wins, option by option."""
    found: dict[str, Any] = {}
    for key, value in _items(parts):
        before = found.get(key)
        if isinstance(before, str) and isinstance(value, Mapping) and key in GROUPS:
            before = {"name": before}
        found[key] = {**before, **value} if isinstance(before, Mapping) and isinstance(value, Mapping) else value
    return found


def _items(parts: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    for part in parts:
        yield from part.items()


def _plain(key: str, value: object) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, tuple | list):
        return [_plain(key, v) for v in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise FmlabError(f"{key} must be text, a number, true or false, None or a list of these, got {value!r:.200}")


def _is_absolute(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("/", "~"))
