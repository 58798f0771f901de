"""First pass of the preparation: text to provisional codes on disk, numbers, labels, times and parts."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fmlab.data.encoding.moments import Moments
from fmlab.data.encoding.number_parsing import parse_numbers
from fmlab.data.encoding.number_texts import Labels, hint, refusal
from fmlab.data.encoding.plan import Plan
from fmlab.data.encoding.times import Times
from fmlab.data.encoding.vocabulary import CodeStore, NpyAppender, NumberCodes, Vocabulary
from fmlab.data.schema import Array
from fmlab.errors import DataError

log = logging.getLogger(__name__)
_NAMED = (("train", "training", "0"), ("valid", "validation", "val", "dev", "1"), ("test", "2"))
PART_OF_NAME = {name: part for part, names in enumerate(_NAMED) for name in names}
SHOWN = 5
LARGEST = 1e150  # of labels and numbers, whose squares are summed in float64


class ColumnView(Protocol):
    """A column of numbers, of which ranges of rows are taken."""

    def __len__(self) -> int:
        """The number of rows."""

    def __getitem__(self, rows: slice, /) -> Array:
        """A range of rows."""


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

    def close(self) -> None:
        """Finish the files of codes and numbers; from now on `columns` can be read."""
        self.codes.close()
        self.numbers = self.values.close()

    def columns(self) -> dict[str, ColumnView]:
        """int32[rows] of every field: equal numbers are equal values, and 0 is a missing one, but in numeric fields."""
        coded: dict[str, ColumnView] = {name: self.codes.column(at) for at, name in enumerate(self.coded)}
        return coded | {name: NumberCodes(self.numbers, at) for at, name in enumerate(self.numeric)}

    def close_targets(self) -> dict[str, Array]:
        """The labels of several targets by name, without the first, which is the label."""
        return {name: grown.close() for name, grown in self.targets.items()}

    def close_roles(self) -> tuple[dict[str, Array], str]:
        """The labels, times and parts of all rows, those that the plan has, and how times are written, "" without them.

        Raises DataError where they do not fit.
        """
        for labels in self.labels.values():
            labels.close()
        closed = {role: grown.close() for role, grown in self.roles.items()}
        if "time" in closed:
            written = self.times.close()
            self.times.correct(np.load(self.roles["time"].path, mmap_mode="r+", allow_pickle=False))
            return closed, written
        return closed, ""

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
        known = [PART_OF_NAME.get(text.strip().lower(), -1) for text in column.dictionary.to_pylist()]
        codes = np.array([*known, -1], np.int8)[column.indices.fill_null(len(known)).to_numpy()]
        if (codes < 0).any():
            texts = [t for t, c in zip(column.dictionary.to_pylist(), known, strict=True) if c < 0] or ["(missing)"]
            rule = "must hold train, valid or test"
            raise DataError(f"column {self.plan.split!r} {rule}; got {', '.join(map(repr, texts[:SHOWN]))}")
        return codes
