"""`fmlab resume RUN`: go on with a run, of which its folder says all that is needed."""

from collections.abc import Sequence
from pathlib import Path

from fmlab.config.overrides import override
from fmlab.errors import FmlabError
from fmlab.records.folder import RunFolder
from fmlab.terminal.redaction import HIDDEN
from fmlab.untrusted.parsing import read_json
from fmlab.workflow.options import leaves, options_of, overrides_of

USAGE = "fmlab resume RUN [OPTION=VALUE ...]: go on from the last checkpoint; RUN is a run folder or last"


def overrides(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Overrides from the folder, and those typed, of `RUN [OPTION=VALUE ...]`; raises FmlabError."""
    if not arguments or "=" in arguments[0] or arguments[0].startswith("-"):
        raise FmlabError(f"resume takes a run: {USAGE}")
    from fmlab.run.locate import locate, run_folder
    from fmlab.run.structure import is_searching

    place = run_folder(Path(arguments[0]))
    typed = list(arguments[1:])
    if wrong := [a for a in typed if "=" not in a or a.startswith("-")]:
        raise FmlabError(f"resume takes options such as trainer.max_epochs=20, got {wrong[0]!r}; {USAGE}")
    config = options_of(place)
    keys = {t.partition("=")[0] for t in typed}
    hidden = [key for key, value in leaves(config) if value == HIDDEN and key not in keys]
    if hidden:
        raise FmlabError(f"a run folder holds no secrets: type {' '.join(f'{key}=...' for key in hidden)}")
    if _is_complete(place) and not typed:
        raise FmlabError(f"{place} is complete; train it longer with trainer.max_epochs=..., got no option")
    if not is_searching(place):
        locate(place, "last")  # it says why there is nothing to go on from
    own = [override("hydra.run.dir", str(place)), "if_exists=resume"]
    return [o for o in overrides_of(config) if o.partition("=")[0] not in keys], [*typed, *own]


def _is_complete(place: Path) -> bool:
    try:
        found = read_json(RunFolder(place).metrics)
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("status") == "complete"
