"""The registry of plugins: every component is an entry point, built-in or installed from elsewhere.

A package offers a model by two lines of its pyproject.toml:

    [project.entry-points."fmlab.model"]
    acme = "acme_fm:AcmeFM"

`acme` is then selectable by `model=acme`, with the keyword-only parameters of `AcmeFM` as its options. Nothing is
imported until it is built. A plugin that cannot work never stops the others; to choose it is an error that names what
is wrong.
"""

import importlib
import logging
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache, reduce
from importlib.metadata import Distribution, EntryPoint, EntryPoints, entry_points
from typing import Any, Literal, get_args

from fmlab.errors import FmlabError, choices
from fmlab.plugin import signature as signatures
from fmlab.plugin.annotation import PluginError, Unreadable
from fmlab.plugin.option_values import check_options
from fmlab.plugin.signature import Signature
from fmlab.plugin.source import forget

Kind = Literal[
    "data", "protocol", "model", "loss", "sampler", "optimizer", "scheduler", "table", "search", "metric", "logger"
]
KINDS: tuple[Kind, ...] = get_args(Kind)
GIVEN: Mapping[Kind, tuple[str, ...]] = {
    "data": ("root",),
    "protocol": ("dataset",),
    "model": ("schema",),
    "loss": (),
    "sampler": ("observed",),
    "optimizer": ("parameters",),
    "scheduler": ("steps", "epoch_steps"),
    "table": ("schema", "fields", "width"),
    "search": ("space",),
    "metric": (),
    "logger": ("config", "folder"),
}
"""What the run gives a plugin of each kind, by position."""

OWN = "fmlab"
"""The distribution whose plugins are built in: their names are theirs, whoever else claims them."""

log = logging.getLogger("fmlab")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


def installed(kind: str) -> EntryPoints:
    """Entry points of a kind; one that is seen twice on the path counts once."""
    for known, entries in _installed().items():
        if kind == known:
            return entries
    raise FmlabError(f"a kind of plugin must be known, got {kind!r}; {choices(kind, KINDS)}")


def config_folders() -> list[EntryPoint]:
    """Entry points of the folders of configs that packages offer, `fmlab.conf`, by name."""
    return sorted(_everything().select(group="fmlab.conf"), key=lambda e: e.name)


@cache
def _everything() -> Any:
    return entry_points()  # one scan of the path for all kinds


@cache
def _installed() -> dict[Kind, EntryPoints]:
    everything = _everything()
    found = {}
    for kind in KINDS:
        entries = {(e.name, e.value): e for e in reversed(list(everything.select(group=f"fmlab.{kind}")))}
        found[kind] = EntryPoints(entries.values())
    return found


def refresh() -> None:
    """Look again at what is installed."""
    for function in (_everything, _installed, _signature, _identity, _claims, _warn_of_claims, names):
        function.cache_clear()
    forget()


@cache
def _identity(distribution: Distribution | None) -> tuple[str, str]:
    if distribution is None:
        return "an unnamed package", ""
    return distribution.name, distribution.version


def package(entry: EntryPoint) -> str:
    """Name of the distribution an entry point comes from."""
    return _identity(entry.dist)[0]


def owner(entry: EntryPoint) -> str:
    """Distribution and version, as messages name them."""
    return " ".join(_identity(entry.dist)).strip()


@cache
def names(kind: str) -> tuple[str, ...]:
    """Names that can be selected: the short one of a built-in plugin, or of the only package that claims it.

    Any other is listed as `package:name`.
    """
    return tuple(sorted(title(kind, e) for e in installed(kind) if NAME.fullmatch(e.name)))


def title(kind: str, entry: EntryPoint) -> str:
    """The name that selects a plugin: `name`, or `package:name` where the short name is not its own."""
    return entry.name if holder(kind, entry.name) is entry else f"{package(entry)}:{entry.name}"


@cache
def _claims(kind: str) -> Mapping[str, Sequence[EntryPoint]]:
    found = defaultdict(list)
    for entry in installed(kind):
        found[entry.name].append(entry)
    return found


def holder(kind: str, name: str) -> EntryPoint | None:
    """Whose plugin a short name means: the only one, else the built-in one; None if that is not clear."""
    claims = _claims(kind).get(name, ())
    own = [e for e in claims if _same(package(e), OWN)] if len(claims) > 1 else claims
    return own[0] if len(own) == 1 else None


def is_claimed(kind: str, name: str) -> bool:
    """Whether `name` or `package:name` is installed, clearly or not."""
    origin, _, short = name.rpartition(":")
    claims = _claims(kind).get(short, ())
    return bool(NAME.fullmatch(short)) and any(not origin or _same(package(e), origin) for e in claims)


def find(kind: str, name: str) -> EntryPoint:
    """The entry point of `name` or `package:name`; raises FmlabError if there is none, or it is not clear which.

    A built-in plugin keeps its name; that another package claims it as well is said once.
    """
    origin, _, short = name.rpartition(":")
    installed(kind)  # it complains about an unknown kind
    claims = _claims(kind).get(short, ())
    found = [e for e in claims if not origin or _same(package(e), origin)]
    if not found:
        raise FmlabError(f"no {kind} named {name!r} is installed; {choices(name, names(kind))}")
    if len(found) == 1:
        return found[0]
    own = holder(kind, short)
    ways = [f"{kind}={package(e)}:{short}" for e in found if e is not own]
    if own is None or own not in found:
        said = " and ".join(f"{owner(e)} ({e.value})" for e in found)
        raise FmlabError(
            f"{kind} {name!r} must come from one package, it is claimed by {said}; choose {' or '.join(ways)}"
        )
    _warn_of_claims(kind, short, tuple(owner(e) for e in found if e is not own), tuple(ways))
    return own


