"""Numbers of parameters by arithmetic: what `n_parameters` of models is made of."""

from collections.abc import Sequence
from itertools import pairwise

from fmlab.data import Schema


def matrices(*sizes: int) -> int:
    """The weights of matrices between neighboring sizes, `a b + b c + ...`."""
    return sum(a * b for a, b in pairwise(sizes))


def perceptron_size(inputs: int, hidden: Sequence[int], batch_norm: bool = False) -> int:
    """Weights and biases of a perceptron with one output.

    With batch normalization a hidden layer has a scale and a shift for each unit in place of its biases.
    """
    return matrices(inputs, *hidden, 1) + (1 + batch_norm) * sum(hidden) + 1


def pair_count(n: int) -> int:
    """Pairs of `n` things."""
    return n * (n - 1) // 2


def user_item_rows(schema: Schema) -> int:
    """Features of the fields that name users and items, the unknown ones included."""
    return sum(next(f.size for f in schema.fields if f.side == side) for side in ("user", "item"))


def n_multi_valued(schema: Schema) -> int:
    """Fields of several slots."""
    return sum(f.slots > 1 for f in schema.fields)
