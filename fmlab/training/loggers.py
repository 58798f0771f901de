"""Where curves go: a CSV file in the run folder, Weights & Biases, and installed loggers, the plugins of the kind
`logger`. A logger that fails never stops a run."""

import logging
import os
from collections.abc import Mapping, Sequence
from configparser import ConfigParser
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pytorch_lightning.loggers import Logger, WandbLogger

from fmlab.config.validation import logger_signature, members
from fmlab.errors import FmlabError
from fmlab.plugin import registry
from fmlab.terminal.redaction import redacted
from fmlab.training.distributed import is_first_process

log = logging.getLogger("fmlab")
_SERVER = "https://api.wandb.ai"
_HARMLESS = ("entity", "project", "mode", "disabled")  # keys that `wandb init`, `wandb offline` and such write


def build(options: Mapping[str, Any], config: Mapping[str, Any], folder: Path) -> list[Logger]:
    """The loggers of a run; raises FmlabError for an unknown one. One that cannot begin is left out with a warning."""
    several = members(options)
    found = []
    for name, given in (several or {str(options["name"]): {k: v for k, v in options.items() if k != "name"}}).items():
        signature = logger_signature(name)
        full = registry.check_options(f"logger {name}", signature, given, name)
        made = _build(name, full, config, folder)
        found += [] if made is None else [made]
    return found


def _build(name: str, options: Mapping[str, Any], config: Mapping[str, Any], folder: Path) -> Logger | None:
    if name in ("none", "csv"):  # metrics.csv is written beside the checkpoints, see `fmlab.training.curves`
        return None
    if name == "wandb":
        return _wandb(redacted(options), redacted(config), folder)
    if not is_first_process():
        return None
    try:
        made = registry.build("logger", {"name": name, **options}, redacted(config), folder, gives=Logger)
        made.log_hyperparams(redacted(config))
    except Exception as error:
        log.warning(f"{name} is left out of this run: {error!s:.300}")
        return None
    return FailSafeLogger(name, made)


def _wandb(options: Mapping[str, Any], config: Mapping[str, Any], folder: Path) -> Logger | None:
    if not is_first_process():
        return None
    try:
        import wandb

        if options["mode"] not in ("offline", "disabled"):
            _refuse_foreign_server()
        mode = _mode(options["mode"])
        run = wandb.init(
            project=options["project"],
            group=options["group"] or f"{config['data']['name']}-{config['protocol']['name']}",
            name=f"{config['model']['name']}-{config['seed']}",
            tags=[str(t) for t in (*config["tags"], config["model"]["name"], config["data"]["name"])],
            config=dict(config),
            dir=str(folder),
            mode=mode,
            settings=_settings(),
            reinit="finish_previous",
        )
        log.info(f"wandb: {mode}, {run.url or run.dir}")
        return FailSafeWandbLogger(experiment=run, artifacts=folder if options["artifacts"] else None)
    except Exception as error:
        log.warning(f"wandb is left out of this run: {error!s:.300}")
        return None


def _refuse_foreign_server() -> None:
    """wandb also reads `wandb/settings` of the working folder, which may be somebody else's.

    What it says must not decide who receives the user's key. Raises FmlabError.
    """
    import wandb

    settings = wandb.setup().settings
    own, place = _read_settings(settings.settings_system), settings.settings_workspace
    found = {k: v for k, v in _read_settings(place).items() if k not in _HARMLESS and own.get(k) != v}
    if found.get("base_url", "").rstrip("/") in (_SERVER, os.environ.get("WANDB_BASE_URL", "").rstrip("/")):
        found.pop("base_url", None)
    if found:
        raise FmlabError(
            f"{place} sets {', '.join(sorted(found))}, and a file of the working folder does not say where a key goes: "
            "set WANDB_BASE_URL, or write it to your own settings of wandb"
        )


def _read_settings(path: str | None) -> dict[str, str]:
    parser = ConfigParser(interpolation=None)
    parser.read(path or (), encoding="utf-8")
    return dict(parser["default"]) if parser.has_section("default") else {}


@cache
def _mode(wanted: str) -> Any:
    """`auto` is what WANDB_MODE says, else online where a login is found.

    Asked once a process: where the server cannot be reached, wandb tries for long before it says so.
    """
    if wanted != "auto":
        return wanted
    import wandb

    try:
        said = str(wandb.setup().settings.mode)
        if said != "online":
            return said
        return "online" if wandb.Api(api_key=None).api_key else "offline"
    except Exception:
        return "offline"


def _settings() -> Any:
    """Program, host and git remote are recorded by fmlab itself, redacted; wandb would record argv as it is."""
    import wandb

    return wandb.Settings(save_code=False, disable_git=True, x_disable_meta=True, silent=True, console="off")


Table = tuple[Sequence[str], Sequence[Sequence[str]]]


