"""Environment variables in configs: `${oc.env:NAME}`, `${env:NAME,default}` and `${secret:NAME}`.

A person may read any variable by typing its name on the command line. A config file, which may be somebody else's,
reads the two folders of fmlab and no other variable: one with the name of a secret reads `***`, the others are refused.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf

from fmlab.config.folders import CACHE, DATA, cache_folder, expanded
from fmlab.errors import FmlabError
from fmlab.terminal.redaction import HIDDEN, names_secret, remember, remember_environment

OPEN = (DATA, CACHE)  # that every config may read
_READ = re.compile(r"\$\{\s*(?:oc\.env|env)\s*:\s*['\"]?([^\s,}'\"$]+)")
_VAULT = "FMLAB_SECRET_"
log = logging.getLogger("fmlab")


def named(overrides: Sequence[str]) -> frozenset[str]:
    """Names of the variables that overrides read by their names alone."""
    return frozenset(name for line in overrides for name in _READ.findall(line))


def install_resolvers(environment: Mapping[str, str], typed: Sequence[str], *, hide: bool) -> None:
    """Let configs of this process read `environment`; `typed`: the command line. With `hide`, secrets read `***`."""
    allowed, told = named(typed), set[str]()
    remember_environment(environment)

    def read(name: Any, *default: Any) -> Any:
        """Raises FmlabError for a variable that is not set, or not for a config file to read."""
        name = str(name)
        if name not in allowed and name not in OPEN:
            if not names_secret(name):
                raise FmlabError(
                    f"an environment variable is read where its name is typed on the command line; a config file may "
                    f"read {' and '.join(OPEN)}, got {name}: type the option with ${{oc.env:{name}}}"
                )
            if name not in told:
                told.add(name)
                log.warning(f"a config file reads the secret {name}: it gets {HIDDEN}; type the option to give it")
            return HIDDEN
        there = name in environment and (name not in OPEN or bool(environment[name]))  # FMLAB_CACHE= is none
        if not there and not default:
            raise FmlabError(f"environment variable {name} is not set")
        value = environment[name] if there else default[0]
        if there and names_secret(name):
            remember(environment[name])
            return HIDDEN if hide else value
        if isinstance(value, str):
            return cache_folder(value) if name == CACHE else expanded(value, name)
        return value

    def from_vault(name: Any) -> str:
        name = str(name)
        if not name.startswith(_VAULT):
            raise FmlabError(f"a reference to a secret must begin with {_VAULT}, got {name}")
        if hide:
            return HIDDEN
        if name not in environment:
            raise FmlabError(f"the secret {name} is not set")
        return environment[name]

    def oc_env(name: Any, *default: Any) -> Any:
        """As OmegaConf's: a default that is no text becomes one."""
        if name in environment or not default:
            return read(name)
        return read(name, None if default[0] is None else str(default[0]))

    OmegaConf.register_new_resolver("env", read, replace=True)
    OmegaConf.register_new_resolver("oc.env", oc_env, replace=True)
    OmegaConf.register_new_resolver("secret", from_vault, replace=True)
