"""Meetup: who came to which event in New York City."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from fmlab.data import Dataset
from fmlab.data.encoding.plan import Plan
from fmlab.data.raw.table import TableFormat
from fmlab.data.source import RawFile
from fmlab_datasets.streams import first_found, prepared, table

PAGE = "the authors of Liu et al., KDD 2012, and Pham et al., ICDE 2015 (no public address is known)"


class Meetup:
    """Meetup NYC: pairs of users and events, 248K of 47K users and 17K events in HyperML.

    Paper: Pham et al., A General Graph-Based Model for Recommendation in Event-Based Social Networks, ICDE 2015

    One pair a line, user then event, between commas, tabs or blanks as they come; `header` says whether the first line
    names the columns. There are no times: order is that of the lines. No public file sets this form and the name of
    the file: they are ours.
    """

    defaults = {"protocol": "leave_one_out"}
    version = "1"
    license = "unclear"
    citation = (
        "T.-A. N. Pham, X. Li, G. Cong, Z. Zhang: ICDE 2015; X. Liu et al.: Event-Based Social Networks, KDD 2012"
    )

    def __init__(
        self, root: Path, *, header: Annotated[bool, "whether the first line names the columns"] = False
    ) -> None:
        """The file is `user_event.csv`, or `.txt`."""
        self.header = header
        names = [f"meetup/user_event.{end}{gz}" for end in ("csv", "txt") for gz in ("", ".gz")]
        self.raw: Sequence[RawFile] = (first_found(root, "meetup", *(RawFile(n, page=PAGE) for n in names)),)

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """Read the pairs."""
        (path,) = files.values()
        for separator in ("", " "):
            form = TableFormat(separator, ("u", "i"), header=self.header, quoted=False)
            if separator or any(s in _first_line(path) for s in ",\t;"):
                break
        stream = table(path, {"u": "u", "i": "i"}, form)
        return prepared("meetup", stream, Plan(user="u", item="i"), workspace)


def _first_line(path: Path) -> str:
    from fmlab.data.raw.archive import lines

    return next(lines(path), "")
