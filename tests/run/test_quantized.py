"""Tables in 8 bits, against plain rounding; runs that are stored so, from the command line and from Python."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from in_process import metrics, train

import fmlab
from fmlab.cli.command_line import main
from fmlab.errors import FmlabError
from fmlab.evaluation.latency import model_bytes
from fmlab.manifolds import ManifoldParameter, Poincare
from fmlab.nn.features import EmbeddingTable
from fmlab.nn.quantized import QuantizedRows, QuantizedTable, quantize, quantized_tables
from fmlab.run.loading import build_model
from fmlab.serving import load_run
from fmlab.serving.model_export import sample
from fmlab.testing import labeled, tiny

FM = ("model=fm", "model.dim=8", "optimizer.lr=0.02", "trainer.max_epochs=2")
TABLES: list[dict[str, Any]] = [
    {"name": "full"},
    {"name": "hashed", "buckets": 3},
    {"name": "qr", "collisions": 2},
    {"name": "tensor_train", "rank": 1, "cores": 2},
    {"name": "mixed", "alpha": 0.6},
]


def test_rows_are_rounded_to_a_127th_of_their_largest_number() -> None:
    torch.manual_seed(0)
    rows = torch.randn(50, 6) * torch.logspace(-6, 3, 50).unsqueeze(1)
    rows[3] = 0
    rows[4, 2] = 0
    stored = QuantizedRows(rows)
    found = stored(torch.arange(50))
    scale = rows.abs().amax(1, keepdim=True) / 127
    assert ((found - rows).abs() <= 0.505 * scale).all()
    assert not found[3].any()
    assert found[4, 2] == 0
    assert model_bytes(stored) == 50 * (6 + 2)
    wide = QuantizedRows(rows.double())(torch.arange(50))
    assert wide.dtype == torch.float64
    assert ((wide - rows).abs() <= 0.5001 * scale).all()


def test_points_stay_in_their_space() -> None:
    ball = Poincare(1.0)
    points = ball.project(torch.full((4, 3), 1e9) * torch.tensor([[1.0, 0.3, -0.7]]))
    found = QuantizedRows(ManifoldParameter(points, ball))(torch.arange(4))
    torch.testing.assert_close(ball.project(found), found, rtol=0, atol=1e-7)


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t["name"])
@pytest.mark.parametrize("name", ["fm", "fwfm", "deepfm", "mf"])
def test_a_model_scores_as_with_rounded_tables(name: str, table: dict[str, Any]) -> None:
    data = tiny("context")
    model, other = (build_model({"name": name, "dim": 6}, data.schema, 0, table).eval() for _ in range(2))
    before = model_bytes(model)
    for key, part in other.named_parameters():
        if key.endswith((".weight", *(f".parts.{n}" for n in range(9)))) and part.dim() == 2 and "table" in key:
            part.data = QuantizedRows(part)(torch.arange(len(part)))
    quantize(model, name)
    tables = [m for m in other.modules() if isinstance(m, EmbeddingTable)]
    assert quantized_tables(model) == len(tables) > 0
    assert not [k for k, p in model.named_parameters() if p.requires_grad and "table" in k]
    rows = labeled(data).rows()
    torch.testing.assert_close(model(*rows), other(*rows))
    assert model_bytes(model) < before
    for one, plain in zip([m for m in model.modules() if isinstance(m, EmbeddingTable)], tables, strict=True):
        torch.testing.assert_close(one.dense(), plain.dense())


@pytest.mark.parametrize("name", ["lightgcn", "deeplight", "lr"])
def test_models_without_wide_rows_are_refused(name: str) -> None:
    model = build_model({"name": name}, tiny("interactions").schema, 0)
    with pytest.raises(FmlabError, match=r"reads its tables as a whole|has no embedding tables with such rows"):
        quantize(model, name)


def test_a_warm_start_reads_rounded_rows() -> None:
    model: Any = build_model({"name": "fm", "dim": 6}, tiny("context").schema, 0)
    weight = model.table.weight.detach().clone()
    quantize(model, "fm")
    assert isinstance(model.table, QuantizedTable)
    torch.testing.assert_close(model.table.weight, weight, rtol=0, atol=float(weight.abs().max()) / 250)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("quantized")
    train(place / "run", *FM, "table=mixed", "table.alpha=0.5")
    return place


def test_a_run_in_8_bits_is_a_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quantize", str(folder / "run"), "--out", str(folder / "small"), f"cache_dir={folder}/cache"]) == 0
    said = capsys.readouterr().out
    before, now = metrics(folder / "run"), metrics(folder / "small")
    assert now["status"] == "complete"
    assert now["parameters"] == before["parameters"]
    assert now["bytes"] < before["bytes"] * 0.6
    assert now["quantized"]["test"] == before["test"]
    assert now["quantized"]["bytes"] == before["bytes"]
    assert f"{now['bytes']:,}" in said
    for metric, value in now["test"].items():
        assert f"{value:.5f}" in said
        assert value == pytest.approx(before["test"][metric], abs=0.03)
    run, plain = load_run(folder / "small"), load_run(folder / "run")
    rows = sample(run.data, 50)
    scores, of_before = run.score(rows)["score"], plain.score(rows)["score"]
    assert not np.array_equal(scores, of_before)
    np.testing.assert_allclose(scores, of_before, atol=0.05 * float(np.abs(of_before).max()))
    assert model_bytes(run.model) == now["bytes"]
    assert run.recommend(["1"], k=3).shape[0] == 3
    assert run.export(folder / "out", ["files", "torch", "huggingface"])
    np.testing.assert_array_equal(load_run(folder / "out").score(rows)["score"], scores)
    config = json.loads((folder / "out" / "manifest.json").read_text())
    assert config["fmlab_export"] == 1


def test_it_goes_into_the_onnx_model(folder: Path) -> None:
    pytest.importorskip("onnxscript")
    run = fmlab.load(folder / "run").quantize(folder / "for-onnx", cache_dir=folder / "cache")
    assert run.export(folder / "onnx", ["onnx"])[0].startswith("onnx: at most")


def test_what_cannot_be_stored_so_is_refused(folder: Path, tmp_path: Path) -> None:
    small = fmlab.load(folder / "run").quantize(tmp_path / "small", cache_dir=folder / "cache")
    with pytest.raises(FmlabError, match="is stored in 8 bits once"):
        small.quantize(tmp_path / "again", cache_dir=folder / "cache")
    with pytest.raises(FmlabError, match="has a folder of its own"):
        fmlab.load(folder / "run").quantize(tmp_path / "small", cache_dir=folder / "cache")
    with pytest.raises(FmlabError, match="is not trained any more"):
        train(tmp_path / "on", *FM, f"warm_start=[{tmp_path}/small]")
    train(tmp_path / "popular", "model=popularity")
    with pytest.raises(FmlabError, match="has no embedding tables with such rows"):
        fmlab.load(tmp_path / "popular").quantize(tmp_path / "none", cache_dir=folder / "cache")
    assert not (tmp_path / "none").exists()


def test_curved_and_calibrated_runs(tmp_path: Path) -> None:
    train(tmp_path / "run", "model=lorentzfm", "trainer.max_epochs=1")
    small = fmlab.load(tmp_path / "run").quantize(tmp_path / "small", cache_dir=tmp_path / "cache")
    assert small.test["ndcg"] == pytest.approx(metrics(tmp_path / "run")["test"]["ndcg"], abs=0.05)
