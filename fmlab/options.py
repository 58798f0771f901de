"""Ranges for option values, written in a plugin's signature: `lr: Annotated[float, Range(0, None, open_low=True)]`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """Allowed values of a number. Bounds are inclusive unless opened; None is unbounded."""

    low: float | None = None
    high: float | None = None
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        """Whether the value lies in the range; NaN never does."""
        above = self.low is None or (value > self.low if self.open_low else value >= self.low)
        below = self.high is None or (value < self.high if self.open_high else value <= self.high)
        return above and below and value == value

    def __str__(self) -> str:
        """As in mathematics: `(0, 1]`."""
        left = "(-inf" if self.low is None else f"{'(' if self.open_low else '['}{self.low:g}"
        right = "inf)" if self.high is None else f"{self.high:g}{')' if self.open_high else ']'}"
        return f"{left}, {right}"
