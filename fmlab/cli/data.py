"""`fmlab data`: what data sets there are, what they consist of, and what of them is on this disk."""

import argparse
import logging
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from rich import box
from rich.markup import escape
from rich.table import Table as Grid

from fmlab.data import Dataset, PreparationStep, dataset_statistics
from fmlab.data.raw.fetch import ensure, find, mismatch, places
from fmlab.data.source import DataSource, RawFile
from fmlab.data.store.cache import cached_dataset, lookup, verify
from fmlab.errors import DataError, FmlabError, StorageError
from fmlab.files import digest, remembered_digest, size
from fmlab.plugin import inventory, registry
from fmlab.terminal.console import Console
from fmlab.terminal.escaping import escaped_line

NOTHING: Mapping[str, str] = MappingProxyType({})
WIDTH = 120  # where there is no terminal
_PARTS = ("train samples", "validation samples", "test samples")  # 80/10/10, as `ctr` splits


@dataclass(frozen=True)
class Chosen:
    """A data set with its options, and the folders of its files."""

    name: str
    options: Mapping[str, Any]
    root: Path
    cache: Path

    def source(self) -> DataSource:
        """The plugin, built."""
        return registry.build("data", {"name": self.name, **self.options}, self.root)

    def open(self) -> Dataset:
        """The data set, prepared if it is not yet."""
        return cached_dataset(self.source(), self.name, self.options, self.root, self.cache)


def main(arguments: Sequence[str], environment: Mapping[str, str] = NOTHING) -> int:
    """Run `fmlab data ...`; returns the exit code. The folders come from the config, which reads `environment`."""
    if arguments and arguments[0] in ("split", "audit"):
        from fmlab.cli import audit, split

        return (split if arguments[0] == "split" else audit).main(arguments[1:], environment)
    args = _parsed(arguments)
    show = Console(width=None if Console().is_terminal else WIDTH, highlight=False)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if args.command == "list":
        return _list(show)
    if args.command == "path":
        chosen = _chosen("synthetic", [], args, environment)
        show.print(f"raw data  {chosen.root}\nprepared  {chosen.cache}", soft_wrap=True, markup=False)
        return 0
    chosen = _chosen(args.name, args.options, args, environment)
    commands = {"show": _show, "fetch": _fetch, "prepare": _prepare, "check": _check}
    return commands[args.command](show, chosen)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="fmlab data", description="Data sets: list, show, fetch, prepare, check, path, split, audit.")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    helps = {
        "list": "what is installed",
        "show": "license, files, fields, and the published statistics beside ours",
        "fetch": "get the raw files",
        "prepare": "get and prepare it",
        "check": "compare every checksum of raw files and prepared data",
        "path": "the folders of raw and of prepared data",
        "split": "write the parts of a protocol's split to files that other programs read",
        "audit": "say what of a protocol's test stands in training",
    }
    for name, text in helps.items():
        command = commands.add_parser(name, help=text, description=text)
        if name not in ("list", "path"):
            command.add_argument("name", metavar="NAME", help="a name that `fmlab data list` shows")
            command.add_argument("options", nargs="*", metavar="key=value", help="options of the data set")
        command.add_argument("--data-dir", "--root", metavar="FOLDER", help="raw data, instead of FMLAB_DATA_DIR")
        command.add_argument("--cache-dir", "--cache", metavar="FOLDER", help="prepared data, instead of FMLAB_CACHE")
    return parser


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """Options `key=value` may stand after flags too, where argparse alone does not look for them."""
    parser = _parser()
    args, rest = parser.parse_known_args(arguments)
    if strange := [word for word in rest if word.startswith("-") or "=" not in word or not hasattr(args, "options")]:
        parser.error(f"unrecognized arguments: {' '.join(strange)}")
    if rest:
        args.options += rest
    return args


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise FmlabError(f"{message}; see {self.prog} --help")


