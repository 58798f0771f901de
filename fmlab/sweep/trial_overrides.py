"""Overrides that all trials of a sweep have."""

from collections.abc import Sequence

from fmlab.config.overrides import override
from fmlab.plugin import registry
from fmlab.sweep.spec import Sweep


def lasting_overrides(sweep: Sweep, typed: Sequence[str], threads: int) -> list[str]:
    """Overrides of every trial, the user's last."""
    fixed = [override(k, v) for k, v in sweep.given.items() if k not in sweep.command]
    own = [] if "trainer.threads" in sweep.given else [f"trainer.threads={threads}"]
    share = sweep.settings.train_fraction
    if share is not None and share < 1:  # each epoch other rows, as orders differ
        own.append(f"trainer.limit_train_batches={share}")
    logger = str(sweep.given.get("logger"))
    known = registry.schema("logger", logger).options if registry.is_claimed("logger", logger) else ()
    if any(o.name == "group" for o in known) and "logger.group" not in sweep.given:
        own.append(override("logger.group", sweep.study))
    return [*fixed, *own, *typed]
