"""Epochs that go through a part of large data: how large the part is, and how many such epochs a schedule has.

Where an epoch is a part of the rows, trials are validated, and compared, sooner. A learning rate that falls until the
end of training means a number of passes over all rows: that many passes are more of these epochs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fmlab.contracts import Task
from fmlab.errors import FmlabError
from fmlab.plugin import registry
from fmlab.sweep.model_domains import listed

_EPOCHS = "trainer.max_epochs"


def part_of_rows(raw: Mapping[str, Any], auto: Mapping[str, Any], task: Task) -> float | None:
    """The part of the training rows that an epoch goes through: what is said, else `auto.rows` of them.

    None for all rows. Raises FmlabError for a number that is none of rows.
    """
    most, rows = auto.get("rows"), len(task.training.rows)
    if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
        raise FmlabError(f"auto.rows must be a whole number of rows, got {most!r}")
    if raw.get("train_fraction") is not None or most is None or most >= rows:
        return raw.get("train_fraction")
    return round(most / rows, 4)


def whole_passes(
    space: Mapping[str, Any], points: Sequence[dict[str, Any]], part: float | None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The space and the points with more epochs where the rate falls until the last one: as many passes as before."""
    if part is None:
        return dict(space), list(points)
    cases = [_longer(case, part) for case in listed(space.get(_EPOCHS))]
    scaled = {**space, _EPOCHS: cases} if cases else dict(space)
    return scaled, [
        {**p, _EPOCHS: _more(p[_EPOCHS], part)} if _EPOCHS in p and falls_to_end(p.get("scheduler")) else p
        for p in points
    ]


def on_all_rows(point: Mapping[str, Any], part: float | None) -> dict[str, Any]:
    """A point whose epochs went through a `part` of the rows as one whose epochs go through all of them."""
    if part is None or _EPOCHS not in point or not falls_to_end(point.get("scheduler")):
        return dict(point)
    return {**point, _EPOCHS: _more(point[_EPOCHS], 1 / part)}


def falls_to_end(scheduler: Any) -> bool:
    """Whether the rate of a scheduler, by name, depends on the end of training."""
    return isinstance(scheduler, str) and bool(getattr(registry.load("scheduler", scheduler), "depends_on_end", False))


def _longer(case: Any, part: float) -> Any:
    names = listed((case.get("when") or {}).get("scheduler")) if isinstance(case, Mapping) else []
    if not names or not all(map(falls_to_end, names)):
        return case
    return {k: _more(v, part) if k in ("int", "const", "choice") else v for k, v in case.items()}


def _more(epochs: Any, part: float) -> Any:
    return [_more(n, part) for n in epochs] if isinstance(epochs, Sequence) else max(1, round(epochs / part))
