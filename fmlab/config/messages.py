"""Errors of Hydra, OmegaConf and YAML, retold on one line: what, what was got, the nearest choice."""

import re
from collections.abc import Iterator
from difflib import get_close_matches

import yaml
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationResolutionError,
    OmegaConfBaseException,
)

from fmlab.config.schema import sweep_defaults
from fmlab.config.suggestions import OTHER_WORDS, is_former, meant, nearest, paths_of, presets_like
from fmlab.errors import choices

# Parts of Hydra in packages of their own, and the command that installs each.
PACKAGES = {
    ("hydra/launcher", "joblib"): 'pip install "fmlab[joblib]"',
    ("hydra/launcher", "ray"): "pip install hydra-ray-launcher",
    ("hydra/launcher", "ray_aws"): "pip install hydra-ray-launcher",
    ("hydra/launcher", "rq"): "pip install hydra-rq-launcher",
    ("hydra/launcher", "submitit_local"): "pip install hydra-submitit-launcher",
    ("hydra/launcher", "submitit_slurm"): "pip install hydra-submitit-launcher",
    ("hydra/sweeper", "ax"): "pip install hydra-ax-sweeper",
    ("hydra/sweeper", "nevergrad"): "pip install hydra-nevergrad-sweeper",
    ("hydra/job_logging", "colorlog"): "pip install hydra-colorlog",
    ("hydra/hydra_logging", "colorlog"): "pip install hydra-colorlog",
}


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
    nested = getattr(error, "presets", ())  # names below the group, folders included
    group, _, name = path.rpartition("/")
    if nested:
        group, _, name = path.partition("/")
    asked = re.match(r"In '(.+?)'", str(error))
    where = f"{asked[1]}: " if asked and asked[1] not in ("config", "hydra/config") else ""
    if not group:
        return f"{where}there is no config file {name!r}"
    known = [*(nested or error.options or ())]
    if (group, name) in PACKAGES or close_package(group, name):
        return f"{where}{_uninstalled(group, name)}; installed: {', '.join(known)}"
    if nested:
        hint, listed = meant(presets_like(name, known)), f"fmlab {group} list"
        return f"{where}no {group} named {name!r}; {hint}choices: {', '.join(sorted(known))}; `{listed}` describes them"
    return f"{where}no {group} named {name!r}; {choices(name, known)}"


def close_package(group: str, name: str) -> str:
    """A part of Hydra of nearly that name that is in a package of its own; empty if there is none."""
    return next(iter(get_close_matches(name, [n for g, n in PACKAGES if g == group], n=1, cutoff=0.75)), "")


def _uninstalled(group: str, name: str) -> str:
    meant_name = name if (group, name) in PACKAGES else close_package(group, name)
    hint = "" if meant_name == name else f"no {group} named {name!r}; did you mean {meant_name!r}? "
    return f"{hint}{group}={meant_name} comes with a package that is not installed: {PACKAGES[group, meant_name]}"


def _unreadable(override: str) -> str:
    if "=" not in override:
        return f"an argument must look like key=value, got {override!r}"
    key, _, value = override.partition("=")
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    hint = "" if value[:1] in "[{'\"" else f"; quote it, for the shell and for Hydra: \"{key}='{quoted}'\""
    if re.fullmatch(r"\[[^\[\]{}'\"]*:[^\[\]{}'\"]*\]", value):  # a metric with options, say
        entries = (f'"{e.strip()}"' if ":" in e else e.strip() for e in value[1:-1].split(","))
        hint = f"; quote entries that hold a colon: '{key}=[{','.join(entries)}]'"
    return f"the value of {key!r} cannot be read, got {value!r}{hint}"


def _unknown_key(error: OmegaConfBaseException, parent: DictConfig) -> str:
    prefix = str(error.full_key).rpartition(".")[0]
    near = _paths_like(str(error.full_key), parent)
    beside = OmegaConf.to_container(parent, resolve=False)
    assert isinstance(beside, dict)
    known = [str(k) for k, v in beside.items() if k != "hydra" and not is_former(v)] + (
        [] if prefix else ["experiment", "sweep"]
    )
    title = f"{prefix} {parent.get('name')}" if prefix and "name" in parent else prefix or "a run"
    if not prefix and str(error.key) in sweep_defaults():
        return f"{error.key} is an option of a sweep, which is many runs: fmlab -m sweep=<name> {error.key}=..."
    beside_it = prefix and str(error.key).lower() not in OTHER_WORDS
    if near and not (beside_it and get_close_matches(str(error.key), known, n=1, cutoff=0.5)):
        return f"{error.full_key} is not an option of {title}; {meant(near)}choices: {', '.join(sorted(known))}"
    return f"{error.full_key} is not an option of {title}; {choices(str(error.key), known)}"


def _paths_like(key: str, parent: DictConfig) -> list[str]:
    """Full paths of options that a key may mean: those beside it first."""
    root = OmegaConf.to_container(parent._get_root(), resolve=False)
    if not isinstance(root, dict):
        return []
    paths = [*paths_of({str(k): v for k, v in root.items()}), "experiment", "sweep"]
    beside = [p for p in paths if p.startswith(f"{key.rpartition('.')[0]}.")]
    return nearest(key.rpartition(".")[2], beside) or nearest(key, paths)


def _plain(error: BaseException) -> str:
    text = str(error) or str(error.__cause__ or type(error).__name__)
    several = re.match(r"Ambiguous value for argument '(.+)'", text)
    if several:
        return f"{several[1]} gives several values: add -m to run each, or write [a,b] for a list"
    chosen = re.match(r"You must specify '(.+?)'", text)
    if chosen:
        return f"{chosen[1]} must be chosen: {chosen[1]}=<name>; choices: {', '.join(text.split()[9:])}"
    if text.startswith("Could not override ''."):
        return "an argument must look like key=value, got one without a key"
    if merging := re.match(r"Error merging override ([^=]+)=(.*)", text):
        return f"{merging[1]} cannot be {merging[2]}"
    if text.startswith("Config group override must be"):
        return f"a group is chosen by name, group=<name>, got {text.rpartition('Got ')[2]}"
    return " ".join(text.split("\nSee http")[0].split())
