"""One table of all runs, complete or not, a line for each run folder: Parquet or SQLite. The folders stay the truth."""

import io
import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmlab.config.overrides import text
from fmlab.errors import FmlabError, choices
from fmlab.files import storing, write_bytes
from fmlab.report.evaluation_facts import facts_of
from fmlab.report.runs import Run, find_runs, number
from fmlab.terminal.escaping import escaped_line

if TYPE_CHECKING:
    import pandas as pd

_FACTS = (
    *("status", "data", "protocol", "model", "loss", "optimizer", "seed", "batch_size", "fingerprint", "monitor"),
    *(
        "parameters",
        "flops",
        "epochs",
        "best_epoch",
        "seconds_fit",
        "seconds_test",
        "rows_per_second",
        "warnings",
        "error",
    ),
)
_WAYS = (".parquet", ".sqlite")
_MOST_COLUMNS = 2000  # that SQLite takes
_LARGEST_WHOLE = 1 << 63  # both formats have whole numbers of 64 bits
Column = list[Any]


def write_table(path: Path, runs: Sequence[Run]) -> None:
    """Replace the file by the table of these runs; raises FmlabError for another ending, StorageError."""
    if path.suffix not in _WAYS:
        raise FmlabError(f"a table of runs ends in .parquet or .sqlite, got {path.name}; {choices(path.suffix, _WAYS)}")
    (_parquet if path.suffix == ".parquet" else _sqlite)(path, columns(runs))


def frame_of(folders: "str | Path | Iterable[str | Path]" = "runs") -> "pd.DataFrame":
    """One line for each run below these folders: its facts, metrics and options; raises StorageError."""
    import pandas as pd

    given = [folders] if isinstance(folders, str | Path) else folders
    return pd.DataFrame(columns([run for folder in given for run in find_runs(Path(folder))[0]]))


def columns(runs: Sequence[Run]) -> dict[str, Column]:
    """Facts of the runs, then `validation/<metric>` and `test/<metric>`, then how they were judged and the options of
    their configs.

    How they were judged: `test/<metric> on <group>`, `audit/<share>`, `protocol/<what>` in words, `reliability/copc`.

    A column holds numbers, or truth values, or else texts as the command line takes them; None where a run has none.
    """
    lines = [_line(run) for run in runs]
    names = dict.fromkeys(("folder", *_FACTS))
    for part in ("validation/", "test/", ""):
        names |= dict.fromkeys(n for line in lines for n in line if n.startswith(part))
    return {name: _alike([line.get(name) for line in lines]) for name in names}


def _line(run: Run) -> dict[str, Any]:
    line = {"folder": escaped_line(str(run.folder)), **{k: run.content.get(k) for k in _FACTS if k != "warnings"}}
    if isinstance(found := run.content.get("warnings"), list) and found:
        line["warnings"] = " ".join(map(str, found))
    for part in ("validation", "test"):
        line |= {f"{part}/{name}": number(value) for name, value in (run.content.get(part) or {}).items()}
    line |= facts_of(run)
    names = {k: v for k, v in run.config.items() if not k.endswith(".name") or k.startswith("logger.")}
    return {**names, **{k: v for k, v in line.items() if v is not None}}


def _alike(values: Column) -> Column:
    """Values of one kind: all numbers or all truth values as they are, anything else as text."""
    kinds = {
        bool if isinstance(v, bool) else float if isinstance(v, int | float) else str for v in values if v is not None
    }
    if len(kinds) <= 1 and str not in kinds:
        whole = all(isinstance(v, int) and -_LARGEST_WHOLE <= v < _LARGEST_WHOLE for v in values if v is not None)
        return values if whole else [None if v is None else float(v) for v in values]
    return [v if v is None or isinstance(v, str) else text(v) for v in values]


def _parquet(path: Path, table: dict[str, Column]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.table({n: pa.array(v, pa.string()) if set(v) <= {None} else v for n, v in table.items()}), out)
    write_bytes(path, out.getvalue())


def _told_apart(names: Iterable[str]) -> list[str]:
    """Names of columns for SQLite, which takes `Lr` and `lr` for one: the second is `lr (2)`."""
    found: dict[str, str] = {}
    for name in names:
        new, number = name, 1
        while new.lower() in found:
            number += 1
            new = f"{name} ({number})"
        found[new.lower()] = new
    return list(found.values())


def _sqlite(path: Path, table: dict[str, Column]) -> None:
    if len(table) > _MOST_COLUMNS:
        raise FmlabError(
            f"a table in SQLite has at most {_MOST_COLUMNS:,} columns, the runs have {len(table):,} facts and options: "
            "write .parquet"
        )
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    quoted = ['"' + name.replace('"', '""') + '"' for name in _told_apart(table)]
    with storing(path.parent):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(draft)) as connection:
                connection.execute(f"CREATE TABLE runs ({', '.join(quoted)})")
                marks = ", ".join("?" * len(quoted))
                connection.executemany(f"INSERT INTO runs VALUES ({marks})", zip(*table.values(), strict=True))
                connection.commit()
            draft.replace(path)
        except sqlite3.Error as error:
            raise OSError(f"{error}: {path}") from error
        finally:
            draft.unlink(missing_ok=True)
