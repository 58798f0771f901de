import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

# Folders whose tests neither train whole runs nor start programs: the fast tier, but for tests marked slow.
FAST = ("data", "evaluation", "losses", "metrics", "optimizers", "protocols", "report", "samplers")
# A warning fails a test of the fast tier, but for these of other libraries.
WARNINGS = (
    "error",
    r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning",  # Lightning with torch 2.13
)
HERE = Path(__file__).parent

for folder in ("FMLAB_DATA_DIR", "FMLAB_CACHE"):  # no test depends on the data that happen to be on a machine
    os.environ.pop(folder, None)

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # so in the background of a script; what tests start inherits it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.relative_to(HERE).parts[0] if item.path.is_relative_to(HERE) else ""
        if folder in FAST and item.get_closest_marker("slow") is None:
            item.add_marker("fast")
            item.add_marker(pytest.mark.filterwarnings(*WARNINGS), append=False)  # before those of the test


@pytest.fixture(autouse=True)
def _logging_is_left_as_it_was() -> Iterator[None]:
    """A handler that stays would write to the captured output of a test that has ended."""
    root = logging.getLogger()
    handlers = list(root.handlers)
    yield
    left = [handler for handler in root.handlers if handler not in handlers]
    root.handlers[:] = handlers
    assert not left, f"a test must leave the handlers of the root logger as they were, this one left {left}"
