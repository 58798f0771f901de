"""Foreign text on a terminal: names of files, columns and options cannot move the cursor or reorder a line."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from fmlab.terminal.redaction import hidden_message

# C0 and C1 controls but the line feed and the tab, marks of writing direction, invisible separators, lone surrogates,
# and the tag characters that spell hidden text.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
_BREAK = re.compile("[\t\n]")


def escaped(text: str) -> str:
    r"""The text with control characters as `\x1b`, `\r`, `\u202e`; line feeds and tabs stay."""
    return _CONTROL.sub(_written, text)


def escaped_line(text: str) -> str:
    r"""The same for a name or a table cell, which has one line: line feeds and tabs are escaped too."""
    return _BREAK.sub(_written, escaped(text))


def _written(found: re.Match[str]) -> str:
    code = ord(found[0])
    usual = {"\r": "\\r", "\n": "\\n", "\t": "\\t"}.get(found[0])
    return usual or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}")


def shown(text: str) -> str:
    """A message as it may be printed or written to a log: without secrets, without control characters."""
    return escaped(hidden_message(text))


class SafeRecord(logging.LogRecord):
    """A record of the log whose message and traceback are `shown`, whoever logs it and whatever formats it."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """As `logging.LogRecord`; the message is put together at once."""
        super().__init__(*arguments, **named)
        with suppress(Exception):  # arguments that do not fit the message: the handler says so
            self.msg, self.args = shown(super().getMessage()), ()
        if self.exc_info and not self.exc_text and self.exc_info[0] is not None:
            self.exc_text = shown(logging.Formatter().formatException(self.exc_info))


@contextmanager
def safe_log() -> Iterator[None]:
    """Within, every record of every logger is a `SafeRecord`."""
    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(SafeRecord)
    try:
        yield
    finally:
        logging.setLogRecordFactory(before)
