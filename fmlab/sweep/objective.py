"""One run as a trial sees it: composed from overrides, trained in this process, or in its own if it spans several."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from fmlab.automl.scores import keep_scores
from fmlab.config import composition
from fmlab.config.hydra_internals import search_path_from
from fmlab.config.overrides import override
from fmlab.errors import FmlabError, StorageError
from fmlab.files import write_json
from fmlab.records.record import read_record
from fmlab.run.experiment import run
from fmlab.run.refit_run import refit_run
from fmlab.sweep.messages import COSTS, Job, Progress, TrialPruned, TrialTooLong, mark_folders, trial_folder
from fmlab.sweep.reporter import FewerEpochs, Reporter
from fmlab.sweep.worker_pool import interpreter
from fmlab.training.lightning_messages import quiet
from fmlab.untrusted.parsing import read_yaml

_POLL = 0.5  # seconds between looks at a run in its own process


class TrialObjective:
    """The objective of a sweep: `fmlab <overrides>`, with the data set kept open from run to run."""

    def __init__(self, job: Job, environment: MutableMapping[str, str]) -> None:
        """`environment`: what `${env:...}` in configs reads."""
        quiet()
        torch.set_num_threads(job.threads)
        typed = [f"{key}={value}" for key, value in job.command.items()]  # the rest was written in the sweep's file
        composition.install(environment, typed=typed)
        path = search_path_from(job.search_path) if job.search_path else composition.search_path()
        self._loader = composition.Loader(path, vault=environment, complete=True, typed=typed)
        self._config_name = job.config_name
        self.folder = Path(job.folder)
        self._scores = self.folder if job.keeps_scores else None

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The config of one run; raises FmlabError."""
        config = self._loader.load_configuration(self._config_name, list(overrides), RunMode.RUN)
        with open_dict(config):
            del config["hydra"]
        if config.trainer.progress == "auto":
            config.trainer.progress = False
        return config

    def __call__(self, overrides: Sequence[str], folder: Path, progress: Progress) -> Mapping[str, float]:
        """Train, validate, test; raises what the run raises, Pruned, or Lost."""
        config = self.compose(overrides)
        goes_on = None if progress.goes_on is None else str(progress.goes_on)
        if spans_processes(config):
            start = [] if goes_on is None else [override("ckpt_path", goes_on)]
            return _in_own_process([*overrides, *start], folder, progress)
        config.ckpt_path = goes_on or config.ckpt_path
        wanted = int(config.trainer.max_epochs)
        reporter = Reporter(progress)
        try:
            try:
                value = run(config, folder, callbacks=[reporter])
            except FewerEpochs as fewer:
                config.trainer.max_epochs = fewer.epochs
                progress.begin_again()
                reporter = Reporter(progress, measured=True)
                value = run(config, folder, callbacks=[reporter])
        finally:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()  # what a failed run held must not fail the next
        found = {**metric_values(folder), "": value}
        try:  # what is not trained by steps was not measured before
            progress.refuse_slower(found.get("microseconds_per_row", 0.0))
        except TrialPruned:
            mark_folders(folder, None, TrialPruned.status)
            raise
        more: dict[str, Any] = {} if reporter.cut is None else {"cut": reporter.cut}
        if config.trainer.max_epochs != wanted:
            more["epochs_wanted"] = wanted
        if reporter.rate_fell is not None:
            more["rate_fell"] = reporter.rate_fell
        if self._scores is not None and reporter.scores is not None:
            more["scores"] = keep_scores(self._scores, reporter.scores)
        if more:
            path = folder / "metrics.json"
            write_json(path, {**json.loads(path.read_text("utf-8")), **more})
        return found


