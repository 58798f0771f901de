"""Parameters of a model by arithmetic, without building it."""

from collections.abc import Mapping
from typing import Any

from fmlab.contracts import CountsParameters
from fmlab.data import Schema
from fmlab.plugin import registry


def n_parameters(options: Mapping[str, Any], schema: Schema) -> int | None:
    """Parameters of a model by its own count, without building it; None where its class has none.

    `options`: with `name`; those left out have their defaults.
    """
    plugin = registry.load("model", str(options["name"]))
    if not isinstance(plugin, CountsParameters):
        return None
    return plugin.n_parameters(schema, **registry.check("model", options))
