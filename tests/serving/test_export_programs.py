"""Exported programs give what `predict` gives; raw text is scored without fmlab and torch."""

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from trained import cells, fmlab

from fmlab.contracts import FitsRows, Fitting, LabelledRows, NeedsInteractions
from fmlab.data import FieldEncoding
from fmlab.data.batch import Features
from fmlab.errors import FmlabError
from fmlab.evaluation.output_transform import OutputTransform
from fmlab.evaluation.probability_calibration import Calibration, Isotonic, Platt
from fmlab.nn.compressed import CompressedTable
from fmlab.plugin import registry
from fmlab.run.loading import build_model
from fmlab.serving import load_run, model_export
from fmlab.serving.loaded_run import LoadedRun
from fmlab.testing.building import Kind, candidates, labeled, tiny

OUTSIDE = ("catboost", "lightgbm", "lookup")  # they score rows outside of torch
FAST = ("fm", "lorentzfm", "hyperml")


def tiny_run(
    name: str,
    table: dict[str, Any] | None = None,
    kinds: tuple[Kind, ...] = ("numeric", "interactions"),
    **options: Any,
) -> LoadedRun:
    """An untrained model on the first tiny data set that it takes, as a run."""
    for kind in kinds:
        data = tiny(kind)
        try:
            model = build_model({"name": name, **options}, data.schema, 0, table)
        except FmlabError:
            continue
        if isinstance(model, NeedsInteractions):
            batch = candidates(data)
            model.fit_interactions(batch.user, batch.item[:, 0])
        if isinstance(model, FitsRows):
            some = labeled(data)
            rows = LabelledRows(Features(*some.rows()), some.label)
            model.fit_rows(rows, rows, Fitting(log_odds=True, seed=0))
        held: Any = SimpleNamespace(
            name="tiny",
            schema=data.schema,
            users=data.users,
            items=data.items,
            log_odds=True,
            scale=OutputTransform(),
            derived=None,
            targets=(),
        )
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() == 1 and not hasattr(parameter, "manifold"):
                    parameter.add_(0.3 * torch.randn_like(parameter))
        return LoadedRun(Path(), Path(), {"model": {"name": name, **options}}, model.eval(), held)
    raise AssertionError(f"no tiny data set for {name}")


def names() -> list[Any]:
    every = [n for n in registry.names("model") if ":" not in n and n not in OUTSIDE]
    return [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in every]


