"""Leaderboards: runs of one data set under one protocol; those that differ in the seed alone make one row."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from fmlab.config.overrides import override
from fmlab.records.folder import REFIT
from fmlab.report.runs import Run, number

KNOWN_BEST = "known best"
CUT = "(trials cut by time)"
_EMPTY: tuple[Any, ...] = (None, [])  # the same as not given: configs of an older version lack newer options
MetricValue = tuple[float, float | None]  # mean, and standard deviation over seeds where there are several


COUNTS = ("parameters", "flops")  # of a model; a run knows them before it trains


@dataclass(frozen=True)
class Row:
    """Runs that differ in the seed, or the fold, alone; the newest of each. The known best has none."""

    model: str
    label: str  # options that tell it from other rows of its model
    runs: tuple[Run, ...]
    metrics: Mapping[str, MetricValue]
    older: int = 0  # runs left out because a newer one has the same seed

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of its runs, each once."""
        return tuple(sorted({r.repetition[0] for r in self.runs}))

    @property
    def folds(self) -> tuple[int, ...]:
        """Folds, or repetitions of the split, of its runs, each once."""
        return tuple(sorted({r.repetition[1] for r in self.runs}))

    @property
    def title(self) -> str:
        """Model and label."""
        return f"{self.model}  {self.label}" if self.label else self.model

    def cost(self, name: str) -> float | None:
        """Mean of a figure such as `seconds_fit` over its runs; None where none was recorded."""
        found = [float(r.content[name]) for r in self.runs if r.content.get(name) is not None]
        return fmean(found) if found else None

    def published_counterpart(self, name: str) -> MetricValue | None:
        """A figure that papers print beside test metrics: one of `COUNTS`, `seconds_per_epoch`, `validation auc`."""
        part, _, metric = name.partition(" ")
        if part == "validation" and metric:
            found = [number(v) for r in self.runs if (v := r.content["validation"].get(metric)) is not None]
        elif name == "seconds_per_epoch":
            whole = [r for r in self.runs if r.config.get("trainer.limit_train_batches") is None]
            known = [r.content for r in whole if r.content.get("epochs") and r.content.get("seconds_fit") is not None]
            found = [content["seconds_fit"] / content["epochs"] for content in known]
        else:
            found = [float(r.content[name]) for r in self.runs if name in COUNTS and r.content.get(name) is not None]
        return (fmean(found), _deviation(found)) if found else self.metrics.get(name)

    @property
    def value(self) -> float:
        """Mean over its runs of the metric that selects models, of the validation."""
        return fmean(r.value for r in self.runs)

    @property
    def validation(self) -> MetricValue | None:
        """The same with its deviation over seeds; None of the known best, which was not run."""
        found = [r.value for r in self.runs]
        return (fmean(found), _deviation(found)) if found else None

    @property
    def warnings(self) -> list[str]:
        """What its runs warn of, each sentence once, with its seeds."""
        said: dict[str, list[int]] = defaultdict(list)
        for run in self.runs:
            found = run.content.get("warnings")
            for sentence in found if isinstance(found, list) else ():
                said[str(sentence)].append(int(run.content["seed"]))
        return [f"seed {', '.join(map(str, sorted(seeds)))}: {sentence}" for sentence, seeds in said.items()]

    @property
    def trial(self) -> str:
        """The number of the trial of a sweep that one of its runs is; empty if none is."""
        return next((r.folder.name for r in self.runs if _sweep(r) and r.folder.parent.name == "trials"), "")

    def option(self, name: str) -> Any:
        """An option of its runs, None if they have none of that name."""
        return self.runs[0].config.get(name) if self.runs else None


