"""Preparation at scale: 20 million rows in the format of Avazu's `train.csv`, through the `avazu` data plugin."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from benchmarks.harness import Results, Setting, Target, compare
from benchmarks.preparation import TEXT, Work, measured, memory
from benchmarks.shapes import zipf

ABOUT = "from Avazu's CSV to the stored data set, in a fresh process, beside reading the text alone"
ROWS = (20_000_000, 2_000_000)
SECONDS = 60  # for the larger file
CHUNK = 1_000_000  # rows written at a time; each holds every value
# Fields and how many values they have; of the millions of devices, as many as a chunk can show.
NUMBERS = {"C1": 7, "banner_pos": 7}
NAMES = {"site_id": 4737, "site_domain": 7745, "site_category": 26, "app_id": 8552, "app_domain": 559}
DEVICES = {"app_category": 36, "device_id": 379_316, "device_ip": 900_000, "device_model": 8251}
OTHERS = {"device_type": 5, "device_conn_type": 4, "C14": 2626, "C15": 8, "C16": 9, "C17": 435, "C18": 4, "C19": 68}
LAST = {"C20": 172, "C21": 60}
FIELDS = NUMBERS | NAMES | DEVICES | OTHERS | LAST
TEXTS = NAMES | DEVICES  # eight hexadecimal digits; the others are numbers


def run(setting: Setting) -> Iterator[Results]:
    peaks: dict[tuple[str, int], list[Work]] = {}
    for rows in (2000, 500) if setting.toy else ROWS:
        path = generate(setting.folder / f"avazu{rows}" / "train.csv", rows)

        def rate(how: str, path: Path = path, rows: int = rows) -> float:
            work = measured(how, path, setting.folder)
            peaks.setdefault((how, rows), []).append(work)
            return rows / work.seconds

        yield compare(
            f"{rows:,} rows of Avazu, {path.stat().st_size / 1e6:,.0f} MB",
            {TEXT: partial(rate, "text"), "fmlab, data=avazu": partial(rate, "avazu")},
            setting,
            unit="rows/s",
            more=True,
            reference=TEXT,
            targets={"fmlab, data=avazu": Target(value=rows / SECONDS)} if rows == ROWS[0] else None,
            least=1,
        )
    yield memory(peaks)


def generate(path: Path, rows: int) -> Path:
    """The file, written if it is not there: one chunk, its columns turned against each other time and again."""
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    rng, size = np.random.default_rng(0), min(CHUNK, rows)
    chunk = [
        pa.array(rng.random(size) < 0.17).cast(pa.int8()),
        *(_column(rng, n, min(k, size), size) for n, k in FIELDS.items()),
    ]
    schema = pa.schema([("id", pa.uint64()), ("click", pa.int8()), *((n, pa.string()) for n in ("hour", *FIELDS))])
    options = pacsv.WriteOptions(include_header=False, quoting_style="none")
    draft = path.with_suffix(".tmp")
    with draft.open("wb") as file:
        file.write(",".join(schema.names).encode() + b"\n")
        with pacsv.CSVWriter(file, schema, write_options=options) as writer:
            for start in range(0, rows, size):
                hour = np.arange(start, start + size) * 240 // rows
                columns = [
                    pa.array(rng.integers(10**18, 18 * 10**18, size, np.uint64)),
                    pa.array(14102100 + hour // 24 * 100 + hour % 24).cast(pa.string()),
                ]
                for column, at in zip(chunk, rng.integers(0, size, len(chunk)).tolist(), strict=True):
                    columns.append(pa.chunked_array([column[at:], column[:at]]))
                columns[1:3] = columns[2:0:-1]  # the click stands before the hour
                writer.write_table(pa.table(columns, schema=schema).slice(0, rows - start))
    draft.replace(path)
    return path


def _column(rng: np.random.Generator, name: str, values: int, size: int) -> pa.Array:
    """`values` texts, all of them and then as Zipf's law has it, in random order."""
    scattered = np.arange(values, dtype=np.uint64) * 2_654_435_761 % (1 << 32)
    texts = pa.array([f"{k:08x}" for k in scattered] if name in TEXTS else [str(1000 + k) for k in range(values)])
    return texts.take(pa.array(rng.permutation(np.concatenate([np.arange(values), zipf(rng, values, size - values)]))))
