"""What a user chose and a run would not use."""

from collections.abc import Mapping
from typing import Any

import yaml

from fmlab.config.sources import beside
from fmlab.errors import FmlabError
from fmlab.plugin import option_values, registry


def refuse_unused_sampler(config: Mapping[str, Any]) -> None:
    """Raise FmlabError for a sampler that the user chose, in the config of a run whose training draws no negatives."""
    shipped = yaml.safe_load((beside("conf") / "config.yaml").read_text("utf-8"))
    usual = [entry["sampler"] for entry in shipped["defaults"] if isinstance(entry, Mapping) and "sampler" in entry]
    partners = (registry.schema(kind, config[kind]["name"]).defaults for kind in ("protocol", "data", "model"))
    name = config["sampler"]["name"]
    if name not in [*usual, *(defaults.get("sampler") for defaults in partners)]:
        raise FmlabError(
            f"a sampler draws negatives for training, and protocol={config['protocol']['name']} with its options draws "
            f"none; got sampler={name}: leave it out"
        )


def refuse_unused_rule(config: Mapping[str, Any]) -> None:
    """Raise FmlabError for a rule of positives that the data are given and that the protocol does not ask for."""
    signature = registry.schema("protocol", config["protocol"]["name"])
    values = {o.name: config["protocol"].get(o.name, o.default) for o in signature.options}
    for name in ("min_label", "k_core"):
        if not config["data"].get(name):
            continue
        option = next((o for o in signature.options if o.name == name), None)
        why = option_values.unused(option, signature, values) if option else ""
        if option is None or why:
            got = f"protocol={config['protocol']['name']}" + (f" with {why}" if why else "")
            having = [p for p in registry.names("protocol") if _has(p, name)]
            rule = f"data.{name} is of protocols that have the option {name}"
            raise FmlabError(f"{rule}, got {got}: leave it out, or choose one of {', '.join(having)}")


def _has(protocol: str, name: str) -> bool:
    """Whether a protocol that can be read has an option of that name."""
    try:
        return any(o.name == name for o in registry.schema("protocol", protocol).options)
    except FmlabError:  # a broken plugin of another package
        return False
