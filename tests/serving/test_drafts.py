"""What a killed writer leaves is removed by whoever writes there next, and by nobody while it is written."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from fmlab.errors import StorageError
from fmlab.serving.table_writer import writing

ROWS = pa.RecordBatch.from_pydict({"a": ["1", "2"]})
KILLED = """
import os, pathlib, sys
from fmlab.files import draft_of
with draft_of(pathlib.Path(sys.argv[1]), folder=sys.argv[2] == "folder") as draft:
    print(draft, flush=True)
    sys.stdin.read()
"""


def write_half(path: Path) -> None:
    with writing(path) as write:
        write(ROWS)
        raise RuntimeError("defect")


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_killed_draft_is_swept_and_a_living_one_is_not(kind: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path / "out.csv"), kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        draft = Path(writer.stdout.readline().strip())
        assert draft.name.startswith(".")
        with writing(tmp_path / "other.csv") as write:
            write(ROWS)
        assert draft.exists()
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
    assert draft.exists()
    with writing(tmp_path / "other.csv") as write:
        write(ROWS)
    assert [p.name for p in tmp_path.iterdir()] == ["other.csv"]


def test_a_failure_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("old")
    with pytest.raises(RuntimeError, match="defect"):
        write_half(tmp_path / "out.csv")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("out.csv", "old")]
    with pytest.raises(StorageError):
        write_half(tmp_path / "out.csv" / "below.csv")


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".mine.123.tmp").write_text("x")
    with writing(tmp_path / "out.csv") as write:
        write(ROWS)
    assert (tmp_path / ".mine.123.tmp").exists()
