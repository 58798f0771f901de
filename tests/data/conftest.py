import os
from pathlib import Path

import pytest

from fmlab.data.store import cache as store


@pytest.fixture(autouse=True)
def _every_test_is_a_new_process(monkeypatch):
    monkeypatch.setattr(store, "_verified", set())


@pytest.fixture
def real() -> Path:
    """The folder with the real raw files, where there is one: FMLAB_TEST_DATA names it."""
    folder = os.environ.get("FMLAB_TEST_DATA", "")
    if not folder:
        pytest.skip("FMLAB_TEST_DATA names no folder with the real files")
    return Path(folder)