@pytest.mark.parametrize("name", names())
def test_every_model_has_an_onnx_model(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    run = tiny_run(name)
    said = model_export.write_onnx(run, tmp_path)  # a reason, an FmlabError, would be expected of no model of ours
    assert said["largest_difference_from_predict"] <= 1e-5
    session = model_export.onnx_session(tmp_path / "model.onnx")
    assert [entry.name for entry in session.get_outputs()] == ["score", "probability"]
    assert all(not isinstance(entry.shape[0], int) for entry in session.get_inputs())


TABLES: list[dict[str, Any]] = [
    {"name": "hashed", "buckets": 3},
    {"name": "qr", "collisions": 2},
    {"name": "tensor_train", "rank": 1, "cores": 2},
    {"name": "mixed", "alpha": 0.6},
]


@pytest.mark.parametrize("name", ["fm", "deepfm", "fwfm"])
@pytest.mark.parametrize("table", TABLES, ids=lambda t: t["name"])
def test_every_table_goes_into_the_onnx_model(table: dict[str, Any], name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    run = tiny_run(name, table, ("context",), dim=6)
    assert sum(isinstance(m, CompressedTable) for m in run.model.modules()) == 1
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    assert model_export.write_onnx(run, tmp_path)["largest_difference_from_predict"] <= 1e-5


def test_an_ensemble_with_trees_says_that_they_are_no_program(tmp_path: Path) -> None:
    pytest.importorskip("lightgbm")
    run = tiny_run("lightgbm")
    both = torch.nn.ModuleList([run.model])
    with pytest.raises(FmlabError, match=r"scores rows outside of torch by LightGBM; .*exclude_models"):
        model_export.program_of(LoadedRun(run.folder, run.checkpoint, run.identity, both, run.data))


def test_a_model_that_looks_rows_up_outside_of_torch_says_so(tmp_path: Path) -> None:
    with pytest.raises(FmlabError, match="lookup scores rows outside of torch by Lookup; "):
        model_export.program_of(tiny_run("lookup"))


@pytest.mark.parametrize("learn", [False, True])
@pytest.mark.parametrize("name", ["lorentzfm", "hyperml", "hyperts"])
def test_a_curvature_goes_into_the_onnx_model(name: str, learn: bool, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    run = tiny_run(name, curvature=2.5, learn_curvature=learn)
    assert model_export.write_onnx(run, tmp_path)["largest_difference_from_predict"] <= 1e-5


def test_a_program_of_torch_gives_the_scores_of_predict(clicks: Path, tmp_path: Path) -> None:
    run = load_run(clicks)
    said = run.export(tmp_path / "out", ["torch"])
    assert said[0].startswith("torch: at most ")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["encoder.json", "manifest.json", "model.pt2"]
    table = model_export.sample(run.data, 5)
    module = torch.export.load(tmp_path / "out" / "model.pt2").module()
    found = module(*(torch.from_numpy(a) for a in model_export.arrays(table)))
    np.testing.assert_allclose(found[0].detach().numpy(), run.score(table)["score"], atol=1e-6)
    np.testing.assert_allclose(found[1].detach().numpy(), run.score(table)["probability"], atol=1e-6)


@pytest.mark.parametrize("name", ["clicks", "deep"])
def test_raw_text_is_scored_without_fmlab_and_torch(
    name: str, room: Path, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    place, out = request.getfixturevalue(name), tmp_path / "out"
    rows = cells(room / "clicks.csv")[:60]
    rows[0] |= {
        "uid": "never",
        "movie": "seen",
        "price": "",
        "tags": "a|a|strange|b|c|d",
        "age": "31",
        "brand": "brand1",
    }
    rows[1] |= {"uid": "", "when": "2020-09-13T12:26:40Z", "dwell": "1e-3", "visits": "0"}
    with (tmp_path / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    assert fmlab("export", place, "--out", out, "--format", "onnx") == 0
    assert "onnx: at most" in capsys.readouterr().err
    assert json.loads((out / "manifest.json").read_text())["formats"] == ["onnx"]
    moved = tmp_path / "elsewhere"
    shutil.move(out, moved)
    guard = "import sys; sys.modules.update(dict.fromkeys(('torch', 'fmlab', 'pandas', 'pyarrow')))"
    command = (
        f"{guard}; import runpy; sys.argv[1:] = ['rows.csv']; runpy.run_path('elsewhere/score.py', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 0, done.stderr
    (tmp_path / "theirs.csv").write_text(done.stdout, encoding="utf-8")
    assert fmlab("predict", place, tmp_path / "rows.csv", "--out", tmp_path / "ours.csv") == 0
    ours, theirs = (cells(tmp_path / f"{who}.csv") for who in ("ours", "theirs"))
    for column in ("score", "probability"):
        got, wanted = ([float(r[column]) for r in side] for side in (theirs, ours))
        np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert len({r["score"] for r in ours}) > 50


def test_numbers_and_times_are_read_as_fmlab_reads_them() -> None:
    import pyarrow as pa

    from fmlab.data.encoding.transforms import transform_of
    from fmlab.serving.onnx_scorer import Field

    texts = {
        "log_squared": ["0", "2", "2.5", "17", "1e6", "-4"],
        "hashed": ["a", "ünï", ""],
        "hour": ["1600000000", "1600000000000", "2020/9/3 07:05 UTC", "2020-01-31"],
        "weekday": ["2020-09-13T12:26:40+02:00", "1600000000"],
        "binned": ["-3", "1", "1.5", "2", "99"],
    }
    for name, cells_ in texts.items():
        given = FieldEncoding("x", transform=name, buckets=97, edges=(1.0, 1.5, 30.0))
        made = transform_of(given)
        assert made is not None
        wanted = made(pa.array(cells_, pa.string()))
        entry = {"slots": 1, "numeric": False, "offset": 0, "values": [], "input": vars(given)}
        found = [Field(entry)._transformed(text) for text in cells_]
        assert found == (wanted if isinstance(wanted, list) else wanted.to_pylist())
    german = {
        "slots": 1,
        "numeric": True,
        "offset": 0,
        "values": [],
        "input": vars(FieldEncoding("x", decimal=",", thousands=".")),
    }
    assert Field(german).read("1.234,5") == ([1], [1234.5])
    with pytest.raises(ValueError, match=r"column 'x' must hold finite numbers, got '1\.2,5'"):
        Field(german).read("1.2,5")


def test_a_program_that_differs_is_refused(two_sided: Path) -> None:
    run = load_run(two_sided)
    with pytest.raises(FmlabError, match=r"those of fm by a test differ by \d"):
        model_export.difference(
            run, lambda ids, values: {"score": np.ones(len(ids)), "probability": np.ones(len(ids))}, "a test"
        )


def test_a_model_that_cannot_be_traced_says_why(two_sided: Path, tmp_path: Path) -> None:
    class Branches(torch.nn.Module):
        def forward(self, ids: torch.Tensor, values: Any = None) -> torch.Tensor:
            return ids[:, 0].float() if float(ids.sum()) > 3 else ids[:, 1].float()

    run = load_run(two_sided)
    run = LoadedRun(run.folder, run.checkpoint, run.identity, Branches(), run.data)
    with pytest.raises(FmlabError, match=r"fm has no program by torch\.export: "):
        run.export(tmp_path / "out", ["torch"])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FmlabError, match="a format of an export must be installed, got 'tflite'"):
        run.export(tmp_path / "out", ["tflite"])  # type: ignore[list-item]


@pytest.mark.parametrize(
    "one",
    [Platt(0.7, -0.2), Isotonic((-1.0, -0.5, 0.25, 2.0), (0.05, 0.2, 0.2, 0.9)), Isotonic((0.0,), (0.3,)), None],
    ids=["platt", "isotonic", "one knot", "none"],
)
def test_a_program_has_the_calibration_and_the_correction_of_predict(one: Platt | Isotonic | None) -> None:
    run = tiny_run("fm")
    run.data.scale = OutputTransform(log_odds=True, shift=-0.8)
    made = replace(run, calibration=None if one is None else Calibration("a", 9, {"": one}))
    module = model_export.program_of(made).module()
    table = model_export.sample(made.data, 64)
    with torch.no_grad():
        got = module(*(torch.from_numpy(a) for a in model_export.arrays(table)))
    wanted = made.score(table)
    for name, found in zip(("score", "probability"), got, strict=True):
        np.testing.assert_allclose(found.numpy(), wanted[name], atol=2e-6)
    assert not np.allclose(wanted["score"], run.score(table)["score"]) or one is None
