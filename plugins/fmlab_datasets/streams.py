"""What streaming data plugins share: where a file stands, columns joined, derived and filtered on the way.

A stream is an iterator of record batches whose columns are dictionary-encoded text (`fmlab.data.raw.table.batches`).
Derived columns are computed once for each distinct value of a batch, not for each row.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fmlab.data import Dataset, FieldEncoding, PositivesRule, PreparationStep
from fmlab.data.encoding.dataset_encoding import encode
from fmlab.data.encoding.plan import Plan
from fmlab.data.encoding.progress import ProgressBar
from fmlab.data.encoding.transforms import bucket
from fmlab.data.raw.cells import joined as joined_cell
from fmlab.data.raw.cells import split
from fmlab.data.raw.fetch import find
from fmlab.data.raw.table import TableFormat, batches, detect_format, ignore_bytes
from fmlab.data.source import RawFile
from fmlab.errors import DataError
from fmlab_datasets.published import published

ROWS = 1 << 17
Stream = Iterator[pa.RecordBatch]
Cells = Mapping[str, str | None]


def first_found(root: Path, name: str, *raws: RawFile) -> RawFile:
    """The first of these raw files that is on this disk, else the first of all, which is then fetched or asked for."""
    return next((raw for raw in raws if find(raw, root, name)), raws[0])


def table(
    path: Path,
    columns: Mapping[str, str],
    form: TableFormat | None = None,
    meter: ProgressBar | None = None,
    text_columns: Collection[str] = (),
) -> Stream:
    """The columns of a text table (`raw name -> name here`); raises DataError if one is missing.

    Raw names in `text_columns` may come as plain text: those that go to the encoder as they are.
    """
    on_bytes = meter.add_bytes if meter else ignore_bytes
    for batch in batches(
        path, detect_format(path, form, whole=False), list(columns), on_bytes, text_columns=text_columns
    ):
        yield pa.RecordBatch.from_arrays(batch.columns, names=list(columns.values()))


def packed(rows: Iterable[Sequence[str | None]], names: Sequence[str], size: int = ROWS) -> Stream:
    """Rows of text as a stream."""
    source = iter(rows)
    while block := list(islice(source, size)):
        columns = zip(*block, strict=True)
        yield pa.RecordBatch.from_arrays([pa.array(c, pa.string()).dictionary_encode() for c in columns], list(names))


def attributes(stream: Stream, key: str) -> dict[str, dict[str, str | None]]:
    """A small table by column and key: `{column: {key: value}}`; of a repeated key the first row stays."""
    found: dict[str, dict[str, str | None]] = {}
    for batch in stream:
        keys = batch[key].to_pylist()
        for name in batch.schema.names:
            if name != key:
                column = found.setdefault(name, {})
                for k, value in zip(keys, batch[name].to_pylist(), strict=True):
                    column.setdefault(k, value)
    return found


def mapped(column: Any, texts: Any) -> pa.DictionaryArray:
    """The column with its dictionary replaced value by value: `texts` may repeat values and hold nulls."""
    merged = pa.array(texts, pa.string()) if isinstance(texts, list) else texts.cast(pa.string())
    merged = merged.dictionary_encode()
    return pa.DictionaryArray.from_arrays(merged.indices.take(column.indices), merged.dictionary)


def joined(stream: Stream, on: str, columns: Mapping[str, Cells]) -> Stream:
    """With the attributes of the entity that column `on` names; one that is not listed has none."""
    for batch in stream:
        keys = batch[on].dictionary.to_pylist()
        for name, values in columns.items():
            batch = batch.append_column(name, mapped(batch[on], [values.get(k) for k in keys]))
        yield batch


def derived(stream: Stream, on: str, columns: Mapping[str, Callable[[Any], Any]]) -> Stream:
    """With (or with other) columns that functions of the distinct values of column `on` give."""
    for batch in stream:
        source = batch[on]
        for name, function in columns.items():
            column = mapped(source, function(source.dictionary))
            at = batch.schema.get_field_index(name)
            batch = batch.append_column(name, column) if at < 0 else batch.set_column(at, name, column)
        yield batch


def hashed(stream: Stream, fields: Iterable[str], buckets: int) -> Stream:
    """With the values of these fields replaced by numbers of buckets, if any: memory then holds no vocabulary of them.

    Missing stays missing.
    """
    for field in fields if buckets else ():
        stream = derived(stream, field, {field: bucket(buckets)})
    return stream


def constant(stream: Stream, name: str, value: str) -> Stream:
    """With a column that has one value."""
    for batch in stream:
        column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(batch), np.int32)), pa.array([value]))
        yield batch.append_column(name, column)


def drawn(stream: Stream, name: str, shares: Mapping[str, float], other: str, seed: int) -> Stream:
    """With a column of values drawn with the given chances, the `other` one for the rest; blocks do not matter."""
    draw, values = np.random.default_rng(seed), pa.array([*shares, other])
    ends = np.cumsum(list(shares.values()))
    for batch in stream:
        places = np.searchsorted(ends, draw.random(len(batch)), side="right").astype(np.int32)
        yield batch.append_column(name, pa.DictionaryArray.from_arrays(pa.array(places), values))


def counts(stream: Stream, *columns: str) -> list[Counter[str]]:
    """How often each value of each column is there: one pass of its own over the file."""
    found: list[Counter[str]] = [Counter() for _ in columns]
    for batch in stream:
        for counter, name in zip(found, columns, strict=True):
            where = batch[name].indices.drop_null()
            times = np.bincount(where.to_numpy(), minlength=len(batch[name].dictionary))
            counter.update(dict(zip(batch[name].dictionary.to_pylist(), times.tolist(), strict=True)))
    return found


def frequent(stream: Stream, again: Stream, least: int, fields: int = 2) -> tuple[Stream, tuple[PreparationStep, ...]]:
    """`again` without users (column `u`) of fewer than `least` rows, and a step that says what there was before.

    `stream` is the same from its beginning, for counting; the step counts the features of users and items alone.
    """
    if least <= 1:
        return again, ()
    users, items = counts(stream, "u", "i")
    step = PreparationStep("all rows", users.total(), len(users), len(items), len(users) + len(items) + fields)
    return only(again, "u", (u for u, n in users.items() if n >= least)), (step,)


def labeled(stream: Stream, column: str, dropped: Callable[[int], None]) -> Stream:
    """Without the rows that have no value in a column; `dropped` is called with their number."""
    for batch in stream:
        if count := batch[column].null_count:
            dropped(count)
            left = batch.filter(batch[column].is_valid())
            columns = [c.cast(pa.string()).dictionary_encode() for c in left.columns]
            batch = pa.RecordBatch.from_arrays(columns, names=left.schema.names)
        if len(batch):
            yield batch


def only(stream: Stream, column: str, wanted: Iterable[str]) -> Stream:
    """Without the rows whose value is not wanted."""
    known = pa.array(list(wanted), pa.string())
    for batch in stream:
        keep = pc.is_in(batch[column].dictionary, value_set=known).take(batch[column].indices)
        left = batch.filter(keep)  # and without dictionary entries that no row has any more: they are no features
        columns = [c.dictionary_decode().dictionary_encode() for c in left.columns]
        yield pa.RecordBatch.from_arrays(columns, names=left.schema.names)


def prepared(
    name: str,
    stream: Stream,
    plan: Plan,
    workspace: Path,
    *,
    rule: PositivesRule | None = None,
    papers: Sequence[str] = (),
    before: Sequence[PreparationStep] = (),
    meter: ProgressBar | None = None,
    slots: int = 0,
    whole: int = 0,
    inputs: Mapping[str, FieldEncoding] | None = None,
) -> Dataset:
    """The data set of a stream, with what papers print of it under its name and the names in `papers`.

    `before` are steps that the stream has already gone through. With `slots`, lists keep that many first values.
    `inputs`: of the fields whose raw text is not a value of them. `whole` is the number of rows of the published
    files, where they may be here in part.
    """
    if slots:
        cut = {n: _first(plan.list_separator, slots) for n in plan.multi}
        for field, function in cut.items():
            stream = derived(stream, field, {field: function})
    made = encode(name, stream, plan, workspace, meter or ProgressBar(f"preparing {name}", None))
    if not made.rows:
        least = "users with fewer than data.min_interactions rows are left out, which leaves none"
        raise DataError(f"{name} has no rows" + (f": {least} of {before[-1].rows:,}" if before else ""))
    steps = (*before, *made.steps)
    printed = published(name, *papers, rows=steps[0].rows, whole=whole)
    read = {**made.inputs, **(inputs or {})}
    return replace(made, rule=rule or PositivesRule(), steps=steps, published=printed, inputs=read)


def _first(separator: str, slots: int) -> Callable[[Any], Any]:
    def cut(texts: Any) -> list[str | None]:
        return [joined_cell(split(t, separator)[:slots]) for t in texts.to_pylist()]

    return cut
