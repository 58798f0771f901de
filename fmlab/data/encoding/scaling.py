"""Numbers as a model sees them, in preparation and in serving alike."""

import numpy as np

from fmlab.data.schema import Array


def scaled(values: Array, center: float, scale: float) -> Array:
    """Numbers as a model sees them: `(x - center) / scale`, in float64, narrowed to float32 at the end."""
    wide = np.asarray(values, np.float64)
    narrow: Array = ((wide - center) / scale).astype(np.float32)
    return narrow
