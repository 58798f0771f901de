"""The options of a run and its plugins, as text: the options in `fmlab --help` and in `fmlab plugins show`."""

from collections.abc import Mapping
from typing import Any

from fmlab.config import schema as settings
from fmlab.plugin import registry
from fmlab.plugin.signature import Signature


def option_lines(signature: Signature, values: Mapping[str, Any] | None = None, prefix: str = "") -> list[str]:
    """One line for each option: name, value (its default, if none is given), type, description."""
    known = {o.name: "required" if o.required else o.default for o in signature.options} | dict(values or {})
    rows = [(f"{prefix}{o.name}", written(known[o.name]), str(o), o.description) for o in signature.options]
    if not rows:
        return ["(no options)"]
    wide = [max(len(row[i]) for row in rows) for i in (0, 1)]
    return [f"{n:<{wide[0]}}  {v:<{wide[1]}}  {kind}{about and f'; {about}'}" for n, v, kind, about in rows]


def written(value: Any) -> str:
    """As it is written on the command line."""
    if isinstance(value, tuple | list):
        return f"[{','.join(written(v) for v in value)}]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def help_on(config: Mapping[str, Any]) -> str:
    """Options of a run, and of the plugins that a composed config selects, with their values in it."""
    parts = [("a run", settings.signature_of(settings.Run), config, "")]
    for kind in ("model", "data", "protocol", "loss", "sampler", "optimizer", "scheduler", "table", "search"):
        if kind not in config:
            continue
        signature = registry.schema(kind, str(config[kind]["name"]))
        title = f"{kind}={config[kind]['name']}"
        parts.append((f"{title}: {signature.summary}" if signature.summary else title, signature, config[kind], kind))
    parts.append(("trainer", settings.signature_of(settings.Trainer), config["trainer"], "trainer"))
    blocks = []
    for title, signature, values, prefix in parts:
        lines = option_lines(signature, values, f"{prefix}." if prefix else "")
        blocks.append("\n".join([title, *(f"  {line}" for line in lines)]))
    return "\n\n".join(blocks)
