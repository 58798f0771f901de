"""What fields are worth to a trained run, and what pairs of them add, from rows: numbers and their plots."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fmlab.data import Array, Table
from fmlab.data.batch import as_features
from fmlab.data.labels import are_zeros_and_ones
from fmlab.errors import DataError, FmlabError, choices
from fmlab.serving.drawing import BLUE, RUST, axes_of, draw_heat, heat_map, new_figure

if TYPE_CHECKING:
    import pandas as pd

    from fmlab.serving.loaded_run import LoadedRun

REPEATS, INTERVALS, CLASSES = 10, 10, 100


def importance(run: "LoadedRun", *, rows: "pd.DataFrame | None" = None, label: str = "label") -> Any:
    """How much worse the loss of labeled rows gets when a field is shuffled among them, with 95 % intervals."""
    found = permutation_importance(run, rows, label)
    figure, axes = axes_of(
        f"Importance of fields: {run.name} on {run.data.name}", height=max(2.5, 0.32 * len(found) + 1.3)
    )
    names = sorted(found, key=lambda name: found[name][0])
    axes.barh(
        names, [found[n][0] for n in names], xerr=[found[n][1] for n in names], color=BLUE, ecolor=RUST, capsize=3
    )
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel(f"{'log loss' if run.data.log_odds else 'squared error'} added by shuffling the field")
    return figure


def permutation_importance(
    run: "LoadedRun", rows: "pd.DataFrame | None", label: str, repeats: int = REPEATS, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Of each field the mean loss that shuffling it adds over `repeats` shuffles, and half of its 95 % interval.

    Source: Breiman, Random forests, Machine Learning 2001, section 10. The interval is over shuffles: normal, of
    `repeats` of them. Raises DataError where the rows have no such label.
    """
    table, target = _labelled(run, rows, label)
    if run.data.log_odds and not are_zeros_and_ones(target):
        raise DataError(f"labels must be 0 or 1 in {label!r}")
    ids, values = table.ids, table.values

    def loss(ids: Array, values: Array | None) -> float:
        score = run.score(Table(ids, values))["score"].astype(np.float64)
        if run.data.log_odds:
            return float((np.logaddexp(0, score) - target * score).mean())
        return float(np.square(score - target).mean())

    base, rng, schema = loss(ids, values), np.random.default_rng(seed), run.data.schema
    found = {}
    for number, field in enumerate(schema.fields):
        columns = [c for c, f in enumerate(schema.column_field) if f == number]
        added = []
        for _ in range(repeats):
            order = rng.permutation(len(ids))
            moved, numbers = ids.copy(), None if values is None else values.copy()
            moved[:, columns] = ids[np.ix_(order, np.asarray(columns))]
            if numbers is not None and values is not None:
                numbers[:, columns] = values[np.ix_(order, np.asarray(columns))]
            added.append(loss(moved, numbers) - base)
        error = float(np.std(added, ddof=1)) / len(added) ** 0.5 if len(added) > 1 else 0.0
        found[field.name] = float(np.mean(added)), 1.96 * error
    return found


def interactions(run: "LoadedRun", *, rows: "pd.DataFrame | None" = None, label: str = "label") -> Any:
    """What every two fields of a row add to its score, of the first row with the highest label and the first with the
    lowest (Xu, Wu, AAAI 2020, figure 5). A field has no pair with itself."""
    said = getattr(run.model, "column_pairs", None)
    if not callable(said):
        raise FmlabError(
            f"the score of {run.name} is no sum over pairs; models that say their pairs have column_pairs: fm, "
            "lorentzfm"
        )
    table, target = _labelled(run, rows, label)
    shown = list(dict.fromkeys((int(np.argmax(target)), int(np.argmin(target)))))
    with torch.no_grad():
        what, found = said(*as_features(table.take(np.array(shown))))
    schema, columns = run.data.schema, found.double().numpy()
    member = np.zeros((len(schema.fields), schema.n_columns))
    member[np.asarray(schema.column_field), np.arange(schema.n_columns)] = 1
    numbers = member @ columns @ member.T
    for one in numbers:
        np.fill_diagonal(one, np.nan)
    names, size = [f.name for f in schema.fields], max(4.0, 0.45 * len(schema.fields) + 1.5)
    figure = new_figure(size * len(shown) + 1, size)
    figure.suptitle(f"{what}: {run.name} on {run.data.name}", fontsize=11)
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    most = float(np.nanmax(np.abs(numbers), initial=0))
    signed = np.where(numbers.min(initial=0, where=~np.isnan(numbers)) < 0, -most, 0)
    for axes, row, one in zip(panels, shown, numbers, strict=True):
        shade = draw_heat(axes, one, names, names, most)
        shade.set_cmap("RdBu_r" if signed else "viridis")
        shade.set_clim(float(signed), most or 1.0)
        axes.set_title(f"{label} {target[row]:g}", fontsize=9)
    figure.colorbar(shade, ax=list(panels), shrink=0.8)
    return figure


