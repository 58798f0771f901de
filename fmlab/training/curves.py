"""metrics.csv: one line an epoch, written before the checkpoint of that epoch.

A resumed run keeps the lines of the epochs that its checkpoint has, and goes on below them.
"""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fmlab.files import storing, write_text


class Curves:
    """Lines of `epoch`, `step`, `train/loss`, `lr` and the validation metrics, where there was a validation.

    `lr`: the learning rate of the epoch's last step.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._names: list[str] = []
        self._rows: list[dict[str, Any]] = []

    def resume(self, source: Path, epoch: int) -> None:
        """Take over the whole lines of epochs before `epoch` from the file `source`, if there is one."""
        if not source.is_file():
            return
        with storing(source.parent):
            whole = source.read_text("utf-8", errors="replace").rpartition("\n")[0]
        self._rows = [
            {k: v for k, v in row.items() if k and v not in (None, "")}
            for row in csv.DictReader(io.StringIO(whole, newline=""))
            if str(row.get("epoch", "")).isdecimal() and int(row["epoch"]) < epoch
        ]
        self._names = list(dict.fromkeys(name for row in self._rows for name in row))
        self._rewrite()

    def add(self, row: Mapping[str, Any]) -> None:
        """Write the line of an epoch."""
        self._rows.append(dict(row))
        new = [name for name in row if name not in self._names]
        if new or not self.path.is_file():
            self._names += new
            self._rewrite()
            return
        with storing(self.path.parent), self.path.open("a", encoding="utf-8", newline="") as file:
            self._write(file, [dict(row)])

    def _rewrite(self) -> None:
        text = io.StringIO(newline="")
        csv.DictWriter(text, self._names, lineterminator="\n").writeheader()
        self._write(text, self._rows)
        write_text(self.path, text.getvalue())

    def _write(self, file: Any, rows: list[dict[str, Any]]) -> None:
        csv.DictWriter(file, self._names, restval="", lineterminator="\n").writerows(rows)
