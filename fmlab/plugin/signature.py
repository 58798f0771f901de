"""The signature of a plugin: its options, docstring and defaults, read from its source without importing it.

The registry, the command line and the help read a plugin through its Signature: keyword-only parameters with literal
annotations and defaults, the docstring, and literal class attributes such as `defaults`. Where the source is not plain
(a decorator, an inherited constructor, a compiled module), the plugin is imported and inspected.
"""

import ast
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, get_type_hints

from fmlab.plugin.annotation import PluginError, Unreadable, read_annotation
from fmlab.plugin.option import REQUIRED, Option, supported
from fmlab.plugin.source import MAX_HOPS, assigned, definition

_LITERALS = ("defaults", "space", "binding", "unlabeled")  # class attributes that are read without an import


@dataclass(frozen=True)
class Signature:
    """Options of a plugin, its docstring with the paper, and the plugins and values that it chooses by default."""

    options: tuple[Option, ...] = ()
    doc: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    positional: tuple[str, ...] | None = ()
    """Names of the positional parameters, which the run passes; None if any number may be passed."""
    space: Mapping[str, Any] = field(default_factory=dict)
    """Where AutoML searches options, as in a sweep's `space`; others get the range usual for their name."""
    binding: Mapping[str, Any] = field(default_factory=dict)
    """Plugins that a protocol requires, whatever a model's `defaults` choose."""
    unlabeled: Mapping[str, Any] = field(default_factory=dict)
    """Plugins of a data set that replace those of its `defaults` where `user` and `item` are given and no `label`."""
    maximize: bool | None = None
    """Whether a metric is better where it is larger; None where the class does not say it by True or False."""

    @property
    def summary(self) -> str:
        """First paragraph of the docstring, on one line."""
        return " ".join(self.doc.split("\n\n")[0].split())

    @property
    def paper(self) -> str:
        """The text that follows `Paper:` or `Source:`; a line that is indented, or follows a comma, continues it."""
        found = re.search(r"^(?:Paper|Source):\s*(.+(?:\n[ \t]+\S.*|(?<=[,;])\n.+)*)", self.doc, re.MULTILINE)
        return " ".join(found[1].split()) if found else ""

    @property
    def family(self) -> str:
        """The text that follows `Family:`, the heading of a model in tables; empty without one."""
        found = re.search(r"^Family:\s*(.+)", self.doc, re.MULTILINE)
        return found[1].strip() if found else ""


