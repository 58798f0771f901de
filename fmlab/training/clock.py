"""Clocks of a training that may be interrupted: what was trained before counts on."""

import time
from typing import Any


class Pace:
    """Seconds of the whole training, and rows per second of the latest epoch, without its validation."""

    def __init__(self) -> None:
        self.rows_per_second = 0.0
        self._before = self._epoch_before = 0.0  # seconds before the interruption
        self._began = time.perf_counter()
        self._epoch_began: float | None = None  # None while no epoch is trained on

    def go_on(self) -> None:
        """The first batch comes, of a new epoch or of one that was interrupted."""
        self._epoch_began = time.perf_counter()

    def begin_epoch(self) -> None:
        """A new epoch begins."""
        self._epoch_before, self._epoch_began = 0.0, time.perf_counter()

    def end_epoch(self, rows: int) -> None:
        """All `rows` that this epoch trains on were trained on."""
        self._epoch_before, self._epoch_began = self._epoch_seconds(), None
        self.rows_per_second = rows / max(self._epoch_before, 1e-9)

    @property
    def seconds(self) -> float:
        """Of training so far, validation included."""
        return self._before + time.perf_counter() - self._began

    def _epoch_seconds(self) -> float:
        return self._epoch_before + (0.0 if self._epoch_began is None else time.perf_counter() - self._epoch_began)

    def state_dict(self) -> dict[str, Any]:
        """Seconds so far."""
        return {"seconds": self.seconds, "epoch": self._epoch_seconds(), "rows_per_second": self.rows_per_second}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting from there."""
        self._before, self._epoch_before = float(state["seconds"]), float(state["epoch"])
        self.rows_per_second = float(state["rows_per_second"])
