"""Charts as inline SVG: no script, no font, nothing fetched."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from statistics import quantiles
from typing import Literal

WIDTH, HEIGHT = 560, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 30, 46
_APART = 30  # between 0 and the rest of a logarithmic axis
_COLOURS = (  # to be told from white paper and from dark
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#9c5bb5",
    "#6b8e23",
    "#a0695c",
    "#7d8694",
)
_SHAPES = ("circle", "square", "diamond")


@dataclass(frozen=True)
class Series:
    """Points of one name: dots, a line through dots, steps of a best value so far, or a dashed line to compare with.

    `notes` are tooltips. Steps and dashed lines stand in no legend.
    """

    name: str
    points: Sequence[tuple[float, float]]
    kind: Literal["dots", "line", "steps", "guide"] = "dots"
    notes: Sequence[str] = field(default=())


@dataclass(frozen=True)
class Axis:
    """One axis of parallel coordinates: a position from 0 to 1 for each line (None: not there), and labels."""

    name: str
    places: Sequence[float | None]
    labels: Sequence[tuple[float, str]]


def chart(
    title: str,
    x: str,
    y: str,
    series: Sequence[Series],
    *,
    log: bool = False,
    ticks: Sequence[float] | None = None,
    names: Sequence[str] = (),
) -> str:
    """Points over a horizontal axis, logarithmic if `log`; series of one name share a color.

    `names`: all names of a page in one order, so that a name has one color in all its charts. `ticks`: where to label
    the horizontal axis. Values far from all others stand at the border, so that these can be told apart.
    """
    points = [p for s in series for p in s.points if math.isfinite(p[0]) and math.isfinite(p[1])]
    across, x_ticks = _scale([p[0] for p in points], _LEFT + 8, WIDTH - _RIGHT - 8, log=log)
    low, high = _fences([p[1] for p in points])
    straight, y_ticks = _scale([p[1] for p in points if low <= p[1] <= high], HEIGHT - _BOTTOM - 8, _TOP + 8)

    def up(value: float) -> float:
        return straight(min(max(value, low), high))

    known = list(dict.fromkeys([*names, *(s.name for s in series)]))
    parts = [_frame(x, y)]
    x_ticks = x_ticks if ticks is None else [(t, short(t)) for t in ticks]
    for value, text in x_ticks:
        parts.append(_text(across(value), HEIGHT - _BOTTOM + 15, text, anchor="middle"))
        parts.append(_line(across(value), HEIGHT - _BOTTOM, across(value), _TOP, "grid"))
    for value, text in y_ticks:
        parts.append(_text(_LEFT - 6, up(value) + 4, text, anchor="end"))
        parts.append(_line(_LEFT, up(value), WIDTH - _RIGHT, up(value), "grid"))
    parts += [_series(one, known.index(one.name), across, up) for one in series]
    there = {s.name for s in series if s.kind in ("dots", "line")}
    several = len(there.union(names)) > 1  # of two models on a page, one that stands alone is named too
    legend = [(i, name) for i, name in enumerate(known) if name in there and several]
    return _svg(title, "".join(parts), legend)


def _series(one: Series, place: int, across: Callable[[float], float], up: Callable[[float], float]) -> str:
    color = "#9aa3b2" if one.kind in ("steps", "guide") else _COLOURS[place % len(_COLOURS)]
    parts = []
    known = [(i, across(a), up(b)) for i, (a, b) in enumerate(one.points) if math.isfinite(a) and math.isfinite(b)]
    if one.kind != "dots" and known:
        path = f"M{known[0][1]:.1f},{known[0][2]:.1f}"
        for _, a, b in known[1:]:
            path += f"H{a:.1f}V{b:.1f}" if one.kind == "steps" else f"L{a:.1f},{b:.1f}"
        dashes = ' stroke-dasharray="5 4"' if one.kind == "guide" else ""
        parts.append(f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.6"{dashes}/>')
    if one.kind in ("dots", "line"):
        shape = _SHAPES[place // len(_COLOURS) % len(_SHAPES)]
        for i, a, b in known:
            parts.append(_dot(shape, a, b, color, one.notes[i] if i < len(one.notes) else ""))
    return "".join(parts)


def _dot(shape: str, a: float, b: float, color: str, note: str) -> str:
    tip = f"<title>{escape(note)}</title>" if note else ""
    if shape == "circle":
        return f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{color}" fill-opacity=".75">{tip}</circle>'
    turn = f' transform="rotate(45 {a:.1f} {b:.1f})"' if shape == "diamond" else ""
    box = f'x="{a - 3:.1f}" y="{b - 3:.1f}" width="6" height="6"'
    return f'<rect {box} fill="{color}" fill-opacity=".75"{turn}>{tip}</rect>'


def bars(title: str, x: str, items: Sequence[tuple[str, float]]) -> str:
    """Horizontal bars of values from 0 to 1."""
    left, step = 170, 22
    height = _TOP + step * len(items) + 34
    span = WIDTH - _RIGHT - left - 40
    parts = [_text((left + WIDTH) / 2, height - 8, x, anchor="middle")]
    for place, (name, value) in enumerate(items):
        top = _TOP + step * place
        parts.append(_text(left - 6, top + 14, name, anchor="end"))
        width = max(1.0, span * value)
        parts.append(f'<rect x="{left}" y="{top + 3}" width="{width:.1f}" height="{step - 7}" fill="{_COLOURS[0]}"/>')
        parts.append(_text(left + width + 5, top + 14, f"{value:.0%}"))
    return _svg(title, "".join(parts), [], height)


def parallel(title: str, axes: Sequence[Axis], worth: Sequence[float], notes: Sequence[str]) -> str:
    """Parallel coordinates: a line for each run, colored by its worth from 0 to 1, the best on top."""
    widest = max((len(axis.name) for axis in axes), default=0)
    top, width = _TOP + 30, max(WIDTH, max(120, 7 * widest + 14) * len(axes))  # no name over another
    bottom = max(HEIGHT - 24, top + 13 * max((len(a.labels) for a in axes), default=0))  # no label over another
    left = max(60.0, 3.6 * widest + 6)
    step = (width - 2 * left - 20) / max(1, len(axes) - 1)
    parts = []
    for line in sorted(range(len(worth)), key=lambda i: worth[i]):
        places = [a.places[line] for a in axes]  # what a run does not have is drawn below the axis
        down = [bottom + 10 if p is None else bottom - (bottom - top) * p for p in places]
        path = "M" + "L".join(f"{left + step * i:.1f},{b:.1f}" for i, b in enumerate(down))
        style = f'stroke="{shade(worth[line])}" stroke-opacity=".7" stroke-width="1.4" fill="none"'
        parts.append(f'<path d="{path}" {style}><title>{escape(notes[line])}</title></path>')
    for i, axis in enumerate(axes):
        across = left + step * i
        parts.append(_line(across, top, across, bottom, "axis"))
        parts.append(_text(across, _TOP + 14, axis.name, anchor="middle", bold=True))
        for place, text in axis.labels:
            parts.append(_text(across + 4, bottom - (bottom - top) * place + 4, text, halo=True))
    return _svg(title, "".join(parts), [], height=bottom + 24, width=width)


def shade(worth: float) -> str:
    """A color from pale violet (0) through teal to yellow (1)."""
    stops = ((122, 82, 176), (49, 120, 160), (53, 183, 121), (240, 200, 20))
    at = min(max(worth, 0.0), 1.0) * (len(stops) - 1)
    low = min(int(at), len(stops) - 2)
    mixed = (round(a + (b - a) * (at - low)) for a, b in zip(stops[low], stops[low + 1], strict=True))
    return "#" + "".join(f"{c:02x}" for c in mixed)


def _fences(values: Sequence[float]) -> tuple[float, float]:
    """Smallest and largest value within three times the middle half from it (Tukey's outer fences)."""
    if len(values) < 8:
        return min(values, default=0.0), max(values, default=1.0)
    first, _, third = quantiles(values, method="inclusive")
    reach = 3 * (third - first)
    inside = [v for v in values if first - reach <= v <= third + reach]
    return min(inside), max(inside)


def _scale(
    values: Sequence[float], start: float, end: float, *, log: bool = False
) -> tuple[Callable[[float], float], list[tuple[float, str]]]:
    """A map from values to pixels, and ticks (value, text)."""
    if log and 0 in values and any(v > 0 for v in values) and min(values) >= 0:  # 0 stands apart, at the border
        inner, above = _scale([v for v in values if v > 0], start + math.copysign(_APART, end - start), end, log=True)
        return lambda v: inner(v) if v > 0 else start, [(0.0, "0"), *above]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if log and low > 0:
        low, high = (low, high) if high > low else (low / 2, high * 2)
        a, b = math.log(low), math.log(high)
        return lambda v: start + (end - start) * (math.log(v) - a) / (b - a), [(t, short(t)) for t in _round(low, high)]
    if high == low:
        low, high = low - (abs(low) or 1) * 0.05, high + (abs(high) or 1) * 0.05
    span = high - low
    step = 10 ** math.floor(math.log10(span / 4))
    step = next(s * step for s in (1, 2, 5, 10) if span / (s * step) <= 5)
    step = max(step, 1) if all(float(v).is_integer() for v in values) else step
    marks = [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
    return lambda v: start + (end - start) * (v - low) / span, [(t, short(t)) for t in marks]


def _round(low: float, high: float) -> list[float]:
    """Two to seven round numbers in a range, else its ends and their middle: for a logarithmic axis."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for firsts in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        found = [f * 10.0**n for n in decades for f in firsts if low * 0.999 <= f * 10.0**n <= high * 1.001]
        if len(found) > 2 or (len(firsts) == 1 and len(found) == 2):
            return found[:: math.ceil(len(found) / 7)]
    return [low, math.sqrt(low * high), high]


def short(value: float) -> str:
    """A number of a few letters: `12k`, `0.034`."""
    for size, word in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if word == 'k' else size):.3g}{word}"
    return f"{value:.4g}"


def _frame(x: str, y: str) -> str:
    middle = (_TOP + HEIGHT - _BOTTOM) / 2
    return (
        _line(_LEFT, HEIGHT - _BOTTOM, WIDTH - _RIGHT, HEIGHT - _BOTTOM, "axis")
        + _line(_LEFT, _TOP, _LEFT, HEIGHT - _BOTTOM, "axis")
        + _text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - _BOTTOM + 34, x, anchor="middle")
        + f'<text transform="translate(14 {middle:.1f}) rotate(-90)" text-anchor="middle">{escape(y)}</text>'
    )


def _line(a: float, b: float, c: float, d: float, kind: str) -> str:
    return f'<line x1="{a:.1f}" y1="{b:.1f}" x2="{c:.1f}" y2="{d:.1f}" class="{kind}"/>'


def _text(a: float, b: float, text: str, *, anchor: str = "start", bold: bool = False, halo: bool = False) -> str:
    marks: Mapping[str, bool] = {' font-weight="600"': bold, ' class="halo"': halo}
    extra = "".join(mark for mark, on in marks.items() if on)
    return f'<text x="{a:.1f}" y="{b:.1f}" text-anchor="{anchor}"{extra}>{escape(text)}</text>'


def _svg(title: str, body: str, names: Sequence[tuple[int, str]], height: int = HEIGHT, width: int = WIDTH) -> str:
    """A figure: title, drawing, legend."""
    legend, across, down = [], 12, height + 8
    for place, name in names:
        size = 24 + 7 * len(name)
        if across + size > width:
            across, down = 12, down + 18
        shape = _SHAPES[place // len(_COLOURS) % len(_SHAPES)]
        legend.append(_dot(shape, across + 4, down - 4, _COLOURS[place % len(_COLOURS)], ""))
        legend.append(_text(across + 13, down, name))
        across += size
    total = down + 8 if names else height
    head = _text(12, 18, title, bold=True)
    opening = f'<svg viewBox="0 0 {width} {total}" width="{width}" height="{total}" role="img"'
    return f'{opening} aria-label="{escape(title)}">{head}{body}{"".join(legend)}</svg>'
