"""Criteo: clicks on display advertisements, seven days."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from fmlab.data import Dataset, FieldEncoding
from fmlab.data.encoding.plan import Plan
from fmlab.data.encoding.progress import ProgressBar
from fmlab.data.encoding.transforms import log_squared
from fmlab.data.raw.archive import text_size
from fmlab.data.raw.table import TableFormat
from fmlab.data.source import RawFile
from fmlab.plugin.option import Renamed
from fmlab_datasets.options import Buckets, MinCount
from fmlab_datasets.streams import derived, first_found, hashed, prepared, table

PAGE = "https://www.kaggle.com/c/criteo-display-ad-challenge (or https://ailab.criteo.com/ressources/)"
NUMBERS = tuple(f"I{n}" for n in range(1, 14))
CATEGORIES = tuple(f"C{n}" for n in range(1, 27))
NAMES = ("label", *NUMBERS, *CATEGORIES)


class Criteo:
    """Criteo display advertising: 45,840,617 impressions, clicked or not, in 13 numeric and 26 categorical fields.

    Paper: Sun et al., FM2: Field-matrixed Factorization Machines for Recommender Systems, WWW 2021

    `numeric_encoding=log_squared` makes categories of numbers, as FmFM and the winners of the contest do:
    floor(log(x)^2) for x > 2, and x itself, kept apart from those, for others. `numeric` keeps them as numbers with
    mean 0 and deviation 1.
    Values seen fewer than `min_count` times are unknown; so are empty cells. FmFM's own counting of rare values is
    not stated in full: 8 gives its text, not necessarily its 1,327,180 features. With `buckets`, values of the
    categorical fields are hashed into so many for each.
    """

    defaults = {"protocol": "ctr"}
    version = "1"
    license = "Criteo: research, non-commercial; not to be redistributed"
    citation = "Criteo Labs: Display Advertising Challenge, Kaggle 2014, kaggle.com/c/criteo-display-ad-challenge"

    def __init__(
        self,
        root: Path,
        *,
        numeric_encoding: Annotated[
            Literal["log_squared", "numeric"],
            "whether counts become the category floor(ln(x)^2) or stay numbers",
            Renamed("numbers", {"log2": "log_squared"}),
        ] = "log_squared",
        min_count: MinCount = 8,
        buckets: Buckets = 0,
    ) -> None:
        """The file is `train.txt`, in the archive `dac.tar.gz` or out of it."""
        self.encoding, self.min_count, self.buckets = numeric_encoding, min_count, buckets
        files = ("train.txt", "train.txt.gz", "dac.tar.gz", "train.csv")
        names = (f"{folder}{n}" for folder in ("criteo/", "") for n in files)
        self.raw: Sequence[RawFile] = (first_found(root, "criteo", *(RawFile(n, page=PAGE) for n in names)),)

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """Read the table once: no header, separated by tabs."""
        (path,) = files.values()
        member = "train.txt" if ".tar" in path.suffixes else ""
        meter = ProgressBar(f"preparing {path.name}", text_size(path, member))
        form = TableFormat("\t", NAMES, header=False, member=member, quoted=False)
        stream = table(path, {n: n for n in NAMES}, form, meter)
        if self.encoding == "log_squared":
            for name in NUMBERS:
                stream = derived(stream, name, {name: log_squared(name)})
        stream = hashed(stream, CATEGORIES, self.buckets)
        plan = Plan(
            label="label",
            fields=dict.fromkeys((*NUMBERS, *CATEGORIES), "context"),
            numeric=NUMBERS if self.encoding == "numeric" else (),
            min_count=self.min_count,
        )
        read = {n: FieldEncoding(n, transform="log_squared") for n in NUMBERS if self.encoding == "log_squared"}
        read |= {n: FieldEncoding(n, transform="hashed", buckets=self.buckets) for n in CATEGORIES if self.buckets}
        return prepared("criteo", stream, plan, workspace, meter=meter, whole=45_840_617, inputs=read)
