"""Finished trials of a sweep that may become members of an ensemble."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fmlab.automl.scores import read_scores
from fmlab.automl.selection import loss_of
from fmlab.data import Array
from fmlab.records.folder import BEST, CHECKPOINTS, SERVING


@dataclass(frozen=True)
class Candidate:
    """A finished trial: its number as text, its folder, and what its record says.

    `scores` float32[rows] of the validation and their mean `loss`, where they are kept.
    """

    number: str
    folder: Path
    content: Mapping[str, Any]
    scores: Array = field(default_factory=lambda: np.zeros(0, np.float32))
    loss: float = np.inf

    @property
    def worth(self) -> float:
        """The validation figure, larger is better."""
        value = float(self.content["validation"][self.content["monitor"]])
        return value if self.content.get("maximize") else -value

    @property
    def seconds(self) -> float:
        """What judging it on validation and test took."""
        return float(self.content.get("seconds_test") or 0.0)


def complete(folder: Path) -> list[Candidate]:
    """Trials below a sweep's `folder` that are finished and can be served."""
    made = []
    for path in sorted((folder / "trials").glob("*/metrics.json")):
        run = path.parent
        try:
            content = json.loads(path.read_text("utf-8"))
            one = Candidate(run.name, run, content)
            usable = content["status"] == "complete" and np.isfinite(one.worth)
        except (OSError, ValueError, TypeError, KeyError):  # its worker was killed
            continue
        if usable and (run / CHECKPOINTS / BEST).is_file() and (run / SERVING).is_file():
            made.append(one)
    return made


def with_scores(folder: Path, found: Iterable[Candidate], label: Array, log_odds: bool) -> list[Candidate]:
    """Those whose scores of the validation are kept, best first by their loss."""
    made = []
    for one in found:
        kept = one.content.get("scores")
        scores = read_scores(folder, kept) if isinstance(kept, str) else None
        if scores is not None and scores.shape == label.shape:
            made.append(replace(one, scores=scores, loss=float(loss_of(scores, label, log_odds=log_odds).mean())))
    return sorted(made, key=lambda c: (c.loss, c.number))
