"""The results that papers print, to stand beside ours in reports: facts, matched by data, protocol, model, metric."""

import csv
from importlib.resources import files


def printed() -> list[dict[str, str]]:
    """One mapping a figure: paper, table, data, protocol, model, settings, metric, value, printed, note.

    `settings` are the overrides, parted by spaces, that the figure is of; `printed` is what the paper calls the model.
    """
    text = (files("fmlab_datasets") / "results.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
