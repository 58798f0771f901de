"""Types of options, read from source: an annotation is evaluated in a closed namespace, so that nothing is run."""

import ast
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Optional, Union

from fmlab.plugin.option import Range


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
    "Range": Range,
}


def read_annotation(node: ast.expr) -> Any:
    """Evaluate an annotation in a closed namespace; raises Unreadable for anything else."""
    match node:
        case ast.Constant(value=None):
            return None
        case ast.Constant(value=str(text)):
            try:
                return read_annotation(ast.parse(text, mode="eval").body)
            except SyntaxError as error:
                raise PluginError(f"the annotation {text!r} cannot be read: {error.msg}") from error
        case ast.Constant(value=value) if value is ...:
            return ...
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in _NAMES:
            return _NAMES[name]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return Union[read_annotation(left), read_annotation(right)]  # noqa: UP007
        case ast.Subscript(value=value, slice=inside):
            base = read_annotation(value)
            arms = inside.elts if isinstance(inside, ast.Tuple) else [inside]
            try:
                if base is Literal:
                    return Literal[tuple(ast.literal_eval(a) for a in arms)]
                inner = tuple(read_annotation(a) for a in arms)
                return base[inner] if len(inner) > 1 else base[inner[0]]
            except (TypeError, ValueError) as error:
                raise Unreadable(ast.unparse(node)) from error
        case ast.Call(func=ast.Name(id="Range") | ast.Attribute(attr="Range")):
            try:
                named = {str(k.arg): ast.literal_eval(k.value) for k in node.keywords}
                return Range(*(ast.literal_eval(a) for a in node.args), **named)
            except (TypeError, ValueError) as error:
                raise Unreadable(ast.unparse(node)) from error
    raise Unreadable(ast.unparse(node))
