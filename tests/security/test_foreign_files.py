"""Checkpoints and run folders that are sealed, and malformed: named, and the rest goes on."""

import copy
import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fmlab.cli.report import main as report
from fmlab.data import Schema
from fmlab.errors import FmlabError, StorageError
from fmlab.memory import refuse_larger
from fmlab.memory.tensors import bounded
from fmlab.records.per_case import read_units
from fmlab.run.building import build_model
from fmlab.run.loading import model_of
from fmlab.training.checkpoint_format import SafeCheckpointIO, read_checkpoint
from fmlab.workflow.fitted_run import FittedRun

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

from run_folders import make_run

NAMED: dict[str, Any] = {"name": "x"}
GOOD: dict[str, Any] = {
    "fmlab": {
        **{part: NAMED for part in ("model", "loss", "optimizer", "protocol")},
        "data": "f" * 64,
        "seed": 0,
        "batch_size": 8,
        "schema": {"fields": [{"name": "u", "side": "user", "size": 3, "slots": 1}], "n_users": 2, "n_items": 0},
    },
    "state_dict": {"model.w": torch.zeros(3)},
    "epoch": 1,
    "callbacks": {"BestCheckpoint": {"epoch": 0, "value": 0.5}},
}


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def put(*keys: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


FIELD = {"name": "u", "side": "user", "size": 3, "slots": 1}
MALFORMED = {
    "fmlab must be a dict": put("fmlab", value=[1]),
    "fmlab.model must be a dict": put("fmlab", "model", value="fm"),
    "fmlab.model.name must be a str": put("fmlab", "model", value={"name": 3}),
    "names in fmlab.model must have at most 200 characters, got 201": put("fmlab", "model", value={"name": "a" * 201}),
    "names in fmlab.loss must have at most 200": put("fmlab", "loss", value={"name": "bce", "b" * 999: 1}),
    "fmlab.model must hold at most 10,000 values": put("fmlab", "model", value={"name": "x", "hidden": [1] * 10_000}),
    "fmlab.data must be a str": put("fmlab", "data", value=None),
    "fmlab.seed must be a int": put("fmlab", "seed", value="0"),
    "fmlab.schema must be a dict": put("fmlab", "schema", value=[]),
    "fields must be a": put("fmlab", "schema", "fields", value="u"),
    "size of field 'u' must be a count": put("fmlab", "schema", "fields", value=[{**FIELD, "size": 2**62}]),
    "slots of field 'u' must be a count": put("fmlab", "schema", "fields", value=[{**FIELD, "slots": "1"}]),
    "at most 1,048,576 columns": put("fmlab", "schema", "fields", value=[{**FIELD, "slots": 2**30}]),
    "n_users must be a count": put("fmlab", "schema", "n_users", value=-1),
    "state_dict must be a Mapping": put("state_dict", value=[torch.zeros(1)]),
    "state_dict.model.w must be a Tensor": put("state_dict", "model.w", value=[0.0]),
    "a name in state_dict": put("state_dict", 3, value=torch.zeros(1)),  # type: ignore[arg-type]
    "epoch must be a int": put("epoch", value="1"),
    "callbacks.BestCheckpoint must be a dict": put("callbacks", "BestCheckpoint", value=1),
    "the best epoch": put("callbacks", "BestCheckpoint", value={"epoch": "0", "value": 1.0}),
    "nested more than": put("callbacks", "x", value={"y": nested(200)}),
    "claims": put("state_dict", "model.w", value=torch.zeros(1).expand(2**40)),
}


@pytest.mark.parametrize("text", MALFORMED)
def test_a_sealed_but_malformed_checkpoint_is_named(tmp_path: Path, text: str) -> None:
    content = copy.deepcopy({**GOOD, "state_dict": dict(GOOD["state_dict"])})
    MALFORMED[text](content)
    path = tmp_path / "best.ckpt"
    SafeCheckpointIO().save_checkpoint(content, path)
    with pytest.raises((FmlabError, StorageError), match=text) as error:
        read_checkpoint(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("kind", [torch.complex64, torch.bool, torch.int64])
def test_parameters_that_are_no_real_numbers_are_refused_by_name(tmp_path: Path, kind: torch.dtype) -> None:
    content = copy.deepcopy({**GOOD, "state_dict": {}})
    content["fmlab"]["model"] = {"name": "lr"}
    model = build_model({"name": "lr"}, Schema.from_dict(content["fmlab"]["schema"]), 0)
    content["state_dict"] = {f"model.{name}": value.to(kind) for name, value in model.state_dict().items()}
    path = tmp_path / "best.ckpt"
    SafeCheckpointIO().save_checkpoint(content, path)
    with pytest.raises(FmlabError, match=r"must be torch\.float32, got torch"):
        model_of(read_checkpoint(path), path)


def test_a_good_checkpoint_is_read(tmp_path: Path) -> None:
    SafeCheckpointIO().save_checkpoint(GOOD, tmp_path / "best.ckpt")
    assert read_checkpoint(tmp_path / "best.ckpt")["epoch"] == 1


def test_a_tensor_said_many_times_is_refused(tmp_path: Path) -> None:
    whole = torch.zeros(5000)
    state = {f"model.{i}": whole[:] for i in range(200)}
    SafeCheckpointIO().save_checkpoint({**GOOD, "state_dict": state}, tmp_path / "best.ckpt")
    with pytest.raises(StorageError, match="its tensors have"):
        read_checkpoint(tmp_path / "best.ckpt")


def test_a_packed_checkpoint_is_refused(tmp_path: Path) -> None:
    plain, packed = io.BytesIO(), io.BytesIO()
    torch.save({**GOOD, "state_dict": {"model.w": torch.zeros(1_000_000)}}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for member in source.infolist():
            target.writestr(member.filename, source.read(member))
    content = packed.getvalue()
    (tmp_path / "best.ckpt").write_bytes(content + b"fmlab-sha256:" + hashlib.sha256(content).digest())
    with pytest.raises(StorageError, match="is not read"):
        read_checkpoint(tmp_path / "best.ckpt")


BROKEN = {
    "seed must be a whole number": {"seed": "0"},
    "model must be text": {"model": ["fm"]},
    "fingerprint must be text": {"fingerprint": {"a": 1}},
    "maximize must be true or false": {"maximize": 1},
    "test must be metrics": {"test": [1]},
    "test mrr must be a number": {"test": {"mrr": {}}},
    "validation mrr must be a number": {"validation": {"mrr": "x"}},
    "known_best mrr must be a number": {"known_best": {"mrr": []}},
    "seconds_fit must be a number": {"seconds_fit": "2 s"},
    "test mrr must be at most 1e+100": {"test": {"mrr": 1e200}},
    "holds a number of": {"parameters": "@digits@"},
    "is nested more than": {"unseen": "@deep@"},
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_malformed_metrics_file_is_named_and_the_report_goes_on(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "good", {"model.dim": 4}, units=[0.1, 0.2])
    bad = make_run(tmp_path / "bad")
    content = json.dumps(json.loads((bad / "metrics.json").read_text()) | BROKEN[text])
    content = content.replace('"@digits@"', "1" * 5000).replace('"@deep@"', "[" * 5000 + "]" * 5000)
    (bad / "metrics.json").write_text(content)
    assert report([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "toy, full_ranking" in out
    assert f"unreadable: {bad / 'metrics.json'}: {text}" in out


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ("a: " + "[" * 500 + "]" * 500, "config.yaml is nested more than"),
        ("".join(f"{n}: &{n} [{','.join([f'*{m}'] * 9)}]\n" for m, n in ("ab", "bc")), "config.yaml"),
        ("model: {name: fm, dim: .inf}\n", "model.dim must be a number"),
        ("? {a: b}\n: c\n", "config.yaml"),
        ("model: [1\n", "config.yaml"),
        ("3", "its config.yaml has no data"),
    ],
)
def test_a_malformed_config_is_named(
    tmp_path: Path, config: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "good")
    (make_run(tmp_path / "bad") / "config.yaml").write_text(config)
    assert report([str(tmp_path)]) == 0
    assert text in capsys.readouterr().out


def test_runs_of_one_board_may_have_other_metrics(tmp_path: Path) -> None:
    for name, test in (("fm", {"mrr": 0.1, "hr@10": 0.2}), ("mf", {"hr@10": 0.3}), ("lr", {"mrr": 0.2})):
        make_run(tmp_path / name, {"model": {"name": name, "dim": 4}}, test=test, validation={"mrr": 0.1})
    assert report([str(tmp_path), "--html", str(tmp_path / "out.html")]) == 0
    assert "mf" in (tmp_path / "out.html").read_text()


def test_figures_that_are_none_are_refused_in_python_too(tmp_path: Path) -> None:
    run = FittedRun(make_run(tmp_path / "bad", test={"mrr": "good"}))
    with pytest.raises(StorageError, match=r"metrics\.json must hold the metrics of the test"):
        run.test  # noqa: B018


def test_undefined_figures_of_several_seeds_are_no_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1):
        make_run(tmp_path / str(seed), {"seed": seed}, test={"mrr": [None, float("inf")][seed], "hr@10": 0.1})
    assert report([str(tmp_path), "--html", str(tmp_path / "out.html")]) == 0


def test_names_of_a_run_cannot_reach_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "a\x1b[31m", {"model.name": "fm\x1b[2J", "model.note": "\u202eabc"})
    make_run(tmp_path / "b", {"model.name": "=HYPERLINK(1)"}, status="failed", error="\x1b[31m", monitor=3)
    make_run(tmp_path / "c", {"model.name": "=HYPERLINK(1)"})
    for way in ([], ["--csv"], ["--markdown"], ["--latex"], ["--html", str(tmp_path / "x.html")]):
        assert report([str(tmp_path), *way]) == 0
        out = capsys.readouterr()
        text = out.out + out.err + ((tmp_path / "x.html").read_text() if way[:1] == ["--html"] else "")
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert way != ["--csv"] or ",'=HYPERLINK(1)," in text


def npz(path: Path, **arrays: Any) -> None:
    np.savez_compressed(path, allow_pickle=True, **arrays)


@pytest.mark.parametrize(
    "arrays",
    [
        {"mrr": np.zeros(3)},
        {"row": np.zeros(3), "mrr": np.zeros(3)},
        {"row": np.arange(3), "mrr": np.zeros(4)},
        {"row": np.arange(3), "mrr": np.zeros((3, 2))},
        {"row": np.arange(3), "mrr": np.array(["a", "b", "c"])},
        {"row": np.arange(3), "mrr": np.array([{}, [], 1], dtype=object)},
        {"row": np.arange(3), "user": np.zeros(3), "mrr": np.zeros(3)},
    ],
)
def test_malformed_units_are_named(tmp_path: Path, arrays: dict[str, Any]) -> None:
    npz(tmp_path / "units.npz", **arrays)
    with pytest.raises(ValueError, match=r"units\.npz"):
        read_units(tmp_path / "units.npz")


def test_units_that_unpack_without_end_are_refused(tmp_path: Path) -> None:
    header = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little")
    head = header + str({"descr": "<f8", "fortran_order": False, "shape": (2**62,)}).encode().ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "units.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("row.npy", head)
    with pytest.raises(ValueError, match="cannot be read"):
        read_units(tmp_path / "units.npz")
    (tmp_path / "units.npz").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(ValueError, match="cannot be read"):
        read_units(tmp_path / "units.npz")


def test_parameters_that_memory_cannot_hold_are_refused() -> None:
    with (
        pytest.raises(FmlabError, match="the parameters of fm must fit into memory"),
        bounded("the parameters of fm", ""),
    ):
        torch.nn.Embedding(1_000_000, 1_000_000_000)
    with pytest.raises(FmlabError, match="a batch must fit into memory: it needs"):
        refuse_larger(1e18, "a batch", "")
    with bounded("x", ""):
        assert torch.nn.Embedding(3, 2).weight.shape == (3, 2)
