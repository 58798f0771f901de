"""Calibration of probabilities after training, by Platt scaling or isotonic regression of the log-odds.

A calibration is fitted on scores and labels of the validation rows alone, is saved in the run folder, and is applied
wherever the model's scores are judged or served. The reliability curve is in `fmlab.evaluation.reliability`.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fmlab.data import Array
from fmlab.data.labels import are_zeros_and_ones, probability
from fmlab.errors import DataError

LAYOUT = 1


@dataclass(frozen=True)
class Platt:
    """Log-odds `slope * score + offset`.

    Source: J. C. Platt, Probabilistic Outputs for Support Vector Machines, 1999, with the targets of section 2.2: the
    labels 1 and 0 of P and N rows become (P + 1) / (P + 2) and 1 / (N + 2).
    """

    slope: float
    offset: float

    @classmethod
    def fit(cls, score: Array, label: Array, weight: Array | None = None) -> "Platt":
        """Of log-odds `score[rows]`, `label[rows]` 0 and 1, `weight[rows]`; raises DataError with one class."""
        from scipy.optimize import minimize

        weight = _weights(label, weight)
        p, n = float(weight[label > 0].sum()), float(weight[label == 0].sum())
        wanted = np.where(label > 0, (p + 1) / (p + 2), 1 / (n + 2))

        def loss(parameters: Array) -> tuple[float, Array]:
            z = parameters[0] * score + parameters[1]
            slope = weight * (probability(z) - wanted) / weight.sum()
            value = float((weight * (np.logaddexp(0.0, z) - wanted * z)).sum() / weight.sum())
            return value, np.array([(slope * score).sum(), slope.sum()])

        found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="BFGS", options={"gtol": 1e-9})
        return cls(float(found.x[0]), float(found.x[1]))

    def log_odds(self, score: Array) -> Array:
        """Calibrated log-odds float64 of scores of any shape."""
        return self.slope * np.asarray(score, np.float64) + self.offset

    def check(self) -> None:
        """Raise ValueError for what cannot be."""
        if not (math.isfinite(self.slope) and math.isfinite(self.offset)):
            raise ValueError("slope and offset must be finite")


@dataclass(frozen=True)
class Isotonic:
    """The increasing step function of the score that is nearest to the labels, interpolated between its knots.

    Source: B. Zadrozny, C. Elkan, Transforming Classifier Scores into Accurate Multiclass Probability Estimates,
    KDD 2002

    Probabilities are kept within [1 / (n + 2), 1 - 1 / (n + 2)] for n validation rows, so that no log loss is infinite.
    """

    score: tuple[float, ...]
    probability: tuple[float, ...]

    @classmethod
    def fit(cls, score: Array, label: Array, weight: Array | None = None) -> "Isotonic":
        """Of log-odds `score[rows]`, `label[rows]` 0 and 1, `weight[rows]`; raises DataError with one class."""
        from scipy.optimize import isotonic_regression

        weight = _weights(label, weight)
        at, place = np.unique(np.asarray(score, np.float64), return_inverse=True)
        rows = np.bincount(place, weight)
        mean = np.bincount(place, weight * label) / np.where(rows > 0, rows, 1)
        at, mean, rows = at[rows > 0], mean[rows > 0], rows[rows > 0]
        fitted = np.asarray(isotonic_regression(mean, weights=rows).x)
        least = 1 / (len(label) + 2)
        fitted = np.clip(fitted, least, 1 - least)
        inner = np.r_[True, (fitted[1:-1] != fitted[:-2]) | (fitted[1:-1] != fitted[2:]), True][: len(fitted)]
        return cls(tuple(at[inner].tolist()), tuple(fitted[inner].tolist()))

    def log_odds(self, score: Array) -> Array:
        """Calibrated log-odds float64 of scores of any shape; beyond the knots those of the nearest."""
        found = np.interp(np.asarray(score, np.float64), self.score, self.probability)
        return np.log(found) - np.log1p(-found)

    def check(self) -> None:
        """Raise ValueError for what cannot be."""
        score, p = np.array(self.score), np.array(self.probability)
        if not len(score) or score.shape != p.shape or not (np.isfinite(score).all() and (np.diff(score) > 0).all()):
            raise ValueError("scores must be finite and ascending, one for each probability")
        if not ((p > 0) & (p < 1)).all() or (np.diff(p) < 0).any():
            raise ValueError("probabilities must be in (0, 1) and must not fall")


KINDS: Mapping[str, type[Platt] | type[Isotonic]] = {"platt": Platt, "isotonic": Isotonic}


@dataclass(frozen=True)
class Calibration:
    """A map of each target ("" of the only one), and how many validation `rows` it was fitted on."""

    method: str
    rows: int
    maps: Mapping[str, Platt | Isotonic]

    @classmethod
    def fit(cls, method: str, columns: Mapping[str, Array], weight: Array | None = None) -> "Calibration":
        """`columns`: `score` and `label` of the validation rows, or `score.<target>` and `label.<target>` of each."""
        ends = [name.removeprefix("score") for name in columns if name == "score" or name.startswith("score.")]
        kind, maps = KINDS[method], {}
        for end in ends:
            label = np.asarray(columns[f"label{end}"], np.float64)
            maps[end.removeprefix(".")] = kind.fit(np.asarray(columns[f"score{end}"], np.float64), label, weight)
        return cls(method, len(columns[f"label{ends[0]}"]), maps)

    def log_odds(self, score: Array, target: str = "") -> Array:
        """Calibrated log-odds float64 of the scores of a target."""
        return self.maps[target].log_odds(score)

    def to_dict(self) -> dict[str, Any]:
        """Built-in containers, for a file."""
        maps = {target: asdict(one) for target, one in self.maps.items()}
        return {"layout": LAYOUT, "method": self.method, "rows": self.rows, "maps": maps}

    @classmethod
    def from_dict(cls, stored: Any) -> "Calibration":
        """Inverse of `to_dict`, of what somebody else may have written; raises ValueError, TypeError or KeyError."""
        if stored["layout"] != LAYOUT:
            raise ValueError(f"its layout is {str(stored['layout'])[:20]}, this version of fmlab reads {LAYOUT}")
        kind, rows = KINDS[stored["method"]], stored["rows"]
        if type(rows) is not int or rows < 1 or not stored["maps"]:
            raise ValueError("it is fitted on rows, and has a map")
        maps: dict[str, Platt | Isotonic] = {}
        for target, given in stored["maps"].items():
            values = {k: tuple(map(float, v)) if isinstance(v, list) else float(v) for k, v in given.items()}
            maps[target] = kind(**values)  # type: ignore[arg-type]
            maps[target].check()
        return cls(stored["method"], rows, maps)


def set_calibration(model: Any, calibration: Calibration | None) -> None:
    """Make a model carry its calibration; its parameters and its `forward` stay what they are."""
    model.__dict__["calibration"] = calibration


def calibration_of(model: Any) -> Calibration | None:
    """The calibration that a model carries, if it has one."""
    found = getattr(model, "calibration", None)
    return found if isinstance(found, Calibration) else None


def _weights(label: Array, weight: Array | None) -> Array:
    each = np.ones(len(label)) if weight is None else np.asarray(weight, np.float64)
    if not are_zeros_and_ones(label) or not each[label > 0].any() or not each[label == 0].any():
        raise DataError("calibration needs validation rows of both labels 0 and 1")
    return each
