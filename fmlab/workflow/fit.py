"""`fit`: a run from Python, the same to the last bit as from the command line."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fmlab.config.composition import compose
from fmlab.errors import DataError, FmlabError
from fmlab.workflow.fitted_run import FittedRun
from fmlab.workflow.frames import is_frame, refuse_index, write_frame
from fmlab.workflow.options import data_of, merged, overrides_of

Choice = str | Mapping[str, Any]


def fit(
    data: Any = None,
    model: Choice | None = None,
    *,
    user: str = "",
    item: str = "",
    label: str | None = None,
    time: str = "",
    protocol: Choice | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
    overrides: Sequence[str] = (),
    **options: Any,
) -> FittedRun:
    """Train, select on validation, test once; the same run as `fmlab` with the same options.

    Args:
        data: a frame (pandas, polars, Arrow), a file (CSV, TSV, JSON, Parquet), the name of a data set, or a mapping
            with `name` and options; None is what the config or an experiment says.
        model: a name, or a mapping such as `{"name": "fm", "dim": 16}`; None is what the config says.
        user: column of users, of a frame or file.
        item: column of items.
        label: column of labels; without one all rows are positives, and items are ranked.
        time: column of times.
        protocol: a name, or a mapping; None is what the data set wants.
        seed: seed of parameters, orders of rows and negatives.
        folder: the run folder; None is a temporary one that goes with the result, see `FittedRun.save`.
        overrides: options as the command line has them, `["trainer.max_epochs=3"]`; they win.
        **options: any other option: `batch_size=256`, `optimizer={"name": "adam", "lr": 0.01}`, `trainer={"patience":
            3}`, `loss="bpr"`, `experiment="..."`, or dotted, `**{"model.dim": 16}`.

    Raises:
        FmlabError: an option is wrong, the data break a rule (DataError), or a file cannot be used (StorageError).
    """
    environment = dict(os.environ)
    roles = {"user": user, "item": item, "label": label or "", "time": time}
    frame_file = None
    if is_frame(data):
        refuse_index(data, roles)
        config = compose(overrides_of({k: v for k, v in options.items() if k in ("cache_dir", "cache")}), environment)
        frame_file = write_frame(data, Path(str(config.cache_dir)))
    given: dict[str, Any] = {"seed": seed}
    if data is not None:
        given["data"] = data_of(data, roles, frame_file)
    elif any(roles.values()):
        raise FmlabError(f"user, item, label and time name columns of data, got {roles} and no data")
    chosen = {k: v for k, v in (("model", model), ("protocol", protocol)) if v is not None}
    typed = [*overrides_of(merged(given, chosen, options)), *overrides]
    config = compose(typed, environment)
    if config.trainer.progress == "auto":
        config.trainer.progress = _watched()
    try:
        return _run(config, folder)
    except DataError as error:
        if frame_file is None:
            raise
        raise DataError(
            str(error).replace(str(frame_file), "the frame").replace(frame_file.name, "the frame")
        ) from error


def _run(config: Any, folder: str | Path | None) -> FittedRun:
    from fmlab.run.experiment import run
    from fmlab.training.lightning_messages import quiet

    temporary = TemporaryDirectory(prefix="fmlab-run-") if folder is None else None
    place = Path(temporary.name if temporary is not None else str(folder)).expanduser()
    quiet()
    run(config, place)
    return FittedRun(place, temporary=temporary)


def _watched() -> bool:
    """Whether a person watches: a terminal, or a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules
