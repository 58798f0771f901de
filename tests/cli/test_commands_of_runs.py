"""`fmlab resume`, `similar`, `doctor`, and `last` as the name of the newest run; records of other versions."""

import json
import os
from pathlib import Path

import pytest

import fmlab
from fmlab.cli import main
from fmlab.cli.resume import options_of
from fmlab.errors import StorageError
from fmlab.records.record import VERSION, read_record
from fmlab.report.runs import find_runs
from fmlab.run.locate import locate, newest

SMALL = (
    *("data=synthetic", "data.users=60", "data.items=40", "data.positives=6", "model=fm", "model.dim=4", "seed=1"),
    *("batch_size=256", "trainer.accelerator=cpu", "trainer.threads=1", "trainer.progress=false"),
)


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A working folder with one run of one epoch below runs/."""
    folder = tmp_path_factory.mktemp("room")
    before = os.getcwd()
    os.chdir(folder)
    try:
        assert main([*SMALL, "trainer.max_epochs=1", "cache_dir=cache", "hydra.run.dir=runs/a/b/c/one"]) == 0
    finally:
        os.chdir(before)
    return folder


def test_a_run_is_resumed_from_its_folder_alone(room, monkeypatch, capsys):
    monkeypatch.chdir(room)
    assert main([*SMALL, "trainer.max_epochs=3", "cache_dir=cache", "hydra.run.dir=runs/whole"]) == 0
    assert main(["resume", "runs/a/b/c/one", "trainer.max_epochs=3"]) == 0
    found, whole = fmlab.load("runs/a/b/c/one"), fmlab.load("runs/whole")
    assert found.record["epochs"] == 3
    assert (found.test, found.validation) == (whole.test, whole.validation)
    assert main(["resume", "runs/a/b/c/one"]) == 2
    assert "is complete; train it longer with trainer.max_epochs=" in capsys.readouterr().err


def test_a_run_is_resumed_where_the_folders_of_its_machine_are_not(tmp_path, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    monkeypatch.chdir(here)
    assert main([*SMALL, "trainer.max_epochs=1", f"cache_dir={tmp_path}/cache", "hydra.run.dir=run"]) == 0
    here.rename(there)
    (tmp_path / "cache").rename(tmp_path / "gone")
    monkeypatch.chdir(there)
    monkeypatch.setenv("FMLAB_CACHE", str(there / "cache"))
    assert main(["resume", "run", "trainer.max_epochs=2"]) == 0
    assert fmlab.load("run").record["epochs"] == 2


def test_last_is_the_newest_run(room, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(room)
    assert newest(Path("last")).parts[0] == "runs"
    assert locate(newest(Path("last"))).checkpoint.name == "best.ckpt"
    assert main(["similar", "last", "--item", "3", "-k", "2"]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 3
    assert lines[0].endswith(",rank,similar,score")
    monkeypatch.chdir(tmp_path)
    assert main(["predict", "last", "--columns"]) == StorageError.code
    assert "last is the newest run below" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["resume"], "resume takes a run: fmlab resume RUN"),
        (["resume", "seed=1"], "resume takes a run"),
        (["resume", "nowhere"], "a run folder holds config.yaml and metrics.json, nowhere is none"),
        (["resume", "runs/a/b/c/one", "--now"], "resume takes options such as trainer.max_epochs=20, got '--now'"),
    ],
)
def test_what_cannot_be_resumed_is_told(arguments, said, room, monkeypatch, capsys):
    monkeypatch.chdir(room)
    assert main(arguments) in (2, StorageError.code)
    assert said in capsys.readouterr().err


def test_a_run_folder_of_somebody_else_reads_no_variables(room, tmp_path):
    (tmp_path / "config.yaml").write_text("seed: ${oc.env:HOME}\n")
    with pytest.raises(fmlab.FmlabError, match="seed of a run folder must be a plain value"):
        options_of(tmp_path)


def test_doctor_says_what_is_there(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("FMLAB_DATA_DIR", str(tmp_path / "none"))
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("fmlab", "torch", "processor", "extra sweep", "cache", "plugins"))
    assert "is not there: set FMLAB_DATA_DIR" in " ".join(out.split())
    assert main(["doctor", "x"]) == 2


def test_records_say_their_version_and_later_ones_are_refused(tmp_path):
    path = tmp_path / "run" / "metrics.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"status": "running"}))
    assert read_record(path) == {"status": "running", "schema_version": VERSION}
    path.write_text(json.dumps({"status": "complete", "schema_version": VERSION + 1}))
    with pytest.raises(StorageError, match=f"its schema_version is {VERSION + 1}, this one reads up to {VERSION}"):
        read_record(path)
    runs, unreadable = find_runs(tmp_path)
    assert not runs
    assert "was written by a later fmlab" in unreadable[0].why
    (path.parent / "config.yaml").write_text("seed: 1\n")
    with pytest.raises(StorageError, match="later fmlab"):
        locate(path.parent)


def test_reports_read_old_names_of_options(room, tmp_path):
    (one,) = [r for r in find_runs(room)[0] if r.folder.name == "one"]
    text = (
        (room / "runs/a/b/c/one/config.yaml").read_text().replace("cache_dir:", "cache:").replace("data_dir:", "root:")
    )
    (tmp_path / "old").mkdir()
    (tmp_path / "old/config.yaml").write_text(text)
    (tmp_path / "old/metrics.json").write_text((room / "runs/a/b/c/one/metrics.json").read_text())
    (old,) = find_runs(tmp_path)[0]
    assert old.config == one.config
