"""The multilayer perceptron of deep click-through models."""

from itertools import pairwise

from torch import nn


def split_mlp(inputs: int, hidden: tuple[int, ...], dropout: float) -> tuple[nn.Linear, nn.Sequential]:
    """`[*batch, inputs]` -> `[*batch, 1]`: the first linear layer, and all that follows it.

    Every hidden layer is linear, ReLU, dropout; the output is linear. They come apart because the first layer splits
    by side, `W [x_u; x_i] = W_u x_u + W_i x_i`, which is why a model computes it in its own way.
    """
    sizes = [inputs, *hidden, 1]
    linear = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    rest: list[nn.Module] = []
    for layer in linear[1:]:
        rest += [nn.ReLU(), nn.Dropout(dropout), layer]
    return linear[0], nn.Sequential(*rest)
