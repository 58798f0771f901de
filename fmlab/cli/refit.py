"""`fmlab sweep refit FOLDER TRIAL`: train one point of a sweep again, with seeds of its own."""

from collections.abc import Sequence
from pathlib import Path

from fmlab.config.overrides import override
from fmlab.errors import FmlabError
from fmlab.workflow.options import options_of, overrides_of

USAGE = (
    "fmlab sweep refit FOLDER TRIAL [OPTION=VALUE ...]: train the point of a trial again; FOLDER is that of the sweep, "
    "TRIAL the number of the trial, such as one of the front that fmlab report shows; seed=1,2,3 are the seeds if none "
    "are given"
)
_SEEDS = "1,2,3"


def overrides(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Overrides of the trial, and those of a multirun over seeds beside it; raises FmlabError."""
    if len(arguments) < 2 or "=" in arguments[1] or not arguments[1].isdigit():
        raise FmlabError(f"refit takes the folder of a sweep and the number of a trial: {USAGE}")
    folder, number, typed = Path(arguments[0]), int(arguments[1]), list(arguments[2:])
    if wrong := [a for a in typed if "=" not in a or a.startswith("-")]:
        raise FmlabError(f"refit takes options such as seed=1,2 or trainer.max_epochs=20, got {wrong[0]!r}; {USAGE}")
    trial = folder / "trials" / f"{number:04d}"
    if not trial.is_dir():
        there = sorted(p.name for p in (folder / "trials").glob("[0-9]*"))
        known = f"its trials: {there[0]} to {there[-1]}" if there else "it has none"
        raise FmlabError(f"refit needs a trial of the sweep in {folder}, got {number}; {known}")
    keys = {t.partition("=")[0] for t in typed}
    config = {k: v for k, v in options_of(trial).items() if k != "seed"}
    own = [] if "seed" in keys else [f"seed={_SEEDS}"]
    place = folder / f"point-{number:04d}"
    own += [override("hydra.sweep.dir", str(place)), "hydra.sweep.subdir=seed-${seed}"]
    return [o for o in overrides_of(config) if o.partition("=")[0] not in keys], ["-m", *typed, *own]
