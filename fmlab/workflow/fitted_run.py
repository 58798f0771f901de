"""A finished run in Python: its figures, its model for scoring and lists, its folder."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from fmlab.errors import FmlabError, StorageError
from fmlab.records.folder import RunFolder
from fmlab.records.record import Record, read_record
from fmlab.run.locate import locate
from fmlab.terminal.escaping import escaped_line
from fmlab.workflow.frames import as_pandas, is_frame

if TYPE_CHECKING:
    import pandas as pd

    from fmlab.run.seen_items import Exclude
    from fmlab.serving.export import Format
    from fmlab.serving.loaded_run import LoadedRun
    from fmlab.serving.similar import Measure

_FACTS = ("data", "protocol", "model", "loss", "optimizer", "seed", "parameters", "epochs", "best_epoch")


class FittedRun:
    """What `fit` and `load` give. `folder` is the run folder, which holds all that is asked of it here."""

    def __init__(self, folder: Path, *, temporary: "TemporaryDirectory[str] | None" = None) -> None:
        """`temporary`: the folder's owner where it goes with this object; `save` keeps it elsewhere."""
        self.folder, self._temporary = folder, temporary

    @cached_property
    def record(self) -> Record:
        """All that the run says of itself, see the file metrics.json; raises StorageError."""
        path = RunFolder(self.folder).metrics
        try:
            return read_record(path)
        except (OSError, ValueError) as error:
            raise StorageError(f"{path} cannot be read: {error}") from error

    @property
    def validation(self) -> dict[str, float]:
        """Metrics of the validation part, by which the epoch was selected."""
        return self._values("validation")

    @property
    def test(self) -> dict[str, float]:
        """Metrics of the test part, which was scored once."""
        return self._values("test")

    def _values(self, part: Literal["validation", "test"]) -> dict[str, float]:
        found: Any = self.record.get(part) or {}
        if not isinstance(found, dict) or not all(isinstance(value, int | float) for value in found.values()):
            raise StorageError(f"{RunFolder(self.folder).metrics} must hold the metrics of the {part} by their names")
        return dict(found)

    @cached_property
    def model(self) -> "LoadedRun":
        """The trained model with its fitted encoder, see `fmlab.serving`."""
        from fmlab.serving import load_run

        return load_run(self.folder)

    def predict(self, frame: Any) -> "pd.DataFrame":
        """Scores of rows: a frame of pandas, polars or Arrow with the raw columns; see `LoadedRun.predict`."""
        return self.model.predict(as_pandas(frame))

    def recommend(
        self,
        users: Any = None,
        k: int = 10,
        *,
        history: "Iterable[object] | None" = None,
        exclude: "Exclude" = "all",
        context: Mapping[str, object] | None = None,
    ) -> "pd.DataFrame":
        """The `k` best items of each user that the user has not met; ids or a frame, or the `history` of a new user,
        see `LoadedRun.recommend`."""
        given = as_pandas(users) if _is_table(users) else users
        return self.model.recommend(given, k, history=history, exclude=exclude, context=context)

    def similar(self, items: Any, k: int = 10, *, measure: "Measure" = "auto") -> "pd.DataFrame":
        """The `k` items most like each of these; ids or a frame, see `LoadedRun.similar`."""
        return self.model.similar(as_pandas(items) if _is_table(items) else items, k, measure=measure)

    def export(self, folder: str | Path, formats: "Sequence[Format]" = ("files",), *, force: bool = False) -> list[str]:
        """Write the model for other programs into a new folder: `files`, `onnx`, `torch`, `ann` or `huggingface`.

        Returns what is missing, and why, and how far programs are from `predict`; see `LoadedRun.export`.
        """
        return self.model.export(folder, formats, force=force)

    def quantize(self, folder: str | Path, **options: Any) -> "FittedRun":
        """The run with its embedding tables in 8 bits, in a new run folder: its metrics, and under `quantized` in its
        `record` those of before.

        The validation and the test are those of this run, on the same data. `options` are `data_dir` and `cache_dir`.
        Raises FmlabError for a model without tables, StorageError.
        """
        from fmlab.workflow.quantize import quantized

        return FittedRun(quantized(self.folder, folder, options))

    def plot(self, kind: str, out: str | Path | None = None, **given: Any) -> Any:
        """The matplotlib figure of a kind of `fmlab plot`, written to `out` (.png, .pdf, .svg) if that is given.

        Kinds that look at rows want `rows`, a frame of pandas, polars or Arrow; those that tell labels apart want
        `label`, its column. Raises FmlabError for what the run has not.
        """
        if "rows" in given:
            given["rows"] = as_pandas(given["rows"])
        return self.model.plot(kind, out, **given)

    def explain(self, frame: Any) -> "pd.DataFrame":
        """How much each raw column adds to the score of each row: the score less that with the column missing.

        The result has the index of the frame, `score`, and a column for each raw column that the model reads. It holds
        for every model; contributions of columns that interact do not add up to the score.
        """
        rows = as_pandas(frame)
        found = self.model.predict(rows)[["score"]].astype("float64")
        for column in self.model.columns:
            without = rows.assign(**{column: None})
            found[column] = found["score"] - self.model.predict(without)["score"].astype("float64")
        return found

    def save(self, folder: str | Path) -> "FittedRun":
        """Copy the run folder; the copy predicts, recommends and resumes. Raises FmlabError where something is."""
        target = Path(folder).expanduser()
        if target.exists() and any(target.iterdir()):
            raise FmlabError(f"a run is saved into a new folder, {target} is not empty")
        shutil.copytree(self.folder, target, dirs_exist_ok=True)
        return FittedRun(target)

    def __repr__(self) -> str:
        """One line: what was trained, and its test."""
        figures = "  ".join(f"{k} {v:.6g}" for k, v in self.test.items() if v is not None)
        named = " ".join(f"{k}={self.record.get(k)}" for k in ("model", "data", "protocol", "seed"))
        return escaped_line(f"<run {named}: test {figures or self.record.get('status')}>")

    def _repr_html_(self) -> str:
        """Figures of validation and test as a table, in notebooks."""
        record: Mapping[str, Any] = self.record
        facts = " · ".join(f"{k} {record[k]}" for k in _FACTS if record.get(k) is not None)
        names = dict.fromkeys((*self.test, *self.validation))
        cells = [
            f"<tr><th>{escape(n)}</th><td>{_format_number(self.validation.get(n))}</td><td>{_format_number(self.test.get(n))}</td></tr>"
            for n in names
        ]
        head = "<tr><th></th><th>validation</th><th>test</th></tr>"
        return f"<table><caption>{escape(facts)}</caption>{head}{''.join(cells)}</table>"


def _format_number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _is_table(given: object) -> bool:
    """Whether this is a frame and no single column of one, which is a list of ids."""
    return is_frame(given) and hasattr(given, "columns")


def load(folder: str | Path) -> FittedRun:
    """A run that was trained before: its folder, a sweep folder (its best trial), or a checkpoint in one.

    Raises StorageError where there is no trained model, FmlabError where it is not clear which.
    """
    return FittedRun(locate(Path(folder)).folder)
