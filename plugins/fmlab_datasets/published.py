"""The statistics that papers print of a data set, to stand beside ours."""

import csv
from importlib.resources import files

# Why a printed figure is not ours, where it cannot be.
_KEPT = "the plain 5-core and 2 x users: validation and test counted once more"
_CATEGORIES = "with a sub-category for each product, which the metadata file holds"
_REASONS = {
    ("hyperml", "interactions"): dict.fromkeys(
        (
            *("amazon-clothing", "amazon-sports", "amazon-cell-phones", "amazon-toys-games", "amazon-automotive"),
            "movielens-1m",
        ),
        _KEPT,
    )
    | {"movielens-20m": "users with 100 or more ratings"},
    ("gml-fm", "attribute dimension"): dict.fromkeys(("amazon-auto", "amazon-office", "amazon-clothing"), _CATEGORIES),
    ("gml-fm", "sparsity"): {"amazon-clothing": "cut off, not rounded: 99.969%"},
    ("lorentzfm", "fields"): {"kkbox": "7 user and 6 item fields, both ids among them: 13"},
}


def published(*names: str) -> dict[str, str]:
    """Figures as printed, by `<paper>: <statistic>`, of a set under any of its names, with reasons of differences."""
    text = (files("fmlab_datasets") / "published.csv").read_text(encoding="utf-8")
    rows = [row for row in csv.DictReader(text.splitlines()) if row["dataset"] in names]
    return {f"{row['paper']}: {row['statistic']}": f"{row['value']}{_reason(row)}" for row in rows}


def _reason(row: dict[str, str]) -> str:
    reason = _REASONS.get((row["paper"], row["statistic"]), {}).get(row["dataset"])
    return f" ({reason})" if reason else ""
