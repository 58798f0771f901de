"""The statistics every run prints, beside those the papers print for the same data set."""

from fmlab.data import Dataset


def measured(dataset: Dataset) -> dict[str, float]:
    """Counts of a data set by the names the papers use; `features` leaves the unknown feature of each field out."""
    schema = dataset.schema
    found: dict[str, float] = {
        "samples": dataset.rows,
        "fields": schema.n_columns,
        "features": schema.n_features - len(schema.fields),
    }
    if dataset.user is not None and dataset.item is not None:
        found |= {"users": schema.n_users, "items": schema.n_items}
        found["sparsity"] = 1 - dataset.rows / (schema.n_users * schema.n_items)
    return found


# What the papers call these statistics.
_NAMES = {"instances": "samples", "interactions": "samples", "attribute dimension": "features"}


def published(dataset: Dataset) -> dict[str, str]:
    """What the papers print of each statistic, `lorentzfm 573K, gml-fm 1000209`, by our name for it."""
    found: dict[str, list[str]] = {}
    for key, value in dataset.published.items():
        paper, _, name = key.rpartition(": ")
        found.setdefault(_NAMES.get(name, name), []).append(f"{paper} {value}".strip())
    return {name: ", ".join(values) for name, values in found.items()}


def lines(dataset: Dataset) -> list[str]:
    """What preparation left at each step, and each statistic beside the papers', as text."""
    printed = published(dataset)
    said = [f"data {dataset.name}  fingerprint {dataset.fingerprint[:12]}"]
    said += [f"  {s.name}: {s.rows:,} rows, {s.users:,} users, {s.items:,} items" for s in dataset.steps]
    for name, value in measured(dataset).items():
        here = f"{value:.2%}" if name == "sparsity" else f"{value:,}"
        said.append(f"  {name} {here}" + (f"   (published: {printed[name]})" if name in printed else ""))
    return said
