"""Any table of the user's own: CSV, TSV, JSON lines or Parquet, its roles named in the options."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from fmlab.data import Array, Dataset, Input, Rule, Side
from fmlab.errors import DataError, choices
from fmlab.first_pass import PART_NAMES, Plan
from fmlab.meter import Meter
from fmlab.options import Range
from fmlab.prepare import encode
from fmlab.protocols import Raw
from fmlab.reading import text_size
from fmlab.tabular import HEAD_BYTES, Form, batches, deaf, recognise
from fmlab.transforms import binned, hours, log_squared, quantiles, weekdays
from fmlab_datasets.remarks import are_fractions, tell, tell_decimals
from fmlab_datasets.sides import settled
from fmlab_datasets.streams import Stream, constant, counts, derived, drawn, hashed, mapped, only

log = logging.getLogger(__name__)
TAKEN = ("user", "item")
OFTEN = 0.05  # the share of distinct values with a `|` from which a column is taken for multi-valued
PART = "part "  # a column of that name is in no file: names lose their blanks
CLOCK = {"hour": hours, "weekday": weekdays}


class Csv:
    """A table of your own: one row an interaction or a labelled row, the roles of its columns given as options.

    Source: a file of yours.

    `path` is relative to the working folder, then to the root folder. `user` and `item` name the columns that
    identify them; `user_fields` and `item_fields` are attributes with one value for each of them, `context_fields`
    are of the row. A field that is in none of these is taken for the item's if every item has one value of it (five
    items or more in several rows, and not one value for all), else for the user's by the same rule, else for context;
    what is moved is said. A context field that an item determines, or each of whose values comes with one item, would
    give the answer away to whoever ranks items, and is refused unless `leaks=allow`.

    Columns without a role are used unless one of `categorical`, `numeric`, `multi`, `log2` and `binned` is given: these
    then list all to be used. Kinds are guessed from the first rows otherwise, and printed. `log2` and `binned` make
    categories of numbers: floor(log(x)^2) above 2, as is usual for counts, or `bins` intervals that hold equally many
    rows. `clock=[hour,weekday]` adds these two fields of the row's `time`. Values are text as written ("007" is not
    "7"); an empty cell of a field, or one of the texts in `missing`, becomes the field's unknown feature. Features keep
    the order of their first appearance; with `buckets`, values of categorical fields are hashed into so many for each
    (users and items are not). `min_label` and `core` say what counts as a positive where a protocol needs positives.

    A split of your own is a column `split` that holds train, valid or test, or three files: `path`, `valid`, `test`.
    With `test` alone, a seeded share `validation` of the rows in `path` becomes the validation part. `min_count`, the
    scale of numeric fields and `bins` are taken from the training rows then, and values that none of them has are
    unknown (users and items are told apart all the same); otherwise all rows are looked at, before the protocol splits
    them: a mild look ahead.

    `time` is in seconds, milliseconds, microseconds, nanoseconds (told apart by size) or ISO 8601, kept to the
    microsecond. Without a `label` all rows are positives: `protocol=full_ranking` ranks items, for the default, ctr,
    scores labelled rows.
    """

    defaults = {"protocol": "ctr"}
    version = "3"
    paths = ("path", "valid", "test")  # options that name raw files
    licence = "yours"
    citation = "none"

    def __init__(
        self,
        root: Path,
        *,
        path: str,
        valid: str = "",
        test: str = "",
        validation: Annotated[float, Range(0.0, 1.0, open_low=True, open_high=True)] = 0.1,
        seed: int = 0,
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
        log2: tuple[str, ...] = (),
        binned: tuple[str, ...] = (),
        bins: Annotated[int, Range(2, None)] = 10,
        clock: tuple[Literal["hour", "weekday"], ...] = (),
        missing: tuple[str, ...] = (),
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
        if test and split:
            raise DataError(f"a split is a column or files, got both split={split} and test={test}")
        if valid and not test:
            raise DataError("a given split needs a test part: give test=<file> too")
        self.files = [_locate(p, root) for p in (path, valid, test) if p or p is path]
        if len(set(self.files)) < len(self.files):
            raise DataError(f"the parts of a split are different files, got {', '.join(map(str, self.files))}")
        self.raw: Sequence[Raw] = tuple(Raw(str(file)) for file in self.files)
        self.validation, self.seed = validation, seed
        self.form = Form(sep.replace("\\t", "\t"), (), header, encoding, "", quoted)
        self.roles = {"user": user, "item": item, "label": label, "time": time, "split": split}
        self.sides = {"user": tuple(user_fields), "item": tuple(item_fields), "context": tuple(context_fields)}
        self.leaks = leaks
        kinds = {"categorical": categorical, "numeric": numeric, "multi": multi, "log2": log2, "binned": binned}
        self.kinds = {kind: tuple(columns) for kind, columns in kinds.items()}
        self.bins, self.clock, self.missing = bins, tuple(dict.fromkeys(clock)), tuple(missing)
        self.ignore, self.within, self.decimal, self.standardize = tuple(ignore), within, decimal, standardize
        self.min_count, self.buckets, self.rule = min_count, buckets, Rule(min_label, core)
        self._check()

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """Read the tables once, as a stream; once more before that for the intervals of `binned`."""
        paths = [files[raw.path] for raw in self.raw]
        forms = [recognise(path, self.form) for path in paths]
        plan = self._plan(paths[0], forms[0])
        sizes = [None if path.suffix == ".parquet" else text_size(path) for path in paths]
        meter = Meter(f"preparing {paths[0].name}", None if None in sizes else sum(n or 0 for n in sizes))
        tables = list(zip(paths, forms, strict=True))
        columns = [c for c in plan.columns if c not in (PART, *self.clock)]
        edges = self._edges(plan, tables)
        stream = self._transformed(self._rows(tables, columns, meter, self._untouched(plan)), plan, edges)
        loose = [c for c in plan.fields if c not in self._sided()]
        settle = partial(settled, loose=loose, refuse=self.leaks == "refuse")
        made = encode("csv", stream, plan, workspace, meter, settle)
        tell(made)
        return replace(made, rule=self.rule, inputs={n: self._input(n, i, plan, edges) for n, i in made.inputs.items()})

    def _rows(
        self,
        tables: Sequence[tuple[Path, Form]],
        columns: Sequence[str],
        meter: Meter | None = None,
        plain: Sequence[str] = (),
    ) -> Stream:
        """Rows of all files, with the part of each if files are parts, without the texts that stand for nothing."""
        cells = [c for c in columns if c not in self.roles.values()]
        for (path, form), part in zip(tables, self._parts(), strict=True):
            stream = batches(path, form, columns, meter.heard if meter else deaf, plain=plain)
            if part == "drawn":
                stream = drawn(stream, PART, {"valid": self.validation}, "train", self.seed)
            elif part:
                stream = constant(stream, PART, part)
            for field in cells if self.missing else ():
                stream = derived(stream, field, {field: self._present})
            yield from stream

    def _parts(self) -> Sequence[str]:
        return {1: ("",), 2: ("drawn", "test"), 3: ("train", "valid", "test")}[len(self.files)]

    def _present(self, texts: Any) -> list[str | None]:
        return [None if t in self.missing else t for t in texts.to_pylist()]

    def _edges(self, plan: Plan, tables: Sequence[tuple[Path, Form]]) -> dict[str, Array]:
        """Where the intervals of `binned` fields meet: a pass of its own over the tables."""
        names, edges = self.kinds["binned"], {}
        if not names:
            return {}
        split = [plan.split] if plan.split and plan.split != PART else []
        rows = self._rows(tables, [*names, *split])
        if plan.split:
            rows = only(rows, plan.split, [p for p, n in PART_NAMES.items() if n == 0])
        for name, times in zip(names, counts(rows, *names), strict=True):
            edges[name] = quantiles(name, times, self.bins, self.decimal)
            log.info("%s is put into the intervals between %s", name, ", ".join(map(str, edges[name].tolist())))
        return edges

    def _transformed(self, stream: Stream, plan: Plan, edges: Mapping[str, Array]) -> Stream:
        """With categories in place of numbers, and with buckets in place of other categories."""
        for name in self.kinds["log2"]:
            stream = derived(stream, name, {name: log_squared(name, self.decimal)})
        for name, ends in edges.items():
            stream = derived(stream, name, {name: binned(name, ends, self.decimal)})
        if self.clock:
            stream = derived(stream, plan.time, {name: CLOCK[name] for name in self.clock})
        return hashed(stream, self._named(plan), self.buckets)

    def _named(self, plan: Plan) -> list[str]:
        """Fields of the table whose values are names: categories that are not made of numbers."""
        made = {*plan.numeric, *plan.multi, *self.kinds["log2"], *self.kinds["binned"], *self.clock}
        return [c for c in plan.fields if c not in made]

    def _input(self, field: str, given: Input, plan: Plan, edges: Mapping[str, Array]) -> Input:
        """How a field is read from the raw columns that `_rows` and `_transformed` read it from."""
        if field in TAKEN:
            return replace(given, column=self.roles[field])
        if field in self.clock:
            return replace(given, column=plan.time, transform=field)
        given = replace(given, missing=self.missing, decimal=self.decimal)
        if field in self.kinds["log2"]:
            return replace(given, transform="log2")
        if field in edges:
            return replace(given, transform="binned", edges=tuple(edges[field].tolist()))
        if self.buckets and field in self._named(plan):
            return replace(given, transform="hashed", buckets=self.buckets)
        return given

    def _untouched(self, plan: Plan) -> list[str]:
        """Columns that go from the table to the encoder as they are."""
        entities = [n for n in (plan.user, plan.item) if n]
        return entities if self.missing or self.buckets else [*entities, *self._named(plan)]

    def _check(self) -> None:
        roles = [c for c in self.roles.values() if c]
        if self.clock and not self.roles["time"]:
            raise DataError(f"clock={list(self.clock)} needs a column of times: give time=<column>")
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
        if twice := [c for c in self.clock if c in form.names]:
            raise DataError(f"clock={twice} would be a second column of that name in {file}")
        if wrong := [c for c in fields if c in TAKEN]:
            raise DataError(f"a field named {wrong[0]!r} must be the {wrong[0]} itself: give {wrong[0]}=<column>")
        if not fields and not self.clock and not (self.roles["user"] and self.roles["item"]):
            raise DataError(f"{file} has no columns left to be features; its columns are {', '.join(form.names)}")
        kinds = self._kinds(file, form, fields)
        sides: dict[str, Side] = dict.fromkeys((*fields, *self.clock), "context")
        sides |= dict.fromkeys(self.sides["user"], "user")
        sides |= dict.fromkeys(self.sides["item"], "item")
        return Plan(
            **{**self.roles, "split": PART if len(self.files) > 1 else self.roles["split"]},
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
        shown = {c: mapped(first[c], self._present(first[c].dictionary)) for c in unknown}
        guessed = {c: self._guess(column) for c, column in shown.items()}
        log.info("columns of %s: %s", file.name, ", ".join(f"{c} is {kind}" for c, kind in guessed.items()))
        tell_decimals({c: column for c, column in shown.items() if guessed[c] != "numeric"}, self.decimal)
        return {**given, **guessed}

    def _guess(self, column: Any) -> str:
        """Numbers with fractions are numeric; whole numbers may as well be names, and are categorical."""
        # Few texts among many numbers are told as mistakes by whoever reads the numbers.
        if are_fractions(column, self.decimal):
            return "numeric"
        texts = column.dictionary.to_pylist()
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
