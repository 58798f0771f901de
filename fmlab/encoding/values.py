"""What preparation and serving do alike with one value: split a cell, look at its parts, scale a number."""

import numpy as np

from fmlab.data import Array


def parts(text: str, within: str) -> list[str]:
    """The values in a cell of a multi-valued field, each once, in order; blank ones are none."""
    return [part for part in dict.fromkeys(text.split(within)) if part]


def scaled(values: Array, center: float, scale: float) -> Array:
    """Numbers as a model sees them: `(x - center) / scale`, in float64, narrowed to float32 at the end."""
    wide = np.asarray(values, np.float64)
    narrow: Array = ((wide - center) / scale).astype(np.float32)
    return narrow
