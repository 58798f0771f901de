import json
import logging
import os
import resource
import shutil
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from data_cases import FORK, Made, builds, in_child, small, tree

from fmlab.contracts import RawFile
from fmlab.data import Dataset
from fmlab.data.store import cache as store
from fmlab.data.store import fingerprint as identity
from fmlab.data.store import serialization
from fmlab.data.store.cache import cached_dataset, verify
from fmlab.errors import DataError, StorageError


def opened(root, cache, **options):
    return cached_dataset(Made(root, **options), "made", options, root, cache)


def folder_of(cache):
    (found,) = cache.glob("made-" + "[0-9a-f]" * 16)
    return found


def assert_same(a: Dataset, b: Dataset) -> None:
    assert (a.schema, a.rows, a.rule, a.steps, a.published) == (b.schema, b.rows, b.rule, b.steps, b.published)
    for name in ("user", "item", "label", "time", "split"):
        one, two = getattr(a, name), getattr(b, name)
        np.testing.assert_array_equal(one, two)
        assert one.dtype == two.dtype
    for name in ("users", "items", "context"):
        one, two = getattr(a, name), getattr(b, name)
        np.testing.assert_array_equal(one.ids, two.ids)
        assert (one.values is None) == (two.values is None)
        if one.values is not None:
            np.testing.assert_array_equal(one.values, two.values)
    for part in ("user", "item", "user_bias", "item_bias"):
        np.testing.assert_array_equal(getattr(a.truth, part), getattr(b.truth, part))
    assert list(a.keys) == list(b.keys)
    for name, keys in b.keys.items():
        assert a.keys[name].tolist() == keys.tolist()


def test_a_data_set_comes_back_as_it_was(tmp_path):
    assert_same(opened(tmp_path, tmp_path / "cache"), small())