class RefitClock(pl.Callback):
    """Ends a refit for which the time is over: half of it is no model of what was selected."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        """Raises TrialTooLong, or Lost once somebody else runs this trial."""
        self.on_round(0)

    def on_round(self, number: int) -> bool:
        """The same after each round of a model that trains itself; it goes on."""
        self.progress.check()
        if self.progress.deadline is not None and time.monotonic() > self.progress.deadline:
            raise TrialTooLong("the time is over")
        return True


class RefitObjective(TrialObjective):
    """The objective after a search: a trial of it anew on training and validation rows, `refit_of=<its number>`."""

    def __call__(self, overrides: Sequence[str], folder: Path, progress: Progress) -> Mapping[str, float]:
        """Train for as long as the trial was trained, and test; raises what the run raises, or Lost."""
        number = int(overrides[-1].partition("=")[2])
        trial = trial_folder(self.folder.parent, number)
        usual = cast(dict[str, Any], OmegaConf.to_container(self.compose(overrides[:-1]), resolve=True))
        try:
            config = read_yaml(trial / "config.yaml")
        except (OSError, ValueError) as error:
            raise StorageError(f"{trial / 'config.yaml'} cannot be read: {error}") from error
        if not isinstance(config, dict) or not isinstance(config.get("trainer"), dict):
            raise StorageError(f"{trial / 'config.yaml'} must hold the options of a run")
        options = {k: v for k, v in usual.items() if not isinstance(v, dict)}  # those that are newer than the trial
        config = {**options, **config, "trainer": {**usual["trainer"], **config["trainer"]}}
        refit_run(config, trial, folder, [RefitClock(progress)])
        found = metric_values(folder)
        return {**found, "": found[read_record(folder / "metrics.json")["monitor"]]}


def spans_processes(config: DictConfig) -> bool:
    """Whether Lightning would start further processes, which re-run the command line they were started by."""
    devices, strategy = config.trainer.devices, str(config.trainer.strategy)
    several = devices != 1 and not (OmegaConf.is_list(devices) and len(devices) == 1)
    return bool(several) or config.trainer.num_nodes > 1 or strategy.startswith(("ddp", "fsdp", "deepspeed"))


def metric_values(folder: Path) -> dict[str, float]:
    """Validation metrics of a finished run, and its parameters and seconds."""
    try:
        content = json.loads((folder / "metrics.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"{folder / 'metrics.json'} cannot be read: {error}") from error
    if content.get("status") != "complete":
        raise FmlabError(f"the run in {folder} is {content.get('status')}: {content.get('error', 'see its log')}")
    costs = {k: content[k] for k in COSTS if k in content}
    return {**costs, **content["validation"]}


def _in_own_process(overrides: Sequence[str], folder: Path, progress: Progress) -> Mapping[str, float]:
    """`python -m fmlab <overrides>`, stopped with the trial; curves are read from its metrics.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [*interpreter(), "-m", "fmlab", *overrides, f"hydra.run.dir='{folder}'"]
    with (folder / "process.log").open("ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        seen = 0
        while process.poll() is None:
            time.sleep(_POLL)
            progress.check()
            rows = _curve(folder / "metrics.csv", progress.metric)
            for step, value in rows[seen:]:
                progress.step(step, value)
            seen = len(rows)
    finally:
        _stop(process)
    if process.returncode:
        lines = (folder / "process.log").read_text("utf-8", errors="replace").strip().splitlines()
        raise FmlabError(f"the run ended with status {process.returncode}: {lines[-1] if lines else 'no output'}")
    found = metric_values(folder)
    content = json.loads((folder / "metrics.json").read_text("utf-8"))
    return {**found, "": found[content["monitor"]]}


def _curve(path: Path, metric: str | None) -> list[tuple[int, float]]:
    """(epoch, value) of a validation metric so far, finished lines only."""
    if metric is None or not path.is_file():
        return []
    lines = path.read_text("utf-8").split("\n")[:-1]
    if not lines or f"val/{metric}" not in (names := lines[0].split(",")):
        return []
    rows = [dict(zip(names, line.split(","), strict=False)) for line in lines[1:]]
    return [(int(r["epoch"]), float(r[f"val/{metric}"])) for r in rows if r.get(f"val/{metric}")]


def _stop(process: subprocess.Popen[bytes], patience: float = 10) -> None:
    """End a process and all it started."""
    for number in (signal.SIGINT, signal.SIGKILL):
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(patience)
