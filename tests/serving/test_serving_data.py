"""What a run folder keeps of the data comes back as it was; what somebody else wrote is refused, never believed."""

import hashlib
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trained import data_of, fmlab, task_of, write

from fmlab.data.store.container import BEGIN, END, Container, to_bytes
from fmlab.errors import FmlabError, StorageError
from fmlab.records.folder import SERVING
from fmlab.records.shared_files import copy_shared, write_shared
from fmlab.run.serving_file import read_serving_data
from fmlab.serving import load_run
from fmlab.training.checkpoint_format import _MARK, read_checkpoint


@pytest.mark.parametrize("name", ["two_sided", "clicks"])
def test_the_file_holds_what_serving_needs(name: str, request: pytest.FixtureRequest) -> None:
    place = request.getfixturevalue(name)
    task, found = task_of(place), read_serving_data(place / SERVING)
    data = task.dataset
    assert (found.schema, found.fingerprint, found.name) == (data.schema, data.fingerprint, data.name)
    for field in data.schema.fields:
        assert found.keys[field.name].tolist() == data.keys[field.name].tolist()
        assert found.inputs[field.name] == data.input(field.name)
    for one, two in ((found.users, data.users), (found.items, data.items)):
        assert one is not None
        np.testing.assert_array_equal(one.ids, two.ids)
        assert (one.values is None) == (two.values is None)
        assert one.values is None or np.array_equal(one.values, two.values)
    rows = task.training.rows
    if data.label is not None:
        rows = rows[np.asarray(data.label)[rows] == 1]
    wanted = np.bincount(np.asarray(data.item)[rows], minlength=data.schema.n_items)
    np.testing.assert_array_equal(found.popularity, wanted)
    assert found.log_odds == (name == "clicks")


NUMBERS = st.sampled_from([np.int8, np.uint8, np.uint16, np.int32, np.uint32, np.int64, np.float32, np.float64])


@given(
    made=st.dictionaries(
        st.text(max_size=5), st.tuples(NUMBERS, st.lists(st.integers(0, 100), max_size=30), st.booleans())
    ),
    content=st.dictionaries(st.text(max_size=5), st.text(max_size=5)),
)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arrays_come_back_as_they_were(
    made: dict[str, tuple[Any, list[int], bool]], content: dict[str, str], tmp_path: Path
) -> None:
    arrays = {n: np.array(v, kind).reshape((-1, 1) if wide else -1) for n, (kind, v, wide) in made.items()}
    path = tmp_path / "file"
    path.write_bytes(to_bytes(content, arrays))
    assert path.read_bytes() == to_bytes(content, arrays)
    found = Container(path)
    assert found.content == content
    for name, array in arrays.items():
        got = found.array(name)
        np.testing.assert_array_equal(got, array)
        assert (got.dtype, got.shape) == (array.dtype, array.shape)


@given(st.integers(0, 10**6), st.integers(1, 255))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_is_damage(two_sided: Path, tmp_path: Path, at: int, bits: int) -> None:
    content = bytearray((two_sided / SERVING).read_bytes())
    content[at % len(content)] ^= bits
    (tmp_path / SERVING).write_bytes(content)
    with pytest.raises(StorageError):
        read_serving_data(tmp_path / SERVING)


# ------------------------------------------------------------------------------------------------ hostile


