"""Loggers of a run, plugins of the kind `logger`: one that fails never stops a run."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger

from fmlab.config.validation import logger_signature, members
from fmlab.plugin import option_values, registry
from fmlab.terminal.redaction import redacted
from fmlab.training.distributed import is_first_process

log = logging.getLogger("fmlab")


def build(options: Mapping[str, Any], config: Mapping[str, Any], folder: Path) -> list[Logger]:
    """The loggers of a run; raises FmlabError for an unknown one. One that cannot begin is left out with a warning."""
    several = members(options)
    found = []
    for name, given in (several or {str(options["name"]): {k: v for k, v in options.items() if k != "name"}}).items():
        signature = logger_signature(name)
        full = option_values.check_options(f"logger {name}", signature, given, name)
        made = _build(name, full, config, folder)
        found += [] if made is None else [made]
    return found


def _build(name: str, options: Mapping[str, Any], config: Mapping[str, Any], folder: Path) -> Logger | None:
    if name in ("none", "csv"):  # metrics.csv is written beside the checkpoints, see `fmlab.training.curves`
        return None
    if not is_first_process():
        return None
    try:
        made = registry.build("logger", {"name": name, **options}, redacted(config), folder, gives=Logger)
        made.log_hyperparams(redacted(config))
    except Exception as error:
        log.warning(f"{name} is left out of this run: {error!s:.300}")
        return None
    return FailSafeLogger(name, made)


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
        """Log the final figures and finish the run, by the logger's own `finish(summary, failed=...)` if it has one."""
        if hasattr(self.inner, "finish"):
            self._try(self.inner.finish, summary, failed=failed)
            return
        if summary:
            self._try(self.inner.log_metrics, dict(summary), self.steps)
        self._try(self.inner.finalize, "failed" if failed else "success")


def close(loggers: list[Logger], summary: Mapping[str, float], *, failed: bool) -> None:
    """Finish all loggers, so that several runs can follow each other in one process."""
    for logger in loggers:
        if isinstance(logger, FailSafeLogger):
            logger.close(summary, failed=failed)
