"""What a composed config must hold before anything is built or written."""

from collections.abc import Iterator, Mapping
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from fmlab.config import schema as settings
from fmlab.config.folders import cache_folder, expanded
from fmlab.config.hydra_internals import is_part_of_hydra
from fmlab.config.messages import explain
from fmlab.config.plugin_defaults import groups_without, untrained_message
from fmlab.config.suggestions import meant, nearest, paths_of
from fmlab.config.unused import refuse_unused_rule
from fmlab.errors import FmlabError, choices
from fmlab.plugin import option_values, registry
from fmlab.plugin.signature import Signature

KINDS = ("data", "protocol", "model", "loss", "sampler", "optimizer", "scheduler", "table", "search")
GROUPS = (*KINDS, "trainer", "logger")
_MISSING = "???"
_HANDLERS = {"logging.StreamHandler", "logging.FileHandler", "logging.NullHandler"}
_STREAMS = {"ext://sys.stdout", "ext://sys.stderr"}


def verify(config: DictConfig, *, complete: bool) -> dict[str, Any]:
    """Check every option against its signature, and fill in what a preset left out; raises FmlabError.

    With `complete`, required options must be given. Returns the options as they were given, resolved.
    """
    resolved = _resolved(config)
    top = section("", resolved)[1]
    known = [*GROUPS, *(o.name for o in top.options)]
    for key in resolved:
        if key not in known:
            near = nearest(
                str(key), (*paths_of({k: v for k, v in resolved.items() if k in known}), "experiment", "sweep")
            )
            if key == "experiment":
                rule = "the file of an experiment begins with the line `# @package _global_`"
                raise FmlabError(f"{rule}, and with no byte order mark")
            raise FmlabError(f"{key} is not an option of a run; {meant(near)}choices: {', '.join(sorted(known))}")
    _write_values(config, "", top, {k: v for k, v in resolved.items() if k not in GROUPS}, "a run", complete=complete)
    none = _absent(resolved)
    for group in GROUPS:
        given = resolved.get(group)
        if group in none:
            if given is not None:
                raise FmlabError(untrained_message(str(resolved["model"]["name"]), group, f"{group}={_named(given)}"))
            continue
        if not isinstance(given, Mapping):
            raise FmlabError(f"{group} must be a group of options: {group}=<name>, got {given!r}")
        title, signature = section(group, given)
        options = {k: v for k, v in given.items() if k != "name" or group == "trainer"}
        if group == "optimizer":
            _check_roles(options.pop("roles", None), given)
        _write_values(config[group], group, signature, options, title, complete=complete)
    if complete:
        refuse_unused_rule(resolved)
        _refuse_ddp_in_multirun(config)
        sweep = config.hydra.runtime.choices.get("sweep")
        if sweep is not None and config.hydra.mode == RunMode.RUN:
            raise FmlabError(f"a sweep is started with -m, got sweep={sweep} without it")
    return resolved


def _check_roles(roles: Any, given: Mapping[Any, Any]) -> None:
    """Raise FmlabError if `optimizer.roles` is not options of optimizers by role."""
    if not isinstance(roles, Mapping | None) or any(not isinstance(said, Mapping) for said in (roles or {}).values()):
        rule = "optimizer.roles must be options by role of parameters, as in optimizer.roles.embedding.lr=0.1"
        raise FmlabError(f"{rule}, got {roles!r}")
    for role, said in (roles or {}).items():
        title, signature = section("optimizer", said if "name" in said else given)
        known = {o.name: o for o in signature.options}
        required = {} if "name" in said else {k: v for k, v in given.items() if k in known}
        options = required | {k: v for k, v in said.items() if k != "name"}
        option_values.check_options(f"optimizer.roles.{role}", signature, options, title)


def _absent(resolved: Mapping[str, Any]) -> tuple[str, ...]:
    """The groups of which the model has none."""
    model = resolved.get("model")
    name = model.get("name") if isinstance(model, Mapping) else None
    return groups_without("model", registry.schema("model", name).defaults) if isinstance(name, str) else ()


def _named(given: Any) -> Any:
    return given.get("name") if isinstance(given, Mapping) else given


def _resolved(config: DictConfig) -> dict[str, Any]:
    """Built-in containers without Hydra's part, `${hydra:...}` resolved as it will be in the run."""
    before = HydraConfig.instance().cfg
    try:
        HydraConfig.instance().set_config(config)
        mine = OmegaConf.masked_copy(config, [str(k) for k in config if k != "hydra"])
        resolved = OmegaConf.to_container(mine, resolve=True)
    except OmegaConfBaseException as error:
        raise FmlabError(explain(error)) from error
    finally:
        HydraConfig.instance().cfg = before
        OmegaConf.set_readonly(config.hydra, None)
    assert isinstance(resolved, dict)
    return {str(k): v for k, v in resolved.items()}