def _chosen(name: str, options: Iterable[str], args: argparse.Namespace, environment: Mapping[str, str]) -> Chosen:
    """The choice as a run with `data=NAME data.key=value` would have it."""
    from fmlab.config.composition import compose

    folders = [f"{key}={_quoted(value)}" for key in ("data_dir", "cache_dir") if (value := getattr(args, key))]
    given = [f"data.{option.removeprefix('data.')}" for option in options]
    config = compose([f"data={name}", *given, *folders], environment)
    from omegaconf import OmegaConf

    data: Any = OmegaConf.to_container(config.data, resolve=True)
    return Chosen(data.pop("name"), data, Path(config.data_dir), Path(config.cache_dir))


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _list(show: Console) -> int:
    grid = Grid("name", "what it is", "protocol", "package", box=box.SIMPLE_HEAD)
    for plugin in inventory.describe("data"):
        summary = f"broken: {plugin.error}" if plugin.error else plugin.signature.summary
        cells = (plugin.name, summary, str(plugin.signature.defaults.get("protocol", "")), plugin.package)
        grid.add_row(*map(escape, cells))
    show.print(grid)
    return 0


def _show(show: Console, chosen: Chosen) -> int:
    source = chosen.source()
    show.print(f"[bold]{chosen.name}[/]  {registry.schema('data', chosen.name).summary}")
    for title, text in (("license", source.license), ("citation", source.citation)):
        show.print(textwrap.fill(text, show.width - 10, initial_indent=f"{title:<10}", subsequent_indent=" " * 10))
    missing = _show_files(show, chosen, source.raw)
    if missing:
        by_hand = any(file.page or not file.urls for file in missing)
        how = "put them where the table says" if by_hand else f"`fmlab data fetch {chosen.name}` gets them"
        show.print(f"not prepared: {len(missing)} raw files are missing; {how}", soft_wrap=True)
        return 0
    folder, there = lookup(source, chosen.name, chosen.options, chosen.root, chosen.cache)
    if not there:
        show.print(f"not prepared yet: `fmlab data prepare {chosen.name}` does it")
        return 0
    used = sum(f.stat().st_size for f in folder.iterdir())
    show.print(f"prepared  {size(used)} in {folder}", soft_wrap=True, markup=False)
    _show_dataset(show, chosen.open())
    return 0


def _show_files(show: Console, chosen: Chosen, raw: Sequence[RawFile]) -> list[RawFile]:
    if not raw:
        show.print("files     none needed")
        return []
    grid = Grid(box=box.SIMPLE_HEAD)
    for title in ("file", "size", "where"):
        grid.add_column(title, overflow="fold")  # a path or an address that is cut is of no use
    missing = []
    for file in raw:
        place = find(file, chosen.root, chosen.name)
        if place is None:
            missing.append(file)
            source = f"by hand from {file.page}" if file.page else f"from {' or '.join(file.urls) or 'nowhere'}"
            wanted = places(file, chosen.root, chosen.name)[0]
            grid.add_row(escape(file.path), "-", escape(f"missing: {wanted}; {source}"))
        else:
            length = "(folder)" if place.is_dir() else size(place.stat().st_size)
            grid.add_row(escape(file.path), length, escape(str(place)))
    show.print(grid)
    return missing


def _show_dataset(show: Console, dataset: Dataset) -> None:
    from fmlab.data.filtering import positives  # only here: it needs torch, which listings do without

    schema = dataset.schema
    grid = Grid("field", "side", "features", "columns", "kind", box=box.SIMPLE_HEAD)
    for field in schema.fields:
        kind = "numeric" if field.numeric else "multi-valued" if field.slots > 1 else "categorical"
        grid.add_row(escape(escaped_line(field.name)), field.side, f"{field.size:,}", str(field.slots), kind)
    grid.add_row("[bold]all", "", f"{schema.n_features:,}", str(schema.n_columns), f"{len(schema.fields)} fields")
    show.print(grid)
    steps, figures = dataset.steps, [dataset_statistics.measured(dataset)]
    if dataset.rule.core or dataset.rule.min_label is not None:
        try:
            kept = positives(dataset, dataset.rule.min_label, dataset.rule.core)
            steps, figures = kept.steps, [*figures, dataset_statistics.measured(kept)]
        except DataError as error:  # the data are fine, the paper's rule does not suit them
            show.print(f"no positives by the rule of the set: {error}")
    _show_steps(show, steps)
    if dataset.published:
        show.print("Published (features without the unknown one of each field):")
        grid = Grid("paper", "statistic", "published", "ours", "why they differ", box=box.SIMPLE_HEAD)
        for figure in dataset.published:
            ours = _ours(figure.statistic, steps, figures)
            grid.add_row(figure.paper, figure.statistic, figure.printed, ours, escape(figure.reason))
        show.print(grid)