@dataclass(frozen=True)
class Leaderboard:
    """Rows of one data set under one protocol: the known best, then by `monitor` on the validation, best first.

    Whatever takes the first of some rows thereby takes the best of them, and does not look at the test for it.
    """

    data: str
    protocol: str
    label: str  # options that tell it from other leaderboards of these names
    fingerprint: str
    place: Mapping[str, Any]
    monitor: str
    maximize: bool
    rows: tuple[Row, ...]
    older: int = field(default=0)
    cut: bool = field(default=False)  # of trials that the time of their sweep ended: not to be compared

    @property
    def title(self) -> str:
        """Data, protocol and label."""
        return f"{self.data}, {self.protocol}" + (f"  {self.label}" if self.label else "")

    @property
    def metrics(self) -> list[str]:
        """Names of the test metrics."""
        return list(dict.fromkeys(name for row in self.rows for name in row.metrics))

    @property
    def own(self) -> list[Row]:
        """Rows that were run, best on the validation first."""
        return [row for row in self.rows if row.runs]

    def worth(self, value: float) -> float:
        """A value of the monitored metric as a rank: higher is better, undefined is worst."""
        return -math.inf if math.isnan(value) else value if self.maximize else -value


def leaderboards(runs: Iterable[Run]) -> list[Leaderboard]:
    """Leaderboards of the complete runs, by data, protocol and label."""
    groups: dict[tuple[str, str, bool], list[Run]] = defaultdict(list)
    for run in runs:
        if run.complete:
            protocol = {k: v for k, v in run.protocol.items() if v not in _EMPTY}
            groups[run.content["fingerprint"], _key(protocol), run.cut is not None].append(run)
    newest = [max(members, key=lambda r: r.finished) for members in groups.values()]
    labels = _place_labels(newest)
    found = [
        _board(newest[i], labels[i], fingerprint, members)
        for i, ((fingerprint, _, _), members) in enumerate(groups.items())
    ]
    return sorted(found, key=lambda b: (b.data, b.protocol, b.label))


def best_of_each(board: Leaderboard) -> Leaderboard:
    """The board with the row of each model that is best on the validation, and the known best.

    A model that was trained anew on training and validation rows as well has one row for each.

    Where a sweep trained its best point again with several seeds, its other trials, one lucky seed each, do not count.
    """
    best: dict[tuple[str, Any], Row] = {}
    again = {(row.model, sweep) for row in board.own for r in row.runs if (sweep := _sweep(r, again=True))}
    for row in board.own:
        if all((row.model, _sweep(r)) in again for r in row.runs):
            continue
        of = _trained(row)
        best[of] = max(best.get(of, row), row, key=lambda r: (board.worth(r.value), len(r.runs)))
    kept = tuple(row for row in board.rows if not row.runs or best[_trained(row)] is row)
    return Leaderboard(**{**vars(board), "rows": kept})


def _trained(row: Row) -> tuple[str, Any]:
    """What a row is the best of: its model, and the rows that it was trained on."""
    return row.model, row.option("refit_on")


def _sweep(run: Run, *, again: bool = False) -> Path | None:
    """The folder of the sweep whose trial a run is; `again`: one with a seed of its own after the search."""
    trials = next((p for p in run.folder.parents if p.name == "trials"), None)
    name = "" if trials is None else trials.parent.name
    if trials is None or name == REFIT or name.startswith("refit-") != again:
        return None
    return trials.parent.parent if again else trials.parent


def _place_labels(newest: Sequence[Run]) -> list[str]:
    """What tells leaderboards apart: options, or the fingerprint where options are equal and files were not."""
    labels = differences([r.place for r in newest], ("data", "protocol"))
    labels = [f"{label} {CUT}".strip() if r.cut else label for r, label in zip(newest, labels, strict=True)]
    names = [(r.content["data"], r.content["protocol"], label) for r, label in zip(newest, labels, strict=True)]
    return [
        f"{label} fingerprint={run.content['fingerprint'][:8]}".strip() if names.count(name) > 1 else label
        for run, label, name in zip(newest, labels, names, strict=True)
    ]


