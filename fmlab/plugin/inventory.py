"""Everything that is installed, broken plugins with what is wrong with them; nothing is imported for it."""

from dataclasses import dataclass
from importlib.metadata import EntryPoint

from fmlab.plugin import registry
from fmlab.plugin import signature as signatures
from fmlab.plugin.annotation import PluginError, Unreadable
from fmlab.plugin.signature import Signature
from fmlab.plugin.source import missing_import


@dataclass(frozen=True)
class Plugin:
    """One line of `fmlab plugins`. `error` is empty for a plugin that can work as far as its source tells."""

    kind: str
    name: str
    package: str
    target: str
    signature: Signature
    error: str = ""


def describe(kind: str | None = None) -> list[Plugin]:
    """Everything installed, by kind and name, broken plugins with their error; imports nothing."""
    kinds = registry.KINDS if kind is None else (kind,)
    return [
        _describe(k, e)
        for k in kinds
        for e in sorted(registry.installed(k), key=lambda e: (e.name, registry.package(e)))
    ]


def _describe(kind: str, entry: EntryPoint) -> Plugin:
    signature, error, module = Signature(), "", ""
    try:
        module, attribute = registry.target(entry)
        signature = registry.checked_signature(kind, signatures.of_source(module, attribute))
    except Unreadable as reason:
        signature = Signature(doc=f"(not read: {reason})")
    except PluginError as reason:
        error = str(reason)
    if not registry.NAME.fullmatch(entry.name):
        error = "its name must be letters, digits and _.+-"
    elif not error and (missing := missing_import(module)):
        error = f"imports {missing!r}, which is not installed"
    elif not error and registry.holder(kind, entry.name) is None:
        error = f"another package claims this name too: select it as {registry.package(entry)}:{entry.name}"
    name = entry.name if registry.holder(kind, entry.name) is None else registry.title(kind, entry)
    return Plugin(kind, name, registry.owner(entry), entry.value, signature, error)
