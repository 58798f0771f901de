"""Any table of the user's own: CSV, TSV, JSON lines or Parquet, its roles named in the options."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from fmlab.data import Dataset, PositivesRule, PreparationStep, Side
from fmlab.data.encoding.auxiliary import auxiliary_columns, with_auxiliary
from fmlab.data.encoding.dataset_encoding import encode
from fmlab.data.encoding.first_pass import FirstPass
from fmlab.data.encoding.plan import Plan
from fmlab.data.encoding.progress import ProgressBar
from fmlab.data.raw.archive import text_size
from fmlab.data.raw.cells import alone
from fmlab.data.raw.table import TableFormat, batches, detect_format, ignore_bytes
from fmlab.data.source import RawFile
from fmlab.errors import DataError
from fmlab.plugin.option import Range, Renamed
from fmlab_datasets.columns import layout
from fmlab_datasets.derived_columns import DerivesColumns
from fmlab_datasets.field_sides import with_inferred_sides
from fmlab_datasets.given_files import split_files
from fmlab_datasets.options import (
    Buckets,
    ItemColumn,
    ItemFields,
    LabelColumn,
    MinCount,
    Seed,
    TableFile,
    TestFile,
    TimeColumn,
    UserColumn,
    UserFields,
    ValidationFile,
    ValidationShare,
)
from fmlab_datasets.planning import PART_COLUMN
from fmlab_datasets.streams import Stream, constant, derived, drawn, labeled
from fmlab_datasets.unique import usable
from fmlab_datasets.warnings import tell

log = logging.getLogger(__name__)


class Csv(DerivesColumns):
    """A table of your own: one row an interaction or a labeled row, the roles of its columns given as options.

    Source: a file of yours.

    `path` is relative to the working folder, then to the root folder. `user` and `item` name the columns that
    identify them; `user_fields` and `item_fields` are attributes with one value for each of them, `context_fields`
    are of the row. A field that is in none of these is taken for the item's if every item has one value of it (five
    items or more in several rows, and not one value for all), else for the user's by the same rule, else for context;
    what is moved is logged. A context field that an item determines, or each of whose values comes with one item, would
    give the answer away to whoever ranks items, and is refused unless `on_leak=allow`.

    Of the columns without a role, a time, a text or a number that is another one in nearly every row says nothing of
    rows to come: times and texts are left out, numbers are put into `n_bins` intervals, and the log names them. Columns
    are used unless one of `categorical`, `numeric`, `multi_valued`, `log_squared` and `quantile_bins` is given: these
    then list all to be used. Kinds are guessed from the first rows otherwise, and printed. `log_squared` and
    `quantile_bins` make categories of numbers: floor(log(x)^2) above 2, as is usual for counts, or `n_bins` intervals
    that hold equally many rows. Cells of a `multi_valued` field are split at `list_separator`; lists, in JSON and
    Parquet, are multi-valued as they are. `time_features=[hour,weekday]` adds these two fields of the row's `time`.
    Values are text as written ("007" is not "7"); an empty cell of a field, or one of the texts in `na_values`, becomes
    the field's unknown feature. Features keep the order of their first appearance; with `buckets`, values of
    categorical fields are hashed into so many for each (users and items are not). Columns that only number the rows, as
    pandas writes them, are left out.

    A `label` is a number, or true and false, or yes and no; `positive=<text>` makes this text 1 and any other 0. Rows
    without a label are refused, or left out and counted: `unlabeled=drop`. `min_label` and `k_core` say what counts as
    a positive where a protocol needs positives.

    `sep` is found in the first line; `sep=blanks` is any run of blanks. `header=none` names the columns 0, 1, 2, ...,
    and `names=[...]` names them in their order (with `header=true`, in place of a header). `decimal` and `thousands`
    are the signs in numbers, `escape` is the character that takes its meaning from a quote, lines that begin with
    `comment` are skipped, and `member` is one file of an archive.

    Columns in `vectors` hold vectors of numbers, all of one width, those in `sequences` and `item_sequences` values
    whose order counts, for models that ask for either: lists in JSON and Parquet, JSON arrays in text, or text that is
    split at `list_separator`. They are of the row unless `user_fields` or `item_fields` name them too. Ids in
    `item_sequences` are items: such a column of the row is its history.

    `targets=[click,buy]`, in place of `label`, are several labels of each row, for models of several targets. `weight`
    is a column of numbers, 0 or more: how much a row counts in the loss and in its figures. `group` is what rows belong
    to, a session or an impression list, for metrics by group; it may be a column with another role.

    A split of your own is a column `split` that holds train, valid or test, or three files: `path`, `valid`, `test`.
    With `test` alone, a seeded share `validation` of the rows in `path` becomes the validation part. `min_count`, the
    scale of numeric fields and `n_bins` are taken from the training rows then, and values that none of them has are
    unknown (users and items are told apart all the same); otherwise all rows are looked at, before the protocol splits
    them: a mild look ahead.

    `time` is in seconds, milliseconds, microseconds, nanoseconds (the largest tells, or `time_unit`), in digits alone
    (20140131) or ISO 8601, kept to the microsecond. Without a `label` all rows are positives, and
    `protocol=full_ranking` ranks items; with one `ctr` scores labeled rows.
    """

    defaults = {"protocol": "ctr"}
    unlabeled = {"protocol": "full_ranking"}
    version = "6"
    paths = ("path", "valid", "test")  # options that name raw files
    license = "yours"
    citation = "none"

    def __init__(
        self,
        root: Path,
        *,
        path: TableFile,
        valid: ValidationFile = "",
        test: TestFile = "",
        validation: ValidationShare = 0.1,
        seed: Seed = 0,
        sep: Annotated[str, "text between cells; empty is found in the first line"] = "",
        header: Annotated[bool | Literal["auto", "none"] | None, "whether the first line names the columns"] = "auto",
        names: Annotated[tuple[str, ...], "names of the columns in their order"] = (),
        encoding: Annotated[str, "text encoding of the file"] = "utf-8",
        member: Annotated[str, "file inside of an archive; empty for the only one"] = "",
        comment: Annotated[str, "character that begins a line to skip; empty for none"] = "",
        quoting: Annotated[bool, "whether cells may stand in double quotes", Renamed("quoted")] = True,
        escape: Annotated[str, "character that takes the meaning from a quote; empty for none"] = "",
        line_breaks: Annotated[bool, "whether quoted cells may hold line breaks"] = False,
        decimal: Annotated[Literal[".", ","], "decimal sign of numbers"] = ".",
        thousands: Annotated[
            Literal["", ",", ".", " ", "'", "_"], "sign between thousands in numbers; empty for none"
        ] = "",
        user: UserColumn = "",
        item: ItemColumn = "",
        label: LabelColumn = "",
        targets: Annotated[tuple[str, ...], "columns of further labels"] = (),
        weight: Annotated[str, "column of the weights of rows; empty for none"] = "",
        group: Annotated[str, "column that groups rows which are judged together; empty for none"] = "",
        positive: Annotated[str | bool | int | float, "label text that is 1, all others are 0"] = "",
        unlabeled: Annotated[
            Literal["error", "drop"],
            "what is done with rows that have no label",
            Renamed("unlabelled", {"refuse": "error"}),
        ] = "error",
        time: TimeColumn = "",
        time_unit: Annotated[Literal["auto", "s", "ms", "us", "ns"], "unit of numeric times"] = "auto",
        split: Annotated[str, "column that holds train, valid or test"] = "",
        categorical: Annotated[tuple[str, ...], "columns that are categories"] = (),
        numeric: Annotated[tuple[str, ...], "columns that are numbers"] = (),
        multi_valued: Annotated[tuple[str, ...], "columns whose cells hold several values", Renamed("multi")] = (),
        list_separator: Annotated[
            str, "text between the values of a cell of a multi_valued column", Renamed("within")
        ] = "|",
        vectors: Annotated[tuple[str, ...], "columns that hold vectors of numbers"] = (),
        sequences: Annotated[tuple[str, ...], "columns that hold values whose order counts"] = (),
        item_sequences: Annotated[tuple[str, ...], "columns that hold items whose order counts"] = (),
        log_squared: Annotated[
            tuple[str, ...], "columns of counts that become the category floor(ln(x)^2)", Renamed("log2")
        ] = (),
        quantile_bins: Annotated[
            tuple[str, ...], "columns of numbers that are put into intervals with equally many rows", Renamed("binned")
        ] = (),
        n_bins: Annotated[int, Range(2, None), "intervals of each column in quantile_bins", Renamed("bins")] = 10,
        time_features: Annotated[
            tuple[Literal["hour", "weekday"], ...], "fields that are made of the time of a row", Renamed("clock")
        ] = (),
        na_values: Annotated[tuple[str, ...], "texts that stand for a missing value", Renamed("missing")] = (),
        user_fields: UserFields = (),
        item_fields: ItemFields = (),
        context_fields: Annotated[tuple[str, ...], "columns that are features of the row"] = (),
        on_leak: Annotated[
            Literal["error", "allow"],
            "what is done with a context field that tells the item",
            Renamed("leaks", {"refuse": "error"}),
        ] = "error",
        drop_columns: Annotated[tuple[str, ...], "columns that are not read", Renamed("ignore")] = (),
        standardize: Annotated[bool, "whether numbers get mean 0 and deviation 1"] = True,
        min_count: MinCount = 1,
        buckets: Buckets = 0,
        min_label: Annotated[float | None, "lowest label of a positive; null where the protocol decides"] = None,
        k_core: Annotated[
            int, Range(0, None), "fewest positives of each user and item; 0 keeps all", Renamed("core")
        ] = 0,
    ) -> None:
        """Empty `sep` is found in the first line. Raises DataError for a missing file or contradictory roles."""
        if test and split:
            raise DataError(f"a split is a column or files, got both split={split} and test={test}")
        self.files = split_files(path, valid, test, root)
        self.raw: Sequence[RawFile] = tuple(RawFile(str(file)) for file in self.files)
        self.validation, self.seed = validation, seed
        form = TableFormat(sep, tuple(names), True, encoding, member, quoting, escape, comment, line_breaks)
        self.form = layout(form, header)
        if label and targets:
            raise DataError(f"rows have a label or targets, got label={label} and targets=[{','.join(targets)}]")
        self.targets = tuple(targets) if len(targets) > 1 else ()
        label = label or next(iter(targets), "")
        self.roles = {"user": user, "item": item, "label": label, "time": time, "split": split, "weight": weight}
        self.group = group
        self.sides = {"user": tuple(user_fields), "item": tuple(item_fields), "context": tuple(context_fields)}
        self.on_leak = on_leak
        kinds = {
            "categorical": categorical,
            "numeric": numeric,
            "multi_valued": multi_valued,
            "log_squared": log_squared,
            "quantile_bins": quantile_bins,
        }
        self.kinds = {kind: tuple(columns) for kind, columns in kinds.items()}
        self.auxiliary = {
            name: tuple(columns)
            for name, columns in (("vectors", vectors), ("sequences", sequences), ("item_sequences", item_sequences))
        }
        if item_sequences and not item:
            raise DataError(f"item_sequences={list(item_sequences)} hold items: give item=<column>")
        self.n_bins, self.time_features, self.missing = n_bins, tuple(dict.fromkeys(time_features)), alone(na_values)
        self.drop_columns, self.list_separator, self.standardize = tuple(drop_columns), list_separator, standardize
        self.decimal, self.thousands = decimal, thousands
        self.positive = str(positive).lower() if isinstance(positive, bool) else str(positive)
        self.drops, self.dropped = unlabeled == "drop", 0
        self.time_unit = "" if time_unit == "auto" else time_unit
        self.times = {}
        self.min_count, self.buckets, self.rule = min_count, buckets, PositivesRule(min_label, k_core)
        self._check()

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """Read the tables once, as a stream; before that, once each for `quantile_bins` and for `time_features`."""
        paths = [files[raw.path] for raw in self.raw]
        forms = [detect_format(path, self.form) for path in paths]
        plan = self._plan(paths[0], forms[0])
        sizes = [None if path.suffix == ".parquet" else text_size(path) for path in paths]
        meter = ProgressBar(f"preparing {paths[0].name}", None if None in sizes else sum(n or 0 for n in sizes))
        tables = list(zip(paths, forms, strict=True))
        columns = [c for c in plan.columns if c not in (PART_COLUMN, *self.times)]
        rows_of = partial(self._rows, tables)
        edges, written = self._edges(plan, rows_of), self._times(plan, rows_of)
        self.dropped = 0
        stream = self._transformed(self._rows(tables, columns, meter, self._untouched(plan)), plan, edges, written)
        made = encode("csv", stream, plan, workspace, meter, adjust=self._with_sides)
        tell(made)
        inputs = {n: self._input(n, i, plan, edges, written) for n, i in made.inputs.items()}
        made = replace(made, rule=self.rule, inputs=inputs, steps=(*made.steps, *self._steps(made)))
        return self._with_auxiliary(made, tables, workspace)

    def _with_sides(self, plan: Plan, first: FirstPass) -> Plan:
        """The plan with sides for the fields that no option gives one, and without fields that say nothing."""
        loose = [c for c in plan.fields if c not in self._sided()]
        guessed = () if any(self.kinds.values()) or self.buckets else [c for c in loose if c not in self.time_features]
        prune = partial(usable, vocabularies=first.vocabularies, loose=guessed, bins=self.n_bins, decimal=self.decimal)
        return with_inferred_sides(plan, first.columns(), unassigned=loose, refuse=self.on_leak == "error", prune=prune)

    def _with_auxiliary(self, made: Dataset, tables: Sequence[tuple[Path, TableFormat]], workspace: Path) -> Dataset:
        """With vectors and sequences: another pass over the tables."""
        if not (names := self._auxiliary()):
            return made
        given = self.auxiliary
        shared = dict.fromkeys(given["sequences"], "") | dict.fromkeys(given["item_sequences"], "item")
        sides: dict[str, Side] = {}
        for side in ("user", "item"):
            sides |= {column: side for column in self.sides[side]}
        columns = auxiliary_columns(names, shared, self.auxiliary["vectors"], sides, self.list_separator)
        return with_auxiliary(made, self._rows(tables, names), columns, workspace, self.min_count)

    def _steps(self, made: Dataset) -> list[PreparationStep]:
        if not self.dropped:
            return []
        if not made.rows:
            raise DataError(f"no row has a label in column {self.roles['label']!r}: unlabeled=drop leaves none")
        rule, schema = f"{self.dropped:,} row{'s' * (self.dropped > 1)} without a label left out", made.schema
        log.info("%s", rule)
        return [PreparationStep(rule, made.rows, schema.n_users, schema.n_items, schema.n_features)]

    def _rows(
        self,
        tables: Sequence[tuple[Path, TableFormat]],
        columns: Sequence[str],
        meter: ProgressBar | None = None,
        text_columns: Sequence[str] = (),
    ) -> Stream:
        """Rows of all files, with the part of each if files are parts, without the texts that stand for nothing."""
        entities = (self.roles["user"], self.roles["item"], self.roles["split"])
        labels = dict.fromkeys([self.roles["label"], *self.targets])
        label = [name for name in labels if name and self.drops]
        cells = [c for c in columns if c not in entities]
        columns = list(dict.fromkeys([*columns, *label]))
        for (path, form), part in zip(tables, self._parts(), strict=True):
            stream = batches(path, form, columns, meter.add_bytes if meter else ignore_bytes, text_columns=text_columns)
            for field in dict.fromkeys([*cells, *label]) if self.missing else ():
                stream = derived(stream, field, {field: self.present})
            for field in label:
                stream = labeled(stream, field, self._drop)
            if part == "drawn":
                stream = drawn(stream, PART_COLUMN, {"valid": self.validation}, "train", self.seed)
            elif part:
                stream = constant(stream, PART_COLUMN, part)
            yield from stream

    def _drop(self, count: int) -> None:
        self.dropped += count

    def _parts(self) -> Sequence[str]:
        return {1: ("",), 2: ("drawn", "test"), 3: ("train", "valid", "test")}[len(self.files)]