def _board(newest: Run, label: str, fingerprint: str, members: Sequence[Run]) -> Leaderboard:
    same: dict[str, list[Run]] = defaultdict(list)
    for run in members:
        same[_key({k: v for k, v in run.settings.items() if v not in _EMPTY})].append(run)
    told = differences([runs[0].settings for runs in same.values()], ("model",))
    rows = [
        _row(runs, f"{_with_refit(text, runs[0])} {_progress(runs)}".strip())
        for runs, text in zip(same.values(), told, strict=True)
    ]
    best = next((r.content["known_best"] for r in members if r.content.get("known_best")), None)
    if best:
        rows.append(Row(KNOWN_BEST, "", (), {k: (number(v), None) for k, v in best.items()}))
    board = Leaderboard(
        data=str(newest.content["data"]),
        protocol=str(newest.content["protocol"]),
        label=label,
        fingerprint=fingerprint,
        place=newest.place,
        monitor=str(newest.content["monitor"]),
        maximize=bool(newest.content["maximize"]),
        rows=(),
        cut=newest.cut is not None,
    )
    rows.sort(key=lambda r: (1, board.worth(r.value)) if r.runs else (2, 0.0), reverse=True)
    return Leaderboard(**{**vars(board), "rows": tuple(rows), "older": sum(r.older for r in rows)})


def _with_refit(label: str, run: Run) -> str:
    """A label that says which rows a model was trained on where these are not the training rows alone."""
    name = "refit_on"
    rows = run.config.get(name)
    return label if rows is None or f"{name}=" in label else f"{label} {override(name, rows)}".strip()


def _row(runs: Sequence[Run], label: str) -> Row:
    repeated: dict[tuple[int, int], Run] = {}
    for run in sorted(runs, key=lambda r: r.finished):
        repeated[run.repetition] = run
    kept = tuple(repeated[s] for s in sorted(repeated))
    figures: dict[str, list[float]] = defaultdict(list)
    for run in kept:
        for name, value in run.content["test"].items():
            figures[name].append(number(value))
    metrics = {k: (fmean(v), _deviation(v)) for k, v in figures.items()}
    return Row(str(kept[0].content["model"]), label, kept, metrics, len(runs) - len(kept))


def _deviation(values: Sequence[float]) -> float | None:
    """Standard deviation of two values or more; NaN where one of them is undefined."""
    if len(values) < 2:
        return None
    return stdev(values) if all(map(math.isfinite, values)) else math.nan


def _progress(runs: Sequence[Run]) -> str:
    """How far trials came that were cut; empty for whole runs."""
    found = [r.cut for r in runs if r.cut]
    if not found:
        return ""
    epochs, share = (fmean(c[k] for c in found) for k in ("epochs", "share"))
    return f"(cut after {epochs:.3g} epochs, {share:.0%} of the training rows seen)"


def _key(options: Mapping[str, Any]) -> str:
    return json.dumps(options, sort_keys=True, default=str)


def differences(configs: Sequence[Mapping[str, Any]], heads: Sequence[str]) -> list[str]:
    """For each config the options, as overrides, that tell it from the others with the same plugins of `heads`.

    Options of a plugin are compared among those that use it: `optimizer=rsgd` differs from `optimizer=adam` by its
    name, not by each option that the other does not have.
    """
    values: dict[tuple[str, ...], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    sizes: Counter[tuple[str, ...]] = Counter()
    having: Counter[tuple[tuple[str, ...], str]] = Counter()
    for config in configs:
        sizes.update({_family(config, key, heads) for key in config})
        for key, value in config.items():
            family = _family(config, key, heads)
            values[family][key].add(_key({"": value}))
            having[family, key] += 1
    labels = []
    for config in configs:
        families = {key: _family(config, key, heads) for key in config}
        told = [
            k
            for k, f in families.items()
            if len(values[f][k]) > 1 or (config[k] not in _EMPTY and having[f, k] < sizes[f])
        ]
        labels.append(" ".join(override(k.removesuffix(".name"), config[k]) for k in told))
    return labels


def _family(config: Mapping[str, Any], key: str, heads: Sequence[str]) -> tuple[str, ...]:
    """Who a key is compared among: configs with the same heads, and with the plugin that the key is an option of."""
    group, _, option = key.partition(".")
    own = [group] if option != "name" and f"{group}.name" in config else []
    return tuple(f"{g}={config.get(f'{g}.name')}" for g in dict.fromkeys([*heads, *own]))
