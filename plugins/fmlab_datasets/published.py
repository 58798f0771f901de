"""The statistics that papers print of a data set, to stand beside ours."""

import csv
from importlib.resources import files

from fmlab.data import PublishedFigure


def published(*names: str, rows: int = 0, whole: int = 0) -> tuple[PublishedFigure, ...]:
    """Figures that papers print of a set under any of its names, as `published.csv` holds them.

    Those of a set of `whole` rows, of which the raw files here hold only `rows`, say that they are of the whole.
    """
    part = f"of the whole set of {whole:,} rows; here are {rows:,}" if rows < whole else ""
    text = (files("fmlab_datasets") / "published.csv").read_text(encoding="utf-8")
    return tuple(
        PublishedFigure(
            paper=row["paper"],
            statistic=row["statistic"],
            value=float(row["value"]),
            printed=row["printed"],
            reason=row["reason"] if row["statistic"] == "fields" else part or row["reason"],
        )
        for row in csv.DictReader(text.splitlines())
        if row["dataset"] in names
    )
