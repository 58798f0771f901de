"""What the pictures of trained runs share, by matplotlib."""

import io
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from fmlab.data import Array

RUST, BLUE = "#b5532a", "#2a6f97"


@cache
def _figure_class() -> Any:
    from matplotlib.figure import Figure

    class ShownFigure(Figure):
        """A figure that a notebook shows without `%matplotlib inline`."""

        def _repr_png_(self) -> bytes:
            made = io.BytesIO()
            self.savefig(made, format="png", dpi=100)
            return made.getvalue()

    return ShownFigure


def new_figure(width: float, height: float) -> Any:
    """An empty figure; sizes in inches."""
    return _figure_class()(figsize=(width, height), layout="constrained")


def axes_of(title: str, width: float = 7, height: float = 4.5) -> tuple[Any, Any]:
    """A figure with one pair of axes; sizes in inches."""
    figure = new_figure(width, height)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=11)
    return figure, axes


def heat_map(title: str, numbers: Array, rows: Sequence[str], columns: Sequence[str]) -> Any:
    """A figure of numbers `[rows, columns]`; NaN stays gray."""
    figure, axes = axes_of(title, max(4.5, 0.45 * len(columns) + 2), max(4.5, 0.45 * len(rows) + 2))
    most, least = float(np.nanmax(np.abs(numbers), initial=0)), float(np.nanmin(numbers, initial=np.inf))
    # a scale from 0 would give numbers that are close together one color
    shade = draw_heat(axes, numbers, rows, columns, most, least if most / 2 < least < most else 0.0)
    figure.colorbar(shade, ax=axes, shrink=0.8)
    return figure


def draw_heat(
    axes: Any, numbers: Array, rows: Sequence[str], columns: Sequence[str], most: float, least: float = 0.0
) -> Any:
    """Numbers from `least` to `most` as colors; if some are below 0 from -`most`, red above 0 and blue below."""
    signed, most = bool((numbers < 0).any()), most or 1.0
    colors, least = ("RdBu_r", -most) if signed else ("viridis", least)
    axes.set_facecolor("0.85")
    shade = axes.imshow(numbers, cmap=colors, vmin=least, vmax=most, aspect="auto")
    axes.set_xticks(range(len(columns)), [c[:18] for c in columns], rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), [r[:18] for r in rows])
    axes.tick_params(labelsize=8)
    return shade