@cache
def _warn_of_claims(kind: str, name: str, others: Sequence[str], ways: Sequence[str]) -> None:
    log.warning(
        f"{kind} {name!r} is the built-in one; {' and '.join(others)} claims the name too: "
        f"{' or '.join(ways)} selects that"
    )


def _same(a: str, b: str) -> bool:
    return re.sub(r"[-_.]+", "-", a).lower() == re.sub(r"[-_.]+", "-", b).lower()


def schema(kind: str, name: str) -> Signature:
    """Options, docstring and defaults of a plugin, without importing it where its source is plain."""
    return _signature(kind, find(kind, name))


@cache
def _signature(kind: str, entry: EntryPoint) -> Signature:
    try:
        try:
            signature = signatures.of_source(*target(entry))
        except Unreadable:
            signature = signatures.of_object(_import(kind, entry))
        return checked_signature(kind, signature)
    except PluginError as error:
        raise FmlabError(f"{_title(kind, entry)} is broken: {error}") from error


def target(entry: EntryPoint) -> tuple[str, str]:
    """Module and object; raises PluginError, where `EntryPoint` itself would fail or give None."""
    found = re.fullmatch(r"([\w.]+)\s*:\s*([\w.]+)", entry.value)
    if not found:
        raise PluginError(f"an entry point must be 'module:object', got {entry.value!r}")
    return found[1], found[2]


def checked_signature(kind: str, signature: Signature) -> Signature:
    """The signature, if a plugin of this kind can be called; raises PluginError."""
    given = next(names for known, names in GIVEN.items() if known == kind)
    got = signature.positional
    if got is not None and len(got) != len(given):
        rule = f"a {kind} must take ({', '.join([*given, '*', '...options'])}), got ({', '.join(got)})"
        extra = f": {' and '.join(map(repr, got[len(given) :]))} must stand after `*`" if len(got) > len(given) else ""
        raise PluginError(rule + extra)
    names = [o.name for o in signature.options]
    for option in signature.options:
        if option.used_with is not None and option.used_with.option not in names:
            other = option.used_with.option
            raise PluginError(f"{option.name} must be used with an option of the same plugin, got {other!r}")
    return signature


def _title(kind: str, entry: EntryPoint) -> str:
    return f"{kind} {entry.name!r} of {owner(entry)}"


def load(kind: str, name: str) -> Any:
    """Import a plugin; raises FmlabError naming its package, whatever the import raised."""
    return _import(kind, find(kind, name))


def _import(kind: str, entry: EntryPoint) -> Any:
    try:
        name, attribute = target(entry)
    except PluginError as error:
        raise FmlabError(f"{_title(kind, entry)} is broken: {error}") from error
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {error}".split("\n")[0]
        raise FmlabError(f"{_title(kind, entry)} cannot be imported: {what}") from error
    try:
        return reduce(getattr, attribute.split("."), module)
    except AttributeError as error:
        known = [n for n in dir(module) if not n.startswith("_")]
        hint = choices(attribute, known)
        raise FmlabError(f"{_title(kind, entry)} is broken: {name} has no {attribute!r}; {hint}") from error


def check(kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a plugin but `name`, defaults filled in, converted; raises FmlabError for the first wrong one."""
    if not isinstance(options.get("name"), str):
        raise FmlabError(f"{kind}.name must be the name of a plugin, got {options.get('name')!r}")
    given = {k: v for k, v in options.items() if k != "name"}
    return check_options(kind, schema(kind, options["name"]), given, options["name"])


def build(kind: str, options: Mapping[str, Any], *positional: Any, gives: Any = object) -> Any:
    """Call a plugin: `options` holds its `name` and any of its options, `positional` is what the run gives.

    Lists become tuples. Raises FmlabError for an unknown name or option, for a value that its annotation forbids, and
    for a plugin that fails or does not give one of `gives`.
    """
    values = check(kind, options)
    entry = find(kind, options["name"])
    plugin = _import(kind, entry)
    try:
        with _within_memory(kind, options["name"]):
            made = plugin(*positional, **values)
    except (FmlabError, OSError, MemoryError):
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {error}".split("\n")[0]
        raise FmlabError(f"{_title(kind, entry)} cannot be built with {values}: {what}") from error
    if not isinstance(made, gives):
        wanted = " or ".join(t.__name__ for t in (gives if isinstance(gives, tuple) else (gives,)))
        raise FmlabError(f"{_title(kind, entry)} must give a {wanted}, got {type(made).__name__}")
    return made


def _within_memory(kind: str, name: str) -> AbstractContextManager[None]:
    """A model's parameters are refused before they fill more memory than there is."""
    if kind != "model":
        return nullcontext()
    from fmlab.memory.tensors import bounded  # only here: it needs torch, which listings do without

    return bounded(f"the parameters of {name}", "choose smaller options of the model, or fewer features of the data")
