"""What is installed: `fmlab plugins`."""

import argparse
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from fmlab.config.help import option_lines
from fmlab.errors import FmlabError
from fmlab.plugin import inventory, registry
from fmlab.plugin.inventory import Plugin
from fmlab.plugin.option import Option
from fmlab.plugin.registry import KINDS
from fmlab.terminal.escaping import escaped, escaped_line


def main(arguments: list[str], environment: Mapping[str, str] = MappingProxyType({})) -> int:
    """`fmlab plugins [KIND] [--json] [--check]` and `fmlab plugins show KIND NAME [OPTIONS]`; returns the exit code.

    `environment`: what the config reads where a model is shown on data.
    """
    parser = argparse.ArgumentParser(
        prog="fmlab plugins",
        description="Installed plugins. `fmlab plugins show KIND NAME` shows the options of one; "
        "`fmlab plugins show model NAME data=...`, with any options of a run, also its parameters, the work of a score "
        "and how it is scored on these data.",
    )
    words = f"one of {', '.join(KINDS)}; or: show KIND NAME; or: show model NAME data=..."
    parser.add_argument("words", nargs="*", metavar="KIND", help=words)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--check", action="store_true", help="import each one and say what fails")
    parser.add_argument("--markdown", action="store_true", help="print the table of all models that docs/models.md is")
    options = parser.parse_args(arguments)
    if options.markdown:
        from fmlab.inspection.model_table import markdown

        print(markdown(), end="")
        return 0
    match options.words:
        case ["show", kind, name, *overrides] if kind == "model" or not overrides:
            _show(kind, name, overrides, environment, as_json=options.json)
            return 0
        case ["show", *_]:
            raise FmlabError(
                "show takes a kind and a name, and for a model options of a run, as in: fmlab plugins show model fm "
                f"data=frappe; got {options.words[1:]}"
            )
        case [] | [_]:
            return _list(options.words[0] if options.words else None, as_json=options.json, check=options.check)
    raise FmlabError(f"plugins takes a kind, or: show KIND NAME; got {' '.join(options.words)!r}")


def _list(kind: str | None, *, as_json: bool, check: bool) -> int:
    found = inventory.describe(kind)
    if check:
        found = [_checked(p) for p in found]
    if as_json:
        print(json.dumps([_plain(p) for p in found], indent=2))
    else:
        _print_table(found)
    return FmlabError.code if check and any(p.error for p in found) else 0


def _checked(plugin: Plugin) -> Plugin:
    if plugin.error:
        return plugin
    try:
        registry.load(plugin.kind, plugin.name)
    except FmlabError as error:
        return Plugin(plugin.kind, plugin.name, plugin.package, plugin.target, plugin.signature, str(error))
    return plugin


def _print_table(plugins: Iterable[Plugin]) -> None:
    width, kind = shutil.get_terminal_size((120, 24)).columns, ""
    for plugin in plugins:
        if plugin.kind != kind:
            print(f"{'' if not kind else chr(10)}{plugin.kind}")
            kind = plugin.kind
        text = f"broken: {plugin.error}" if plugin.error else plugin.signature.summary
        line = f"  {plugin.name:<20} {plugin.package:<16} {text}"
        print(escaped_line(line if plugin.error or len(line) <= width else f"{line[: width - 1]}…"))


def _show(
    kind: str, name: str, overrides: Sequence[str], environment: Mapping[str, str], *, as_json: bool = False
) -> None:
    signature, entry = registry.schema(kind, name), registry.find(kind, name)
    lines: list[str] = []
    figures: dict[str, Any] = {}
    if overrides:
        from fmlab.inspection import model_summary  # only here: it needs torch

        found = model_summary.of_config([f"{kind}={name}", *overrides], environment)
        lines, figures = model_summary.lines(*found), {"on": model_summary.as_json(*found)}
    if as_json:
        plain = _plain(Plugin(kind, name, registry.owner(entry), entry.value, signature))
        print(json.dumps(plain | figures, indent=2))
        return
    print(escaped(f"{kind}={name}  {registry.owner(entry)}, {entry.value}\n\n{signature.doc}\n"))
    for line in option_lines(signature):
        print(escaped(f"  {line}"))
    if signature.defaults:
        said = [f"{k}={v}" if v is not None else f"no {k}" for k, v in signature.defaults.items()]
        print("\nunless said otherwise: " + ", ".join(said))
    if lines:
        print(escaped("\n" + "\n".join(lines)))


def _plain(plugin: Plugin) -> dict[str, Any]:
    signature = plugin.signature
    return {
        "kind": plugin.kind,
        "name": plugin.name,
        "package": plugin.package,
        "target": plugin.target,
        "summary": signature.summary,
        "paper": signature.paper,
        "options": [_plain_option(o) for o in signature.options],
        "defaults": dict(signature.defaults),
        "error": plugin.error,
    }


def _plain_option(option: Option) -> dict[str, Any]:
    default = {} if option.required else {"default": option.default}
    told = {"name": option.name, "type": str(option), "required": option.required}
    return told | default | {"description": option.description}
