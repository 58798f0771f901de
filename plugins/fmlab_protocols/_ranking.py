"""How items are ranked: the options of the composed protocol, and the lists of its validation and test part."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from fmlab.data import Array, Dataset
from fmlab.data.negative_sampling import UserItemSet, draw_distinct, draw_popular
from fmlab.data.split import TEST, TRAIN, VALIDATION, sides
from fmlab.errors import DataError
from fmlab.evaluation import RankedLists, with_monitor
from fmlab.evaluation.metric_names import SAMPLED
from fmlab.evaluation.ranks import Ties
from fmlab_protocols._candidates import names as names_of
from fmlab_protocols._candidates import read, renamed
from fmlab_protocols._described import ranked

ListOf = Literal["user", "row"]
DrawnBy = Literal["uniform", "popularity"]
_DRAWN = {"uniform": "uniformly", "popularity": "by training popularity"}
_OF_USERS = ("recall@10", "ndcg@10", "recall@20", "ndcg@20")
_OF_ROWS = ("mrr", "hr@10", "ndcg@10")


@dataclass(frozen=True)
class Candidates:
    """The items that relevant ones are ranked among: `n` of them, drawn by `seed`, or those that a file lists."""

    n: int
    drawn_by: DrawnBy
    seed: int
    file: str
    ids: Literal["raw", "compact"]


@dataclass(frozen=True)
class Ranking:
    """What a list holds and how it is judged.

    `by`: a list of all relevant items of a user, or of one row. `without_validation`: validation items of a user are
    left out when the test is ranked. `refit`: the tested model is trained on them. `sampled`: relevant items are ranked
    among `candidates`, not among all.
    """

    by: ListOf
    ties: Ties
    without_validation: bool
    refit: bool
    sampled: bool
    candidates: Candidates

    def metrics(self, names: tuple[str, ...], monitor: str) -> tuple[tuple[str, ...], str]:
        """The metrics that are reported and the one that selects; empty ones are the usual ones."""
        prefix = SAMPLED if self.sampled or self.candidates.file else ""
        names = names or (_OF_USERS if self.by == "user" else _OF_ROWS)
        monitor = monitor or ("ndcg@20" if self.by == "user" else "ndcg@10")
        every = [n if n.startswith(SAMPLED) else prefix + n for n in (*names, monitor)]
        return with_monitor(every[:-1], every[-1]), every[-1]


class ListsOfParts:
    """The evaluators of the validation and test part. `rows`: those of each part; `gains`: float32[rows] or None."""

    def __init__(
        self,
        data: Dataset,
        source: Dataset,
        rows: dict[int, Array],
        names: tuple[str, ...],
        gains: Array | None,
        ranking: Ranking,
    ) -> None:
        """`source` is `data` before it was filtered. Raises DataError where a user was trained with every item."""
        self.data, self.source, self.rows, self.names = data, source, rows, names
        self.gains, self.ranking = gains, ranking
        self.user, self.item = sides(data)
        self.among_candidates = any(n.startswith(SAMPLED) for n in names)
        self._set(rows[TRAIN]).check(self.user[rows[TRAIN]], names=data.keys.get("user"))

    def of(self, where: int) -> RankedLists:
        """The evaluator of one part."""
        before = [TRAIN] + ([VALIDATION] if where == TEST and self.ranking.without_validation else [])
        trained = np.concatenate([self.rows[w] for w in before])
        hidden = np.concatenate([trained, self.rows[where]]) if self.ranking.by == "row" else trained
        refit = where == TEST and self.ranking.refit
        return RankedLists(
            self.data,
            self.rows[where],
            self._set(hidden),
            self.names,
            by=self.ranking.by,
            candidates=self._candidates(where) if self.among_candidates else None,
            ties=self.ranking.ties,
            trained=np.concatenate([self.rows[TRAIN], self.rows[VALIDATION]]) if refit else self.rows[TRAIN],
            gains=self.gains,
        )

    def described(self) -> dict[str, str]:
        """What is ranked, for a report."""
        ranking, candidates = self.ranking, self.ranking.candidates
        drawn = f"{candidates.n} candidates, drawn {_DRAWN[candidates.drawn_by]} by seed {candidates.seed}"
        apart = "training and validation items" if ranking.without_validation else "training items"
        left_out = f"{apart} of the user"
        return ranked(
            self.names,
            whole=ranking.by == "user",
            candidates="candidates of a file" if candidates.file else drawn,
            left_out=left_out if ranking.by == "user" else f"{left_out}, and its other test items",
            ties=ranking.ties,
        )

    def _set(self, rows: Array) -> UserItemSet:
        return UserItemSet(self.user[rows], self.item[rows], self.data.schema.n_users, self.data.schema.n_items)

    def _candidates(self, where: int) -> Tensor:
        """Candidates of each row, or of each user who has rows in ascending order."""
        rows, candidates = self.rows[where], self.ranking.candidates
        if candidates.file and where == TEST:
            return self._listed(rows)
        met, n, seed = self._set(np.arange(self.data.rows)), candidates.n, candidates.seed
        if self.ranking.by == "user":
            users = np.unique(self.user[rows]).astype(np.int64)
            case = users
        else:
            users, case = self.user[rows].astype(np.int64), rows
        met.check(users, n, "; lower protocol.n_candidates", self.data.keys.get("user"))
        drawn = torch.from_numpy(users), torch.from_numpy(case)
        if candidates.drawn_by == "popularity":
            weight = np.bincount(self.item[self.rows[TRAIN]], minlength=self.data.schema.n_items)
            return draw_popular(met, *drawn, n, weight, seed=seed)
        return draw_distinct(met, *drawn, n, seed=seed)

    def _listed(self, rows: Array) -> Tensor:
        """Candidates of the test rows as a file lists them."""
        path = Path(self.ranking.candidates.file).expanduser()
        if self.ranking.by != "row":
            raise DataError("a file of candidates lists them for test rows: it goes with protocol.by=row")
        if not path.is_file():
            raise DataError(f"protocol.candidate_file must be a file, got {path}, which does not exist")
        compact = self.ranking.candidates.ids == "compact"
        listed = read(path, self.data, renamed(self.data, self.source, names_of(self.source, compact)))
        order = np.argsort(listed.rows)
        if not np.array_equal(listed.rows[order], np.sort(rows)):
            got = f"{len(listed.rows):,} are listed, {len(rows):,} in the split"
            raise DataError(f"a file of candidates must list the test rows of the split, {got}, and they differ")
        place = np.argsort(np.argsort(rows, kind="stable"), kind="stable")
        return torch.from_numpy(listed.items[order][place])
