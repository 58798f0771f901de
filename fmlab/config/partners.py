"""What plugins want of each other, by their `defaults`, and what a protocol insists on, by its `binding`."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fmlab.config import schema as settings
from fmlab.errors import FmlabError, choices
from fmlab.plugin import registry
from fmlab.plugin import signature as signatures

# In the order of the defaults list of conf/config.yaml: a plugin may name partners of the groups before its own.
GROUPS = ("loss", "sampler", "optimizer", "scheduler", "protocol", "data", "model")


def partners_and_values(kind: str, name: str, defaults: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """Partners by group, and top-level values, of the `defaults` of a plugin; raises FmlabError for other keys."""
    partners, values = {}, {}
    allowed = GROUPS[: GROUPS.index(kind)]
    top = [o.name for o in signatures.of_object(settings.Run).options]
    for key, value in defaults.items():
        if key in allowed and isinstance(value, str):
            partners[key] = value
        elif key in top:
            values[key] = listed(value)
        else:
            hint = choices(str(key), [*allowed, *top])
            raise FmlabError(f"{kind} {name!r} is broken: its `defaults` have {key!r}: {value!r}; {hint}")
    return partners, values


def listed(value: Any) -> Any:
    """Tuples as lists, at any depth: what a config holds."""
    return [listed(v) for v in value] if isinstance(value, tuple | list) else value


def binding(config: DictConfig, overrides: Sequence[str]) -> list[str]:
    """Overrides for the partners that the protocol's `binding` names, where a model's `defaults` chose others.

    What the user or an experiment file says stays.
    """
    chosen = config.hydra.runtime.choices
    name = OmegaConf.select(config, "protocol.name")
    if not isinstance(name, str) or chosen.get("experiment") is not None:
        return []
    wanted = registry.schema("protocol", name).binding
    typed = [o.lstrip("+~") for o in overrides]
    return [
        f"{group}={partner}"
        for group, partner in wanted.items()
        if chosen.get(group) != partner and not any(re.match(rf"{group}[=.]", o) for o in typed)
    ]
