"""What options say of the columns of a table, as a plan for its encoder."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fmlab.data import Side
from fmlab.data.encoding.plan import Plan
from fmlab.data.raw.table import HEAD_BYTES, TableFormat, batches
from fmlab.errors import DataError
from fmlab_datasets.columns import guess, left_out, refuse_lists, unknown_column
from fmlab_datasets.streams import mapped
from fmlab_datasets.warnings import tell_signs

log = logging.getLogger(__name__)
TAKEN = ("user", "item")
PART_COLUMN = "\0part"  # no column has that name


class Planned:
    """A table of which options name the roles, the kinds and the sides of columns."""

    files: Sequence[Path]
    roles: Mapping[str, str]
    targets: tuple[str, ...]
    group: str
    sides: Mapping[str, tuple[str, ...]]
    kinds: Mapping[str, tuple[str, ...]]
    drop_columns: tuple[str, ...]
    auxiliary: Mapping[str, tuple[str, ...]]  # columns of vectors and of sequences, by the option that names them
    time_features: tuple[str, ...]
    missing: tuple[str, ...]
    list_separator: str
    decimal: str
    thousands: str
    positive: str
    time_unit: str
    standardize: bool
    min_count: int
    times: Mapping[str, str]  # fields made of the time: the part of it that each is

    def present(self, texts: Any) -> list[str | None]:
        """Distinct texts, None for those that stand for nothing."""
        return [None if t in self.missing else t for t in texts.to_pylist()]

    def _check(self) -> None:
        roles = [*(c for c in self.roles.values() if c), *self.targets[1:]]
        if self.time_features and not self.roles["time"]:
            raise DataError(f"time_features={list(self.time_features)} needs a column of times: give time=<column>")
        listed = [c for kind in self.kinds.values() for c in kind]
        named = set(self.kinds["categorical"]) & {self.roles["user"], self.roles["item"]}  # that they are, anyway
        given = Counter([*roles, *set(listed) - named, *self.drop_columns, *self._auxiliary()])
        for what, names in (("role or kind", given), ("kind", Counter(listed)), ("side", Counter(self._sided()))):
            if twice := [c for c, n in names.items() if n > 1]:
                raise DataError(f"a column has one {what}, {twice[0]!r} was given two{self._given(twice[0])}")
        if wrong := [c for c in self._sided() if c in roles]:
            raise DataError(f"a field of a side cannot have a role as well, got {wrong[0]!r}")
        for side, fields in self.sides.items():
            if fields and not self.roles.get(side, side):
                raise DataError(f"{side}_fields need the column that identifies the {side}: give {side}=<column>")

    def _given(self, column: str) -> str:
        """The options that name a column."""
        options = {
            **{k: (v,) for k, v in self.roles.items()},
            "targets": self.targets,
            **self.kinds,
            "drop_columns": self.drop_columns,
            **self.auxiliary,
        }
        options |= {f"{side}_fields": fields for side, fields in self.sides.items()}
        return f": {' and '.join(f'{name}={column}' for name, columns in options.items() if column in columns)}"

    def _auxiliary(self) -> list[str]:
        """Columns of vectors and of sequences, which are no features."""
        return [column for columns in self.auxiliary.values() for column in columns]

    def _sided(self) -> list[str]:
        return [column for fields in self.sides.values() for column in fields]

    def _plan(self, file: Path, form: TableFormat) -> Plan:
        roles = [*(c for c in self.roles.values() if c), *self.targets[1:]]
        taken = [*roles, *([self.group] if self.group else [])]
        listed = [c for kind in self.kinds.values() for c in kind]
        for column in (*taken, *listed, *self._sided(), *self.drop_columns, *self._auxiliary()):
            if column not in form.names:
                raise unknown_column(file, form, column)
        chosen = {*listed, *self._sided()} if listed else set(form.names)
        left = {
            *roles,
            *self.drop_columns,
            *self._auxiliary(),
            *([self.group] if self.group not in {*listed, *self._sided()} else []),
        }
        fields = [c for c in form.names if c in chosen and c not in left]
        unasked = [c for c in fields if c not in listed and c not in self._sided()]
        counting = left_out(file, form, unasked)
        fields = [c for c in fields if c not in counting]
        self.times = self._clock(fields)
        if wrong := [c for c in fields if c in TAKEN]:
            raise DataError(
                f"a field named {wrong[0]!r} must be the {wrong[0]} itself: give data.{wrong[0]}={wrong[0]}"
            )
        if not fields and not self.time_features and not (self.roles["user"] and self.roles["item"]):
            raise DataError(f"{file} has no columns left to be features; its columns are {', '.join(form.names)}")
        refuse_lists(file, form, {**{role: (c,) for role, c in self.roles.items()}, **self.kinds})
        kinds = self._kinds(file, form, fields)
        sides: dict[str, Side] = dict.fromkeys((*fields, *self.times), "context")
        for side in ("user", "item"):
            sides |= {column: side for column in self.sides[side] if column not in self._auxiliary()}
        return Plan(
            user=self.roles["user"],
            item=self.roles["item"],
            label=self.roles["label"],
            targets=self.targets,
            weight=self.roles["weight"],
            group=self.group,
            time=self.roles["time"],
            split=PART_COLUMN if len(self.files) > 1 else self.roles["split"],
            fields=sides,
            numeric=tuple(c for c in fields if kinds[c] == "numeric"),
            multi=tuple(c for c in fields if kinds[c] == "multi_valued"),
            list_separator=self.list_separator,
            decimal=self.decimal,
            thousands=self.thousands,
            positive=self.positive,
            time_unit=self.time_unit,
            standardize=self.standardize,
            min_count=self.min_count,
        )

    def _clock(self, fields: Sequence[str]) -> dict[str, str]:
        """The fields made of the time, and the part of it in each: named after it, or after both if that is taken."""
        taken = {*fields, *self.roles.values()}
        made = {part if part not in taken else f"{self.roles['time']}_{part}": part for part in self.time_features}
        if twice := [name for name in made if name in taken]:
            raise DataError(
                f"time_features={list(self.time_features)} would be a second column {twice[0]!r}: "
                f"drop_columns=[{twice[0]}]"
            )
        for name, part in made.items():
            if name != part:
                own = "the table has a column %s of its own: the %s of %s is %s"
                log.info(own, part, part, self.roles["time"], name)
        return made

    def _kinds(self, file: Path, form: TableFormat, fields: Sequence[str]) -> dict[str, str]:
        given = {c: kind for kind, columns in self.kinds.items() for c in columns}
        unknown = [c for c in fields if c not in given]
        if not unknown:
            return given
        first = next(batches(file, form, unknown, block=HEAD_BYTES))
        shown = {c: mapped(first[c], self.present(first[c].dictionary)) for c in unknown}
        lists = {c for c in unknown if c in form.lists}
        guessed = {
            c: "multi_valued" if c in lists else guess(v, self.list_separator, self.decimal, self.thousands)
            for c, v in shown.items()
        }
        log.info("columns of %s: %s", file.name, ", ".join(f"{c} is {kind}" for c, kind in guessed.items()))
        tell_signs(
            {c: column for c, column in shown.items() if guessed[c] == "categorical"},
            decimal=self.decimal,
            thousands=self.thousands,
        )
        return {**given, **guessed}
