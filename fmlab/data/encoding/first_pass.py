"""First pass of the streaming encoder: text to provisional codes on disk, numbers, labels, times and parts."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fmlab.data.encoding.moments import Moments
from fmlab.data.encoding.number_parsing import parse_numbers
from fmlab.data.encoding.number_texts import Labels, hint, refusal
from fmlab.data.encoding.times import Times
from fmlab.data.encoding.vocabulary import CodeStore, NpyAppender, Vocabulary
from fmlab.data.schema import Array, Side
from fmlab.errors import DataError

log = logging.getLogger(__name__)
_NAMED = (("train", "training", "0"), ("valid", "validation", "val", "dev", "1"), ("test", "2"))
PART_NAMES = {name: part for part, names in enumerate(_NAMED) for name in names}
SHOWN = 5
LARGEST = 1e150  # of labels and numbers, whose squares are summed in float64


@dataclass(frozen=True)
class Plan:
    """What each column of a table is. `user` and `item` are fields too, besides naming the entities.

    `fields` are the other features, in order, each with the side it belongs to. Those not in `numeric` or `multi`
    are categorical; cells of a `multi` field are split at `within`, and those of `intervals`, which are numbers, become
    the interval between two of the ascending edges. Values of a field seen fewer than `min_count`
    times become unknown, but for users and items themselves. Numeric fields are brought to mean 0 and standard
    deviation 1 over the rows that have them, unless `standardize` is off. Both look at the training rows alone where
    `split` is given, and at all rows otherwise: preparation then comes before the protocol's split.

    Numbers have the `decimal` sign and perhaps one between `thousands`. A label is a number or a boolean; with
    `positive` it is 1 where it has this text, else 0. Times that are numbers are in `time_unit` (s, ms, us, ns), or in
    the one that the largest of them tells. `targets` are several labels, the first of which is `label`; `weight` holds
    how much each row counts, `group` what it belongs to, as text.
    """

    user: str = ""
    item: str = ""
    label: str = ""
    time: str = ""
    split: str = ""
    targets: tuple[str, ...] = ()
    weight: str = ""
    group: str = ""
    fields: Mapping[str, Side] = field(default_factory=dict)
    numeric: tuple[str, ...] = ()
    multi: tuple[str, ...] = ()
    intervals: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    within: str = "|"
    decimal: str = "."
    thousands: str = ""
    positive: str = ""
    time_unit: str = ""
    standardize: bool = True
    min_count: int = 1

    @property
    def columns(self) -> list[str]:
        """All columns that are read."""
        roles = [self.user, self.item, self.label, self.time, self.split, *self.targets, self.weight, self.group]
        return list(dict.fromkeys([*(r for r in roles if r), *self.fields]))

    def of_side(self, side: Side) -> list[str]:
        """Fields of a side, the one that names the entity first."""
        first = {"user": self.user, "item": self.item}.get(side, "")
        return [*([first] if first else []), *(n for n, s in self.fields.items() if s == side)]


class FirstPass:
    """Codes and numbers of all rows on disk, and the vocabularies."""

    def __init__(self, plan: Plan, workspace: Path) -> None:
        self.plan, self.rows = plan, 0
        listed = [n for side in ("user", "context", "item") for n in plan.of_side(side)]
        self.coded = [n for n in listed if n not in plan.numeric]
        self.numeric = [n for n in listed if n in plan.numeric]
        self.vocabularies = {n: Vocabulary() for n in self.coded}
        self.codes = CodeStore(workspace / "codes", len(self.coded))
        self.values = NpyAppender(workspace / "numbers.npy", np.float64, len(self.numeric))
        kinds = {"label": np.float64, "time": np.int64, "split": np.int8, "weight": np.float64, "group": np.int32}
        self.roles = {r: NpyAppender(workspace / f"{r}.npy", kind) for r, kind in kinds.items() if getattr(plan, r)}
        self.targets = {
            name: NpyAppender(workspace / f"target{at}.npy", np.float64) for at, name in enumerate(plan.targets) if at
        }
        self._moments = Moments(len(self.numeric))
        named = dict.fromkeys([*([plan.label] if plan.label else []), *plan.targets])
        self.labels = {name: Labels(name, plan.positive, plan.decimal, plan.thousands) for name in named}
        self.groups = Vocabulary()
        self.times = Times(plan.time, plan.time_unit)
        self.written = ""  # how times are, once all are read

    def add(self, batches: Sequence[Any]) -> None:
        """Take some batches; many at a time, because merging many dictionaries at once is cheaper."""
        for batch in batches:
            self._add_numbers(batch)
        longest = sorted(self.coded, key=lambda n: -len(self.vocabularies[n]))  # begun first, no core waits for it
        with ThreadPoolExecutor(pa.cpu_count()) as pool:
            codes = pool.map(lambda n: self.vocabularies[n].encode([b[n] for b in batches]), longest)
            done = dict(zip(longest, codes, strict=True))
        self.codes.append([done[n] for n in self.coded], sum(map(len, batches)))

    def _add_numbers(self, batch: Any) -> None:
        """All of a batch that is not coded."""
        for name in (self.plan.user, self.plan.item):
            if name:
                self._refuse(np.asarray(batch[name].is_null()), name, "must name an entity in every row")
        read = np.empty((len(batch), len(self.numeric)))
        for at, name in enumerate(self.numeric):
            read[:, at] = self._numbers(batch, name)
        self.values.append(read)
        if "split" in self.roles:
            split = self._splits(batch)
            self.roles["split"].append(split)
            read = read[split == 0]
        self._moments.add(read)
        if "label" in self.roles:
            self._add_label(batch, self.plan.label, self.roles["label"])
            for name, grown in self.targets.items():
                self._add_label(batch, name, grown)
        if "weight" in self.roles:
            weight = self._numbers(batch, self.plan.weight)
            self._refuse(np.isnan(weight), self.plan.weight, "must have a weight in every row")
            self._refuse(weight < 0, self.plan.weight, "must have weights of 0 or more")
            self.roles["weight"].append(weight)
        if "group" in self.roles:
            self._refuse(
                np.asarray(batch[self.plan.group].is_null()), self.plan.group, "must name a group in every row"
            )
            self.roles["group"].append(self.groups.encode([batch[self.plan.group]]).astype(np.int32) - np.int32(1))
        if "time" in self.roles:
            times, missing = self.times.read(batch[self.plan.time])
            self._refuse(missing, self.plan.time, "must have a time in every row")
            self.roles["time"].append(times)
        self.rows += len(batch)

    def _add_label(self, batch: Any, name: str, grown: NpyAppender) -> None:
        label = self.labels[name].read(batch[name], self.rows)
        hint = "; unlabeled=drop leaves them out"
        self._refuse(np.isnan(label), name, "must have a label in every row", hint)
        too_large = np.abs(label) > LARGEST  # sums of their squares would not be finite
        self._refuse(too_large, name, "must have labels within 1e150 of 0", "; divide the column by a constant")
        grown.append(label)

    def close_targets(self) -> dict[str, Array]:
        """The labels of several targets by name, without the first, which is the label."""
        return {name: grown.close() for name, grown in self.targets.items()}

    def close_roles(self) -> dict[str, Array]:
        """The labels, times and parts of all rows, those that the plan has; raises DataError where they do not fit."""
        for labels in self.labels.values():
            labels.close()
        closed = {role: grown.close() for role, grown in self.roles.items()}
        if "time" in closed:
            self.written = self.times.close()
            self.times.correct(np.load(self.roles["time"].path, mmap_mode="r+", allow_pickle=False))
        return closed

    def moments(self) -> tuple[Array, Array]:
        """What is subtracted from each numeric field, and what it is then divided by."""
        varied = self._moments.varied
        if wrong := [n for n, size in zip(self.numeric, self._moments.deviation, strict=True) if not np.isfinite(size)]:
            raise DataError(
                f"numbers must be within 1e150 of 0, column {wrong[0]!r} has others; drop_columns=[{wrong[0]}]"
            )
        if constant := [name for name, varies in zip(self.numeric, varied, strict=True) if not varies]:
            log.warning("%s: one number in all training rows; drop_columns=[...] leaves it out", ", ".join(constant))
        if not self.plan.standardize:
            return np.zeros(len(self.numeric)), np.ones(len(self.numeric))
        return self._moments.mean, np.where(varied, self._moments.deviation, 1)

    def _refuse(self, wrong: Array, name: str, rule: str, advice: str = "") -> None:
        if (at := np.flatnonzero(wrong)).size:
            rows = ", ".join(str(self.rows + n + 1) for n in at[:SHOWN].tolist())
            raise DataError(f"column {name!r} {rule}; {at.size} do not, the first are data rows {rows}{advice}")

    def _numbers(self, batch: Any, name: str) -> Array:
        values, bad = parse_numbers(batch[name], self.plan.decimal, self.plan.thousands)
        if bad:
            first = self.rows + 1 + pc.index(batch[name].cast(pa.string()), bad[0]).as_py()
            raise refusal(name, bad, first, hint(bad, self.plan.decimal, self.plan.thousands))
        return values

    def _splits(self, batch: Any) -> Array:
        column = batch[self.plan.split]
        known = [PART_NAMES.get(text.strip().lower(), -1) for text in column.dictionary.to_pylist()]
        codes = np.array([*known, -1], np.int8)[column.indices.fill_null(len(known)).to_numpy()]
        if (codes < 0).any():
            texts = [t for t, c in zip(column.dictionary.to_pylist(), known, strict=True) if c < 0] or ["(missing)"]
            rule = "must hold train, valid or test"
            raise DataError(f"column {self.plan.split!r} {rule}; got {', '.join(map(repr, texts[:SHOWN]))}")
        return codes