def of_source(module: str, attribute: str) -> Signature:
    """Signature of `module:attribute` from source; raises Unreadable, or PluginError."""
    module, node = definition(module, attribute, MAX_HOPS)
    if node.decorator_list:
        raise Unreadable("a decorator may change the signature")
    doc = ast.get_docstring(node) or ""
    if not isinstance(node, ast.ClassDef):
        return Signature(_options(node, module), doc, {}, _positional(node))
    lineage = _lineage(module, node)
    place, constructor = next(
        ((m, n) for m, c in lineage for n in c.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"),
        (module, None),
    )
    classes = [c for _, c in lineage]
    if constructor is None and (classes[-1].bases or classes[-1].keywords or any(c.decorator_list for c in classes)):
        raise Unreadable("the constructor is inherited from what its source does not show plainly")
    if constructor is not None and constructor.decorator_list:
        raise Unreadable("a decorator may change the signature")
    found: dict[str, Any] = {n: next(filter(None, (_literal(c, n) for c in classes)), {}) for n in _LITERALS}
    found["maximize"] = next((f for f in (_flag(c, "maximize") for c in classes) if f is not None), None)
    if constructor is None:
        return Signature(doc=doc, **found)
    given = _positional(constructor)
    return Signature(_options(constructor, place), doc, positional=given[1:] if given else given, **found)


def _lineage(module: str, node: ast.ClassDef) -> list[tuple[str, ast.ClassDef]]:
    """A class and those it inherits from one after the other, each with its module, as far as source shows them."""
    found = [(module, node)]
    while len(found) <= MAX_HOPS and len(node.bases) == 1 and isinstance(base := node.bases[0], ast.Name):
        try:
            module, parent = definition(module, base.id, MAX_HOPS)
        except (PluginError, Unreadable):  # a built-in name, or a package that only an import can find
            break
        if not isinstance(parent, ast.ClassDef):
            break
        node = parent
        found.append((module, node))
    return found


def of_object(plugin: Callable[..., Any]) -> Signature:
    """Signature of an imported plugin; raises PluginError if an option is not annotated as options must be."""
    function = plugin.__init__ if inspect.isclass(plugin) else plugin
    try:
        hints = get_type_hints(function, include_extras=True)
        parameters = inspect.signature(plugin).parameters.values()
    except (TypeError, ValueError, NameError) as error:
        raise PluginError(f"its signature cannot be read: {error}") from error
    options, positional, any_number = [], [], False
    for p in parameters:
        if p.kind is p.KEYWORD_ONLY:
            default = REQUIRED if p.default is p.empty else p.default
            options.append(_option(p.name, hints.get(p.name, p.empty), default))
        elif p.kind is p.VAR_KEYWORD:
            raise PluginError(_NAMED)
        elif p.kind is p.VAR_POSITIONAL:
            any_number = True
        else:
            positional.append(p.name)
    found: dict[str, Any] = {n: _pairs(getattr(plugin, n, {}), n) for n in _LITERALS}
    given = None if any_number else tuple(positional)
    flag = getattr(plugin, "maximize", None)
    found["maximize"] = flag if isinstance(flag, bool) else None
    return Signature(tuple(options), inspect.getdoc(plugin) or "", positional=given, **found)


_NAMED = "its options must be named one by one after `*`, got **, which accepts any name"


def _option(name: str, annotation: Any, default: Any) -> Option:
    if name == "name":
        raise PluginError("an option cannot be called 'name': that is the name of the plugin itself")
    if not supported(annotation):
        got = annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")
        raise PluginError(
            f"option {name!r} must be annotated with int, float, bool, str, None, tuple[int, ...], Literal[...] or "
            f"Annotated[int, Range(low, high)], got {got}"
        )
    option = Option.of(name, annotation, default)
    if not option.required:
        try:
            option.check(default)
        except ValueError as error:
            raise PluginError(f"the default of option {name!r} {error}") from error
    return option


def _pairs(content: object, name: str) -> dict[str, Any]:
    if not isinstance(content, Mapping):
        such = "{'loss': 'bpr'}" if name != "space" else "{'dim': {'int': [4, 64], 'log': True}}"
        raise PluginError(f"`{name}` must be a dict such as {such}, got {content!r}")
    return dict(content)


def _options(function: ast.FunctionDef, module: str) -> tuple[Option, ...]:
    found = []
    for argument, default in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True):
        try:
            value = REQUIRED if default is None else ast.literal_eval(default)
        except ValueError as error:
            raise Unreadable(f"the default of {argument.arg!r} is not a literal") from error
        if argument.annotation is None:
            raise PluginError(f"option {argument.arg!r} must be annotated")
        found.append(_option(argument.arg, read_annotation(argument.annotation, partial(_shared, module)), value))
    return tuple(found)


def _shared(module: str, name: str) -> Any:
    """A type that several options share, `Dim = Annotated[int, Range(1, None), "size of the vectors"]`."""
    where, value = assigned(module, name)
    return read_annotation(value, partial(_shared, where))


def _positional(function: ast.FunctionDef) -> tuple[str, ...] | None:
    if function.args.kwarg:
        raise PluginError(_NAMED)
    if function.args.vararg:
        return None
    return tuple(a.arg for a in (*function.args.posonlyargs, *function.args.args))


def _literal(node: ast.ClassDef, name: str) -> dict[str, Any]:
    """A class attribute that is a literal dict; empty if there is none."""
    value = _attribute(node, name)
    try:
        return {} if value is None else _pairs(ast.literal_eval(value), name)
    except (ValueError, TypeError) as error:
        raise Unreadable(f"`{name}` is not a literal dict") from error


def _flag(node: ast.ClassDef, name: str) -> bool | None:
    """A class attribute that is True or False; None if it is neither, or not there."""
    value = _attribute(node, name)
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, bool) else None


def _attribute(node: ast.ClassDef, name: str) -> ast.expr | None:
    """What a class assigns to an attribute in its body; None if nothing."""
    for statement in node.body:
        if not isinstance(statement, ast.Assign | ast.AnnAssign):
            continue
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return statement.value
    return None
