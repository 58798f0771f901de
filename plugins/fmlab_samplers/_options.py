"""Types of options that several samplers have."""

from typing import Annotated

from fmlab.plugin.option import Range

Exponent = Annotated[float, Range(0, None), "exponent of the popularity"]
Correction = Annotated[bool, "whether losses subtract the logarithm of the chance of an item"]
