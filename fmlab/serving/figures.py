"""Pictures of a trained run, by matplotlib: what it learned, and what its model makes of fields, users and items."""

import csv
import io
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fmlab.contracts import ManifoldEmbeddings, is_two_sided
from fmlab.data import Array, Side, Table
from fmlab.data.batch import Features, as_features
from fmlab.errors import DataError, FmlabError, StorageError, choices
from fmlab.untrusted.parsing import read_text

if TYPE_CHECKING:
    import pandas as pd

    from fmlab.serving.loaded_run import LoadedRun

REPEATS, SHOWN, LABELLED = 10, 2000, 25
RUST, BLUE = "#b5532a", "#2a6f97"


def draw(run: "LoadedRun", kind: str, **given: Any) -> Any:
    """The matplotlib figure of a kind; raises FmlabError for an unknown one, or one that the run has not."""
    if kind not in KINDS:
        raise FmlabError(f"a plot must be of a known kind, got {kind!r}; {choices(kind, KINDS)}")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise FmlabError(f'plots need the package {error.name}: pip install "fmlab[report]"') from error
    if given and kind != "importance":
        raise FmlabError(f"rows and label belong to importance, a plot of {kind} takes none")
    return KINDS[kind](run, **given)


def _axes(title: str, width: float = 7, height: float = 4.5) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=11)
    return figure, axes


