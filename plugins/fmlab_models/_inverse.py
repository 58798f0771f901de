"""The inverse of a large symmetric matrix in its own memory."""

import numpy as np
from scipy.linalg import lapack
from torch import Tensor

from fmlab.errors import FmlabError

_ROWS = 1024
_OVERWRITE = {lapack.spotrf: "overwrite_a", lapack.spotri: "overwrite_c"}


def invert_in_place(matrix: Tensor, l2: float, model: str) -> None:
    """Replace `float32[n, n]`, symmetric and positive, by the inverse of itself with `l2` added to the diagonal.

    Raises FmlabError where float32 does not suffice.
    """
    matrix.diagonal().add_(l2)
    symmetric = matrix.numpy().T  # LAPACK works on columns
    for step, name in ((lapack.spotrf, "factorized"), (lapack.spotri, "inverted")):
        options = {"clean": 0} if step is lapack.spotrf else {}
        found, wrong = step(symmetric, lower=0, **options, **{_OVERWRITE[step]: 1})
        if wrong or not np.shares_memory(found, symmetric):
            raise FmlabError(f"{model}: the matrix of co-occurrences cannot be {name} in float32; raise model.l2")
    # Columns' upper half is rows' lower half: the other one is filled from it.
    for low in range(0, len(matrix), _ROWS):
        high = min(low + _ROWS, len(matrix))
        square = matrix[low:high, low:high].tril()
        matrix[low:high, low:high] = square + square.tril(-1).T
        matrix[low:high, high:] = matrix[high:, low:high].T