def test_arrays_are_memory_maps_that_cannot_be_written(tmp_path):
    found = opened(tmp_path, tmp_path / "cache")
    assert isinstance(found.user, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        found.user[0] = 1


def test_a_data_set_is_built_once(tmp_path):
    opened(tmp_path, tmp_path / "cache")
    opened(tmp_path, tmp_path / "cache")
    assert builds(tmp_path) == 1


def test_the_same_configuration_gives_the_same_bytes(tmp_path):
    for cache in ("a", "b"):
        opened(tmp_path, tmp_path / cache)
    assert tree(folder_of(tmp_path / "a")) == tree(folder_of(tmp_path / "b"))


class Read(Made):
    def __init__(self, root: Path, *, rows: int = 50) -> None:
        super().__init__(root, rows=rows)
        self.raw = (RawFile("raw.txt"),)


def key(source, options, root, cache):
    return store.identify(source, "made", options, root, cache).identity["key"]


def test_every_edit_gives_another_key_and_the_old_data_stay(tmp_path):
    raw, cache = tmp_path / "raw.txt", tmp_path / "cache"
    keys = []
    for text in ("a", "b", "ab", "a\n"):
        raw.write_text(text)
        keys += [key(Read(tmp_path, **o), o, tmp_path, cache) for o in ({}, {"rows": 51}, {"rows": 5})]
    source = Read(tmp_path)
    source.version = "2"
    keys.append(key(source, {}, tmp_path, cache))
    assert len(set(keys)) == len(keys)


def test_another_version_of_a_library_changes_no_key(tmp_path, monkeypatch):
    (tmp_path / "raw.txt").write_text("a")
    before = key(Read(tmp_path), {}, tmp_path, tmp_path / "cache")
    for library in ("numpy", "pyarrow", "torch", "fmlab"):
        monkeypatch.setattr(f"{library}.__version__", "999.0")
    assert key(Read(tmp_path), {}, tmp_path, tmp_path / "cache") == before


def test_naming_a_default_or_touching_a_file_changes_no_key(tmp_path):
    raw, cache = tmp_path / "raw.txt", tmp_path / "cache"
    raw.write_text("a")
    before = key(Read(tmp_path), {}, tmp_path, cache)
    assert key(Read(tmp_path), {"rows": 50}, tmp_path, cache) == before
    os.utime(raw, (1, 1))
    assert key(Read(tmp_path), {}, tmp_path, cache) == before
    made = {"flags": [1, 2]}
    assert key(Made(tmp_path), made, tmp_path, cache) == key(Made(tmp_path), {}, tmp_path, cache)


def test_a_checksum_is_remembered_until_the_file_changes(tmp_path, monkeypatch):
    raw, cache = tmp_path / "raw.txt", tmp_path / "cache"
    raw.write_text("a")
    os.utime(raw, (1, 1))
    before = key(Read(tmp_path), {}, tmp_path, cache)
    read = []
    plain = identity.remembered_digest.__globals__["digest"]
    monkeypatch.setitem(identity.remembered_digest.__globals__, "digest", lambda p, *a: read.append(p) or plain(p, *a))
    assert key(Read(tmp_path), {}, tmp_path, cache) == before
    assert read == []
    raw.write_text("b")
    assert key(Read(tmp_path), {}, tmp_path, cache) != before
    assert read == [raw]
    os.utime(raw, (1, 1))  # a tool that keeps times makes the edit look old
    assert key(Read(tmp_path), {}, tmp_path, cache) != before


def test_of_eight_processes_one_builds_and_all_read_the_same(tmp_path):
    barrier, queue = FORK.Barrier(8), FORK.SimpleQueue()

    def work():
        barrier.wait()
        queue.put(opened(tmp_path, tmp_path / "cache", pause=0.3).fingerprint)

    children = [FORK.Process(target=work) for _ in range(8)]
    for child in children:
        child.start()
    prints = {queue.get() for _ in children}
    for child in children:
        child.join()
    assert builds(tmp_path) == 1
    assert len(prints) == 1


@pytest.mark.parametrize("waits", [False, True])
def test_a_killed_builder_leaves_no_lock_and_no_trace(tmp_path, waits):
    cache = tmp_path / "cache"
    victim = FORK.Process(target=lambda: opened(tmp_path, cache, pause=60.0))
    victim.start()
    while not list(cache.glob("*.tmp/workspace/half")):
        time.sleep(0.01)
    if waits:
        queue = FORK.SimpleQueue()

        def wait():
            try:  # the victim's key, but without its pause
                queue.put(cached_dataset(Made(tmp_path), "made", {"pause": 60.0}, tmp_path, cache).rows)
            except BaseException as error:
                queue.put(error)

        second = FORK.Process(target=wait)
        second.start()
        time.sleep(0.1)
        assert queue.empty()
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    if waits:
        assert queue.get() == 50
        second.join()
    else:
        opened(tmp_path, cache)  # another key: it sweeps what the dead left all the same
    assert not list(cache.glob("*.tmp"))


def test_the_draft_of_a_living_builder_is_left_alone(tmp_path):
    cache = tmp_path / "cache"
    slow = FORK.Process(target=lambda: opened(tmp_path, cache, pause=1.0))
    slow.start()
    while not list(cache.glob("*.tmp/workspace/half")):
        time.sleep(0.01)
    opened(tmp_path, cache)
    assert list(cache.glob("*.tmp"))
    slow.join()
    assert slow.exitcode == 0
    assert len(list(cache.glob("made-" + "[0-9a-f]" * 16))) == 2


def damages():
    return [p.name for p in [Path(n) for n in ("user.npy", "context.values.npy", "keys.1.text.npy", "manifest.json")]]


@pytest.mark.parametrize("name", damages())
@pytest.mark.parametrize("how", ["flip", "cut", "remove"])
def test_damage_is_found_and_repaired_with_a_warning(tmp_path, caplog, name, how):
    cache = tmp_path / "cache"
    opened(tmp_path, cache)
    before = tree(folder_of(cache))
    victim = folder_of(cache) / name
    data = bytearray(victim.read_bytes())
    if how == "flip":
        data[len(data) * 2 // 3] ^= 4
    elif how == "cut":
        del data[-3:]
    victim.write_bytes(data)
    if how == "remove":
        victim.unlink()
    assert verify(folder_of(cache))
    store._verified.clear()
    with caplog.at_level(logging.WARNING):
        assert_same(opened(tmp_path, cache), small())
    assert "damaged" in caplog.text
    assert tree(folder_of(cache)) == before
    assert verify(folder_of(cache)) == ""


def test_every_flipped_bit_is_found(tmp_path):
    cache = tmp_path / "cache"
    opened(tmp_path, cache)
    folder = folder_of(cache)
    rng = np.random.default_rng(0)
    files = sorted(folder.iterdir())
    silent = []
    for _ in range(100):
        victim = files[rng.integers(len(files))]
        data = bytearray(victim.read_bytes())
        place = int(rng.integers(len(data) * 8))
        data[place // 8] ^= 1 << place % 8
        whole = victim.read_bytes()
        victim.write_bytes(data)
        if not verify(folder):
            changed = json.loads(data) != json.loads(whole) if victim.suffix == ".json" else True
            silent += [victim.name] if changed else []
        victim.write_bytes(whole)
    assert silent == []


def test_a_full_disk_is_an_error_and_leaves_what_was_there(tmp_path):
    cache = tmp_path / "cache"
    opened(tmp_path, cache)
    before = tree(cache)

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
        return opened(tmp_path, cache, rows=4000)

    error = in_child(work)
    assert isinstance(error, StorageError)
    assert "FMLAB_CACHE" in str(error)
    assert "needed: " in str(error)
    assert {n: d for n, d in tree(cache).items() if not n.endswith(".lock")} == {
        n: d for n, d in before.items() if not n.endswith(".lock")
    }
    assert not list(cache.glob("*.tmp"))
    opened(tmp_path, cache, rows=4000)


def test_space_is_asked_for_before_it_is_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "free_bytes", lambda folder: 10)
    with pytest.raises(StorageError, match=r"made needs .* kB, 10 B are free.*FMLAB_CACHE"):
        opened(tmp_path, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.tmp"))


def test_a_cache_that_cannot_be_written_names_the_way_out(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"Not a directory|File exists"):
        opened(tmp_path, tmp_path / "file" / "cache")


def test_a_read_only_cache_is_read_and_never_half_written():
    folder = Path(tempfile.mkdtemp())
    try:
        cache = folder / "cache"
        opened(folder, cache)
        folder.chmod(0o755)
        for path in [cache, *cache.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        before = tree(cache)

        def work(**options):
            if os.geteuid() == 0:
                os.setuid(65534)
            return opened(folder, cache, **options).rows

        assert in_child(lambda: work()) == 50
        error = in_child(lambda: work(rows=60))
        assert isinstance(error, StorageError)
        assert "FMLAB_CACHE" in str(error)
        assert str(cache) in str(error)
        assert tree(cache) == before
    finally:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755)
        shutil.rmtree(folder)


def test_an_array_streamed_into_the_workspace_is_moved_not_copied(tmp_path):
    inodes = {}

    class Streams(Made):
        def build(self, files, workspace):
            np.save(workspace / "any.npy", small().user)
            inodes["before"] = (workspace / "any.npy").stat().st_ino
            from dataclasses import replace

            mapped = np.load(workspace / "any.npy", mmap_mode="r")
            return replace(small(), user=mapped, item=np.minimum(mapped, 2))

    cache = tmp_path / "cache"
    found = cached_dataset(Streams(tmp_path), "made", {}, tmp_path, cache)
    assert (folder_of(cache) / "user.npy").stat().st_ino == inodes["before"]
    np.testing.assert_array_equal(found.user, small().user)


def test_part_of_a_streamed_array_is_not_taken_for_the_whole(tmp_path):
    class Streams(Made):
        def build(self, files, workspace):
            from dataclasses import replace

            np.save(workspace / "any.npy", np.concatenate([small().user, small().user[::-1]]))
            return replace(small(), user=np.load(workspace / "any.npy", mmap_mode="r")[50:])

    found = cached_dataset(Streams(tmp_path), "made", {}, tmp_path, tmp_path / "cache")
    np.testing.assert_array_equal(found.user, small().user[::-1])


def test_a_plugin_that_breaks_a_rule_is_refused(tmp_path):
    from dataclasses import replace

    whole = small()
    wrong = {
        "user indices": replace(whole, user=whole.user + 1),
        "label": replace(whole, label=np.full(50, np.nan, np.float32)),
        "split": replace(whole, split=np.full(50, 3, np.int8)),
        "'item'": replace(whole, items=replace(whole.items, ids=whole.items.ids[:, ::-1])),
        "one entry a row": replace(whole, time=whole.time[:5]),
        "keys of 'hour'": replace(whole, keys={"hour": np.array(["1"])}),
    }
    for text, dataset in wrong.items():
        source = Made(tmp_path)
        source.build = lambda files, workspace, d=dataset: d
        with pytest.raises(DataError, match=text):
            cached_dataset(source, "made", {}, tmp_path, tmp_path / "cache")


@pytest.mark.parametrize("name", ["../x", "/etc", "a/b", "", ".", "a\nb", "x\0"])
def test_evil_names_stay_in_the_cache(tmp_path, name):
    with pytest.raises(DataError, match="name is letters"):
        cached_dataset(Made(tmp_path), name, {}, tmp_path, tmp_path / "cache")


def test_figures_that_an_earlier_release_stored_as_text_are_left_out():
    assert serialization._published({"paper: rows": "50K (why)"}) == ()
