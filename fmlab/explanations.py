"""Errors of Hydra, OmegaConf and YAML, retold on one line: what, what was got, the nearest choice."""

import re
from collections.abc import Iterator

import yaml
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationResolutionError,
    OmegaConfBaseException,
)

from fmlab.errors import choices


def explain(error: BaseException) -> str:
    """One line for a person; the exception itself stays the cause for `FMLAB_TRACEBACK=1`."""
    chain = list(_chain(error))
    for one in reversed(chain):  # the outermost knows where an interpolation stands
        if isinstance(one, InterpolationResolutionError):
            reason = str(one).splitlines()[0].rpartition("raised while resolving interpolation: ")[2]
            return f"{one.full_key}: {reason}" if one.full_key else reason
    for one in chain:
        text = _explain_one(one)
        if text:
            return text
    if any(isinstance(one, RecursionError) for one in chain):
        return "the config refers to itself: a defaults list or an interpolation goes round in a circle"
    return _plain(error)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what caused it, innermost first."""
    if error is not None:
        yield from _chain(error.__cause__ or error.__context__)
        yield error


def _explain_one(error: BaseException) -> str:
    match error:
        case yaml.MarkedYAMLError():
            mark = error.problem_mark or error.context_mark
            where = f"{mark.name}:{mark.line + 1}:{mark.column + 1}: " if mark else ""
            return f"{where}{error.problem or error.context}"
        case UnicodeDecodeError():
            return f"a config file must be UTF-8 text: {error}"
        case MissingConfigException(missing_cfg_file=str(path)):
            return _unknown_choice(error, path)
        case OverrideParseException():
            return _unreadable(str(error.override))
        case ConfigKeyError() | ConfigAttributeError() if isinstance(error.parent_node, DictConfig):
            return _unknown_key(error, error.parent_node)
    return ""


def _unknown_choice(error: MissingConfigException, path: str) -> str:
    group, _, name = path.rpartition("/")
    asked = re.match(r"In '(.+?)'", str(error))
    where = f"{asked[1]}: " if asked and asked[1] not in ("config", "hydra/config") else ""
    if not group:
        return f"{where}there is no config file {name!r}"
    return f"{where}no {group} named {name!r}; {choices(name, error.options or ())}"


def _unreadable(override: str) -> str:
    if "=" not in override:
        return f"an argument must look like key=value, got {override!r}"
    key, _, value = override.partition("=")
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    hint = "" if value[:1] in "[{'\"" else f"; quote it, for the shell and for Hydra: \"{key}='{quoted}'\""
    return f"the value of {key!r} cannot be read, got {value!r}{hint}"


def _unknown_key(error: OmegaConfBaseException, parent: DictConfig) -> str:
    prefix = str(error.full_key).rpartition(".")[0]
    known = [str(k) for k in parent if k != "hydra"] + ([] if prefix else ["experiment", "sweep"])
    title = f"{prefix} {parent.get('name')}" if prefix and "name" in parent else prefix or "a run"
    return f"{error.full_key} is not an option of {title}; {choices(str(error.key), known)}"


def _plain(error: BaseException) -> str:
    text = str(error) or str(error.__cause__ or type(error).__name__)
    several = re.match(r"Ambiguous value for argument '(.+)'", text)
    if several:
        return f"{several[1]} gives several values: add -m to run each, or write [a,b] for a list"
    chosen = re.match(r"You must specify '(.+?)'", text)
    if chosen:
        return f"{chosen[1]} must be chosen: {chosen[1]}=<name>; choices: {', '.join(text.split()[9:])}"
    if text.startswith("Config group override must be"):
        return f"a group is chosen by name, group=<name>, got {text.rpartition('Got ')[2]}"
    return " ".join(text.split("\nSee http")[0].split())
