"""Plots of a trained run, by matplotlib: what it learned, and what its model makes of fields, users and items."""

import csv
import io
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fmlab.contracts import ManifoldEmbeddings
from fmlab.data import Array
from fmlab.data.batch import Features, as_features
from fmlab.errors import DataError, FmlabError, StorageError, choices
from fmlab.serving.drawing import BLUE, RUST, axes_of, heat_map, new_figure
from fmlab.serving.feature_importance import importance, interactions, mutual_information
from fmlab.untrusted.parsing import read_text

if TYPE_CHECKING:
    from fmlab.serving.loaded_run import LoadedRun

SHOWN = 2000


def draw(run: "LoadedRun", kind: str, **given: Any) -> Any:
    """The matplotlib figure of a kind; raises FmlabError for an unknown one, or one that the run has not."""
    if kind not in KINDS:
        raise FmlabError(f"a plot must be of a known kind, got {kind!r}; {choices(kind, KINDS)}")
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise FmlabError(f'plots need the package {error.name}: pip install "fmlab[report]"') from error
    if given and kind not in OF_ROWS:
        raise FmlabError(f"rows and label belong to {', '.join(OF_ROWS)}, a plot of {kind} takes none")
    with rc_context({"text.parse_math": False}):  # a dollar sign in a name begins no formula
        figure = KINDS[kind](run, **given)
        figure.draw_without_rendering()  # the texts at ticks are made now, under the same rule
    return figure


