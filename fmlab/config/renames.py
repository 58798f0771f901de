"""Former names of options in composed configs: accepted wherever an option is written, and gone once it is composed.

Each old name is a reference to the new one (`log2: ${.log_squared}`) from the time that all files are merged, so that
an override of it is accepted. What is no such reference any more was given a value, which goes to the new name.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from fmlab.config.validation import GROUPS, section
from fmlab.errors import FmlabError
from fmlab.plugin.renames import NewName, new_value, old_names, old_values, with_new_names
from fmlab.plugin.signature import Signature


def add_old_names(config: DictConfig) -> None:
    """Make overrides of old names possible in a config that has all files and no override yet."""
    for _, node, signature in _sections(config):
        with open_dict(node):
            for old, new in old_names(signature).items():
                if old not in node:
                    node[old] = _reference(new)


def take_new_names(config: DictConfig, typed: Collection[str]) -> dict[str, str]:
    """Move values to the new names, with a warning for each; gives the dotted old and new names of those moved.

    `typed`: dotted names of overrides, which win over files. Raises FmlabError where both names are in it.
    """
    moved: dict[str, str] = {}
    for prefix, node, signature in _sections(config):
        dotted = f"{prefix}." if prefix else ""
        with open_dict(node):
            for old, new in old_names(signature).items():
                if old in node:
                    _move(node, prefix, old, new, {n for n in (old, new.name) if f"{dotted}{n}" in typed}, moved)
            for name, new in old_values(signature).items():
                if name in node and not OmegaConf.is_interpolation(node, name) and not OmegaConf.is_missing(node, name):
                    value = node[name]
                    if (now := new_value(prefix, name, new, value)) != value:
                        node[name] = now
    return moved


def _move(node: DictConfig, prefix: str, old: str, new: NewName, typed: Collection[str], moved: dict[str, str]) -> None:
    given = node._get_node(old)
    raw = given._value() if OmegaConf.is_interpolation(node, old) else None  # type: ignore[union-attr]
    del node[old]
    if raw == _reference(new):
        return
    dotted = f"{prefix}." if prefix else ""
    if len(typed) == 2:
        raise FmlabError(f"one name of an option must be given, got both: {dotted}{old} is {dotted}{new.name} now")
    if new.name in typed:
        return
    value = given if raw is not None or OmegaConf.is_config(given) else given._value()  # type: ignore[union-attr]
    node[new.name] = new_value(prefix, old, new, value)
    moved[f"{dotted}{old}"] = f"{dotted}{new.name}"


def _reference(new: NewName) -> str:
    return f"${{.{new.name}}}"


def of_now(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options in the config.yaml of a run by their names of today; what is no option of now is left as it is."""
    found = {str(k): v for k, v in config.items()}
    for prefix in ("", *GROUPS):
        given = found if not prefix else found.get(prefix)
        if isinstance(given, Mapping):
            try:
                signature = section(prefix, given)[1]
            except FmlabError:  # a plugin that is not installed any more
                continue
            renamed = with_new_names(prefix, signature, {str(k): v for k, v in given.items()}, [*map(str, given)])
            found = renamed if not prefix else {**found, prefix: renamed}
    return found


def _sections(config: DictConfig) -> Iterator[tuple[str, DictConfig, Signature]]:
    """The parts of a config whose options have signatures; what is no group or no plugin is left to `verify`."""
    for prefix in ("", *GROUPS):
        node = config if not prefix else config._get_node(prefix) if prefix in config else None
        if not isinstance(node, DictConfig) or node._is_none() or node._is_missing():
            continue
        try:
            yield prefix, node, section(prefix, node)[1]
        except FmlabError:
            continue
