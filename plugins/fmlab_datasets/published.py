"""The statistics that papers print of a data set, to stand beside ours."""

import csv
from importlib.resources import files


def published(name: str) -> dict[str, str]:
    """Figures as printed, by `<paper>: <statistic>`; empty if no paper of ours uses the set."""
    text = (files("fmlab_datasets") / "published.csv").read_text(encoding="utf-8")
    rows = [row for row in csv.DictReader(text.splitlines()) if row["dataset"] == name]
    return {f"{row['paper']}: {row['statistic']}": row["value"] for row in rows}
