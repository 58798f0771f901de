"""A finished run in 8 bits, from Python and from the command line."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from fmlab.errors import FmlabError
from fmlab.workflow.options import options_of, overrides_of

FOLDERS = ("data_dir", "cache_dir")


def quantized(run: str | Path, folder: str | Path, options: Mapping[str, Any]) -> Path:
    """Store the embedding tables of a finished run in 8 bits, judged as the run was, see `fmlab.run.quantization`.

    `run`: its folder, or `last`. `folder`: the new run folder. `options`: `data_dir` and `cache_dir`, those of the
    environment otherwise. Returns the new folder. Raises FmlabError, StorageError.
    """
    from omegaconf import OmegaConf

    from fmlab.config.composition import compose
    from fmlab.run.locate import run_folder
    from fmlab.run.quantization import quantize_run
    from fmlab.training.lightning_messages import quiet

    if wrong := [key for key in options if key not in FOLDERS]:
        raise FmlabError(f"options of a finished run are its own, but for {' and '.join(FOLDERS)}; got {wrong[0]!r}")
    source, target = run_folder(Path(run)), Path(folder).expanduser()
    config = compose(overrides_of({**options_of(source), **options}), dict(os.environ))
    quiet()
    plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    quantize_run(plain, source, target)
    return target
