"""`fmlab doctor`: what is installed, which devices and folders there are, what is missing and what to do about it."""

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import NamedTuple

from fmlab import __version__
from fmlab.errors import FmlabError
from fmlab.plugin import inventory
from fmlab.terminal.escaping import escaped_line

_CORE = ("torch", "pytorch-lightning", "hydra-core", "optuna", "pandas", "pyarrow", "numpy", "scipy", "wandb")


class Line(NamedTuple):
    """One finding. `state`: ok, missing (something optional) or broken (fmlab does not work)."""

    what: str
    state: str
    found: str


def main(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Print what was found; returns 0, or 2 where something is broken. Raises FmlabError for arguments."""
    if arguments:
        if list(arguments) in (["--help"], ["-h"]):
            print("fmlab doctor: versions, devices, extras, folders and plugins; what is missing and what to do")
            return 0
        raise FmlabError(f"doctor takes no arguments, got {' '.join(arguments)!r}")
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from fmlab.terminal.console import Console

    lines = [*_versions(), *_devices(), *_extras(), *_folders(environment), *_plugins()]
    table = Table(box=box.SIMPLE_HEAD)
    for title in ("what", "state", "found"):
        table.add_column(title, overflow="fold")
    for line in lines:
        table.add_row(*(escape(escaped_line(cell)) for cell in line))
    Console(width=None if Console().is_terminal else 120, highlight=False).print(table)
    return FmlabError.code if any(line.state == "broken" for line in lines) else 0


def _versions() -> Iterator[Line]:
    yield Line("fmlab", "ok", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    if sys.platform not in ("linux", "darwin"):
        yield Line("system", "broken", f"Linux and macOS are supported, got {sys.platform}")
    for name in _CORE:
        try:
            yield Line(name, "ok", version(name))
        except PackageNotFoundError:
            yield Line(name, "broken", f"not installed: pip install {name}")


def _devices() -> Iterator[Line]:
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Line("devices", "broken", f"torch cannot be imported: {error}")
        return
    yield Line("processor", "ok", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads of torch")
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        gpus.append("Apple GPU (mps)")
    yield Line("gpu", "ok" if gpus else "missing", ", ".join(gpus) or "none that torch can use; runs are on the CPU")


def _extras() -> Iterator[Line]:
    """Packages that are needed for some features alone, by extra."""
    extras: dict[str, list[str]] = {}
    for line in requires("fmlab") or ():
        if found := re.match(r"([\w.-]+)(?:\[.*?\])?[^;]*;.*extra\s*==\s*['\"]([\w-]+)['\"]", line):
            extras.setdefault(found[2], []).append(found[1])
    for extra, names in extras.items():
        gone = [name for name in names if name != "fmlab" and not _installed(name)]
        todo = f'without {", ".join(gone)}: pip install "fmlab[{extra}]"'
        yield Line(f"extra {extra}", "missing" if gone else "ok", todo if gone else "installed")


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def _folders(environment: Mapping[str, str]) -> Iterator[Line]:
    from fmlab.config.composition import compose

    try:
        config = compose((), environment)
    except FmlabError as error:
        yield Line("config", "broken", str(error))
        return
    raw, cache = Path(str(config.data_dir)), Path(str(config.cache_dir))
    if raw.is_dir():
        yield Line("raw data", "ok", str(raw.absolute()))
    else:
        yield Line("raw data", "missing", f"{raw.absolute()} is not there: set FMLAB_DATA_DIR, or download to it")
    place = next((p for p in (cache, *cache.absolute().parents) if p.is_dir()), Path("/"))
    if not os.access(place, os.W_OK):
        yield Line("cache", "broken", f"{cache} cannot be written: set FMLAB_CACHE to a folder that can")
    else:
        yield Line("cache", "ok", f"{cache}, {shutil.disk_usage(place).free / 2**30:,.1f} GiB free")


def _plugins() -> Iterator[Line]:
    found = inventory.describe()
    for plugin in (p for p in found if p.error):
        yield Line(f"{plugin.kind} {plugin.name}", "missing", f"{plugin.package}: {plugin.error}")
    yield Line("plugins", "ok", f"{sum(not p.error for p in found)} of {len(found)} can be used")
