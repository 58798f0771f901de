"""Which keys of `hydra.*` may be set, by a command line and by a config file; every other one is refused.

Hydra's own part of a config sets environment variables, opens log files, imports and builds what it names. So keys are
accepted by a list: what is not in it is refused wherever it stands, also keys of later versions of Hydra. A config file
may be somebody else's and gets fewer keys than a person who types them.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from fmlab.config.schema import sweep_defaults
from fmlab.errors import FmlabError


class Key(NamedTuple):
    """A key, or with `.*` all below it; `nested`: those below it too. `file`: whether a config file may set it."""

    name: str
    file: bool
    nested: bool
    what: str


ACCEPTED: tuple[Key, ...] = (
    Key("hydra.run.dir", True, False, "the run folder; of a file: inside the working folder"),
    Key("hydra.sweep.dir", True, False, "the folder of a multirun; of a file: inside the working folder"),
    Key("hydra.sweep.subdir", True, False, "the folder of a job inside hydra.sweep.dir"),
    Key("hydra.output_subdir", True, False, "a folder inside the run folder for Hydra's own files"),
    Key("hydra.job.name", True, False, "the name of the log file: letters, digits and _.-"),
    Key("hydra.job.chdir", True, False, "whether a run works inside its folder"),
    Key("hydra.job.config.override_dirname.kv_sep", True, False, "text of ${hydra.job.override_dirname}"),
    Key("hydra.job.config.override_dirname.item_sep", True, False, "text of ${hydra.job.override_dirname}"),
    Key("hydra.job.config.override_dirname.exclude_keys", True, False, "text of ${hydra.job.override_dirname}"),
    Key("hydra.verbose", True, False, "loggers that say more"),
    Key("hydra.job_logging.root.level", True, False, "how much a run says"),
    Key("hydra.hydra_logging.root.level", True, False, "how much a multirun says"),
    Key("hydra.job_logging.root.handlers", False, False, "which of the built-in handlers a run uses"),
    Key("hydra.hydra_logging.root.handlers", False, False, "which of the built-in handlers a multirun uses"),
    *(Key(f"hydra.sweeper.{option}", True, True, "an option of a sweep") for option in ("name", *sweep_defaults())),
    Key("hydra.sweeper.max_batch_size", True, False, "jobs of a plain multirun that start together"),
    Key("hydra.sweeper.params", True, True, "options that a plain multirun varies; none of hydra"),
    Key("hydra.launcher.n_jobs", True, False, "jobs of a plain multirun that run at once"),
    Key("hydra.sweeper.*", False, True, "options of an installed sweeper, but an import path"),
    Key("hydra.launcher.*", False, True, "options of an installed launcher, but an import path"),
    Key("hydra.mode", False, False, "RUN or MULTIRUN, as -m says"),
    Key("hydra.searchpath", False, False, "folders with configs, and pkg:// of an installed fmlab.conf package"),
)


def check_overrides(overrides: Sequence[Override], typed: Callable[[str], bool]) -> None:
    """Raise FmlabError for the first override that sets a key of `hydra.*` which is not accepted.

    `typed`: whether a key was typed by the user; other overrides were written in a sweep file.
    """
    for override in overrides:
        key, value = override.key_or_group, override.value()
        if key.split(".")[0] != "hydra":
            continue
        if override.is_delete():
            raise FmlabError(f"an option of hydra cannot be deleted, got {override.input_line}")
        file = "" if typed(key) else "a sweep"
        for name in keys_below(value, key):
            _check(name, file=file)


def check_file(part: Any, place: str) -> None:
    """Raise FmlabError for the first key below `hydra` in the config file `place` that is not accepted."""
    for name in keys_below(part, "hydra"):
        _check(name, file=place)


def _check(name: str, *, file: str) -> None:
    if _accepts(name, file=bool(file)) and not _builds(name):
        return
    where = f" in {file}" if file else ""
    if _accepts(name, file=False) and not _builds(name):
        raise FmlabError(f"{name} is for the command line, not for a config file, got it{where}: type {name}=...")
    known = ", ".join(k.name for k in ACCEPTED if k.file or not file if not k.name.startswith("hydra.sweeper."))
    raise FmlabError(
        f"{name} is refused{where}: a config builds nothing from an import path and sets nothing of the process; "
        f"keys of hydra that are accepted: {known}, options of a sweep"
    )


def _accepts(name: str, *, file: bool) -> bool:
    return any(
        name == key.name or (key.nested and name.startswith(f"{key.name.removesuffix('.*')}."))
        for key in ACCEPTED
        if key.file or not file
    )


def _builds(name: str) -> bool:
    """Whether a key makes Hydra build or call something, or a name of an override in it reaches Hydra's part."""
    parts = name.split(".")
    if any(re.fullmatch(r"_\w+_|\(\)", part) for part in parts[1:]):
        return True
    holds_overrides = parts[1:2] == ["sweeper"] and parts[2:3] in (["params"], ["fixed"], ["space"])
    return holds_overrides and _reaches_hydra(".".join(parts[3:]))


def _reaches_hydra(key: str) -> bool:
    """Whether the key of an override names Hydra's part: `hydra.job`, `+hydra/launcher`, `trainer@hydra.job`."""
    return bool(re.match(r"[+~]*hydra\b", key)) or "@" in key


def keys_below(tree: Any, prefix: str) -> Iterator[str]:
    """Dotted keys of nested mappings; a list and an interpolation are values, an empty mapping sets nothing."""
    if isinstance(tree, DictConfig):
        tree = OmegaConf.to_container(tree, resolve=False)
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from keys_below(value, f"{prefix}.{key}")
    else:
        yield prefix


def refuse_overrides_of_hydra(overrides: Mapping[str, Any], where: str) -> None:
    """Raise FmlabError for an override, kept in a sweep file, that reaches Hydra's part or reads a variable."""
    for key, value in overrides.items():
        if _reaches_hydra(key):
            raise FmlabError(f"{where}.{key} is refused: a sweep file sets options of runs, not of hydra")
        if any(re.search(r"\$\{.*:", text, re.DOTALL) for text in _texts(value)):
            raise FmlabError(f"{where}.{key} must be plain values, got {value!r}: type it on the command line")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, str):
        yield value
