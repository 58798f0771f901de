"""Scores rows of raw text with an exported model: onnxruntime (which brings NumPy) and the standard library alone.

    python score.py rows.csv > scored.csv          # the rows with `score`, and `probability` of log-odds

It stands in each export of the format onnx, beside model.onnx and encoder.json, and may be copied into a program:

    scorer = Scorer(folder)
    scorer.score([{"user": "42", "item": "7"}])    # -> [{"score": 0.31, "probability": 0.58}]

Cells are text as a file holds them. What training did not know becomes the unknown feature of its field.
"""

import csv
import json
import math
import re
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice, pairwise
from pathlib import Path
from typing import Any
from zlib import crc32

MARK, ESCAPE = "\x1f", "\x1a"  # begins a list and parts its values; what stands for it within one
TRANSFORMS = ("", "log_squared", "log2", "binned", "hashed", "hour", "weekday")
SIGNS = {" ": " \u00a0\u202f", "'": "'\u2019"}
UNITS, FROM = ("s", "ms", "us", "ns"), (1e10, 1e13, 1e16)
Row = Mapping[str, str | None]


class Encoder:
    """Raw rows as features."""

    def __init__(self, path: str | Path) -> None:
        """Read encoder.json."""
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if content.get("fmlab_encoder") != 2:
            raise ValueError(f"{path} is no encoder of this version")
        self.has_values, self.tables = content["has_values"], content["tables"]
        self.sides: dict[str, list[Field]] = {side: [] for side in content["sides"]}
        for field in content["fields"]:
            self.sides[field["side"]].append(Field(field))

    def encode(self, row: Row) -> tuple[list[int], list[float]]:
        """Feature ids and values of a row; raises KeyError for a missing column, ValueError for a bad number."""
        ids: list[int] = []
        values: list[float] = []
        for side, fields in self.sides.items():
            table = self.tables.get(side)
            who = -1
            for at, field in enumerate(fields):
                if table is not None and at and (who >= 0 or field.column not in row):
                    if who >= 0:
                        break
                    found = [field.offset] * field.slots, [1.0] * field.slots
                else:
                    found = field.read(row[field.column])
                ids += found[0]
                values += found[1]
                if not at:
                    who = ids[-1] - field.offset - 1
            if fields and table is not None and who >= 0:
                known = table["ids"][who]
                ids += known
                values += table["values"][who] if table["values"] else [1.0] * len(known)
        return ids, values