def sealed(header: Any, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    whole = BEGIN + len(text).to_bytes(8, "little") + text + body
    return whole + END + hashlib.sha256(whole).digest()


HUGE = {"kind": "<i8", "shape": [10**12], "codec": "zstd", "at": [0, 10]}
WRONG: list[Any] = [None, True, -1, 10**30, 1e308, "", "../../x", "/etc/passwd", "\x1b[2J", [], [[]], {}, {"a": {}}]


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"[" * 100_000,
        b'{"content": {}}',
        {"content": [], "arrays": {}},
        {"content": {}, "arrays": {"a": HUGE}},
        {"content": {}, "arrays": {"a": HUGE | {"shape": [2] * 40}}},
        {"content": {}, "arrays": {"a": HUGE | {"shape": [-1]}}},
        {"content": {}, "arrays": {"a": HUGE | {"shape": [True]}}},
        {"content": {}, "arrays": {"a": HUGE | {"kind": "|O"}}},
        {"content": {}, "arrays": {"a": HUGE | {"codec": "bz2", "shape": [1]}}},
        {"content": {}, "arrays": {"a": HUGE | {"at": [0, 10**9], "shape": [1]}}},
        {"content": {}, "arrays": {"a": {}}},
        {"content": {"layout": 10**30}, "arrays": {}},
        {"content": {"layout": 1}, "arrays": {}},
    ],
    ids=lambda h: str(h)[:60],
)
def test_a_hostile_header_is_refused(header: Any, tmp_path: Path) -> None:
    (tmp_path / SERVING).write_bytes(sealed(header, bytes(20)))
    with pytest.raises(StorageError):
        read_serving_data(tmp_path / SERVING)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values in plain containers, of two elements of a list at most."""
    inner = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    return [path, *(found for key, part in inner for found in leaves(part, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    made = dict(value) if isinstance(value, dict) else list(value)
    made[path[0]] = replaced(value[path[0]], path[1:], new)
    return made


def attack(place: Path, rows: Path, box: Path) -> None:
    """Every command ends by an error of fmlab's own, or does its work; nothing is written besides --out."""
    before = sorted((p, p.lstat().st_mtime_ns) for p in box.rglob("*"))
    for out, command in (("o.csv", ("predict", place, rows)), ("e", ("export", place))):
        assert fmlab(*command, "--out", box / out) in (0, 2, 65, 74), command
    fmlab("recommend", place, "--user", "1", "-k", "2", "--out", box / "o.csv")
    (box / "o.csv").unlink(missing_ok=True)
    shutil.rmtree(box / "e", ignore_errors=True)
    after = sorted((p, p.lstat().st_mtime_ns) for p in box.rglob("*"))
    assert [p for p, _ in before] == [p for p, _ in after]


def test_every_value_of_the_file_may_be_hostile(two_sided: Path, tmp_path: Path) -> None:
    """A value that passes is one that could have been; all others are refused by a StorageError."""
    source = Container(two_sided / SERVING)
    arrays = {n: source.array(n) for n in source._entries}
    path = tmp_path / SERVING
    refused = 0
    for at in leaves(source.content):
        for new in WRONG:
            path.write_bytes(to_bytes(replaced(source.content, at, new), arrays))
            try:
                found = read_serving_data(path)
                found.encoder()
            except StorageError:
                refused += 1
    assert refused > 500
    for name, array in arrays.items():
        if not len(array):
            continue
        for new in (array[:-1], array.astype(np.float64), np.zeros((2, 2), np.int64), -array.astype(np.int64) - 1):
            path.write_bytes(to_bytes(source.content, {**arrays, name: new}))
            with pytest.raises(StorageError):
                _use(read_serving_data(path))


def _use(found: Any) -> None:
    found.encoder()
    assert found.seen is None or found.seen.of([0], ["1"], "all")


def checkpoint(path: Path, saved: dict[str, Any]) -> None:
    torch.save(saved, path)
    content = path.read_bytes()
    path.write_bytes(content + _MARK + hashlib.sha256(content).digest())


def test_every_value_of_a_checkpoint_may_be_hostile(two_sided: Path, tmp_path: Path) -> None:
    place = tmp_path / "run"
    shutil.copytree(two_sided, place)
    best = place / "checkpoints" / "best.ckpt"
    saved = read_checkpoint(best)
    evil = tmp_path / "usercustomize.py"
    for at in leaves(saved["fmlab"]):
        for new in (*WRONG[:5], str(evil), {"name": "leave_one_out", "candidate_file": str(evil)}):
            checkpoint(best, {"fmlab": replaced(saved["fmlab"], at, new), "state_dict": saved["state_dict"]})
            with suppress(FmlabError):
                load_run(place)
    assert not evil.exists()