def mutual_information(run: "LoadedRun", *, rows: "pd.DataFrame | None" = None, label: str = "label") -> Any:
    """What the values of every two fields together tell of the label of the rows (Sun et al., WWW 2021, figure 6); on
    the diagonal what a field tells alone."""
    table, target = _labelled(run, rows, label)
    names = [f.name for f in run.data.schema.fields]
    title = f"Mutual information of pairs of fields and {label}, in nats: {run.data.name}"
    return heat_map(title, pair_information(run, table, target), names, names)


def pair_information(run: "LoadedRun", table: Table, label: Array) -> Array:
    """Mutual information in nats, `[fields, fields]`, of the values of two fields together and the label of rows.

    It is that of the rows as they are: few rows and many values make it too large. Numbers are put into ten intervals
    of equal counts. Raises DataError for more than 100 different labels.
    """
    classes, target = np.unique(label, return_inverse=True)
    if len(classes) > CLASSES:
        raise DataError(f"mutual information needs at most {CLASSES} different labels, got {len(classes):,}")
    schema = run.data.schema
    codes = []
    for number, field in enumerate(schema.fields):
        columns = [c for c, f in enumerate(schema.column_field) if f == number]
        cells: Array = table.ids[:, columns]
        if field.numeric and table.values is not None:
            edges = np.quantile(table.values[:, columns], np.arange(1, INTERVALS) / INTERVALS)
            cells = np.where(cells == schema.offsets[number], -1, np.searchsorted(edges, table.values[:, columns]))
        codes.append(np.unique(cells, axis=0, return_inverse=True)[1].reshape(-1))
    found = np.zeros((len(codes), len(codes)))
    for a, left in enumerate(codes):
        for b, right in enumerate(codes[: a + 1]):
            found[a, b] = found[b, a] = _information(left.astype(np.int64) * (right.max() + 1) + right, target)
    return found


def _information(value: Array, label: Array) -> float:
    """`H(value) + H(label) - H(both)`."""
    both = value * (label.max() + 1) + label
    return max(0.0, _entropy(value) + _entropy(label) - _entropy(both))


def _entropy(codes: Array) -> float:
    share = np.unique(codes, return_counts=True)[1] / len(codes)
    return float(-(share * np.log(share)).sum())


def _labelled(run: "LoadedRun", rows: "pd.DataFrame | None", label: str) -> tuple[Table, Array]:
    """Features and labels of a frame; raises FmlabError without one, DataError where its labels are no numbers."""
    from fmlab.serving.frames import frame_batches

    if rows is None:
        raise FmlabError("this plot needs labeled rows: rows=frame, label=column")
    if label not in rows.columns:
        raise DataError(f"rows need the column of labels, got no {label!r}; {choices(label, map(str, rows.columns))}")
    if not len(rows):
        raise DataError("this plot needs labeled rows, the frame has none")
    try:
        target = np.asarray(rows[label], np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"labels must be numbers in {label!r}: {error}") from error
    if not np.isfinite(target).all():
        raise DataError(f"labels must be finite numbers in {label!r}")
    run.encoder.refuse_missing([str(c) for c in rows.columns], "the frame")
    tallies = run.encoder.tallies()
    parts = [run.encoder.encode(batch, tallies) for batch in frame_batches(rows, run.encoder)]
    values = None if parts[0].values is None else np.concatenate([p.values for p in parts if p.values is not None])
    return Table(np.concatenate([p.ids for p in parts]), values), target
