"""`automl`: a search over models from Python, the same as `fmlab -m sweep=automl` on the command line."""

import os
import subprocess
import sys
import time as clock
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from fmlab.config.composition import compose
from fmlab.config.overrides import override
from fmlab.config.plugin_defaults import unlabeled_overrides
from fmlab.errors import FmlabError
from fmlab.run.locate import locate
from fmlab.workflow.fit import Choice
from fmlab.workflow.fitted_run import FittedRun
from fmlab.workflow.frames import is_frame, refuse_index, write_frame
from fmlab.workflow.options import data_of, merged, overrides_of


def automl(
    data: Any,
    *,
    user: str = "",
    item: str = "",
    label: str | None = None,
    time: str = "",
    protocol: Choice | None = None,
    time_limit: str | float | None = None,
    preset: str | None = None,
    max_parameters: int | None = None,
    exclude_models: Sequence[str] | None = None,
    refit_on: Literal["train", "train+validation"] | None = None,
    max_latency: float | None = None,
    memory_limit: str | int | None = None,
    folder: str | Path | None = None,
    overrides: Sequence[str] = (),
    **options: Any,
) -> FittedRun:
    """Search for the best model and its options within a time, and give the ensemble of what was found.

    The search runs in processes of its own, which Ctrl-C stops in order; the same call with the same `folder` goes on
    where it stopped. The folder is that of a sweep: `fmlab report` shows every trial.

    Args:
        data: a frame (pandas, polars, Arrow), a file (CSV, TSV, JSON, Parquet), the name of a data set, or a mapping
            with `name` and options.
        user: column of users, of a frame or file.
        item: column of items.
        label: column of labels; without one all rows are positives, and items are ranked.
        time: column of times.
        protocol: a name, or a mapping; None is what the data set wants.
        time_limit: seconds, or text such as "20m", that the search and the ensemble take; None is that of the preset.
        preset: fast, balanced or best, see `sweeps/automl.yaml`.
        max_parameters: parameters that a model may have; tables that store less are searched, and there is no ensemble.
        exclude_models: names of models that take no part.
        refit_on: "train" leaves out that the result is trained anew on training and validation rows, the default.
        max_latency: microseconds that a model may take to score a row on one core; there is no ensemble then.
        memory_limit: memory of all workers together, such as "8GB"; a trial that takes more than its share ends.
        folder: of the sweep; None is a new one below `runs/sweeps/automl`.
        overrides: options as the command line has them; they win.
        **options: options of all trials, as those of `fmlab.fit`.

    Raises:
        FmlabError: an option is wrong, the data break a rule, or no trial was finished.
    """
    environment = dict(os.environ)
    roles = {"user": user, "item": item, "label": label or "", "time": time}
    frame_file = None
    if is_frame(data):
        refuse_index(data, roles)
        config = compose(overrides_of({k: v for k, v in options.items() if k in ("cache_dir", "cache")}), environment)
        frame_file = write_frame(data, Path(str(config.cache_dir)))
    given: dict[str, Any] = {"data": data_of(data, roles, frame_file)}
    chosen = {k: v for k, v in (("protocol", protocol), ("refit_on", refit_on)) if v is not None}
    place = Path(folder).expanduser() if folder is not None else _new_folder()
    limits = {
        "time_limit": time_limit,
        "preset": preset,
        "exclude_models": None if exclude_models is None else list(exclude_models),
        "folder": str(place),
    }
    limits |= {"max_parameters": max_parameters, "max_latency": max_latency, "memory_limit": memory_limit}
    typed = [*overrides_of(merged(given, chosen, options)), *overrides]
    typed = [*unlabeled_overrides(typed), *typed]
    _search([*typed, *(override(k, v) for k, v in limits.items() if v is not None)])
    return FittedRun(locate(place).folder)


def _new_folder() -> Path:
    return Path("runs") / "sweeps" / "automl" / clock.strftime("%Y-%m-%d_%H-%M-%S")


def _search(arguments: Sequence[str]) -> None:
    """`fmlab -m sweep=automl` with these overrides; raises FmlabError with its last line where it failed."""
    command = [sys.executable, "-m", "fmlab", "-m", "sweep=automl", *arguments]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    last = ""
    try:
        assert process.stderr is not None
        for line in process.stderr:
            sys.stderr.write(line)
            last = line.strip() or last
        status = process.wait()
    except BaseException:
        process.send_signal(2)  # as Ctrl-C does: workers are stopped in order
        process.wait()
        raise
    if status:
        raise FmlabError(f"the search ended with status {status}: {last.removeprefix('error: ')}")
