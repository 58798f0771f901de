"""What a model's docstring states in formulas: `Parameters: 1 + n (1 + dim)`, and how they are evaluated.

A formula is arithmetic with `+ - * / // ^`, where factors may stand side by side: `2 dim (F + 1)`. Its names are the
model's options, those of `SYMBOLS`, and the functions of `FUNCTIONS`; ` where NAME = formula and NAME = formula` may
follow. What stands behind `;` is a remark. `Parameters with linear=plain:` holds with that option, and
`Parameters with hidden:` where that option is neither null, false nor empty; of several such lines the first that
holds counts, and the plain one if none does.
"""

import ast
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations, pairwise
from typing import Any

from fmlab.data import Schema
from fmlab.errors import FmlabError

SYMBOLS: Mapping[str, str] = {
    "n": "features of all fields",
    "F": "fields",
    "C": "columns of a row, one for each field and more for a multi-valued one",
    "P": "pairs of fields, F (F - 1) / 2",
    "S": "multi-valued fields",
    "M": "features of multi-valued fields",
    "U": "features of the field that names the user, the unknown one included",
    "I": "features of the field that names the item, the unknown one included",
    "sizes": "features of each field",
    "multi": "1 for each multi-valued field, 0 for every other",
}


def symbols(schema: Schema) -> dict[str, Any]:
    """Values of `SYMBOLS` for a data set; U and I only where it has users and items."""
    sizes, multi = tuple(f.size for f in schema.fields), tuple(int(f.slots > 1) for f in schema.fields)
    found: dict[str, Any] = {
        "n": schema.n_features,
        "F": len(sizes),
        "C": schema.n_columns,
        "P": len(sizes) * (len(sizes) - 1) // 2,
        "S": sum(multi),
        "M": _dot(sizes, multi),
        "sizes": sizes,
        "multi": multi,
    }
    for name, side in (("U", "user"), ("I", "item")):
        of_side = [f.size for f in schema.fields if f.side == side]
        found |= {name: of_side[0]} if of_side else {}
    return found


def stated(doc: str, word: str) -> list[tuple[str, str]]:
    """What stands behind `word` in a docstring: (condition, text) of each line, the condition empty if there is none.

    An indented line continues the one before.
    """
    lines = re.finditer(rf"^{word}(?: with ([^:\n]+))?:\s*(.+(?:\n[ \t]+\S.*)*)", doc, re.MULTILINE)
    return [(found[1] or "", " ".join(found[2].split())) for found in lines]


def applying(doc: str, word: str, options: Mapping[str, Any]) -> str:
    """The formula of `word` that holds for these options, without its remark; empty if there is none."""
    lines = stated(doc, word)
    held = [text for condition, text in lines if condition and _holds(condition, options)]
    plain = [text for condition, text in lines if not condition]
    return (held or plain or [""])[0].partition(";")[0].strip()


def _holds(condition: str, options: Mapping[str, Any]) -> bool:
    for part in re.split(r",\s*", condition.strip()):
        name, equals, value = part.partition("=")
        given = options.get(name)
        if not (_written(given) == value if equals else bool(given)):
            return False
    return True


def _written(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def evaluate(formula: str, values: Mapping[str, Any]) -> int:
    """The number that a formula gives; raises FmlabError if it cannot be read, or is no whole number."""
    main, _, bindings = formula.partition(" where ")
    known = dict(values)
    for binding in re.split(r"\s+and\s+", bindings) if bindings else []:
        name, _, text = binding.partition("=")
        known[name.strip()] = _evaluate(text, known, formula)
    result = _evaluate(main, known, formula)
    if isinstance(result, tuple) or result != int(result):
        raise FmlabError(f"a formula must give a whole number, {formula!r} gives {result}")
    return int(result)


def _evaluate(text: str, values: Mapping[str, Any], formula: str) -> Any:
    try:
        tree = ast.parse("".join(_with_products(text)).strip(), mode="eval")
        return _value(tree.body, values)
    except (SyntaxError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise FmlabError(f"the formula {formula!r} cannot be evaluated: {error}") from error


_TOKEN = re.compile(r"\s*(?:([A-Za-z_]\w*|\d+)|(//|[-+*/^(),]))")


def _with_products(text: str) -> Iterator[str]:
    """Python's tokens: `^` becomes `**`, and a `*` stands between neighbouring factors."""
    at, before = 0, ""
    while text[at:].strip():
        found = _TOKEN.match(text, at)
        if not found:
            raise ValueError(f"unexpected {text[at:].strip()!r}")
        token, at = found[1] or found[2], found.end()
        ends = before == ")" or re.fullmatch(r"\w+", before) is not None
        starts = token == "(" or found[1] is not None
        if ends and starts and not (token == "(" and before in FUNCTIONS):
            yield "*"
        yield "**" if token == "^" else token
        before = token


_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
}


def _value(node: ast.expr, values: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=int(number)):
            return number
        case ast.Name(id=name):
            if name not in values:
                raise LookupError(f"{name} is neither an option nor one of {', '.join(SYMBOLS)}")
            value = values[name]
            return tuple(value) if isinstance(value, list) else value
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_number(left, values), _number(right, values))
        case ast.UnaryOp(op=ast.USub(), operand=inside):
            return -_number(inside, values)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
            return FUNCTIONS[name](*(_value(a, values) for a in arguments))
    raise ValueError(f"{ast.unparse(node)!r} is no arithmetic")


def _number(node: ast.expr, values: Mapping[str, Any]) -> int | float:
    value = _value(node, values)
    if not isinstance(value, int | float):
        raise TypeError(f"{ast.unparse(node)} must be a number, got {value!r}")
    return value


def _dot(*vectors: tuple[int, ...]) -> int:
    total = 0
    for numbers in zip(*vectors, strict=True):
        product = 1
        for number in numbers:
            product *= number
        total += product
    return total


def _matrices(*sizes: int | tuple[int, ...]) -> int:
    flat = [s for size in sizes for s in (size if isinstance(size, tuple) else (size,))]
    return sum(a * b for a, b in pairwise(flat))


def _mlp(inputs: int, hidden: tuple[int, ...], batch_norm: bool = False) -> int:
    return _matrices(inputs, hidden, 1) + (1 + batch_norm) * sum(hidden) + 1


def _pooled(size: int, pooling: int, layers: tuple[int, ...]) -> tuple[int, ...]:
    left = []
    for _ in layers:
        size = -(-size // pooling)
        left.append(size)
    return tuple(left)


def _smaller(sizes: tuple[int, ...]) -> int:
    return sum(min(pair) for pair in combinations(sizes, 2))


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "sum": sum,
    "min": min,
    "max": max,
    "dot": _dot,
    "matrices": _matrices,
    "mlp": _mlp,
    "pooled": _pooled,
    "smaller": _smaller,
}
FUNCTION_HELP: Mapping[str, str] = {
    "dot(a, b, ...)": "the sum over positions of the products of lists",
    "matrices(a, b, ...)": "the weights of matrices between neighbouring sizes, `a b + b c + ...`; a list counts as "
    "its numbers",
    "mlp(inputs, hidden, batch_norm)": "the weights and biases of a perceptron with those hidden layers and one "
    "output; with batch normalisation a hidden layer has a scale and a shift for each number instead of its biases",
    "pooled(size, p, layers)": "for each layer the size left, ceil(size / p), ceil(that / p), ...",
    "smaller(sizes)": "the sum over all pairs of the smaller size of the two",
}
