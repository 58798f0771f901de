"""What another program recommends or scores, as a scorer that judges take in place of a model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fmlab.data import Array, Dataset
from fmlab.errors import DataError

_TREC = ("user", "q0", "item", "rank", "score", "tag")


def read_table(path: Path) -> Any:
    """The rows of a CSV, TSV or Parquet file, or of a TREC run: `user Q0 item rank score tag`, without a header.

    Users and items stay text. Raises DataError for another form of file.
    """
    text = {"user": str, "item": str}
    try:
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path)
        elif path.suffix in (".trec", ".run"):
            frame = pd.read_csv(path, sep=r"\s+", names=list(_TREC), dtype=text, keep_default_na=False)
        elif path.suffix in (".csv", ".tsv"):
            separator = "\t" if path.suffix == ".tsv" else ","
            frame = pd.read_csv(path, sep=separator, dtype=text, keep_default_na=False, na_values={"score": [""]})
        else:
            raise DataError(f"a file of recommendations ends in .csv, .tsv, .parquet, .trec or .run, got {path}")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is malformed: {' '.join(str(error).split())}") from error
    for name in ("user", "item"):
        if name in frame:
            frame[name] = frame[name].astype(str)
    return frame


def needs(frame: Any, path: Path, *names: str) -> None:
    """Raise DataError unless the table has these columns."""
    missing = [n for n in names if n not in frame]
    if missing:
        raise DataError(f"{path} must have the columns {', '.join(names)}, it has {', '.join(map(str, frame.columns))}")


class Recommended:
    """Lists of a file: items that it lists stand in its order, all others after them, tied.

    What a user was trained with, and users and items that the data do not have, are counted in `unknown` or passed over
    by the evaluator. Items of equal score are tied.
    """

    def __init__(self, frame: Any, path: Path, dataset: Dataset) -> None:
        """`frame` has user, item, and score (higher is better) or rank (lower is better)."""
        needs(frame, path, "user", "item")
        by = "score" if "score" in frame else "rank"
        needs(frame, path, "user", "item", by)
        value = pd.to_numeric(frame[by], errors="coerce").to_numpy(np.float64)
        if wrong := int((~np.isfinite(value)).sum()):
            raise DataError(f"{path}: {by} must be a number in every row, {wrong:,} are not")
        user, item = (_numbers(frame[side], dataset.keys[side]) for side in ("user", "item"))
        known = (user >= 0) & (item >= 0)
        self.rows, self.unknown = len(frame), int((~known).sum())
        user, item, value = user[known], item[known], (value if by == "score" else -value)[known]
        key = user * dataset.schema.n_items + item
        if len(np.unique(key)) < len(key):
            raise DataError(f"{path} lists an item of a user twice")
        order = np.lexsort((-value, user))
        user, item, value = user[order], item[order], value[order]
        begin = np.searchsorted(user, np.arange(dataset.schema.n_users + 1))
        new = np.r_[True, (user[1:] != user[:-1]) | (value[1:] != value[:-1])] if len(user) else np.zeros(0, bool)
        number = np.cumsum(new)
        first = number[np.minimum(begin[:-1], max(0, len(number) - 1))] if len(number) else np.zeros(len(begin) - 1)
        place = number - np.repeat(first, np.diff(begin))  # 0 for the best score of a user, equal ones alike
        self.n_items, self.begin = dataset.schema.n_items, torch.from_numpy(begin)
        self.item, self.place = torch.from_numpy(item), torch.from_numpy(place.astype(np.float32))
        self.users = int(np.count_nonzero(np.diff(begin)))

    def score_all(self, user: Tensor, context: Any, more: Any = None) -> Tensor:
        """Scores `[Q, items]`: less by 1 with each place of the list."""
        scores = torch.full((len(user), self.n_items), -float(1 << 23))
        count = self.begin[user + 1] - self.begin[user]
        query = torch.repeat_interleave(torch.arange(len(user)), count)
        at = torch.arange(len(query)) - (count.cumsum(0) - count)[query] + self.begin[user][query]
        scores[query, self.item[at]] = -self.place[at]
        return scores

    def score_items(self, user: Tensor, context: Any, item: Tensor, more: Any = None) -> Tensor:
        """Scores of `item[Q, n]`."""
        return self.score_all(user, context).gather(1, item)


class Nothing(torch.nn.Module):
    """Score 0 for every row, in whose place scores of a file are put."""

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """0 for each row."""
        return torch.zeros(ids.shape[:-1])


def row_scores(frame: Any, path: Path, rows: Array, *, probabilities: bool | None, log_odds: bool) -> Array:
    """Scores float64[rows] of a file with `row` and `score`, for the rows in their order.

    `log_odds`: whether metrics read scores as log-odds; `probabilities`: whether the file has probabilities, None: if
    all of it is from 0 to 1. Raises DataError for rows that the file lacks or has twice.
    """
    needs(frame, path, "row", "score")
    number = frame["row"].to_numpy(np.int64)
    score = pd.to_numeric(frame["score"], errors="coerce").to_numpy(np.float64)
    order = np.argsort(number, kind="stable")
    number, score = number[order], score[order]
    if (number[1:] == number[:-1]).any():
        raise DataError(f"{path} has a row twice")
    at = np.minimum(number.searchsorted(rows), len(number) - 1)
    missing = int((number[at] != rows).sum())
    if missing:
        raise DataError(f"{path} must have a score of every test row, {missing:,} of {len(rows):,} are missing")
    found = score[at]
    if not np.isfinite(found).all():
        raise DataError(f"{path}: scores must be finite, {int((~np.isfinite(found)).sum()):,} are not")
    if probabilities is None:
        probabilities = log_odds and bool(((found >= 0) & (found <= 1)).all())
    if not (probabilities and log_odds):
        return found
    near = np.clip(found, 1e-7, 1 - 1e-7)
    return np.asarray(np.log(near / (1 - near)))


def _numbers(names: Any, keys: Sequence[Any] | Array) -> Array:
    """The number of each name among the keys, -1 where it is none."""
    known = pd.Index([str(key) for key in np.asarray(keys).tolist()], dtype=object)
    return np.asarray(known.get_indexer(pd.Index(names.astype(object), dtype=object)), np.int64)
