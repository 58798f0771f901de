"""Whether a study searches what a sweep wants to search, and what differs."""

import json
from collections.abc import Mapping
from typing import Any

from fmlab.errors import FmlabError
from fmlab.sweep.study import Study


def differences(study: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Where two identities differ, one line each."""
    lines = []
    for part in sorted({*study, *now}):
        old, new = study.get(part), now.get(part)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += [f"{part}.{line}" for line in differences(old, new)]
        elif old != new:
            lines.append(f"{part}: {_cell(old)} in the study, {_cell(new)} now")
    return lines


def _cell(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value)


def check_identity(study: Study, identity: Mapping[str, Any], *, allow_change: bool) -> None:
    """Write or compare what the study searches; raises FmlabError with the differences unless `allow_change`."""
    plain = json.loads(json.dumps(identity))
    known = study.identity()
    if known is None or (allow_change and known != plain):
        study.set_identity(plain)
    elif known != plain:
        lines = "; ".join(differences(known, plain))
        raise FmlabError(
            f"study {study.study.study_name!r} must be gone on with as it was begun; it differs: {lines}; "
            "choose another name (study=<name>), or allow_space_change=true to search the new space in the same study"
        )
