"""The statistics every run prints, beside those the papers print for the same data set."""

from typing import Any, Literal, overload

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


@overload
def compare(dataset: Dataset, as_text: Literal[False] = False) -> dict[str, dict[str, Any]]: ...
@overload
def compare(dataset: Dataset, as_text: Literal[True]) -> list[str]: ...
def compare(dataset: Dataset, as_text: bool = False) -> dict[str, dict[str, Any]] | list[str]:
    """Each statistic as measured and, where a paper prints it, as published."""
    ours = measured(dataset)
    both = {k: {"here": v, "published": dataset.published.get(k)} for k, v in ours.items()}
    if not as_text:
        return both
    lines = [f"data {dataset.name}  fingerprint {dataset.fingerprint[:12]}"]
    lines += [f"  {s.name}: {s.rows:,} rows, {s.users:,} users, {s.items:,} items" for s in dataset.steps]
    for name, pair in both.items():
        here = f"{pair['here']:.2%}" if name == "sparsity" else f"{pair['here']:,}"
        beside = f"   (published {pair['published']})" if pair["published"] else ""
        lines.append(f"  {name} {here}{beside}")
    return lines
