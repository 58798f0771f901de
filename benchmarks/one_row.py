"""One row by onnxruntime and by torch, for every model: the time of a request that asks for one score."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks import harness
from benchmarks.harness import Line, Note, Results, Setting, Spread, Target, in_turn
from fmlab.contracts import FitsRows, Fitting, LabelledRows, NeedsInteractions
from fmlab.data import Field, FieldEncoding, Schema, Table
from fmlab.data.batch import as_features
from fmlab.errors import FmlabError
from fmlab.evaluation.output_transform import OutputTransform
from fmlab.plugin import registry
from fmlab.run.serving_data import ServingData
from fmlab.serving.loaded_run import LoadedRun

ABOUT = "one row of a user, an item and eight context fields by onnxruntime and by torch, one thread"
USERS, ITEMS, ROWS = 957, 4082, 50_000
CONTEXT = (7, 7, 2, 3, 2, 9, 80, 233)  # values of the context fields, as those of Frappe
TIMES, ROUNDS = 300, 7
CALLS = ("constant", "popularity")  # nothing to compute: a call of onnxruntime takes as long as torch for all of it


def run(setting: Setting) -> Iterator[Results]:
    """A line for every model, or the reason why it has no ONNX model."""
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        yield [Note(f"onnx: no package {error.name}: pip install 'fmlab[onnx]'")]
        return
    torch.set_num_threads(1)
    every = [n for n in registry.names("model") if ":" not in n]
    found = [_measured(name, setting) for name in setting.chosen(every)]
    yield sorted(found, key=lambda r: r.ratio.median if isinstance(r, Line) and r.ratio else 0)


def _measured(name: str, setting: Setting) -> Line | Note:
    from fmlab.serving.model_export import arrays, inputs_of, onnx_session, sample, write_onnx

    try:
        held = _random_run(name, setting)
        write_onnx(held, setting.folder)
    except FmlabError as error:
        return Note(f"{name}: {error}")
    session = onnx_session(setting.folder / "model.onnx")
    rows = arrays(sample(held.data, 1))
    read = {entry.name for entry in session.get_inputs()}
    feed = {n: a for n, a in zip(inputs_of(held.data), rows, strict=True) if n in read}
    given = tuple(torch.from_numpy(a) for a in rows)
    times = setting.size(TIMES, 3)

    def eager() -> float:
        with torch.inference_mode():
            began = harness.now()
            for _ in range(times):
                torch.sigmoid(held.model(*given))
            return 1e6 * (harness.now() - began) / times

    def onnx() -> float:
        began = harness.now()
        for _ in range(times):
            session.run(None, feed)
        return 1e6 * (harness.now() - began) / times

    eager(), onnx()
    values = in_turn({"eager": eager, "onnx": onnx}, replace(setting, seconds=0), ROUNDS)
    ratio = Spread.of([a / b for a, b in zip(values["eager"], values["onnx"], strict=True)])
    goal, met = ("", None) if name in CALLS else Target(ratio=2).judge(0, ratio.median, more=False)
    side = f"{name} (torch: {np.median(values['eager']):.0f} µs)"
    return Line(ABOUT, side, "µs", Spread.of(values["onnx"]), len(values["onnx"]), ratio, goal, met)


def _random_run(name: str, setting: Setting) -> LoadedRun:
    """A model with random parameters, fitted to random rows where it is fitted and not trained, as a run."""
    torch.manual_seed(0)
    users, items, count = setting.size(USERS, 20), setting.size(ITEMS, 30), setting.size(ROWS, 100)
    context = tuple(Field(f"context{n}", "context", size) for n, size in enumerate(CONTEXT))
    schema = Schema((Field("user", "user", users + 1), *context, Field("item", "item", items + 1)), users, items)
    model = registry.build("model", {"name": name}, schema, gives=nn.Module)
    with torch.no_grad():
        for parameter in model.parameters():
            if not hasattr(parameter, "manifold"):
                parameter.normal_(0, 0.1)
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, users, count), rng.integers(0, items, count)
    if isinstance(model, NeedsInteractions):
        model.fit_interactions(torch.from_numpy(user), torch.from_numpy(item))
    if isinstance(model, FitsRows):
        ids = np.stack([rng.integers(o, o + f.size, count) for o, f in zip(schema.offsets, schema.fields, strict=True)])
        rows = LabelledRows(
            as_features(Table(ids.T.astype(np.int32))), torch.from_numpy(rng.integers(0, 2, count)).float()
        )
        model.fit_rows(rows, rows, Fitting(log_odds=True, seed=0))
    data = ServingData(
        name="random",
        fingerprint="",
        schema=schema,
        inputs={f.name: FieldEncoding(f.name) for f in schema.fields},
        keys={"user": np.arange(users).astype(str), "item": np.arange(items).astype(str)},
        users=Table(1 + np.arange(users, dtype=np.int32)[:, None]),
        items=Table(schema.offsets[-1] + 1 + np.arange(items, dtype=np.int32)[:, None]),
        seen=None,
        popularity=None,
        scale=OutputTransform(),
        log_odds=True,
    )
    return LoadedRun(Path(), Path(), {"model": {"name": name}}, model.eval(), data)
