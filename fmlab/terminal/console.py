"""The terminal, as every command of fmlab writes tables to it: styles are fmlab's own, never those of foreign text."""

from collections.abc import Iterable

from rich import console
from rich.segment import Segment

from fmlab.terminal.escaping import escaped


class Console(console.Console):
    """Rich's console; control characters inside of texts are written as `\\x1b`, so that they do nothing."""

    def _render_buffer(self, buffer: Iterable[Segment]) -> str:
        """Called by rich with all that is about to be written; `control` marks what rich itself tells the terminal."""
        return super()._render_buffer(
            segment if segment.control else segment._replace(text=escaped(segment.text)) for segment in buffer
        )
