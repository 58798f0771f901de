"""What a plugin says about itself, read from its source without importing it.

A signature is what the registry, the command line and the help are made of: keyword-only parameters with literal
annotations and defaults, the docstring, and the literal class attribute `defaults`. Where the source does not say it
plainly (a decorator, an inherited constructor, a compiled module), the object itself is asked.
"""

import ast
import importlib
import importlib.util
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from fmlab.plugin.annotation import PluginError, Unreadable, read_annotation
from fmlab.plugin.option import REQUIRED, Option, supported

_LITERALS = ("defaults", "space", "binding")  # class attributes that are read without an import
_MAX_HOPS = 5  # re-exports followed from package to module


@dataclass(frozen=True)
class Signature:
    """Options of a plugin, what it is, the paper it follows, and the partners and values it wants by default."""

    options: tuple[Option, ...] = ()
    doc: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    positional: tuple[str, ...] | None = ()
    """What the run gives, by position; None if any number may be given."""
    space: Mapping[str, Any] = field(default_factory=dict)
    """Where AutoML searches each option, as in a sweep's `space`; names say it where a plugin does not."""
    binding: Mapping[str, Any] = field(default_factory=dict)
    """Partners of a protocol that win over those of a model's `defaults`."""

    @property
    def summary(self) -> str:
        """First paragraph of the docstring, on one line."""
        return " ".join(self.doc.split("\n\n")[0].split())

    @property
    def paper(self) -> str:
        """What stands behind `Paper:` or `Source:`; a line that is indented, or follows a comma, continues it."""
        found = re.search(r"^(?:Paper|Source):\s*(.+(?:\n[ \t]+\S.*|(?<=[,;])\n.+)*)", self.doc, re.MULTILINE)
        return " ".join(found[1].split()) if found else ""