def _show_steps(show: Console, steps: Sequence[PreparationStep]) -> None:
    grid = Grid("step", "rows", "users", "items", "features", box=box.SIMPLE_HEAD)
    for step in steps:
        grid.add_row(escape(step.name), *(f"{n:,}" for n in (step.rows, step.users, step.items, step.features)))
    show.print(grid)


def _ours(statistic: str, steps: Sequence[PreparationStep], figures: Sequence[Mapping[str, float]]) -> str:
    """Our figure before and after the rule of the set, for the statistic of whatever name a paper gives it."""
    name = dataset_statistics.NAMES.get(statistic, statistic)
    if name == "fields":
        return f"{figures[0][name]} columns"
    if name == "sparsity level":  # IFM's: the share of all features that a row has
        return f"{figures[0]['fields'] / max(figures[0]['features'], 1):.2%}"
    if name in ("sparsity", "density"):
        return " -> ".join(f"{f[name]:.2%}" for f in figures if name in f)
    if name == "features":
        return " -> ".join(f"{int(f[name]):,}" for f in figures)
    if "records with negatives" in figures[0] and name in ("samples", "records with negatives"):
        return f"{int(figures[0][name]):,}"
    if name in _PARTS:
        held = int(steps[-1].rows * 0.1 + 0.5)
        return f"{held if name != _PARTS[0] else steps[-1].rows - 2 * held:,}"
    if name not in (attributes := {"samples": "rows", "users": "users", "items": "items"}):
        return ""
    ends = steps if len(steps) == 1 else (steps[0], steps[-1])
    return " -> ".join(f"{getattr(s, attributes[name]):,}" for s in ends)


def _fetch(show: Console, chosen: Chosen) -> int:
    source = chosen.source()
    show.print(f"license: {source.license}", soft_wrap=True)
    for raw in source.raw:
        place = ensure(raw, chosen.root, chosen.name)
        warning = mismatch(raw, remembered_digest(place, chosen.cache / "checksums", bool(raw.md5)), place)
        show.print(f"{raw.path}: {place}{f' ({warning})' if warning else ''}", soft_wrap=True)
    return 0


def _prepare(show: Console, chosen: Chosen) -> int:
    _show_dataset(show, chosen.open())
    return 0


def _check(show: Console, chosen: Chosen) -> int:
    source, code = chosen.source(), 0
    for raw in source.raw:
        place = find(raw, chosen.root, chosen.name)
        if place is None:
            show.print(f"{raw.path}: missing", soft_wrap=True)
            code = DataError.code
            continue
        # Read again, whatever was remembered: this is what the command is for.
        found = digest(place, md5=bool(raw.md5))
        right = "as published" if raw.sha256 or raw.md5 else f"no checksum is published; sha256 {found.sha256}"
        show.print(f"{raw.path}: {mismatch(raw, found, place) or right}", soft_wrap=True)
    if code:
        return code
    folder, there = lookup(source, chosen.name, chosen.options, chosen.root, chosen.cache)
    damage = verify(folder) if there else ""
    show.print(f"prepared: {f'damaged: {damage}' if damage else 'every checksum is right' if there else 'not yet'}")
    return StorageError.code if damage else 0
