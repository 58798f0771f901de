"""Exported files, read without fmlab: they give the scores of `predict` and the order of `recommend`."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pyarrow import parquet
from trained import cells, data_of, fmlab, write

from fmlab.errors import FmlabError
from fmlab.run import tensor_file as tensors
from fmlab.run.loading import load_model
from fmlab.run.tensor_file import write_tensors


def ids(path: Path) -> list[str]:
    table = parquet.read_table(path)
    assert table["row"].to_pylist() == list(range(len(table)))
    return table["id"].to_pylist()


@pytest.mark.parametrize("name", ["two_sided", "hyperbolic", "curved"])
def test_vectors_give_the_scores_of_predict_and_the_order_of_recommend(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    place, out = request.getfixturevalue(name), tmp_path / "export"
    assert fmlab("export", place, "--out", out) == 0
    users, items = ids(out / "users.parquet"), ids(out / "items.parquet")
    query, item, bias = (np.load(out / f"{n}.npy") for n in ("query_vectors", "item_vectors", "query_bias"))
    manifest = json.loads((out / "manifest.json").read_text())
    kind = np.dtype(manifest["vectors"]["type"])
    assert (query.dtype, item.dtype, bias.dtype) == (kind, kind, kind)
    assert kind == (np.float32 if name == "two_sided" else np.float64)
    assert (query.shape, item.shape) == ((60, manifest["vectors"]["dim"]), (40, manifest["vectors"]["dim"]))
    assert (manifest["vectors"]["link"] == "identity") == (name == "two_sided")
    pairs = [(u, i) for u in (0, 7, 59) for i in range(40)]
    rows = write(tmp_path / "rows.csv", ["user", "item"], [[users[u], items[i]] for u, i in pairs])
    assert fmlab("predict", place, rows, "--out", tmp_path / "scores.csv") == 0
    link = load_model(place / "checkpoints" / "best.ckpt").link
    made = link(torch.tensor([float(query[u] @ item[i] + bias[u]) for u, i in pairs])).detach().numpy()
    np.testing.assert_allclose(made, [float(r["score"]) for r in cells(tmp_path / "scores.csv")], rtol=1e-5, atol=1e-5)
    assert fmlab("recommend", place, "--user", users[7], "--seen", "-k", 40, "--out", tmp_path / "list.csv") == 0
    order = np.argsort(-(item @ query[7]), kind="stable")
    assert [r["item"] for r in cells(tmp_path / "list.csv")] == [items[n] for n in order]


def test_the_manifest_holds_for_all_files(two_sided: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "export"
    assert fmlab("export", two_sided, "--out", out) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert set(manifest["files"]) == {p.name for p in out.iterdir()} - {"manifest.json"}
    for name, entry in manifest["files"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == entry["sha256"]
    data = data_of(two_sided)
    assert manifest["data"] == {"name": "synthetic", "fingerprint": data.fingerprint}
    assert manifest["schema"] == json.loads(json.dumps(data.schema.to_dict()))
    features = parquet.read_table(out / "features.parquet").to_pydict()
    assert features["feature"] == list(range(data.schema.n_features))
    for field, offset in zip(data.schema.fields, data.schema.offsets, strict=True):
        part = slice(offset, offset + field.size)
        assert set(features["field"][part]) == {field.name}
        assert features["value"][part] == [None, *data.keys[field.name].tolist()]


def read_tensors(path: Path) -> dict[str, tuple[str, list[int], bytes]]:
    """The format as its specification has it."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header, body = json.loads(content[8 : 8 + size]), content[8 + size :]
    header.pop("__metadata__")
    assert sum(e["data_offsets"][1] - e["data_offsets"][0] for e in header.values()) == len(body)
    return {n: (e["dtype"], e["shape"], body[slice(*e["data_offsets"])]) for n, e in header.items()}


def test_weights_are_those_of_the_checkpoint(two_sided: Path, tmp_path: Path) -> None:
    assert fmlab("export", two_sided, "--out", tmp_path / "export") == 0
    state = load_model(two_sided / "checkpoints" / "best.ckpt").state_dict()
    found = read_tensors(tmp_path / "export" / "weights.safetensors")
    assert found.keys() == state.keys()
    for name, (kind, shape, body) in found.items():
        assert kind == "F32"
        np.testing.assert_array_equal(np.frombuffer(body, np.float32).reshape(shape), state[name].numpy())


