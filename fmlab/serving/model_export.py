"""A trained model as a program without Python: by torch.export, and from that by ONNX.

Both read features, `ids` int64[batch, columns] and, where a field is numeric, `values` float32[batch, columns], for any
number of rows. Both give `score[batch]`, what `predict` gives, and `probability[batch]` where the model's outputs
are log-odds. What they give is compared with `predict` before an export is kept.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from fmlab.contracts import FitsRows
from fmlab.data import Array, Table
from fmlab.data.model_inputs import inputs_of_model
from fmlab.errors import FmlabError
from fmlab.evaluation.output_transform import OutputTransform
from fmlab.evaluation.probability_calibration import Isotonic, Platt
from fmlab.run.serving_data import ServingData

if TYPE_CHECKING:
    from fmlab.serving.loaded_run import LoadedRun

TOLERANCE = 1e-5
"""Most that a score may differ from that of `predict`: absolute for scores up to 1, else relative."""

ROWS = 256  # compared
PROGRAM, MODEL = "model.pt2", "model.onnx"
Run = Callable[[Array, Array | None], Mapping[str, Array]]


class Served(nn.Module):
    """What `LoadedRun.score` computes, as one module."""

    def __init__(
        self, model: nn.Module, scale: OutputTransform, log_odds: bool, calibrated: Platt | Isotonic | None = None
    ) -> None:
        super().__init__()
        self.model, self.scale, self.log_odds, self.calibrated = model, scale, log_odds, calibrated
        if isinstance(calibrated, Isotonic):
            self.register_buffer("knots", torch.tensor([calibrated.score, calibrated.probability], dtype=torch.float64))

    def forward(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """`score`, and `probability` of log-odds."""
        output = self.model(ids, values)
        if self.log_odds:
            output = output + self.scale.shift if self.scale.shift else output
            output = self._corrected(output.double()).to(output.dtype) if self.calibrated is not None else output
        score, scale = output, self.scale
        if not scale.log_odds and not (scale.is_identity and scale.low is None):
            score = scale.center + scale.scale * output.double()
            score = score if scale.low is None else score.clamp(scale.low, scale.high)
        return (score, torch.sigmoid(output)) if self.log_odds else (score,)

    def _corrected(self, score: Tensor) -> Tensor:
        """Calibrated log-odds, as `fmlab.evaluation.probability_calibration` has them."""
        if isinstance(self.calibrated, Platt):
            return self.calibrated.slope * score + self.calibrated.offset
        at, probability = self.get_buffer("knots")
        if len(at) == 1:
            found = probability.expand_as(score)
        else:
            right = (score.unsqueeze(-1) >= at).sum(-1).clamp(1, len(at) - 1)
            left = right - 1
            share = ((score - at[left]) / (at[right] - at[left])).clamp(0, 1)
            found = probability[left] + share * (probability[right] - probability[left])
        return torch.log(found) - torch.log1p(-found)


def outputs_of(data: ServingData) -> list[str]:
    """Names of what a program gives."""
    return ["score", "probability"] if data.log_odds else ["score"]


def inputs_of(data: ServingData) -> list[str]:
    """Names of what a program reads."""
    return ["ids", "values"] if data.schema.numeric else ["ids"]


def program_of(run: "LoadedRun") -> Any:
    """The torch.export.ExportedProgram of a run; raises FmlabError with the reason where there is none."""
    if run.data.derived is not None and run.data.derived.adds:
        raise FmlabError(
            f"a program reads rows as data have them, {run.name} was trained with derived fields beside them"
        )
    if run.data.targets:
        raise FmlabError(f"a program gives one score, {run.name} gives those of {', '.join(run.data.targets)}")
    if inputs_of_model(run.model):
        names = ", ".join(inputs_of_model(run.model))
        raise FmlabError(f"a program reads features alone, {run.name} also asks for {names}")
    outside = sorted({type(m).__name__ for m in run.model.modules() if isinstance(m, FitsRows)})
    if outside:
        raise FmlabError(
            f"a program is made of operations on tensors, {run.name} scores rows outside of torch by "
            f"{', '.join(outside)}; a search leaves such models out by exclude_models"
        )
    table = sample(run.data, 3)
    calibrated = None if run.calibration is None else run.calibration.maps[""]
    served = Served(run.model, run.data.scale, run.data.log_odds, calibrated).eval()
    given = tuple(torch.from_numpy(a) for a in arrays(table))
    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad(), _quiet():
        try:
            return torch.export.export(served, given, dynamic_shapes=tuple({0: batch} for _ in given))
        except Exception as error:  # whatever a plugin's forward does that cannot be traced
            raise FmlabError(f"{run.name} has no program by torch.export: {_reason(error)}") from error


def write_program(run: "LoadedRun", folder: Path) -> dict[str, Any]:
    """Write `model.pt2`; returns what the manifest says of it."""
    program = program_of(run)
    module = program.module()

    def compute(ids: Array, values: Array | None) -> Mapping[str, Array]:
        given = (torch.from_numpy(a) for a in (ids, values) if a is not None)
        with torch.no_grad():
            made = module(*given)
        return {name: t.numpy() for name, t in zip(outputs_of(run.data), made, strict=True)}

    away = difference(run, compute, "torch.export")
    with _quiet():
        torch.export.save(program, folder / PROGRAM)
    return described(run, PROGRAM, away) | {"torch": torch.__version__}


def write_onnx(run: "LoadedRun", folder: Path) -> dict[str, Any]:
    """Write `model.onnx`; returns what the manifest says of it. Raises FmlabError where that cannot be, saying why."""
    runtime = _onnxruntime()
    program = program_of(run)
    with torch.no_grad(), _quiet():
        try:
            made = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                input_names=inputs_of(run.data),
                output_names=outputs_of(run.data),
                custom_translation_table=_translations(),
            )
            assert made is not None
            made.save(folder / MODEL)
        except Exception as error:
            raise FmlabError(f"{run.name} has no ONNX model: {_reason(error)}") from error
    try:
        session = onnx_session(folder / MODEL, runtime)
    except Exception as error:
        raise FmlabError(f"{run.name} has no ONNX model that onnxruntime reads: {_reason(error)}") from error

    def compute(ids: Array, values: Array | None) -> Mapping[str, Array]:
        feed = {n: a for n, a in zip(("ids", "values"), (ids, values), strict=True) if a is not None}
        wanted = {entry.name for entry in session.get_inputs()}
        return dict(
            zip(outputs_of(run.data), session.run(None, {n: feed[n] for n in feed if n in wanted}), strict=True)
        )

    away = difference(run, compute, "onnxruntime")
    return described(run, MODEL, away) | {"onnxruntime": runtime.__version__}


def onnx_session(path: Path, runtime: Any = None) -> Any:
    """An onnxruntime session of one thread."""
    runtime = runtime or _onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def described(run: "LoadedRun", name: str, away: float) -> dict[str, Any]:
    """What a manifest says of a program."""
    return {
        "file": name,
        "inputs": inputs_of(run.data),
        "outputs": outputs_of(run.data),
        "largest_difference_from_predict": away,
        "compared_rows": ROWS,
    }


def difference(run: "LoadedRun", compute: Run, what: str) -> float:
    """The largest difference between the scores of a program and of `predict`, on random rows of every batch size.

    Raises FmlabError where it is more than `TOLERANCE`.
    """
    table, away = sample(run.data, ROWS), 0.0
    ids, values = table.ids.astype(np.int64), table.values
    low = 0
    for size in (1, 2, ROWS - 3):
        at = slice(low, low + size)
        low += size
        part = None if values is None else values[at]
        wanted, got = run.score(Table(table.ids[at], part)), compute(ids[at], part)
        for name, expected in wanted.items():
            if got[name].shape != expected.shape:
                raise FmlabError(f"{what} must give one {name} a row, got the shape {got[name].shape} for {size} rows")
            wide = np.asarray(expected, np.float64)
            apart = np.abs(np.asarray(got[name], np.float64) - wide) / np.maximum(1, np.abs(wide))
            away = max(away, float(apart.max()))
    if not away <= TOLERANCE:
        raise FmlabError(
            f"an exported program must give the scores of predict to {TOLERANCE:g}, those of {run.name} by {what} "
            f"differ by {away:.3g}"
        )
    return away


def sample(data: ServingData, rows: int) -> Table:
    """Rows of features: known users and items with what the tables say of them, and random features beside them."""
    rng, schema = np.random.default_rng(0), data.schema
    ids, values = np.empty((rows, schema.n_columns), np.int32), np.ones((rows, schema.n_columns), np.float32)
    for column, number in enumerate(schema.column_field):
        field, offset = schema.fields[number], schema.offsets[number]
        ids[:, column] = offset + (1 if field.numeric else rng.integers(0, field.size, rows))
        if field.numeric:
            values[:, column] = rng.normal(size=rows)
    for part, table in ((schema.columns("user"), data.users), (schema.columns("item"), data.items)):
        if table is not None and len(table.ids):
            which, known = rng.integers(0, len(table.ids), rows), rng.random(rows) < 0.8
            ids[known, part] = table.ids[which[known]]
            if table.values is not None:
                values[known, part] = table.values[which[known]]
    return Table(ids, values if schema.numeric else None)


def arrays(table: Table) -> tuple[Array, ...]:
    """Features as a program reads them."""
    ids = table.ids.astype(np.int64)
    return (ids,) if table.values is None else (ids, np.asarray(table.values, np.float32))


def _onnxruntime() -> Any:
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise FmlabError(f'--format onnx needs the package {error.name}: pip install "fmlab[onnx]"') from error
    return onnxruntime


def _translations() -> dict[Any, Any]:
    """Operators that onnxruntime lacks for float64."""
    from onnxscript import opset18 as op

    def asinh(x: Any) -> Any:
        return op.Mul(op.Sign(x), op.Log(op.Add(op.Abs(x), op.Sqrt(op.Add(op.Mul(x, x), op.CastLike(1.0, x))))))

    return {torch.ops.aten.asinh.default: asinh}


def _reason(error: BaseException) -> str:
    """The first sentence of the innermost cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters say much on the way; what matters of it is the error."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