def send_report(
    tables: Mapping[str, Table],
    project: str,
    folder: Path,
    *,
    files: Sequence[Path] = (),
    metrics: Mapping[str, Sequence[str]] = MappingProxyType({}),
    options: Sequence[str] = (),
    mode: str = "auto",
) -> None:
    """Leaderboards as tables of one W&B run of the group `reports`; a failure is one warning.

    `files`, such as the page with the plots, go along as an artifact. Online, the workspace of
    `fmlab.training.wandb_workspace` with these `metrics` and `options` is made as well where its package is installed.
    """
    try:
        import wandb

        _refuse_foreign_server()
        run = wandb.init(
            project=project,
            group="reports",
            job_type="report",
            name="leaderboards",
            dir=str(folder),
            mode=_mode(mode),
            settings=_settings(),
            reinit="finish_previous",
        )
        for title, (head, rows) in tables.items():
            run.log({title: wandb.Table(columns=_distinct(head), data=[list(r) for r in rows])})
        if files:
            _send_files(run, "report", "report", files)
        log.info(f"wandb: {run.url or run.dir}")
        place = None if run.offline else (run.project, run.entity)
        run.finish()
        if place is not None:
            _save_dashboard(*place, metrics, options)
    except Exception as error:
        log.warning(f"wandb has no leaderboards: {error!s:.300}")


def _send_files(run: Any, name: str, kind: str, files: Sequence[Path]) -> None:
    import wandb

    artifact = wandb.Artifact(name, kind)
    for path in files:
        artifact.add_file(str(path))
    run.log_artifact(artifact)


def _save_dashboard(project: str, entity: str, metrics: Mapping[str, Sequence[str]], options: Sequence[str]) -> None:
    from fmlab.training.wandb_workspace import workspace

    try:
        log.info(f"wandb: {workspace(project, entity, metrics, options).save().url}")
    except ImportError:
        log.info('wandb: a dashboard needs the package wandb-workspaces: pip install "fmlab[sweep]"')
    except Exception as error:
        log.warning(f"wandb has no dashboard: {error!s:.300}")


def _distinct(head: Sequence[str]) -> list[str | int]:
    """Column names of a table, which must differ."""
    return [name if name not in head[:n] else f"{name} ({n})" for n, name in enumerate(head)]


class FailSafeWandbLogger(WandbLogger):
    """One warning instead of an exception when Weights & Biases fails; training goes on."""

    failed = False

    def __init__(self, *, experiment: Any, artifacts: Path | None) -> None:
        """`artifacts`: the run folder whose best checkpoint, config and curves go along at the end; None keeps them."""
        super().__init__(experiment=experiment)
        self.artifacts = artifacts

    def _try(self, call: Any, *arguments: Any, **named: Any) -> None:
        if self.failed:
            return
        try:
            call(*arguments, **named)
        except Exception as error:
            self.failed = True
            log.warning(f"wandb stopped logging this run: {error!s:.300}")

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log, or warn once."""
        self._try(super().log_metrics, metrics, step)

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """The config was given at the start of the run."""

    def finalize(self, status: str) -> None:
        """Summaries are closed by `close`, after the test."""

    def close(self, summary: Mapping[str, float], *, failed: bool) -> None:
        """Write the final figures and finish the run."""

        def finish() -> None:
            self.experiment.summary.update(dict(summary))
            if self.artifacts is not None and not failed:
                names = ("checkpoints/best.ckpt", "serving.bin", "config.yaml", "metrics.csv")
                files = [path for name in names if (path := self.artifacts / name).is_file()]
                _send_files(self.experiment, f"{self.experiment.name}-{self.experiment.id}", "model", files)
            self.experiment.finish(exit_code=int(failed))

        self._try(finish)


class FailSafeLogger(Logger):
    """A logger of Lightning: one warning instead of an exception when it fails; training goes on."""

    def __init__(self, title: str, inner: Logger) -> None:
        """`title`: the name by which it was asked for."""
        super().__init__()
        self.title, self.inner, self.failed, self.steps = title, inner, False, 0

    @property
    def name(self) -> str | None:
        """What Lightning calls it."""
        return self.title

    @property
    def version(self) -> int | str | None:
        """None: runs are told apart by their folders."""
        return None

    def _try(self, call: Any, *arguments: Any, **named: Any) -> None:
        if self.failed:
            return
        try:
            call(*arguments, **named)
        except Exception as error:
            self.failed = True
            log.warning(f"{self.title} stopped logging this run: {error!s:.300}")

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log, or warn once."""
        self.steps = max(self.steps, step or 0)
        self._try(self.inner.log_metrics, dict(metrics), step)

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """The config was given at the start of the run."""

    def save(self) -> None:
        """Write what is buffered, or warn once."""
        self._try(self.inner.save)

    def finalize(self, status: str) -> None:
        """Nothing: `close` finishes the run, after the test."""

    def close(self, summary: Mapping[str, float], *, failed: bool) -> None:
        """Log the final figures and finish the run."""
        if summary:
            self._try(self.inner.log_metrics, dict(summary), self.steps)
        self._try(self.inner.finalize, "failed" if failed else "success")


def close(loggers: list[Logger], summary: Mapping[str, float], *, failed: bool) -> None:
    """Finish what needs finishing, so that several runs can follow each other in one process."""
    for logger in loggers:
        if isinstance(logger, FailSafeWandbLogger | FailSafeLogger):
            logger.close(summary, failed=failed)