def test_tensors_of_every_type_are_read_by_others(tmp_path: Path) -> None:
    numpy = pytest.importorskip("safetensors.torch")
    made = {str(kind): (torch.arange(6) % 2).view(2, 3).T.to(kind) for kind in tensors.KINDS}
    made |= {"scalar": torch.tensor(3.5), "none": torch.zeros(0, 4), "ünï": torch.ones(1)}
    write_tensors(tmp_path / "t.safetensors", made, {"model": "x"})
    found = numpy.load_file(tmp_path / "t.safetensors")
    assert found.keys() == made.keys()
    for name, tensor in made.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_a_sparse_tensor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FmlabError, match="weights must be dense numbers, graph is"):
        write_tensors(tmp_path / "t.safetensors", {"graph": torch.eye(3).to_sparse()}, {})


def test_what_has_no_vectors_is_exported_without_them_and_says_so(
    deep: Path, clicks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fmlab("export", deep, "--out", tmp_path / "deep") == 0
    said = capsys.readouterr().err
    assert (
        "no vectors: the score of a model must be a product of two sides, that of deepfm is not; exported are" in said
    )
    assert "weights.safetensors" in said
    assert not list((tmp_path / "deep").glob("*.npy"))
    assert json.loads((tmp_path / "deep" / "manifest.json").read_text())["vectors"] is None
    assert fmlab("export", clicks, "--out", tmp_path / "clicks") == 0
    assert "no query vectors: a query is a user in a context (price, tags, color," in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "clicks").glob("*.npy")] == ["item_vectors.npy"]


def test_nothing_but_an_export_is_replaced(two_sided: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "export"
    out.mkdir()
    (out / "mine").write_text("mine")
    (out / "manifest.json").write_text('{"files": 1}')
    for force in ([], ["--force"]):
        assert fmlab("export", two_sided, "--out", out, *force) == 2
        assert (out / "mine").read_text() == "mine"
    assert "--force replaces an export" in capsys.readouterr().err
    (out / "mine").unlink()
    (out / "manifest.json").unlink()
    assert fmlab("export", two_sided, "--out", out) == 2
    assert fmlab("export", two_sided, "--out", out, "--force") == 0
    (out / "old").write_text("old")
    assert fmlab("export", two_sided, "--out", out, "--force") == 0
    assert not (out / "old").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["export"]


def test_a_failed_export_leaves_nothing(two_sided: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensors, "write_tensors", full)
    assert fmlab("export", two_sided, "--out", tmp_path / "export") == 74
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["predict", "recommend", "export"])
def test_help_does_not_import_torch(command: str) -> None:
    program = (
        "import sys; from fmlab.cli import main\n"
        f"try: main([{command!r}, '--help'])\n"
        "finally: assert 'torch' not in sys.modules and 'pyarrow' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert f"usage: fmlab {command}" in done.stdout


def test_the_commands_from_a_shell(tmp_path: Path) -> None:
    environment = os.environ | {"FMLAB_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}

    def shell(command: str, code: int = 0) -> str:
        program = f"{sys.executable} -m fmlab {command}"
        done = subprocess.run(
            program, shell=True, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=240
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    small = "data=synthetic data.users=50 data.items=30 data.positives=6 trainer.max_epochs=1 trainer.accelerator=cpu"
    shell(f"model=mf {small} loss=bce hydra.run.dir=run")
    assert len(shell("recommend run --user 3 -k 4").splitlines()) == 5
    shell("recommend run --user 3 -k 4 --out list.csv")
    rows = "\n".join(",".join(line.split(",")[:3]) for line in (tmp_path / "list.csv").read_text().splitlines())
    (tmp_path / "rows.csv").write_text(rows)
    made = shell("predict run rows.csv").splitlines()
    assert made[0] == "user,rank,item,score,probability"
    assert len(made) == 5
    assert shell("predict run rows.csv | head -1") == made[0] + "\n"
    assert shell("export run --out export") == "export\n"
    shell("export run --out export", 2)
    shell("predict nothing rows.csv", 74)