def curves(run: "LoadedRun") -> Any:
    """Loss and validation metrics by epoch, from metrics.csv."""
    path = run.folder / "metrics.csv"
    if not path.is_file():
        raise FmlabError(f"learning curves are in metrics.csv, {run.folder} has none")
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path))))
    except (ValueError, OSError) as error:
        raise StorageError(f"{path}: {error}") from error
    series: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for name, text in row.items():
            with suppress(ValueError, TypeError):
                if name not in ("epoch", "step") and text:
                    series.setdefault(name, []).append((float(row["epoch"]), float(text)))
    if len({value for _, value in series.get("lr", ())}) == 1:
        del series["lr"]  # a straight line
    if not series:
        raise FmlabError(f"{path} has no epoch")
    from matplotlib.figure import Figure

    count = len(series)
    columns = min(3, count)
    figure = Figure(figsize=(3.6 * columns, 2.7 * -(-count // columns)), layout="constrained")
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


def importance(run: "LoadedRun", *, rows: "pd.DataFrame | None" = None, label: str = "label") -> Any:
    """How much worse the loss of labelled rows gets when a field is shuffled among them, with 95 % intervals."""
    if rows is None:
        raise FmlabError("importance needs labelled rows that training has not seen: rows=frame, label=column")
    found = permutation_importance(run, rows, label)
    figure, axes = _axes(
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
    run: "LoadedRun", rows: "pd.DataFrame", label: str, repeats: int = REPEATS, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Of each field the mean loss that shuffling it adds over `repeats` shuffles, and half of its 95 % interval.

    Source: Breiman, Random forests, Machine Learning 2001, section 10. The interval is over shuffles: normal, of
    `repeats` of them. Raises DataError where the rows have no such label.
    """
    from fmlab.serving.frames import frame_batches

    if label not in rows.columns:
        raise DataError(f"rows need the column of labels, got no {label!r}; {choices(label, map(str, rows.columns))}")
    target = np.asarray(rows[label], np.float64)
    if not np.isfinite(target).all() or (run.data.log_odds and not np.isin(target, (0, 1)).all()):
        raise DataError(f"labels must be {'0 or 1' if run.data.log_odds else 'finite numbers'} in {label!r}")
    run.encoder.refuse_missing([str(c) for c in rows.columns], "the frame")
    tallies = run.encoder.tallies()
    parts = [run.encoder.encode(batch, tallies) for batch in frame_batches(rows, run.encoder)]
    ids = np.concatenate([p.ids for p in parts])
    values = None if parts[0].values is None else np.concatenate([p.values for p in parts if p.values is not None])

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


def pairs(run: "LoadedRun") -> Any:
    """What a model itself says of every two fields: |F| of IFM, the norm of M of FwFM, FvFM and FmFM."""
    said = getattr(run.model, "field_pairs", None)
    if not callable(said):
        raise FmlabError(f"{run.name} weighs no pairs of fields; models that do: those with field_pairs, such as fmfm")
    what, table = said()
    names = [f.name for f in run.data.schema.fields]
    numbers = table.double().numpy().copy()
    numbers[numbers == 0] = np.nan  # a field of one slot has no pair with itself
    size = max(4.5, 0.45 * len(names) + 2)
    return _heat(f"{what}: {run.name} on {run.data.name}", numbers, names, names, size, size)


def triangles(run: "LoadedRun") -> Any:
    """Inner products of users' and items' vectors, the most popular first: LorentzFM's violations of the triangle
    inequality between the sides (Xu, Wu, AAAI 2020, figure 5)."""
    users, items, counts = _sides(run)
    model = run.model
    if not is_two_sided(model):
        raise FmlabError(f"a heat map of users and items needs a two-sided model, {run.name} is none")
    who, what = _most(run, counts)
    with torch.no_grad():
        _, left = model.encode_query(*users.take(torch.from_numpy(who)))
        _, right = model.encode_item(*items.take(torch.from_numpy(what)))
    sides: tuple[Side, ...] = ("user", "item")
    keys = {side: run.data.keys[run.data.id_field(side)] for side in sides}
    title = f"Score across the sides: {run.name} on {run.data.name}"
    figure = _heat(
        title, (left @ right.T).double().numpy(), keys["user"][who].tolist(), keys["item"][what].tolist(), 8, 7
    )
    figure.axes[0].set(xlabel="items, the most popular first", ylabel="users, the most active first")
    return figure


def disk(run: "LoadedRun") -> Any:
    """Users and items in the Poincaré disk: the distance to the center is the point's own, the angle that of its two
    main directions."""
    users, items, counts = _sides(run)
    model = run.model
    if not isinstance(model, ManifoldEmbeddings) or type(model.manifold).__name__ != "Poincare":
        raise FmlabError(f"a disk shows points of the Poincaré ball, those of {run.name} are elsewhere")
    who, what = _most(run, counts, SHOWN)
    with torch.no_grad():
        left = model.user_points(*users.take(torch.from_numpy(who))).double()
        right = model.item_points(*items.take(torch.from_numpy(what))).double()
    points = torch.cat([left, right]) * float(model.manifold.curvature) ** 0.5
    flat = points if points.shape[1] <= 2 else points @ torch.linalg.svd(points, full_matrices=False)[2][:2].T
    if flat.shape[1] < 2:
        flat = torch.cat([flat, torch.zeros_like(flat)], 1)
    flat = flat / flat.norm(dim=1, keepdim=True).clamp_min(1e-12) * points.norm(dim=1, keepdim=True)
    figure, axes = _axes(f"Poincaré disk: {run.name} on {run.data.name}", 6.2, 6.2)
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
    what = _most(run, counts, SHOWN)[1]
    if len(what) < 4:
        raise FmlabError(f"t-SNE needs four items or more, got {len(what)}")
    found = run.similar_items()
    with torch.no_grad():
        alike = torch.cat([found.compare(part) for part in torch.split(torch.from_numpy(what), 64)])[:, what].double()
    away = (alike.max() - (alike + alike.T) / 2).numpy()
    np.fill_diagonal(away, 0)
    fit = TSNE(metric="precomputed", init="random", random_state=0, perplexity=min(30, (len(what) - 1) / 3))
    flat = fit.fit_transform(np.maximum(away, 0))
    figure, axes = _axes(f"Items by t-SNE: {run.name} on {run.data.name}", 7, 6)
    shade = axes.scatter(*flat.T, s=12, c=np.log1p(counts[what]), cmap="viridis", linewidths=0)
    figure.colorbar(shade, ax=axes, label="log(1 + training interactions)", shrink=0.8)
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(found.measure, fontsize=9)
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


def _most(run: "LoadedRun", counts: Array, most: int = LABELLED) -> tuple[Array, Array]:
    """Users with most interactions, and items."""
    seen, n_users = run.data.seen, run.data.schema.n_users
    met = np.zeros(n_users, np.int64)
    if seen is not None:
        who = seen.key // max(1, seen.n_items)
        met = np.bincount(who[who < n_users], minlength=n_users)
    return np.argsort(-met, kind="stable")[:most], np.argsort(-counts, kind="stable")[:most]


def _heat(title: str, numbers: Array, rows: list[str], columns: list[str], width: float, height: float) -> Any:
    figure, axes = _axes(title, width, height)
    most = float(np.nanmax(np.abs(numbers))) or 1.0
    signed = bool((numbers < 0).any())
    image = axes.imshow(
        numbers, cmap="RdBu_r" if signed else "viridis", vmin=-most if signed else 0, vmax=most, aspect="auto"
    )
    axes.set_xticks(range(len(columns)), [c[:18] for c in columns], rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), [r[:18] for r in rows])
    axes.tick_params(labelsize=8)
    figure.colorbar(image, ax=axes, shrink=0.8)
    return figure


KINDS: Mapping[str, Callable[..., Any]] = {
    "curves": curves,
    "importance": importance,
    "pairs": pairs,
    "triangles": triangles,
    "disk": disk,
    "tsne": tsne,
}