def test_tensors_that_are_larger_than_the_file_are_refused(two_sided: Path, tmp_path: Path) -> None:
    place = tmp_path / "run"
    shutil.copytree(two_sided, place)
    best = place / "checkpoints" / "best.ckpt"
    saved = read_checkpoint(best)
    saved["fmlab"]["model"]["dim"] = 10**9
    checkpoint(best, saved)
    with pytest.raises(FmlabError, match="holds another version"):
        load_run(place)
    wide = {
        k: torch.zeros(1).expand(10**9, 11) if k == "model.table.weight" else v for k, v in saved["state_dict"].items()
    }
    checkpoint(best, {**saved, "state_dict": wide})
    with pytest.raises(FmlabError, match="claims 44,000,000,000 bytes and has 4"):
        load_run(place)
    checkpoint(best, {**saved, "state_dict": {"model.table.weight": "x"}})
    with pytest.raises(FmlabError, match="must be a Tensor, got str"):
        load_run(place)


def test_the_protocol_of_a_foreign_checkpoint_writes_nothing(two_sided: Path, tmp_path: Path) -> None:
    place, evil = tmp_path / "run", tmp_path / "site" / "usercustomize.py"
    shutil.copytree(two_sided, place)
    best = place / "checkpoints" / "best.ckpt"
    saved = read_checkpoint(best)
    saved["fmlab"]["protocol"] = {"name": "leave_one_out", "candidate_file": str(evil)}
    saved["fmlab"]["loss"] = {"name": str(evil)}
    checkpoint(best, saved)
    (place / "config.yaml").write_text(f"data: {{name: csv, path: {evil}}}\nroot: {evil}\ncache: {evil.parent}\n")
    (place / "metrics.json").write_text(json.dumps({"status": str(evil), "error": ["\x1b[31m"] * 3}))
    rows = write(tmp_path / "rows.csv", ["user", "item"], [["1", "1"]])
    attack(place, rows, tmp_path)
    assert not evil.parent.exists()


# ------------------------------------------------------------------------------------------------ sharing


def test_equal_content_is_one_file_of_several_names(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    paths = [tmp_path / f"run{n}" / SERVING for n in range(4)]
    for path in paths[:3]:
        write_shared(path, b"content", cache)
    write_shared(paths[3], b"other", cache)
    assert len({p.stat().st_ino for p in paths}) == 2
    copy_shared(paths[0], tmp_path / "sweep.bin")
    assert (tmp_path / "sweep.bin").stat().st_ino == paths[0].stat().st_ino
    paths[0].unlink()
    assert paths[1].read_bytes() == b"content"
    shutil.rmtree(cache)
    write_shared(paths[0], b"content", cache)  # forgotten: a copy
    assert paths[0].stat().st_ino != paths[1].stat().st_ino
    write_shared(paths[0], b"content", cache)  # onto itself
    assert paths[0].read_bytes() == b"content"


def test_a_copy_that_was_changed_is_not_shared(tmp_path: Path) -> None:
    one, two = tmp_path / "a" / SERVING, tmp_path / "b" / SERVING
    write_shared(one, b"content", tmp_path)
    one.write_bytes(b"changed")
    write_shared(two, b"content", tmp_path)
    assert (one.read_bytes(), two.read_bytes()) == (b"changed", b"content")
    os.unlink(one)
    write_shared(one, b"content", tmp_path)
    assert one.read_bytes() == b"content"


def test_runs_of_one_process_share_their_file(room: Path, two_sided: Path, hyperbolic: Path, constant: Path) -> None:
    assert data_of(two_sided).fingerprint == data_of(hyperbolic).fingerprint
    assert len({(p / SERVING).stat().st_ino for p in (two_sided, hyperbolic, constant)}) <= 2  # log-odds differ or not
