"""Source files of modules, found and parsed without importing anything."""

import ast
import importlib
import importlib.util
from functools import cache
from pathlib import Path

from fmlab.plugin.annotation import PluginError, Unreadable

MAX_HOPS = 5  # re-exports followed from package to module


@cache
def locate(module: str) -> Path | None:
    """File or folder of a module, found without importing any package; None where there is no such thing.

    What is neither source nor a folder (compiled, zipped) gives the nearest path there is.
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
def tree_of(module: str) -> ast.Module:
    """The parsed source of a module; raises Unreadable where there is none, PluginError for one that is broken."""
    if module.partition(".")[0] == "torch":  # its classes are no plugins, and its modules are long
        raise Unreadable(f"the source of {module!r} is not read")
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
        body = tree_of(module).body
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


def definition(module: str, attribute: str, hops: int) -> tuple[str, ast.ClassDef | ast.FunctionDef]:
    """The module that defines what `module` calls `attribute`, and the definition; raises Unreadable or PluginError."""
    for node in tree_of(module).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == attribute:
            return module, node
        if isinstance(node, ast.ImportFrom) and hops:
            for alias in node.names:
                if (alias.asname or alias.name) == attribute:
                    return definition(_absolute(module, node), alias.name, hops - 1)
    if "." in attribute or _may_define(tree_of(module), attribute):
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


def assigned(module: str, name: str, hops: int = MAX_HOPS) -> tuple[str, ast.expr]:
    """The module that gives `name` its value at the top level, and the value's source; raises Unreadable."""
    for node in tree_of(module).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if isinstance(value, ast.expr) and any(isinstance(t, ast.Name) and t.id == name for t in targets):
            return module, value
        if isinstance(node, ast.ImportFrom) and hops:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return assigned(_absolute(module, node), alias.name, hops - 1)
    raise Unreadable(f"{module} does not give {name} a value plainly")


def forget() -> None:
    """Read files anew: for tests and for programs that install packages while they run."""
    for function in (locate, tree_of, _exists):
        function.cache_clear()
    importlib.invalidate_caches()