def section(group: str, given: Mapping[Any, Any]) -> tuple[str, Signature]:
    """What messages call a group of options, and its signature; the top level has the name ""; raises FmlabError."""
    if not group:
        return "a run", settings.signature_of(settings.Run)
    if group == "trainer":
        return "the trainer", settings.signature_of(settings.Trainer)
    name = given.get("name")
    if group == "logger":
        for member in members(given):
            logger_signature(member)
        return f"logger {name}", logger_signature(name)
    if not isinstance(name, str):
        raise FmlabError(f"{group}.name must be the name of a plugin, got {name!r}")
    return f"{group} {name}", registry.schema(group, name)


def logger_signature(name: Any) -> Signature:
    """Options of a logger, of fmlab itself or installed; raises FmlabError for an unknown one."""
    if name in settings.LOGGERS:
        return settings.signature_of(settings.LOGGERS[str(name)])
    if not registry.is_claimed("logger", str(name)):
        known = choices(str(name), (*settings.LOGGERS, *registry.names("logger")))
        raise FmlabError(f"logger.name must be a logger, got {name!r}; {known}")
    return registry.schema("logger", str(name))


def members(given: Mapping[Any, Any]) -> dict[str, dict[str, str]]:
    """The loggers that the options of one mean, with the options of each as text; raises FmlabError."""
    if given.get("name") != "several":
        return {}
    names = [str(n) for n in given.get("names") or ()]
    found: dict[str, dict[str, str]] = {name: {} for name in names}
    if len(found) < len(names) or "several" in found:
        raise FmlabError(f"several loggers are different ones, got {', '.join(names)}")
    if "none" in found and len(found) > 1:
        raise FmlabError(f"logger=none is no logger and stands alone, got {', '.join(names)}")
    for text in given.get("options") or ():
        key, equals, value = str(text).partition("=")
        name, dot, option = key.partition(".")
        if not equals or not dot or name not in found:
            rule = "logger.options must be like wandb.project=mine, of a logger that is named"
            raise FmlabError(f"{rule}, got {text!r}; loggers: {', '.join(names)}")
        found[name][option] = value
    for name, options in found.items():
        option_values.check_options(f"logger {name}", logger_signature(name), options, name)
    return found


def _write_values(
    node: DictConfig, prefix: str, signature: Signature, given: Mapping[str, Any], title: str, *, complete: bool
) -> None:
    """Write converted values and defaults back, leaving interpolations as they are."""
    given = {k: v for k, v in given.items() if v != _MISSING}
    if not complete:
        left_out = {o.name for o in signature.options if o.required} - set(given)
        signature = Signature(tuple(o for o in signature.options if o.name not in left_out), signature.doc)
    values = option_values.check_options(prefix, signature, given, title)
    with open_dict(node):
        for key, value in values.items():
            default = _at_home(f"{prefix}.{key}".lstrip("."), list(value) if isinstance(value, tuple) else value)
            if key not in given or (_differs(given[key], default) and not OmegaConf.is_interpolation(node, key)):
                node[key] = default


def _at_home(key: str, value: Any) -> Any:
    """Paths such as `~/ratings.csv` with the home folder in them: no part of a run looks for a folder named `~`."""
    if isinstance(value, list):
        return [_at_home(key, v) for v in value]
    if not isinstance(value, str) or not value.startswith("~/"):
        return value
    return cache_folder(value) if key == "cache_dir" else expanded(value, key)


def _differs(a: Any, b: Any) -> bool:
    return type(a) is not type(b) or a != b


def _refuse_ddp_in_multirun(config: DictConfig) -> None:
    """Lightning's child processes re-run sys.argv: with -m in it, each would start the whole sweep again."""
    if config.hydra.mode != RunMode.MULTIRUN:
        return
    devices, strategy = config.trainer.devices, str(config.trainer.strategy)
    several = devices != 1 and not (isinstance(devices, ListConfig) and len(devices) == 1)
    if several or config.trainer.num_nodes > 1 or strategy.startswith(("ddp", "fsdp", "deepspeed")):
        raise FmlabError(
            f"jobs of a multirun share one process, which can use one device; got trainer.devices={devices}, "
            f"trainer.strategy={strategy}: start such runs one by one, without -m"
        )


def refuse_import_paths(hydra: DictConfig) -> None:
    """Nothing is built from an import path in a config, in Hydra's own part either; raises FmlabError."""
    for key, value in _leaves(OmegaConf.to_container(hydra, resolve=False), "hydra"):
        if key.startswith("hydra.callbacks.") or not _is_harmless(key, str(value)):
            raise FmlabError(f"{key}={value} is refused: a config builds nothing from an import path, only plugins")


def _is_harmless(key: str, value: str) -> bool:
    part, last = key.split(".")[1], key.rpartition(".")[2]
    if last == "_target_":
        return value.startswith("hydra_plugins.") or is_part_of_hydra(value)
    if part in ("job_logging", "hydra_logging"):
        if last == "class":
            return value in _HANDLERS
        if value.startswith(("ext:", "cfg:", "${")):  # logging imports what these name
            return value in _STREAMS or value.startswith("${hydra.runtime.output_dir}/")
    return last != "()"


def _leaves(tree: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _leaves(value, f"{prefix}.{key}")
    elif isinstance(tree, list):
        for value in tree:
            yield from _leaves(value, prefix)
    else:
        yield prefix, tree
