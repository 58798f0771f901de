import logging
import signal
from collections.abc import Iterator

import pytest

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # so in the background of a script; what tests start inherits it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _logging_is_left_as_it_was() -> Iterator[None]:
    """A handler that stays would write to the captured output of a test that has ended."""
    root = logging.getLogger()
    handlers = list(root.handlers)
    yield
    left = [handler for handler in root.handlers if handler not in handlers]
    root.handlers[:] = handlers
    assert not left, f"a test must leave the handlers of the root logger as they were, this one left {left}"
