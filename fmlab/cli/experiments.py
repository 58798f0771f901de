"""The presets of whole runs: `fmlab experiment list`."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from fmlab.config import composition

_NOTHING: Mapping[str, str] = MappingProxyType({})
_WIDTH = 120  # where there is no terminal
GROUP = "experiment"


def presets(environment: Mapping[str, str] = _NOTHING, folder: str | None = None) -> Iterator[tuple[str, str]]:
    """Name and first comment of each experiment, by name; `folder`: another one to look in, as `--config-dir`."""
    composition.install(dict(environment))
    paths = [str(p.path).removeprefix("file://") for p in composition.search_path().get_path()]
    places = [p for p in paths if "://" not in p]
    found: dict[str, Path] = {}
    for place in (*([folder] if folder else []), *places):
        root = Path(place, GROUP)
        for path in root.rglob("*.yaml"):
            found.setdefault(path.relative_to(root).with_suffix("").as_posix(), path)
    for name in sorted(found):
        yield name, _comment(found[name])


def _comment(path: Path) -> str:
    """The comment at the head of a file, on one line."""
    words = []
    for line in path.read_text("utf-8", errors="replace").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @"):
            words.append(line.lstrip("# "))
    return " ".join(words)


def main(arguments: Sequence[str], environment: Mapping[str, str] = _NOTHING) -> int:
    """`fmlab experiment list [words]`; returns the exit code."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    parser = argparse.ArgumentParser(
        prog="fmlab experiment", description="Presets of whole runs: fmlab experiment=<name> runs one."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="all experiments, and what each is")
    listing.add_argument("words", nargs="*", help="only experiments with one of these words in their name")
    listing.add_argument("--config-dir", help="a folder of your own to look in too")
    options = parser.parse_args(list(arguments))
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("experiment", no_wrap=True)
    table.add_column("", overflow="fold")
    for name, comment in presets(environment, options.config_dir):
        if not options.words or any(w in name for w in options.words):
            table.add_row(Text(name), Text(comment))
    Console(width=None if Console().is_terminal else _WIDTH, highlight=False).print(table)
    return 0
