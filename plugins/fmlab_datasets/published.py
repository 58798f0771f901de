"""The statistics that papers print of a data set, to stand beside ours."""

import csv
from collections.abc import Mapping
from importlib.resources import files

# Why a printed figure is not ours, where it cannot be: by paper, statistic and data set.
_KEPT = "the plain 5-core and 2 x users: validation and test counted once more"
_CATEGORIES = "with a sub-category for each product, which the metadata file holds"
_RULE = "no core from 2 to 12 gives all of its figures"
_AMAZON = ("amazon-clothing", "amazon-sports", "amazon-cell-phones", "amazon-toys-games", "amazon-automotive")
_REASONS: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("hyperml", "interactions"): dict.fromkeys(_AMAZON, _KEPT) | {"movielens-20m": "users with 100 or more ratings"},
    ("hyperml", "density"): dict.fromkeys((*_AMAZON, "movielens-1m", "goodbooks"), _KEPT),
    ("gml-fm", "attribute dimension"): {
        **dict.fromkeys(("amazon-auto", "amazon-office", "amazon-clothing"), _CATEGORIES),
        "movielens-1m": "genres=string fields=[user,gender,occupation,item,genres] gives it",
    },
    ("gml-fm", "sparsity"): {"amazon-clothing": "cut off, not rounded: 99.969%"},
    ("lorentzfm", "fields"): {
        "kkbox": "7 user and 6 item fields, both ids among them: 13",
        "avazu": "time=drop leaves them",
    },
    ("lorentzfm", "samples"): {"movielens-1m": _RULE},
    ("lorentzfm", "sparsity"): {"movielens-1m": _RULE},
    ("lorentzfm", "features"): {"movielens-1m": "cannot hold whole zip codes: zip=frequent gives it"},
    ("fmfm", "fields"): {"avazu": "time=parts adds weekday and hour"},
    ("ifm", "features"): {"movielens-tag": "movies of no training row are unknown here"},
    ("ifm", "sparsity level"): {"movielens-tag": "3 of 90,445 features are 0.003%"},
    ("ifm", "records with negatives"): {"frappe": "two sampled for each record: layout=x1 and layout=libfm hold them"},
}


def published(*names: str, rows: int = 0, whole: int = 0) -> dict[str, str]:
    """Figures as printed, by `<paper>: <statistic>`, of a set under any of its names, with reasons of differences.

    Those of a set of `whole` rows, of which the raw files here hold only `rows`, say that they are of the whole.
    """
    part = f"of the whole set of {whole:,} rows; here are {rows:,}" if rows < whole else ""
    text = (files("fmlab_datasets") / "published.csv").read_text(encoding="utf-8")
    found = [row for row in csv.DictReader(text.splitlines()) if row["dataset"] in names]
    return {f"{row['paper']}: {row['statistic']}": f"{row['value']}{_reason(row, part)}" for row in found}


def _reason(row: Mapping[str, str], part: str) -> str:
    own = _REASONS.get((row["paper"], row["statistic"]), {}).get(row["dataset"], "")
    reason = own if row["statistic"] == "fields" else part or own
    return f" ({reason})" if reason else ""