def curves(run: "LoadedRun") -> Any:
    """Loss and validation metrics by epoch, from metrics.csv."""
    path = run.folder / "metrics.csv"
    if not path.is_file():
        raise FmlabError(f"learning curves are in metrics.csv, {run.folder} has none")
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path))))
    except (ValueError, OSError, csv.Error) as error:
        raise StorageError(f"{path}: {error}") from error
    series: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for name, text in row.items():
            with suppress(ValueError, TypeError):
                if name not in ("epoch", "step") and text:
                    series.setdefault(name, []).append((float(row.get("epoch", "")), float(text)))
    if len({value for _, value in series.get("lr", ())}) == 1:
        del series["lr"]  # a straight line
    if not series:
        raise FmlabError(f"{path} has no epoch")
    count = len(series)
    columns = min(3, count)
    figure = new_figure(3.6 * columns, 2.7 * -(-count // columns))
    figure.suptitle(f"{run.name} on {run.data.name}", fontsize=11)
    for place, (name, points) in enumerate(series.items(), 1):
        axes = figure.add_subplot(-(-count // columns), columns, place)
        axes.plot(*zip(*points, strict=True), color=BLUE if name.startswith("val/") else RUST, marker=".")
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("epoch", fontsize=8)
        axes.locator_params(axis="x", integer=True)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
    return figure


def pairs(run: "LoadedRun") -> Any:
    """What a model itself says of every two fields: |F| of IFM, the norm of M of FwFM, FvFM and FmFM."""
    said = getattr(run.model, "field_pairs", None)
    if not callable(said):
        raise FmlabError(f"{run.name} weighs no pairs of fields; models that do: those with field_pairs, such as fmfm")
    what, table = said()
    names = [f.name for f in run.data.schema.fields]
    numbers = table.double().numpy().copy()
    numbers[numbers == 0] = np.nan  # a field of one slot has no pair with itself
    return heat_map(f"{what}: {run.name} on {run.data.name}", numbers, names, names)


def dimensions(run: "LoadedRun") -> Any:
    """The smaller size of the vectors of every two fields, by which FmFM's matrices grow (Sun et al., WWW 2021,
    figure 7)."""
    sizes, fields = getattr(run.model, "dims", None), run.data.trained.fields
    if not isinstance(sizes, tuple) or len(sizes) != len(fields):
        raise FmlabError(
            f"{run.name} has vectors of one size; models with sizes by field have dims, such as fmfm with model.dims"
        )
    numbers = np.minimum.outer(np.array(sizes, np.float64), np.array(sizes, np.float64))
    np.fill_diagonal(numbers, np.nan)
    names = [f"{f.name} ({n})" for f, n in zip(fields, sizes, strict=True)]
    return heat_map(f"Smaller vector of two fields: {run.name} on {run.data.name}", numbers, names, names)


def disk(run: "LoadedRun") -> Any:
    """Users and items in the Poincaré disk: the distance to the center is the point's own, the angle that of its two
    main directions."""
    users, items, counts = _sides(run)
    model = run.model
    if not isinstance(model, ManifoldEmbeddings) or type(model.manifold).__name__ != "Poincare":
        raise FmlabError(f"a disk shows points of the Poincaré ball, those of {run.name} are elsewhere")
    who, what = _most(run, counts)
    with torch.no_grad():
        left = model.user_points(*users.take(torch.from_numpy(who))).double()
        right = model.item_points(*items.take(torch.from_numpy(what))).double()
        curvature = float(model.manifold.curvature)
    points = torch.cat([left, right]) * curvature**0.5
    flat = points if points.shape[1] <= 2 else points @ torch.linalg.svd(points, full_matrices=False)[2][:2].T
    if flat.shape[1] < 2:
        flat = torch.cat([flat, torch.zeros_like(flat)], 1)
    flat = flat / flat.norm(dim=1, keepdim=True).clamp_min(1e-12) * points.norm(dim=1, keepdim=True)
    figure, axes = axes_of(f"Poincaré disk: {run.name} on {run.data.name}", 6.2, 6.2)
    from matplotlib.patches import Circle

    axes.add_patch(Circle((0, 0), 1, fill=False, color="black", linewidth=0.8))
    n = len(left)
    axes.scatter(*flat[:n].numpy().T, s=8, color=BLUE, alpha=0.5, label="users", linewidths=0)
    heat = 4 + 40 * np.sqrt(counts[what] / max(1, counts[what].max()))
    axes.scatter(*flat[n:].numpy().T, s=heat, color=RUST, alpha=0.5, label="items, larger where popular", linewidths=0)
    axes.set(aspect="equal", xticks=[], yticks=[], xlim=(-1.05, 1.05), ylim=(-1.05, 1.05))
    axes.set_frame_on(False)
    axes.legend(loc="lower center", ncols=2, frameon=False, bbox_to_anchor=(0.5, -0.06), fontsize=9)
    return figure


def tsne(run: "LoadedRun") -> Any:
    """The most popular items in the plane by t-SNE (van der Maaten, Hinton, JMLR 2008), of what the model compares."""
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise FmlabError(f'a plot by t-SNE needs the package {error.name}: pip install "fmlab[report]"') from error
    _, _, counts = _sides(run)
    what = _most(run, counts)[1]
    if len(what) < 4:
        raise FmlabError(f"t-SNE needs four items or more, got {len(what)}")
    found = run.similar_items()
    with torch.no_grad():
        alike = torch.cat([found.compare(part) for part in torch.split(torch.from_numpy(what), 64)])[:, what].double()
    away = (alike.max() - (alike + alike.T) / 2).numpy()
    np.fill_diagonal(away, 0)
    fit = TSNE(metric="precomputed", init="random", random_state=0, perplexity=min(30, (len(what) - 1) / 3))
    flat = fit.fit_transform(np.maximum(away, 0))
    figure, axes = axes_of(f"Items by t-SNE: {run.name} on {run.data.name}", 7, 6)
    shade = axes.scatter(*flat.T, s=12, c=np.log1p(counts[what]), cmap="viridis", linewidths=0)
    figure.colorbar(shade, ax=axes, label="log(1 + training interactions)", shrink=0.8)
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(f"near: alike by {found.measure}", fontsize=9)
    return figure


def _sides(run: "LoadedRun") -> tuple[Features, Features, Array]:
    """Users, items, and how often items were trained on; raises DataError where there are none."""
    data = run.data
    if data.users is None or data.items is None or data.has_context:
        raise DataError(
            f"this plot shows users and items, the rows of {data.name!r} have none or a context beside them"
        )
    counts = np.zeros(len(data.items.ids), np.int64) if data.popularity is None else np.asarray(data.popularity)
    return as_features(data.users), as_features(data.items), counts


def _most(run: "LoadedRun", counts: Array, most: int = SHOWN) -> tuple[Array, Array]:
    """Users with most interactions, and items."""
    seen, n_users = run.data.seen, run.data.schema.n_users
    met = np.zeros(n_users, np.int64)
    if seen is not None:
        who = seen.key // max(1, seen.n_items)
        met = np.bincount(who[who < n_users], minlength=n_users)
    return np.argsort(-met, kind="stable")[:most], np.argsort(-counts, kind="stable")[:most]


OF_ROWS: Mapping[str, Callable[..., Any]] = {
    "importance": importance,
    "interactions": interactions,
    "mutual_information": mutual_information,
}
KINDS: Mapping[str, Callable[..., Any]] = {
    "curves": curves,
    **OF_ROWS,
    "pairs": pairs,
    "dimensions": dimensions,
    "disk": disk,
    "tsne": tsne,
}
