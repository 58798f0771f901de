"""From a composed multirun to a running sweep: what was typed, what the file says, how many workers, which folder."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from fmlab.errors import FmlabError
from fmlab.sweep.check import check_points
from fmlab.sweep.coordinator import Coordinator
from fmlab.sweep.definition import Sweep, read
from fmlab.sweep.job import Job
from fmlab.sweep.space import override
from fmlab.sweep.storage import locate

_CORES_PER_WORKER = 2


def conduct(config: DictConfig, context: HydraContext, arguments: Sequence[str]) -> None:
    """Run the sweep in `config.hydra.sweeper`; raises FmlabError, SweepFailed when trials failed."""
    raw = cast(dict[str, Any], OmegaConf.to_container(config.hydra.sweeper, resolve=True))
    raw = {str(k): v for k, v in raw.items() if k != "_target_"}
    name = raw.pop("name", None)
    if not name:
        raise FmlabError("hydra/sweeper=fmlab needs a sweep: sweep=<name>")
    typed = typed_overrides(arguments)
    command = {key: line.partition("=")[2] for key, line in typed.items()}
    sweep = read(name, raw, command)
    folder = Path(sweep.settings.folder or Path(config.hydra.sweep.dir).parent / sweep.study).absolute()
    workers, threads = share_cores(sweep)
    job = Job(
        name=name,
        raw=raw,
        command=command,
        overrides=lasting_overrides(sweep, list(typed.values()), threads),
        storage=locate(sweep.settings.storage, folder),
        folder=str(folder),
        config_name=str(config.hydra.job.config_name),
        search_path=[(s.provider, s.path) for s in context.config_loader.get_search_path().get_path()],
        threads=threads,
    )
    loader = context.config_loader
    check_points(sweep, job.overrides, lambda o: loader.load_configuration(job.config_name, o, RunMode.RUN))
    Coordinator(sweep, job, workers=workers).run()


def typed_overrides(arguments: Sequence[str]) -> dict[str, str]:
    """The user's overrides by key, `sweep=` left out; raises FmlabError for one that gives several values."""
    found = {}
    for line in OverridesParser.create().parse_overrides(list(arguments)):
        key = line.get_key_element().lstrip("+~")
        if line.is_sweep_override():
            raise FmlabError(f"a sweep takes its space from its file; {key} must have one value, got {line.input_line}")
        if key != "sweep":
            found[key] = str(line.input_line)
    return found


def lasting_overrides(sweep: Sweep, typed: Sequence[str], threads: int) -> list[str]:
    """Overrides of every trial, the user's last."""
    fixed = [override(k, v) for k, v in sweep.given.items() if k not in sweep.command]
    own = [] if "trainer.threads" in sweep.given else [f"trainer.threads={threads}"]
    return [*fixed, *own, *typed]


def share_cores(sweep: Sweep) -> tuple[int, int]:
    """Number of workers, and CPU threads of each."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = sweep.settings.workers or max(1, cores // _CORES_PER_WORKER)
    return workers, sweep.settings.threads or max(1, cores // workers)
