"""A data set is its content and its options: neither a path nor a silent edit of its plugin changes what it is."""

import importlib
import logging
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fmlab.contracts import DataSource
from fmlab.data import Dataset
from fmlab.data.store import fingerprint as identity
from fmlab.data.store.cache import cached_dataset
from fmlab.plugin import source_checksum as plugin_source
from fmlab.plugin.registry import build

TABLE = "u,i,y\n" + "".join(f"u{n % 5},i{n % 7},{n % 2}\n" for n in range(40))
ROLES = {"user": "u", "item": "i", "label": "y"}


def of_csv(root: Path, cache: Path, **options: Any) -> str:
    source = build("data", {"name": "csv", **ROLES, **options}, root, gives=DataSource)
    return identity.identify(source, "csv", {**ROLES, **options}, root, cache).identity["key"]


def test_a_path_is_no_part_of_the_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, cache = tmp_path / "here", tmp_path / "cache"
    (here / "deep").mkdir(parents=True)
    for name in ("d.csv", "other name.txt", "deep/x.tsv"):
        (here / name).write_text(TABLE)
    (here / "link.csv").symlink_to(here / "d.csv")
    monkeypatch.chdir(here)
    ways = ["d.csv", "./d.csv", str(here / "d.csv"), "../here/d.csv", "other name.txt", "deep/x.tsv", "link.csv"]
    keys = {of_csv(tmp_path, cache, path=way) for way in ways}
    monkeypatch.chdir(tmp_path)
    keys.add(of_csv(here, cache, path="d.csv"))  # by root
    assert len(keys) == 1
    (here / "d.csv").write_text(TABLE + "u1,i1,1\n")
    assert of_csv(here, cache, path="d.csv") not in keys
    (here / "d.csv").write_text(TABLE)
    assert of_csv(here, cache, path="d.csv", min_count=2) not in keys
    assert of_csv(here, cache, path="d.csv", min_count=1) in keys
    whole = of_csv(here, cache, path="d.csv", test="deep/x.tsv")
    assert of_csv(here, cache, path="deep/x.tsv", test="d.csv") == whole  # equal files
    (here / "deep/x.tsv").write_text(TABLE + "u1,i1,1\n")
    assert of_csv(here, cache, path="d.csv", test="deep/x.tsv") != of_csv(here, cache, path="deep/x.tsv", test="d.csv")


def test_a_column_called_as_a_file_stays_a_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "y").write_text(TABLE)
    (tmp_path / "d.csv").write_text(TABLE)
    assert of_csv(tmp_path, tmp_path / "c", path="y") == of_csv(tmp_path, tmp_path / "c", path="d.csv")


PLUGIN = '''
import numpy as np
from fmlab.data import Dataset, Field, Schema, Table
from fmlab.contracts import RawFile
from {package}.numbers import SIZE


class Made:
    """Made up."""

    raw = (RawFile("raw.txt"),)
    version, license, citation = "1", "none", "none"

    def __init__(self, root, *, file="raw.txt"):
        self.root = root

    def build(self, files, workspace):
        schema = Schema((Field("f", "context", SIZE + 1),))
        ids = np.arange(12, dtype=np.int32)[:, None] % SIZE + 1
        label = (np.arange(12) % 2).astype(np.float32)
        keys = {{"f": np.array([str(n) for n in range(SIZE)])}}
        return Dataset("made", schema, 12, context=Table(ids), label=label, keys=keys)
'''


class Package:
    """An installed package whose files are edited between the processes that use it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder / name, name
        self.folder.mkdir()
        (self.folder / "__init__.py").write_text("")
        self.size(4)
        self.edit("")
        (folder / "raw.txt").write_text("raw")

    def size(self, number: int) -> None:
        (self.folder / "numbers.py").write_text(f"SIZE = {number}\n")

    def edit(self, more: str, old: str = "", new: str = "") -> None:
        (self.folder / "data.py").write_text(PLUGIN.format(package=self.name).replace(old, new) + more)

    def open(self, cache: Path) -> Dataset:
        """As a new process does."""
        for module in [m for m in sys.modules if m.partition(".")[0] == self.name]:
            del sys.modules[module]
        importlib.invalidate_caches()
        for function in (plugin_source._modules, plugin_source._taken):
            function.cache_clear()
        root = self.folder.parent
        source = importlib.import_module(f"{self.name}.data").Made(root)
        return cached_dataset(source, "made", {"file": "raw.txt"}, root, cache)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return Package(tmp_path, f"acme_{abs(hash(tmp_path)) % 10**8}")


def test_an_edited_plugin_prepares_again_and_is_said(
    made: Package, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "cache"
    first = made.open(cache)
    made.size(3)  # a module that the plugin imports
    second = made.open(cache)
    assert (first.schema.n_features, second.schema.n_features) == (5, 4)
    assert first.fingerprint != second.fingerprint
    assert "its version is '1' as before: it is prepared again" in caplog.text
    assert "it makes other data now" in caplog.text
    caplog.clear()
    assert made.open(cache).fingerprint == second.fingerprint
    made.size(4)
    assert made.open(cache).fingerprint == first.fingerprint  # back again: both are known
    assert caplog.text == ""


def test_an_edit_that_changes_nothing_keeps_the_fingerprint(
    made: Package, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "cache"
    first = made.open(cache)
    made.edit("\n# a comment\n", '"""Made up."""', '"""Otherwise worded."""')
    assert made.open(cache).fingerprint == first.fingerprint
    assert caplog.text == ""
    made.edit("\nHELPER = 1\n")
    assert made.open(cache).fingerprint == first.fingerprint
    assert "prepared again" in caplog.text
    assert "other data" not in caplog.text
    caplog.clear()
    assert made.open(cache).fingerprint == first.fingerprint
    assert caplog.text == ""
    assert len(list(cache.glob("made-*/"))) == 1


def test_an_edit_within_a_process_is_said(made: Package, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made.open(tmp_path / "cache")
    source = sys.modules[f"{made.name}.data"].Made(tmp_path)
    made.edit("\nHELPER = 1\n")
    with caplog.at_level(logging.WARNING):
        cached_dataset(source, "made", {"file": "raw.txt"}, tmp_path, tmp_path / "cache")
    assert "was edited while this process runs" in caplog.text


def test_two_runs_of_one_process_see_a_file_that_changed_between_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fmlab.run.task_opening import open_dataset

    monkeypatch.chdir(tmp_path)
    plain = {
        "data_dir": str(tmp_path),
        "cache_dir": str(tmp_path / "cache"),
        "data": {"name": "csv", "path": "d.csv", **ROLES},
    }
    path = tmp_path / "d.csv"
    path.write_text(TABLE)
    first = open_dataset(plain)
    assert open_dataset(plain) is first
    path.write_text(TABLE.replace("u0,i0,0", "u0,i0,1", 1))  # of the same size
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    second = open_dataset(plain)
    assert second.fingerprint != first.fingerprint
    assert np.asarray(second.label)[0] == 1
