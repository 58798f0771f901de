"""How a table is written: what its reader has to know, and finds out where it can."""

from dataclasses import dataclass

from fmlab.data.raw.text_blocks import Quoting

BLANKS = "blanks"


@dataclass(frozen=True)
class TableFormat:
    """How a table is written; `fmlab.data.raw.table.detect_format` fills in what is empty.

    `names` are given for a file without a header, or in place of it. Columns are parted by the character `separator`,
    or by any run of blanks and tabs if it is "blanks". Text in quotes may hold separators and line ends, if `quoted`;
    `escape` is the character that takes its meaning from a quote, besides a quote doubled. Lines that begin with
    `comment` are skipped. `line_breaks` says that a quoted value over several lines is no sign of a missing quote.

    Found out: the `kind` of file, the number of lines `skip` before the rows, the columns whose cells are `lists`,
    those that cannot be read (`refused`), those of a type that holds nothing (`empty`).
    """

    separator: str = ""
    names: tuple[str, ...] = ()
    header: bool = True
    encoding: str = "utf-8"
    member: str = ""
    quoted: bool = True
    escape: str = ""
    comment: str = ""
    line_breaks: bool = False
    kind: str = ""
    skip: int | None = None
    lists: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()

    @property
    def quoting(self) -> Quoting | None:
        """Where quotes matter, if they do."""
        if not self.quoted:
            return None
        separators = b" \t" if self.separator == BLANKS else self.separator.encode()
        return Quoting(separators, len(self.names), self.escape)
