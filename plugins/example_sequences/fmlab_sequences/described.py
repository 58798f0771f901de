"""A data set whose items are known by their texts: it needs no file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd

from fmlab.api import Dataset, Range, RawFile, encode_table, with_vectors


class Described:
    """Users like items whose description is about what they like; a description is a vector, as an encoder gives.

    Source: generated.

    Item i has a vector t_i of `width` normal numbers, user u likes the direction d_u in their first three axes, and the
    positives of u are the items with the largest <d_u, t_i> among a random half of all. Every item is rare, so that
    its id tells little.
    """

    defaults = {"protocol": "full_ranking"}
    raw: tuple[RawFile, ...] = ()
    version = "1"
    license = "none needed: the data are generated"
    citation = "none"

    def __init__(
        self,
        root: Path,
        *,
        users: Annotated[int, Range(2, None)] = 200,
        items: Annotated[int, Range(20, None)] = 400,
        positives: Annotated[int, Range(3, None)] = 10,
        width: Annotated[int, Range(3, None)] = 12,
        seed: Annotated[int, Range(0, None)] = 0,
    ) -> None:
        """`positives`: of each user."""
        self.users, self.items, self.positives, self.width, self.seed = users, items, positives, width, seed

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """The same options give the same rows."""
        rng = np.random.default_rng(self.seed)
        texts = rng.normal(size=(self.items, self.width)).astype(np.float32)
        likes = rng.normal(size=(self.users, 3)) @ texts[:, :3].T
        likes[rng.random(likes.shape) < 0.5] = -np.inf
        item = np.argsort(-likes, 1)[:, : self.positives]
        rows = pd.DataFrame({"reader": np.repeat(np.arange(self.users), self.positives), "text": item.reshape(-1)})
        rows = rows.astype(str)
        made = encode_table("described", rows, workspace, user="reader", item="text")
        return with_vectors(made, "content", "item", map(str, range(self.items)), texts, workspace)
