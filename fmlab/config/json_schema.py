"""A JSON schema of configs, for editors and other programs: the same types, ranges and descriptions as everywhere."""

import types
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from fmlab.config.schema import LOGGERS, Run, Trainer, signature_of
from fmlab.plugin import inventory
from fmlab.plugin.option import Option, Range

GROUPS = ("data", "protocol", "model", "loss", "sampler", "optimizer", "scheduler", "table", "search")
_PLAIN = {int: "integer", float: "number", bool: "boolean", str: "string", types.NoneType: "null", None: "null"}
_REFERENCE = {"type": "string", "pattern": r"^\$\{.*\}$"}  # of OmegaConf, which may stand for any value


def json_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of `config.yaml` of a run and of files in `conf/experiment`, which may leave keys out.

    Plugins that are installed now take part; nothing is imported for it.
    """
    properties: dict[str, Any] = _properties(signature_of(Run).options)
    properties |= {kind: {"anyOf": list(_plugins(kind))} for kind in GROUPS}
    properties["trainer"] = _object(_properties(signature_of(Trainer).options))
    own = (_named(name, signature_of(kind).options, "") for name, kind in LOGGERS.items())
    properties["logger"] = {"anyOf": [*own, *_plugins("logger")]}
    properties |= {"defaults": {"type": "array"}, "hydra": {"type": "object"}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of fmlab",
        **_object(properties),
    }


def _plugins(kind: str) -> Iterable[dict[str, Any]]:
    for plugin in inventory.describe(kind):
        if not plugin.error:
            yield _named(plugin.name, plugin.signature.options, plugin.signature.summary, roles=kind == "optimizer")


def _named(name: str, options: Iterable[Option], summary: str, *, roles: bool = False) -> dict[str, Any]:
    properties: dict[str, Any] = {"name": {"const": name}, **_properties(options)}
    if roles:  # options of parameters by their role, see `fmlab.contracts.HasRoles`
        properties["roles"] = {"type": "object"}
    return _object(properties) | ({"description": summary} if summary else {})


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), "additionalProperties": False}


def _properties(options: Iterable[Option]) -> dict[str, Any]:
    found = {}
    for option in options:
        described = {"description": option.description} if option.description else {}
        default = {} if option.required else {"default": _plain(option.default)}
        found[option.name] = {"anyOf": [_of(option.type), _REFERENCE], **described, **default}
    return found


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value


def _of(kind: Any) -> dict[str, Any]:
    """The schema of an annotation, see `fmlab.plugin.option`."""
    origin, arms = get_origin(kind), get_args(kind)
    if origin is Annotated:
        bounds: dict[str, Any] = {}
        for about in arms[1:]:
            bounds |= _bounds(about) if isinstance(about, Range) else {}
        inner = _of(arms[0])
        return {**inner, **bounds} if "anyOf" not in inner else {"anyOf": [a | bounds for a in inner["anyOf"]]}
    if origin is Literal:
        return {"enum": list(arms)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_of(a) for a in arms]}
    if origin is tuple:
        if len(arms) == 2 and arms[1] is ...:
            return {"type": "array", "items": {"anyOf": [_of(arms[0]), _REFERENCE]}}
        return {"type": "array", "prefixItems": [_of(a) for a in arms], "minItems": len(arms), "maxItems": len(arms)}
    return {"type": _PLAIN[kind]}


def _bounds(limits: Range) -> dict[str, float]:
    low = {"exclusiveMinimum" if limits.open_low else "minimum": limits.low} if limits.low is not None else {}
    high = {"exclusiveMaximum" if limits.open_high else "maximum": limits.high} if limits.high is not None else {}
    return {**low, **high}
