"""The source of a plugin as one checksum: whether it was edited since it prepared what the cache holds.

Comments, docstrings and layout do not count. The modules that it imports from its own package do.
"""

import ast
import hashlib
import inspect
import sys
import token
import tokenize
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

_FORMATTED = [getattr(token, n) for n in ("FSTRING_START", "FSTRING_MIDDLE", "FSTRING_END") if hasattr(token, n)]


class PluginSource(NamedTuple):
    """`sha256`: of the modules as they were when this process first asked, empty where there is no source.

    `changed`: files that were written since then, which this process does not see.
    """

    sha256: str
    changed: tuple[str, ...]


def plugin_source(plugin: Any) -> PluginSource:
    """The source of an object's class."""
    modules = _modules(type(plugin).__module__)
    parts = [_taken(path) for path in modules]
    whole = hashlib.sha256("\n".join(text for text, _ in parts).encode()).hexdigest() if any(modules) else ""
    changed = tuple(p for p, (_, state) in zip(modules, parts, strict=True) if _state(p) != state)
    return PluginSource(whole, changed)


@cache
def _modules(name: str) -> tuple[str, ...]:
    """Files of a module and of those that it imports, directly or not, from its own top-level package."""
    package, todo, found = name.partition(".")[0], [name], dict[str, str]()
    while todo:
        module = sys.modules.get(todo.pop())
        path = _path(module)
        if module is None or path is None or module.__name__ in found:
            continue
        found[module.__name__] = path
        todo += [n for n in _imports(module, path) if n.partition(".")[0] == package]
    return tuple(found[n] for n in sorted(found))


def _path(module: ModuleType | None) -> str | None:
    with suppress(TypeError, OSError):
        path = inspect.getsourcefile(module) if module is not None else None
        return path if path and Path(path).is_file() else None
    return None


def _imports(module: ModuleType, path: str) -> list[str]:
    with suppress(SyntaxError, OSError, ValueError):
        tree = ast.parse(Path(path).read_bytes())
        names: list[str] = []
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    parents = module.__name__.split(".")
                    up = node.level - (1 if hasattr(module, "__path__") else 0)
                    base = ".".join([*parents[: len(parents) - up], *([base] if base else [])])
                names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
        return names
    return []


@cache
def _taken(path: str) -> tuple[str, tuple[int, ...]]:
    """The source without comments and docstrings, and the state of its file, both when first asked."""
    state = _state(path)
    try:
        with tokenize.open(path) as file:
            return "".join(_words(file.readline)), state
    except (SyntaxError, tokenize.TokenError, OSError, ValueError):
        return "", state


def _words(readline: Callable[[], str]) -> Iterator[str]:
    """Tokens without comments, blank lines and docstrings: no version of Python writes them otherwise."""
    statement: list[str] = []
    lone = True  # whether the statement is strings alone
    for kind, text, *_ in tokenize.generate_tokens(readline):
        if kind in (token.COMMENT, token.NL):
            continue
        if kind in (token.INDENT, token.DEDENT):
            yield token.tok_name[kind]
        elif kind in (token.NEWLINE, token.ENDMARKER):
            if not lone:
                yield from statement
            statement, lone = [], True
        else:
            formatted = kind in _FORMATTED or (kind == token.STRING and "f" in text[:2].lower())
            statement.append("".join(text.split()) if formatted else text)  # Python 3.12 cuts these into tokens
            lone = lone and kind == token.STRING


def _state(path: str) -> tuple[int, ...]:
    try:
        stat = Path(path).stat()
    except OSError:
        return ()
    return stat.st_size, stat.st_mtime_ns, stat.st_ino
