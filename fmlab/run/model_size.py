"""Parameters of a model: by arithmetic, without building it, and counted."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from fmlab.contracts import CountsParameters
from fmlab.data import Schema
from fmlab.nn.masked import n_dropped
from fmlab.plugin import registry


def n_parameters(options: Mapping[str, Any], schema: Schema, table: Mapping[str, Any] | None = None) -> int | None:
    """Parameters of a model by its own count, without building it; None where its class has none.

    `options`, `table`: with `name`; those left out have their defaults. With a table that shares rows, what one feature
    more of a field would add to the model is the width of the field's rows, and the rows are those that the table says.
    """
    plugin = registry.load("model", str(options["name"]))
    if not isinstance(plugin, CountsParameters):
        return None
    given = registry.check("model", options)
    total = whole = plugin.n_parameters(schema, **given)
    if table is None:
        return total
    for at, field in enumerate(schema.fields):
        sharing = registry.build("table", table, (field.size,))
        if sharing is not None:
            larger = (*schema.fields[:at], replace(field, size=field.size + 1), *schema.fields[at + 1 :])
            width = plugin.n_parameters(replace(schema, fields=larger), **given) - whole
            total += width * (sum(sharing.rows) - field.size)
    return total


def n_trained(model: nn.Module) -> int:
    """Numbers that an optimizer trains; those that a search dropped from tables are not among them."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad) - n_dropped(model)
