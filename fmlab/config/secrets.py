"""Secrets given in a config are kept in the environment of the process; the config holds references to them.

So nothing that Hydra prints or saves (composed configs, lists of overrides, sweep files) has a secret in it, and
processes started from here still find it.
"""

import re
from collections.abc import MutableMapping
from itertools import count

from omegaconf import DictConfig, ListConfig, OmegaConf

from fmlab.terminal.redaction import holds_password, looks_secret, passwords, remember

_ELEMENT = re.compile(
    r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|\$\{[^}]*\}|[\w.-]+:(?!//)|[^\s,\[\]{}'"]+"""
)  # of a list or dict


def veil_override(override: str, vault: MutableMapping[str, str]) -> str:
    """`data.token=abc` -> `data.token=${secret:FMLAB_SECRET_DATA_TOKEN}`; other overrides as they are."""
    found = re.fullmatch(r"(\+*[\w.@/-]+)=(.+)", override, re.DOTALL)
    if not found or not _is_secret(found[1].rpartition(".")[2], found[2]):
        return override
    key, value = found[1], found[2]
    if value[0] not in "[{":
        return f"{key}={_keep(key.lstrip('+'), _unquoted(value), vault)}"
    number = count()

    def kept(one: re.Match[str]) -> str:
        if one[0].endswith(":") or not _is_secret(key.rpartition(".")[2], _unquoted(one[0])):
            return one[0]
        return _keep(f"{key.lstrip('+')}.{next(number)}", _unquoted(one[0]), vault)

    return f"{key}={_ELEMENT.sub(kept, value)}"


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1].replace(f"\\{value[0]}", value[0])
    return value


def veil_config(node: DictConfig | ListConfig, vault: MutableMapping[str, str], prefix: str = "") -> None:
    """Replace secrets of a composed config by references, in place."""
    keys = list(node) if isinstance(node, DictConfig) else range(len(node))
    for key in keys:
        if OmegaConf.is_interpolation(node, key) or OmegaConf.is_missing(node, key):
            continue
        value, name = node[key], f"{prefix}.{key}".lstrip(".")
        if isinstance(value, DictConfig | ListConfig):
            veil_config(value, vault, name)
        elif isinstance(value, str) and _is_secret(name.rpartition(".")[2], value):
            node[key] = _keep(name, value, vault)


def _is_secret(name: str, value: str) -> bool:
    given = value not in ("", "null", "???") and not value.startswith(("${", "$\\{"))  # a sweeper escapes references
    return given and (looks_secret(name) or holds_password(value))


def _keep(key: str, value: str, vault: MutableMapping[str, str]) -> str:
    name = f"FMLAB_SECRET_{re.sub(r'[^A-Za-z0-9]+', '_', key).upper()}"
    vault[name] = value
    if looks_secret(key.rstrip(".0123456789").rpartition(".")[2]):
        remember(value)
    for password in passwords(value):
        remember(password, alone=False)
    return f"${{secret:{name}}}"
