"""Types of options that several models have."""

from typing import Annotated

from fmlab.plugin.option import Range

Dim = Annotated[int, Range(1, None), "size of the embedding vectors"]
Dropout = Annotated[float, Range(0, 1, open_high=True), "share of activations that are set to 0 in training"]
Hidden = Annotated[tuple[int, ...], "units of each hidden layer"]
PositiveInitStd = Annotated[float, Range(0, None, open_low=True), "standard deviation of initial embeddings"]
InitStd = Annotated[float, Range(0, None), "standard deviation of initial embeddings"]
BatchNorm = Annotated[bool, "whether layers normalize over the batch"]
Layers = Annotated[int, Range(0, None), "number of layers"]
