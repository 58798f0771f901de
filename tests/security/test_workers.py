"""Processes of a sweep import what the command imports, and nothing from the working folder besides."""

import subprocess
import sys
from pathlib import Path

import pytest

from fmlab.sweep.worker_pool import interpreter


def test_a_worker_does_not_import_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil_name.py").write_text("print('ran')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(tmp_path))])
    done = subprocess.run([*interpreter(), "-c", "import evil_name"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ran" not in done.stdout
    monkeypatch.syspath_prepend(str(tmp_path))
    assert interpreter() == [sys.executable]
