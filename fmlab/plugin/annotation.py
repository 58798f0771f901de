"""Types of options, read from source: an annotation is evaluated in a closed namespace, so that nothing is run."""

import ast
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Optional, Union

from fmlab.plugin.option import Range, Renamed, UsedWith


class Unreadable(Exception):
    """The source does not say it plainly; import the plugin and ask it."""


class PluginError(Exception):
    """The plugin cannot work, whoever imports it; the text says why."""


_NAMES: Mapping[str, Any] = {
    "int": int,
    "float": float,
    "bool": bool,
    "str": str,
    "tuple": tuple,
    "Literal": Literal,
    "Annotated": Annotated,
    "Optional": Optional,
    "Union": Union,
}
_CALLS: Mapping[str, Any] = {"Range": Range, "Renamed": Renamed, "UsedWith": UsedWith}


def _unknown(name: str) -> Any:
    raise Unreadable(name)


def read_annotation(node: ast.expr, shared: Callable[[str], Any] = _unknown) -> Any:
    """Evaluate an annotation, or a part of one, in a closed namespace; raises Unreadable for anything else.

    `shared`: gives the annotation that another name of the module stands for.
    """
    match node:
        case ast.Constant(value=None):
            return None
        case ast.Constant(value=str(text)):
            try:
                return read_annotation(ast.parse(text, mode="eval").body, shared)
            except SyntaxError as error:
                raise PluginError(f"the annotation {text!r} cannot be read: {error.msg}") from error
        case ast.Constant(value=value) if value is ...:
            return ...
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in _NAMES:
            return _NAMES[name]
        case ast.Name(id=name):
            return shared(name)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return Union[read_annotation(left, shared), read_annotation(right, shared)]  # noqa: UP007
        case ast.Subscript(value=value, slice=inside):
            return _subscripted(node, read_annotation(value, shared), inside, shared)
        case ast.Call():  # a name of the module that stands for what is said of several options
            return _about(node, shared)
    raise Unreadable(ast.unparse(node))


def _subscripted(node: ast.expr, base: Any, inside: ast.expr, shared: Callable[[str], Any]) -> Any:
    arms = inside.elts if isinstance(inside, ast.Tuple) else [inside]
    try:
        if base is Literal:
            return Literal[tuple(ast.literal_eval(a) for a in arms)]
        if base is Annotated:
            return Annotated[(read_annotation(arms[0], shared), *(_about(a, shared) for a in arms[1:]))]
        inner = tuple(read_annotation(a, shared) for a in arms)
        return base[inner] if len(inner) > 1 else base[inner[0]]
    except (TypeError, ValueError) as error:
        raise Unreadable(ast.unparse(node)) from error


def _about(node: ast.expr, shared: Callable[[str], Any]) -> Any:
    """A description, a range, a former name, a use; raises ValueError or TypeError for anything else."""
    if isinstance(node, ast.Name):
        return shared(node.id)
    if not isinstance(node, ast.Call):
        return ast.literal_eval(node)
    called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    if called not in _CALLS:
        raise ValueError(called)
    named = {str(k.arg): ast.literal_eval(k.value) for k in node.keywords}
    return _CALLS[called](*(ast.literal_eval(a) for a in node.args), **named)
