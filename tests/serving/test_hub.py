"""A model goes to the hub and comes back the same; reading what came back executes nothing."""

import json
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from trained import cells, fmlab

import fmlab as package
from fmlab.errors import FmlabError, StorageError
from fmlab.run.tensor_file import read_tensors, write_tensors
from fmlab.run.warm_start import open_trained
from fmlab.serving import load_run


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The client's functions over a folder; `calls.json` holds what they were asked."""
    shelf, calls = tmp_path / "hub", list[Any]()

    class HfApi:
        def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
            calls.append(["create", repo_id, private, exist_ok])

        def upload_folder(self, *, repo_id: str, folder_path: str, allow_patterns: list[str], **more: Any) -> Any:
            calls.append(["upload", repo_id, more])
            for path in Path(folder_path).iterdir():
                if path.name in allow_patterns:
                    (shelf / repo_id).mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, shelf / repo_id / path.name)
            return SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/1")

    def snapshot_download(repo_id: str, *, revision: str | None, local_dir: str, allow_patterns: list[str]) -> str:
        if not (shelf / repo_id).is_dir():
            raise OSError("404 Client Error")
        shutil.copytree(shelf / repo_id, local_dir, dirs_exist_ok=True)
        (Path(local_dir) / ".cache").mkdir()
        return local_dir

    client = ModuleType("huggingface_hub")
    client.HfApi, client.snapshot_download, client.calls = HfApi, snapshot_download, calls  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", client)
    return shelf


def test_what_is_pushed_comes_back_the_same(
    hub: Path, clicks: Path, room: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fmlab("push", clicks, "me/clicks") == 0
    said = capsys.readouterr()
    assert said.out.endswith("https://hub/me/clicks/commit/1\n")
    assert "which items they have met" in said.err
    assert sys.modules["huggingface_hub"].calls[0] == ["create", "me/clicks", True, True]
    names = {"README.md", "config.json", "model.safetensors", "serving.bin", "metrics.json"}
    assert {p.name for p in (hub / "me/clicks").iterdir()} == names
    out = tmp_path / "pulled"
    assert fmlab("pull", "me/clicks", "--out", out) == 0
    assert {p.name for p in out.iterdir()} == names
    frame = pd.DataFrame(cells(room / "clicks.csv")[:30])
    pd.testing.assert_frame_equal(load_run(out).predict(frame), load_run(clicks).predict(frame))
    assert package.load(out).test == package.load(clicks).test
    one, two = (open_trained(str(p)).model.state_dict() for p in (out, clicks))
    assert all(torch.equal(one[name], two[name]) for name in two)
    assert fmlab("pull", "me/clicks", "--out", out) == 2
    assert fmlab("pull", "me/nothing", "--out", tmp_path / "no") == 74
    assert "the hub refuses me/nothing: OSError: 404 Client Error" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_the_card_says_figures_data_options_and_limits(two_sided: Path, tmp_path: Path) -> None:
    run = load_run(two_sided)
    run.export(tmp_path / "out", ["huggingface"])
    card = (tmp_path / "out" / "README.md").read_text()
    test = package.load(two_sided).test
    for said in (
        "library_name: fmlab",
        "# fm on synthetic",
        *(f"| {name} | " for name in test),
        *(f" {value:.6g} |" for value in test.values()),
        'model: "fm"',
        "optimizer.lr: 0.1",
        f"fingerprint `{run.data.fingerprint}`",
        "`user` (user)",
        "of the test rows have a pair of user and item that stands in training",
        "`serving.bin` holds the ids of users",
    ):
        assert said in card
    record = (tmp_path / "out" / "metrics.json").read_text() + (tmp_path / "out" / "config.json").read_text()
    assert str(two_sided.parent) not in record


def test_damaged_and_foreign_folders_are_refused(two_sided: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    load_run(two_sided).export(out, ["huggingface"])
    weights, config = out / "model.safetensors", out / "config.json"
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(StorageError, match="is damaged: its sha256"):
        load_run(out)
    weights.write_bytes(good)
    content = json.loads(config.read_text())
    config.write_text(json.dumps(content | {"library_name": "transformers"}))
    with pytest.raises(FmlabError, match="must be written by fmlab"):
        load_run(out)
    config.write_text(json.dumps(content | {"identity": 3}))
    with pytest.raises(StorageError, match="is malformed"):
        load_run(out)
    config.unlink()
    with pytest.raises(StorageError, match="cannot be read"):
        load_run(out)


def test_a_file_of_tensors_claims_no_more_than_it_has(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    wanted = {"a": torch.arange(6.0).view(2, 3), "none": torch.empty(0, 4), "flag": torch.tensor([True])}
    write_tensors(path, wanted, {})
    found = read_tensors(path)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) and found[name].dtype == wanted[name].dtype for name in wanted)

    def header(**entry: Any) -> bytes:
        text = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | entry}).encode()
        return len(text).to_bytes(8, "little") + text + bytes(8)

    for content in (
        b"\xff" * 8,
        header()[:-1],
        header(shape=[3]),
        header(shape=[-2]),
        header(dtype="OBJECT"),
        header(data_offsets=[4, 12]),
        header(data_offsets=3),
        (2).to_bytes(8, "little") + b"[]",
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"header|malformed|size"):
            read_tensors(path)


def test_without_the_client_it_is_said(two_sided: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert fmlab("push", two_sided, "me/x") == 2
    assert 'pip install "fmlab[hub]"' in capsys.readouterr().err