class Field:
    """Text of one column to the features of one field."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self.slots, self.numeric, self.offset = entry["slots"], entry["numeric"], entry["offset"]
        self.given = entry["input"]
        self.column: str = self.given["column"]
        if self.given["transform"] not in TRANSFORMS:
            raise ValueError(f"this scorer has no transform {self.given['transform']!r} of column {self.column!r}")
        self.missing = set(self.given["missing"])
        self.codes = {value: number for number, value in enumerate(entry["values"], 1)}

    def read(self, text: str | None) -> tuple[list[int], list[float]]:
        """Ids and values of its slots."""
        if text in self.missing or not text:
            text = None
        if self.numeric:
            if text is None:
                return [self.offset], [1.0]
            number = (self._number(text) - self.given["center"]) / self.given["scale"]
            return [self.offset + 1], [struct.unpack("f", struct.pack("f", number))[0]]  # narrowed last
        codes = [] if text is None else [self._code(v) for v in self._values(self._transformed(text))]
        codes = (codes + [0] * self.slots)[: self.slots]
        return [self.offset + code for code in codes], [1.0] * self.slots

    def _code(self, text: str) -> int:
        """0 if it is unseen. A whole number may be written as 43.0, or as 43 where training had 43.0."""
        if text in self.codes or not (whole := re.fullmatch(r"(-?[0-9]+)(\.0+)?", text)):
            return self.codes.get(text, 0)
        return self.codes.get(whole[1] if whole[2] else f"{text}.0", 0)

    def _values(self, text: str) -> list[str]:
        """The values of a cell, each once."""
        if not text.startswith(MARK):
            separator = self.given["list_separator"]
            return [v for v in dict.fromkeys(text.split(separator) if separator else (text,)) if v]
        values = (v.replace(f"{ESCAPE}1", MARK).replace(f"{ESCAPE}0", ESCAPE) for v in text[1:].split(MARK))
        return list(dict.fromkeys(values))

    def _transformed(self, text: str) -> str:
        what = self.given["transform"]
        if what == "hashed":
            return str(crc32(text.encode()) % self.given["buckets"])
        if what == "hour":
            return str(moment(text, self.given["time_format"]).hour)
        if what == "weekday":
            return str(moment(text, self.given["time_format"]).isoweekday())
        if what in ("log_squared", "log2"):
            number = self._number(text)
            return str(math.floor(math.log(number) ** 2)) if number > 2 else f"={text}"
        if what == "binned":
            edges, number = self.given["edges"], self._number(text)
            ends = ["", *(repr(float(edge)).removesuffix(".0") for edge in edges), ""]
            low, high = list(pairwise(ends))[sum(edge <= number for edge in edges)]
            return f"[{low}, {high})"
        return text

    def _number(self, text: str) -> float:
        plain, sign = text, self.given["thousands"]
        if sign:
            part, point = f"[{re.escape(SIGNS.get(sign, sign))}]", re.escape(self.given["decimal"])
            whole = rf"[+-]?\d{{1,3}}(?:{part}\d{{2,3}})*{part}\d{{3}}(?:{point}\d*)?(?:[eE][+-]?\d+)?"
            if re.search(part, plain):
                plain = re.sub(part, "", plain) if re.fullmatch(whole, plain.strip()) else "no number"
        if self.given["decimal"] != ".":
            plain = plain.replace(self.given["decimal"], ".")
        if plain.lower() in ("false", "true"):
            return float(plain.lower() == "true")
        try:
            number = float("nan" if "_" in plain else plain)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(f"column {self.column!r} must hold finite numbers, got {text!r}")
        return number


def moment(text: str, form: str) -> datetime:
    """The date and time of a text: a number since 1970 in a unit, digits of a date, or ISO 8601."""
    try:
        number = float(text)
    except ValueError:
        text = re.sub(r"\s*(?:UTC|GMT|[zZ])$", "+00:00", text.strip())
        text = re.sub(r"\s+([+-]\d\d:?\d\d)$", r"\1", text)
        text = re.sub(r"^(\d{4})/(\d{1,2})/(\d{1,2})", lambda m: f"{m[1]}-{int(m[2]):02}-{int(m[3]):02}", text)
        return datetime.fromisoformat(f"{text}-01" if re.fullmatch(r"\d{4}-\d\d", text) else text)
    if form == "digits":
        return datetime.strptime(text + "00000000000000"[len(text) :], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    unit = UNITS.index(form) if form in UNITS else sum(edge <= abs(number) for edge in FROM)
    return datetime.fromtimestamp(number / 1000**unit, UTC)


class Scorer:
    """An exported model with its encoder."""

    def __init__(self, folder: str | Path) -> None:
        """Read model.onnx and encoder.json of a folder."""
        import onnxruntime

        folder = Path(folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        model = str(folder / "model.onnx")
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.inputs = [entry.name for entry in self.session.get_inputs()]
        self.outputs = [entry.name for entry in self.session.get_outputs()]
        self.encoder = Encoder(folder / "encoder.json")

    def score(self, rows: Iterable[Row]) -> list[dict[str, float]]:
        """`score`, and `probability` of log-odds, of each row."""
        import numpy as np

        made = [self.encoder.encode(row) for row in rows]
        if not made:
            return []
        feed = {"ids": np.array([m[0] for m in made], np.int64), "values": np.array([m[1] for m in made], np.float32)}
        found = self.session.run(None, {name: feed[name] for name in self.inputs})
        return [dict(zip(self.outputs, map(float, row), strict=True)) for row in zip(*found, strict=True)]


def batches(rows: Iterable[dict[str, Any]], size: int = 1024) -> Iterator[list[dict[str, Any]]]:
    """Lists of rows."""
    source = iter(rows)
    while part := list(islice(source, size)):
        yield part


def main() -> None:
    """Score the rows of a CSV file."""
    scorer = Scorer(Path(__file__).parent)
    with open(sys.argv[1], encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        out = csv.DictWriter(sys.stdout, [*(reader.fieldnames or ()), *scorer.outputs], lineterminator="\n")
        out.writeheader()
        for part in batches(reader):
            out.writerows({**row, **new} for row, new in zip(part, scorer.score(part), strict=True))


if __name__ == "__main__":
    main()
