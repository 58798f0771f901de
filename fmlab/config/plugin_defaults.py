"""Plugins and values that a plugin's `defaults` name, and those that a protocol's `binding` requires."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fmlab.config import schema as settings
from fmlab.errors import FmlabError, choices
from fmlab.plugin import registry

# In the order of the defaults list of conf/config.yaml: a plugin may name plugins of the groups before its own.
GROUPS = ("loss", "sampler", "optimizer", "scheduler", "table", "search", "protocol", "data", "model")


_ROLES = ("user", "item", "label", "targets")  # options of data sets that name columns
OPTIONAL = ("loss", "sampler", "optimizer", "scheduler")  # groups that a model without gradient training has none of


def plugins_and_values(
    kind: str, name: str, defaults: Mapping[str, Any]
) -> tuple[dict[str, str | None], dict[str, Any]]:
    """Plugins by group, and top-level values, of the `defaults` of a plugin; raises FmlabError for other keys.

    A model with `"optimizer": None` has no optimizer, and then no scheduler and no sampler either: None for each.
    """
    plugins: dict[str, str | None] = dict.fromkeys(groups_without(kind, defaults))
    values: dict[str, Any] = {}
    allowed = GROUPS[: GROUPS.index(kind)]
    top = [o.name for o in settings.signature_of(settings.Run).options]
    for key, value in defaults.items():
        if key in plugins:
            continue
        if key in allowed and isinstance(value, str):
            plugins[key] = value
        elif key in top:
            values[key] = listed(value)
        else:
            hint = choices(str(key), [*allowed, *top])
            raise FmlabError(f"{kind} {name!r} is broken: its `defaults` have {key!r}: {value!r}; {hint}")
    return plugins, values


def groups_without(kind: str, defaults: Mapping[str, Any]) -> tuple[str, ...]:
    """The groups of which a model uses no plugin, by its `defaults`."""
    if kind != "model" or defaults.get("optimizer", "") is not None:
        return ()
    return tuple(g for g in OPTIONAL if g != "loss" or defaults.get("loss", "") is None)


def untrained_message(model: str, group: str, got: str) -> str:
    """The message for a plugin of a group that the model does not use."""
    return f"{model} is not trained by gradients and takes no {group}, got {got}"


def check_untrained_model(overrides: Sequence[str]) -> None:
    """Raise FmlabError for an option of a group that the chosen model does not use."""
    chosen = [o.partition("=")[2] for o in overrides if o.startswith("model=")]
    if not chosen or not registry.is_claimed("model", chosen[-1]):
        return
    for group in groups_without("model", registry.schema("model", chosen[-1]).defaults):
        for override in overrides:
            if re.match(rf"[+~]*{group}[=.]", override):
                raise FmlabError(untrained_message(chosen[-1], group, override))


def unlabeled_overrides(overrides: Sequence[str]) -> list[str]:
    """Overrides with the `unlabeled` plugins of a data set that has users, items and no label; typed ones stay."""
    typed = {key.lstrip("+~"): value.strip("'\"") for key, _, value in (o.partition("=") for o in overrides)}
    name, roles = typed.get("data", ""), {role: typed.get(f"data.{role}", "") for role in _ROLES}
    if "experiment" in typed or not registry.is_claimed("data", name) or roles["label"] or roles["targets"]:
        return []
    required = registry.schema("data", name).unlabeled if roles["user"] and roles["item"] else {}
    return [f"{group}={name}" for group, name in required.items() if group not in typed]


def listed(value: Any) -> Any:
    """Tuples as lists, at any depth: what a config holds."""
    return [listed(v) for v in value] if isinstance(value, tuple | list) else value


def binding_overrides(config: DictConfig, overrides: Sequence[str]) -> list[str]:
    """Overrides for the plugins that the protocol's `binding` names, where a model's `defaults` chose others.

    What is typed or stands in an experiment file stays.
    """
    chosen = config.hydra.runtime.choices
    name = OmegaConf.select(config, "protocol.name")
    if not isinstance(name, str) or chosen.get("experiment") is not None:
        return []
    required = registry.schema("protocol", name).binding
    model = OmegaConf.select(config, "model.name")
    none = groups_without("model", registry.schema("model", model).defaults) if isinstance(model, str) else ()
    typed = [o.lstrip("+~") for o in overrides]
    return [
        f"{group}={plugin}"
        for group, plugin in required.items()
        if group not in none and chosen.get(group) != plugin and not any(re.match(rf"{group}[=.]", o) for o in typed)
    ]