def of_source(module: str, attribute: str) -> Signature:
    """Signature of `module:attribute` from source; raises Unreadable, or Broken."""
    module, node = _definition(module, attribute, _MAX_HOPS)
    if node.decorator_list:
        raise Unreadable("a decorator may change the signature")
    doc = ast.get_docstring(node) or ""
    if not isinstance(node, ast.ClassDef):
        return Signature(_options(node), doc, {}, _positional(node))
    lineage = _lineage(module, node)
    constructor = next(
        (n for c in lineage for n in c.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None
    )
    if constructor is None and (lineage[-1].bases or lineage[-1].keywords or any(c.decorator_list for c in lineage)):
        raise Unreadable("the constructor is inherited from what its source does not show plainly")
    if constructor is not None and constructor.decorator_list:
        raise Unreadable("a decorator may change the signature")
    defaults, space, binding = (next(filter(None, (_literal(c, n) for c in lineage)), {}) for n in _LITERALS)
    if constructor is None:
        return Signature((), doc, defaults, (), space, binding)
    given = _positional(constructor)
    return Signature(_options(constructor), doc, defaults, given[1:] if given else given, space, binding)


def _lineage(module: str, node: ast.ClassDef) -> list[ast.ClassDef]:
    """A class and those it inherits from one after the other, as far as source shows them."""
    found = [node]
    while len(found) <= _MAX_HOPS and len(node.bases) == 1 and isinstance(base := node.bases[0], ast.Name):
        try:
            module, parent = _definition(module, base.id, _MAX_HOPS)
        except (PluginError, Unreadable):  # a built-in name, or a package that only an import can find
            break
        if not isinstance(parent, ast.ClassDef):
            break
        node = parent
        found.append(node)
    return found


def of_object(plugin: Callable[..., Any]) -> Signature:
    """Signature of an imported plugin; raises Broken if an option is not annotated as options must be."""
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
    defaults, space, binding = (_pairs(getattr(plugin, n, {}), n) for n in _LITERALS)
    given = None if any_number else tuple(positional)
    return Signature(tuple(options), inspect.getdoc(plugin) or "", defaults, given, space, binding)


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
    return Option(name, annotation, default)


def _pairs(content: object, name: str) -> dict[str, Any]:
    if not isinstance(content, Mapping):
        such = "{'loss': 'bpr'}" if name != "space" else "{'dim': {'int': [4, 64], 'log': True}}"
        raise PluginError(f"`{name}` must be a dict such as {such}, got {content!r}")
    return dict(content)


@cache
def locate(module: str) -> Path | None:
    """File or folder of a module, found without importing any package; None where there is no such thing.

    What is neither source nor a plain folder (compiled, zipped) gives the nearest path there is.
    """
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest and spec.origin:
        return Path(spec.origin)
    for folder in spec.submodule_search_locations or ():
        path = Path(folder, *rest)
        if not Path(folder).is_dir():
            return path
        for candidate in (path / "__init__.py", path.parent / f"{path.name}.py", path):
            if candidate.exists():
                return candidate
        for candidate in path.parent.glob(f"{path.name}.*"):
            return candidate
    return None


@cache
def _tree(module: str) -> ast.Module:
    path = locate(module)
    if path is None:
        raise PluginError(f"module {module!r} is not there")
    if path.suffix != ".py":
        raise Unreadable(f"no source of {module!r}")
    try:
        return ast.parse(path.read_text("utf-8"), str(path))
    except (SyntaxError, ValueError, OSError) as error:
        raise PluginError(f"{path.name} cannot be read: {error}") from error


@cache
def _exists(top: str) -> bool:
    try:
        return importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        return False


def missing_import(module: str) -> str | None:
    """The first package that a module imports and that is not installed."""
    try:
        body = _tree(module).body
    except (Unreadable, PluginError):
        return None
    for node in body:
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names = [node.module]
        for name in names:
            if not _exists(name.partition(".")[0]):
                return name
    return None


def _definition(module: str, attribute: str, hops: int) -> tuple[str, ast.ClassDef | ast.FunctionDef]:
    """The module that defines what `module` calls `attribute`, and the definition; raises Unreadable, or Broken."""
    for node in _tree(module).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == attribute:
            return module, node
        if isinstance(node, ast.ImportFrom) and hops:
            for alias in node.names:
                if (alias.asname or alias.name) == attribute:
                    return _definition(_absolute(module, node), alias.name, hops - 1)
    if "." in attribute or _may_define(_tree(module), attribute):
        raise Unreadable(f"{module} does not define {attribute} plainly")
    raise PluginError(f"{module} has no {attribute!r}")


def _may_define(tree: ast.Module, attribute: str) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == attribute:
            return True
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name in (attribute, "__getattr__"):
            return True
        if isinstance(node, ast.ImportFrom | ast.Import) and node.names[0].name == "*":
            return True
    return False


def _absolute(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return str(node.module)
    path = locate(module)
    parts = module.split(".")
    is_package = path is not None and path.name == "__init__.py"
    kept = parts[: len(parts) - node.level + is_package]
    return ".".join([*kept, *([node.module] if node.module else [])])


def _options(function: ast.FunctionDef) -> tuple[Option, ...]:
    found = []
    for argument, default in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True):
        try:
            value = REQUIRED if default is None else ast.literal_eval(default)
        except ValueError as error:
            raise Unreadable(f"the default of {argument.arg!r} is not a literal") from error
        if argument.annotation is None:
            raise PluginError(f"option {argument.arg!r} must be annotated")
        found.append(_option(argument.arg, read_annotation(argument.annotation), value))
    return tuple(found)


def _positional(function: ast.FunctionDef) -> tuple[str, ...] | None:
    if function.args.kwarg:
        raise PluginError(_NAMED)
    if function.args.vararg:
        return None
    return tuple(a.arg for a in (*function.args.posonlyargs, *function.args.args))


def _literal(node: ast.ClassDef, name: str) -> dict[str, Any]:
    """A class attribute that is a literal dict; empty if there is none."""
    for statement in node.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        if any(isinstance(t, ast.Name) and t.id == name for t in targets):
            try:
                return _pairs(ast.literal_eval(statement.value), name)  # type: ignore[attr-defined]
            except (ValueError, TypeError) as error:
                raise Unreadable(f"`{name}` is not a literal dict") from error
    return {}


def forget() -> None:
    """Read files anew: for tests and for programs that install packages while they run."""
    for function in (locate, _tree, _exists):
        function.cache_clear()
    importlib.invalidate_caches()
