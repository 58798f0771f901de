"""Parameters of a model: by arithmetic, without building it, and counted."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from fmlab.contracts import CountsParameters
from fmlab.data import Schema
from fmlab.nn.compressed import layouts
from fmlab.nn.masked import n_dropped
from fmlab.plugin import registry
from fmlab.run.loading import FULL


def n_parameters(options: Mapping[str, Any], schema: Schema, table: Mapping[str, Any] | None = None) -> int | None:
    """Parameters of a model by its own count, without building it; None where its class has none.

    `options`, `table`: with `name`; those left out have their defaults. With a table that is not whole, the embeddings
    of each table of the model are those that the layout says; which tables a model has tells its shell, which is built
    on torch's meta device and holds no numbers. Raises FmlabError for a table that the model does not take.
    """
    plugin = registry.load("model", str(options["name"]))
    if not isinstance(plugin, CountsParameters):
        return None
    total = plugin.n_parameters(schema, **registry.check("model", options))
    if table is None or table["name"] == FULL:
        return total
    with torch.device("meta"):
        shell = registry.build("model", options, schema, gives=nn.Module)
    make = partial(registry.build, "table", table)
    for place in layouts(shell, schema, make, str(table["name"]), str(options["name"])):
        total += sum(group.n_parameters for group in place.layout.groups) - place.table.weight.numel()
    return total


def n_trained(model: nn.Module) -> int:
    """Numbers that an optimizer trains; those that a search dropped from tables are not among them."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad) - n_dropped(model)
