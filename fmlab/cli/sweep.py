"""`fmlab sweep list`: the sweeps there are, how many trials each takes, and whether it can run here."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from omegaconf import OmegaConf

from fmlab.config import composition, sources
from fmlab.data.raw.fetch import find
from fmlab.errors import FmlabError
from fmlab.plugin import registry
from fmlab.sweep.spec import Sweep, of_now, read
from fmlab.terminal.escaping import escaped_line

_GROUPS = ("data", "protocol", "model", "loss", "sampler", "optimizer", "scheduler", "table", "search")
_NOTHING: Mapping[str, str] = MappingProxyType({})
_WIDTH = 120  # where there is no terminal


@dataclass(frozen=True)
class Line:
    """One sweep: all its trials, those that can run here, and what is in the way of the others."""

    name: str
    sampler: str = ""
    trials: str = ""
    here: str = ""
    state: str = ""


def lines(folder: Path, root: Path) -> Iterator[Line]:
    """Every sweep of a folder, by name. `root`: the folder of raw data."""
    for name in sorted(p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.yaml")):
        path = folder / f"{name}.yaml"
        try:
            content = OmegaConf.to_container(OmegaConf.load(path))
            assert isinstance(content, dict)
            yield _line(name, of_now({str(k): v for k, v in content.items()}), root)
        except FmlabError as error:
            yield Line(name, state=f"cannot run: {' '.join(str(error).split())}")


def _line(name: str, content: Mapping[str, Any], root: Path) -> Line:
    fixed = {"protocol": "ctr", **(content.get("fixed") or {})}  # a sweep without one takes the protocol of the run
    raw = {**content, "fixed": fixed}
    if raw.get("auto"):
        return Line(name, *_searched_for(content), "any data; every model that suits it")
    gone = list(dict.fromkeys(_missing(raw)))
    whole = read(name, as_if_installed(raw))
    needed = [p for p in gone if p.split()[0] in _needed(raw)]
    if needed:
        return Line(name, whole.sampler, _size(whole), state=f"no {', no '.join(needed)}")
    here = read(name, raw)
    state = f"without {', '.join(g.split()[1] for g in gone)}" if gone else ""
    remarks = [r for r in (state, _data(str(fixed["data"]), root) if "data" in fixed else "any data") if r]
    return Line(name, whole.sampler, _size(whole), _size(here), "; ".join(remarks))


def _searched_for(content: Mapping[str, Any]) -> tuple[str, str, str]:
    """Sampler, trials, and trials here, of a search over what is installed."""
    sampler = content.get("sampler", "tpe")
    presets = list(((content.get("auto") or {}).get("presets") or {}).values())
    budget = content.get("budget") or next((p["budget"] for p in presets if p.get("budget")), None)
    trials = f"for {budget}" if budget else f"{content.get('n_trials')}"
    return str(sampler["name"] if isinstance(sampler, Mapping) else sampler), trials, trials


@cache
def _data(name: str, root: Path) -> str:
    """What is to be done for the raw files of a data set; empty if they are there."""
    try:
        source = registry.build("data", {"name": name}, root)
        absent = [r for r in source.raw if find(r, root, name) is None]
    except FmlabError as error:
        return " ".join(str(error).split())
    pages = list(dict.fromkeys(r.page for r in absent if r.page))
    if pages:
        return f"data by hand from {', '.join(pages)}"
    return "data is fetched first" if absent else ""


def _size(sweep: Sweep) -> str:
    seeds = len(sweep.settings.seeds)
    points = "" if sweep.total is None else f"{sweep.total:,}"
    if not points:
        return f"for {sweep.settings.budget}"
    return points if seeds < 2 else f"{points} x {seeds} seeds"


def as_if_installed(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The sweep as if all its plugins were installed."""

    def kept(case: Any) -> Any:
        return {k: v for k, v in case.items() if k != "installed"} if isinstance(case, Mapping) else case

    space = raw.get("space") or {}
    return {**raw, "space": {k: [kept(c) for c in v] if isinstance(v, list) else kept(v) for k, v in space.items()}}


def _missing(raw: Mapping[str, Any]) -> Iterator[str]:
    """Plugins that the sweep names and that are not installed, `model nfm`."""
    for group in _GROUPS:
        for value in (*_fixed(raw, group), *_searched(raw, group)):
            if isinstance(value, str) and "$" not in value and not registry.is_claimed(group, value):
                yield f"{group} {value}"


def _fixed(raw: Mapping[str, Any], group: str) -> Sequence[Any]:
    fixed = raw.get("fixed") or {}
    return [fixed[group]] if group in fixed else []


def _searched(raw: Mapping[str, Any], group: str) -> Sequence[Any]:
    spec = (raw.get("space") or {}).get(group, [])
    cases = spec if isinstance(spec, list) else [spec]
    return [
        v
        for c in cases
        if isinstance(c, Mapping)
        for v in c.get("choice", [c.get("const", c.get("value"))])
        if v is not None
    ]


def _needed(raw: Mapping[str, Any]) -> set[str]:
    """Groups of which every named plugin must be there: fixed ones, and choices without `installed`."""
    spaces = raw.get("space") or {}
    optional = set()
    for group in _GROUPS:
        spec = spaces.get(group)
        cases = spec if isinstance(spec, list) else [spec]
        if spec is not None and all(isinstance(c, Mapping) and c.get("installed") for c in cases):
            optional.add(group)
    return set(_GROUPS) - optional


def main(arguments: Sequence[str], environment: Mapping[str, str] = _NOTHING) -> int:
    """`fmlab sweep list [words]`, `fmlab sweep recover JOURNAL`; `environment` is what the config reads.

    `fmlab sweep refit` is composed and run like any command line, see `fmlab.cli.refit`.
    """
    parser = argparse.ArgumentParser(prog="fmlab sweep", description="Sweeps: fmlab -m sweep=<name> runs one.")
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="all sweeps, their trials, and whether they can run here")
    listing.add_argument("words", nargs="*", help="only sweeps with one of these words in their name")
    commands.add_parser("refit", help="train the point of a trial again: refit FOLDER TRIAL [OPTION=VALUE ...]")
    recovery = commands.add_parser("recover", help="of a damaged journal, keep the records before the damage")
    recovery.add_argument("journal", type=Path, help="a study.journal at which no sweep is at work")
    options = parser.parse_args(list(arguments))
    if options.command == "recover":
        return _recover(options.journal)
    return _print(options.words, environment)


def _recover(path: Path) -> int:
    from fmlab.sweep.journal import SafeJournal  # only here: it needs Optuna

    if not path.is_file():
        raise FmlabError(f"recover takes the file of a journal, got {str(path)!r}")
    kept, aside = SafeJournal(path).recover()
    rest = "nothing is damaged" if aside is None else f"the rest is moved to {aside}"
    print(f"{path}: {kept:,} records are kept; {rest}")
    return 0


def _print(words: Sequence[str], environment: Mapping[str, str]) -> int:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from fmlab.terminal.console import Console

    table = Table(box=box.SIMPLE_HEAD)
    for title in ("sweep", "sampler", "trials", "here"):
        table.add_column(title, no_wrap=True, justify="right" if title in ("trials", "here") else "left")
    table.add_column("", overflow="fold")
    root = Path(composition.compose((), environment).data_dir)
    for line in lines(sources.beside("sweeps"), root):
        if not words or any(w in line.name for w in words):
            cells = (line.name, line.sampler, line.trials, line.here, line.state)
            table.add_row(*(escape(escaped_line(cell)) for cell in cells))
    Console(width=None if Console().is_terminal else _WIDTH, highlight=False).print(table)
    return 0
