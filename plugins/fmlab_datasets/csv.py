"""Any table of the user's own: CSV, TSV, JSON lines or Parquet, its roles named in the options."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from fmlab.data import Dataset, Rule, Side
from fmlab.errors import DataError, choices
from fmlab.first_pass import Plan
from fmlab.meter import Meter
from fmlab.options import Range
from fmlab.prepare import encode
from fmlab.protocols import Raw
from fmlab.tabular import HEAD_BYTES, Form, batches, recognise
from fmlab.vocabulary import numbers
from fmlab_datasets.sides import settled
from fmlab_datasets.streams import hashed

log = logging.getLogger(__name__)
TAKEN = ("user", "item")
OFTEN = 0.05  # the share of distinct values with a `|` from which a column is taken for multi-valued


class Csv:
    """A table of your own: one row an interaction or a labelled row, the roles of its columns given as options.

    Source: a file of yours.

    `path` is relative to the working folder, then to the root folder. `user` and `item` name the columns that
    identify them; `user_fields` and `item_fields` are attributes with one value for each of them, `context_fields`
    are of the row. A field that is in none of these is taken for the item's if every item has one value of it (five
    items or more in several rows, and not one value for all), else for the user's by the same rule, else for context;
    what is moved is said. A context field that an item determines, or each of whose values comes with one item, would
    give the answer away to whoever ranks items, and is refused unless `leaks=allow`.

    Columns without a role are used unless `categorical`, `numeric` or `multi` is given, which then lists
    all to be used; their kinds are guessed from the first rows and printed. Values are text as written ("007" is
    not "7"), an empty cell is missing and becomes the field's unknown feature. Features keep the order of their
    first appearance; with `buckets`, values of categorical fields are hashed into so many for each (users and items
    are not). `min_label` and `core` say what counts as a positive where a protocol needs positives.
    `min_count` and the scale of numeric fields are taken from the training rows if `split` names a column, otherwise
    from all rows, before the protocol splits them: a mild look ahead.

    `time` is in seconds, milliseconds, microseconds, nanoseconds (told apart by size) or ISO 8601, kept to the
    microsecond. Without a `label` all rows are positives: `protocol=full_ranking` ranks items, for the default, ctr,
    scores labelled rows.
    """

    defaults = {"protocol": "ctr"}
    version = "2"
    licence = "yours"
    citation = "none"

    def __init__(
        self,
        root: Path,
        *,
        path: str,
        sep: str = "",
        header: bool = True,
        encoding: str = "utf-8",
        quoted: bool = True,
        decimal: Literal[".", ","] = ".",
        user: str = "",
        item: str = "",
        label: str = "",
        time: str = "",
        split: str = "",
        categorical: tuple[str, ...] = (),
        numeric: tuple[str, ...] = (),
        multi: tuple[str, ...] = (),
        within: str = "|",
        user_fields: tuple[str, ...] = (),
        item_fields: tuple[str, ...] = (),
        context_fields: tuple[str, ...] = (),
        leaks: Literal["refuse", "allow"] = "refuse",
        ignore: tuple[str, ...] = (),
        standardize: bool = True,
        min_count: Annotated[int, Range(1, None)] = 1,
        buckets: Annotated[int, Range(0, None)] = 0,
        min_label: float | None = None,
        core: Annotated[int, Range(0, None)] = 0,
    ) -> None:
        """Empty `sep` is found in the first line. Raises DataError for a missing file or contradictory roles."""
        self.file = _locate(path, root)
        self.raw: Sequence[Raw] = (Raw(str(self.file)),)
        self.form = Form(sep.replace("\\t", "\t"), (), header, encoding, "", quoted)
        self.roles = {"user": user, "item": item, "label": label, "time": time, "split": split}
        self.sides = {"user": tuple(user_fields), "item": tuple(item_fields), "context": tuple(context_fields)}
        self.leaks = leaks
        self.kinds = {"categorical": tuple(categorical), "numeric": tuple(numeric), "multi": tuple(multi)}
        self.ignore, self.within, self.decimal, self.standardize = tuple(ignore), within, decimal, standardize
        self.min_count, self.buckets, self.rule = min_count, buckets, Rule(min_label, core)
        self._check()

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """Read the table once, as a stream."""
        file = files[str(self.file)]
        form = recognise(file, self.form)
        plan = self._plan(file, form)
        plain = file.suffix not in (".gz", ".zip", ".parquet")
        meter = Meter(f"preparing {file.name}", file.stat().st_size if plain else None)
        stream = batches(file, form, plan.columns, meter.heard)
        names = [c for c in plan.fields if c not in plan.numeric and c not in plan.multi]
        stream = hashed(stream, names, self.buckets)
        loose = [c for c in plan.fields if c not in self._sided()]
        settle = partial(settled, loose=loose, refuse=self.leaks == "refuse")
        return replace(encode("csv", stream, plan, workspace, meter, settle), rule=self.rule)

    def _check(self) -> None:
        roles = [c for c in self.roles.values() if c]
        listed = [c for kind in self.kinds.values() for c in kind]
        given = Counter([*roles, *set(listed) - {self.roles["user"], self.roles["item"]}, *self.ignore])
        for what, names in (("role or kind", given), ("kind", Counter(listed)), ("side", Counter(self._sided()))):
            if twice := [c for c, n in names.items() if n > 1]:
                raise DataError(f"a column has one {what}, {twice[0]!r} was given two")
        if wrong := [c for c in self._sided() if c in roles]:
            raise DataError(f"a field of a side cannot have a role as well, got {wrong[0]!r}")
        for side, fields in self.sides.items():
            if fields and not self.roles.get(side, side):
                raise DataError(f"{side}_fields need the column that identifies the {side}: give {side}=<column>")

    def _sided(self) -> list[str]:
        return [column for fields in self.sides.values() for column in fields]

    def _plan(self, file: Path, form: Form) -> Plan:
        roles = [c for c in self.roles.values() if c]
        listed = [c for kind in self.kinds.values() for c in kind]
        for column in (*roles, *listed, *self._sided(), *self.ignore):
            if column not in form.names:
                found = f"{len(form.names)} column{'s' * (len(form.names) != 1)} found at sep={form.separator!r}"
                raise DataError(f"{file} has no column {column!r} ({found}); {choices(column, form.names)}")
        chosen = {*listed, *self._sided()} if listed else set(form.names)
        fields = [c for c in form.names if c in chosen and c not in roles and c not in self.ignore]
        if wrong := [c for c in fields if c in TAKEN]:
            raise DataError(f"a field named {wrong[0]!r} must be the {wrong[0]} itself: give {wrong[0]}=<column>")
        if not fields and not (self.roles["user"] and self.roles["item"]):
            raise DataError(f"{file} has no columns left to be features; its columns are {', '.join(form.names)}")
        kinds = self._kinds(file, form, fields)
        sides: dict[str, Side] = dict.fromkeys(fields, "context")
        sides |= dict.fromkeys(self.sides["user"], "user")
        sides |= dict.fromkeys(self.sides["item"], "item")
        return Plan(
            **self.roles,
            fields=sides,
            numeric=tuple(c for c in fields if kinds[c] == "numeric"),
            multi=tuple(c for c in fields if kinds[c] == "multi"),
            within=self.within,
            decimal=self.decimal,
            standardize=self.standardize,
            min_count=self.min_count,
        )

    def _kinds(self, file: Path, form: Form, fields: Sequence[str]) -> dict[str, str]:
        given = {c: kind for kind, columns in self.kinds.items() for c in columns}
        unknown = [c for c in fields if c not in given]
        if not unknown:
            return given
        first = next(batches(file, form, unknown, block=HEAD_BYTES))
        guessed = {c: self._guess(first[c]) for c in unknown}
        log.info("columns of %s: %s", file.name, ", ".join(f"{c} is {kind}" for c, kind in guessed.items()))
        return {**given, **guessed}

    def _guess(self, column: Any) -> str:
        """Numbers with fractions are numeric; whole numbers may as well be names, and are categorical."""
        texts = column.dictionary.to_pylist()
        if any(self.decimal in t for t in texts) and not numbers(column, self.decimal)[1]:
            return "numeric"
        many = sum(self.within in t for t in texts)
        return "multi" if many > OFTEN * len(texts) else "categorical"


def _locate(path: str, root: Path) -> Path:
    if not path:
        raise DataError("give path=<file>, the table to be read")
    places = [Path(path).expanduser().absolute(), (root / path).absolute()]
    for place in places:
        if place.is_dir():
            raise DataError(f"a table is a file, got the folder {place}")
        if place.is_file():
            return place
    raise DataError(f"the table is not there; looked for it at {', '.join(map(str, dict.fromkeys(places)))}")
