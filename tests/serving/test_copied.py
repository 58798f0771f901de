"""Runs that are copied, resumed elsewhere, or of a protocol that reads files."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from trained import cells, fmlab, train, write_clicks

from fmlab.config.composition import compose
from fmlab.errors import FmlabError
from fmlab.run.experiment import run
from fmlab.serving import load_run

SMALL = ("data=synthetic", "data.users=60", "data.items=40", "data.positives=8")


def test_a_run_goes_on_where_its_project_was_copied_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    write_clicks(old / "own.csv", 60)
    options = ("model=mf", "data=csv", "data.user=uid", "data.item=movie", "data.label=clicked", "protocol=ctr")
    monkeypatch.chdir(old)
    place = train(old, "run", *options, "data.categorical=[uid]", f"data.path={old / 'own.csv'}")
    shutil.copytree(old, new)
    shutil.rmtree(old)
    shutil.rmtree(new / "cache")
    monkeypatch.chdir(new)
    few = ("trainer.max_epochs=2", "trainer.accelerator=cpu", "trainer.threads=1", "trainer.progress=false")
    folders = (f"data_dir={new}", f"cache_dir={new / 'fresh'}", "data.categorical=[uid]", "data.path=./own.csv")
    last = new / place.name / "checkpoints" / "last.ckpt"
    run(compose([*options, *few, *folders, f"ckpt_path={last}"]), new / "again")
    assert json.loads((new / "again" / "metrics.json").read_text())["epochs"] == 2
    (new / "own.csv").write_text((new / "own.csv").read_text(encoding="utf-8-sig").replace("red", "blue"))
    with pytest.raises(FmlabError, match="data: "):
        run(compose([*options, *few, *folders, f"ckpt_path={last}"]), new / "other")


def test_a_run_of_a_protocol_with_a_file_of_candidates_is_used_without_it(tmp_path: Path) -> None:
    file = tmp_path / "candidates.txt"
    protocol = ("protocol=leave_one_out", "protocol.n_candidates=5", f"protocol.candidate_file={file}")
    place = train(tmp_path, "run", "model=mf", *SMALL, *protocol)
    assert file.is_file()
    file.unlink()
    assert fmlab("export", place, "--out", tmp_path / "export") == 0
    assert fmlab("recommend", place, "--user", "5", "--out", tmp_path / "out.csv") == 0
    assert len(cells(tmp_path / "out.csv")) == 10
    assert not file.exists()


def test_exported_vectors_rank_as_the_model_does_where_points_lie_far_out(tmp_path: Path, hyperbolic: Path) -> None:
    """Near the rim of the ball scores are small differences of large numbers: float32 would lose the order."""
    import torch

    run = load_run(hyperbolic)
    rng = np.random.default_rng(0)
    for name in ("user", "item"):
        weight = run.model.get_parameter(f"tables.{name}.weight")
        ways = rng.normal(size=weight.shape)
        ways /= np.linalg.norm(ways, axis=1, keepdims=True)
        with torch.no_grad():
            weight.data = torch.from_numpy(np.tanh(9 / 2) * ways)  # 9 from the origin
    from fmlab.serving.export import export

    export(run, tmp_path / "export")
    query, item = (np.load(tmp_path / "export" / f"{n}_vectors.npy") for n in ("query", "item"))
    best = np.argsort(-(query @ item.T), axis=1, kind="stable")[:, :10]
    ranked = run.recommend(run.data.keys["user"].tolist(), 10, exclude="none")["item"].to_numpy().reshape(-1, 10)
    keys = np.array(run.data.keys["item"].tolist())
    assert np.mean([len(set(keys[b]) & set(r)) / 10 for b, r in zip(best, ranked, strict=True)]) == 1
    points = [run.model.get_parameter(f"tables.{n}.weight")[1:].detach() for n in ("user", "item")]
    apart = torch.cdist(points[0], points[1]).square() / (1 - points[1].square().sum(1))
    exact = torch.argsort(apart, dim=1)[:, :10].numpy()
    assert np.mean([len(set(b) & set(e)) / 10 for b, e in zip(best, exact, strict=True)]) == 1
