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


_ROLES = ("user", "item", "label", "targets")  # options of data sets that say what rows have
OPTIONAL = ("loss", "sampler", "optimizer", "scheduler")  # what a model that is not trained by gradients has none of


def partners_and_values(
    kind: str, name: str, defaults: Mapping[str, Any]
) -> tuple[dict[str, str | None], dict[str, Any]]:
    """Partners by group, and top-level values, of the `defaults` of a plugin; raises FmlabError for other keys.

    A model with `"optimizer": None` has no optimizer, and then no scheduler and no sampler either: None for each.
    """
    partners: dict[str, str | None] = dict.fromkeys(absent(kind, defaults))
    values: dict[str, Any] = {}
    allowed = GROUPS[: GROUPS.index(kind)]
    top = [o.name for o in signatures.of_object(settings.Run).options]
    for key, value in defaults.items():
        if key in partners:
            continue
        if key in allowed and isinstance(value, str):
            partners[key] = value
        elif key in top:
            values[key] = listed(value)
        else:
            hint = choices(str(key), [*allowed, *top])
            raise FmlabError(f"{kind} {name!r} is broken: its `defaults` have {key!r}: {value!r}; {hint}")
    return partners, values


def absent(kind: str, defaults: Mapping[str, Any]) -> tuple[str, ...]:
    """The groups of which a model has none, by its `defaults`."""
    if kind != "model" or defaults.get("optimizer", "") is not None:
        return ()
    return tuple(g for g in OPTIONAL if g != "loss" or defaults.get("loss", "") is None)


def takes_none(model: str, group: str, got: str) -> str:
    """The message where a model that has none of a group is given one."""
    return f"{model} is not trained by gradients and takes no {group}, got {got}"


def refuse_absent(overrides: Sequence[str]) -> None:
    """Raise FmlabError for an option of what the model that is chosen has none of."""
    chosen = [o.partition("=")[2] for o in overrides if o.startswith("model=")]
    if not chosen or not registry.is_claimed("model", chosen[-1]):
        return
    for group in absent("model", registry.schema("model", chosen[-1]).defaults):
        for override in overrides:
            if re.match(rf"[+~]*{group}[=.]", override):
                raise FmlabError(takes_none(chosen[-1], group, override))


def unlabeled(overrides: Sequence[str]) -> list[str]:
    """Overrides for the partners of a data set that is given users and items and no label, where nobody chose them."""
    typed = {key.lstrip("+~"): value.strip("'\"") for key, _, value in (o.partition("=") for o in overrides)}
    name, roles = typed.get("data", ""), {role: typed.get(f"data.{role}", "") for role in _ROLES}
    if "experiment" in typed or not registry.is_claimed("data", name) or roles["label"] or roles["targets"]:
        return []
    wanted = registry.schema("data", name).unlabeled if roles["user"] and roles["item"] else {}
    return [f"{group}={partner}" for group, partner in wanted.items() if group not in typed]


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
    model = OmegaConf.select(config, "model.name")
    none = absent("model", registry.schema("model", model).defaults) if isinstance(model, str) else ()
    typed = [o.lstrip("+~") for o in overrides]
    return [
        f"{group}={partner}"
        for group, partner in wanted.items()
        if group not in none and chosen.get(group) != partner and not any(re.match(rf"{group}[=.]", o) for o in typed)
    ]
