"""The multilayer perceptron of deep click-through models."""

from torch import nn


def mlp(inputs: int, hidden: tuple[int, ...], dropout: float) -> nn.Sequential:
    """`[*batch, inputs]` -> `[*batch, 1]`: linear, ReLU and dropout for each hidden layer, then a linear output."""
    layers: list[nn.Module] = []
    for size in hidden:
        layers += [nn.Linear(inputs, size), nn.ReLU(), nn.Dropout(dropout)]
        inputs = size
    return nn.Sequential(*layers, nn.Linear(inputs, 1))
