"""The fitted encoder as JSON: how raw text becomes the features that an exported program reads.

`fmlab/serving/onnx_scorer.py` reads it with the standard library alone and says by its code what the entries mean.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fmlab.data import SIDES, Side
from fmlab.errors import FmlabError
from fmlab.run.serving_data import ServingData
from fmlab.serving.onnx_scorer import TRANSFORMS

FILE, VERSION = "encoder.json", 2


def write_encoder(data: ServingData, path: Path) -> None:
    """Fields in the order of their columns, with their values in feature order, and what is known of users and items.

    Raises FmlabError for a transform that the scorer lacks.
    """
    for given in data.inputs.values():
        if given.transform not in TRANSFORMS:
            raise FmlabError(f"the scorer of an export has no transform {given.transform!r} of column {given.column!r}")
    fields = [
        {
            "name": field.name,
            "side": field.side,
            "slots": field.slots,
            "numeric": field.numeric,
            "offset": offset,
            "input": asdict(data.inputs[field.name]),
            "values": [] if field.numeric else data.keys[field.name].tolist(),
        }
        for field, offset in zip(data.schema.fields, data.schema.offsets, strict=True)
    ]
    content = {
        "fmlab_encoder": VERSION,
        "sides": list(SIDES),
        "fields": fields,
        "has_values": data.schema.numeric,
        "tables": {side: _table(data, side) for side in ("user", "item")},
    }
    path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


def _table(data: ServingData, side: Side) -> dict[str, Any] | None:
    """Features and values of known users or items beside their own; None where rows are read as they stand, which is
    the same for an id alone."""
    table = data.users if side == "user" else data.items
    if table is None or np.asarray(table.ids).shape[1] == 1:
        return None
    values = None if table.values is None else np.asarray(table.values)[:, 1:].tolist()
    return {"ids": np.asarray(table.ids)[:, 1:].tolist(), "values": values}
