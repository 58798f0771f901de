"""The groups that target statistics choose, kept in the cache for each content: of many processes one chooses.

The key is a hash of all that the choice reads, rows, labels and its own source, so that whatever changes them is
another key.
"""

import hashlib
import inspect
import logging
from contextlib import suppress
from pathlib import Path

import numpy as np

from fmlab.data import derived_fields, derived_groups, row_hash
from fmlab.data.derived_groups import Choice, Sample, choose_groups
from fmlab.errors import StorageError
from fmlab.files import locked, write_json
from fmlab.untrusted.parsing import read_json

FOLDER = "groups"  # of the cache
log = logging.getLogger(__name__)


def kept_choice(sample: Sample, cache: Path) -> Choice:
    """What `choose_groups` gives for the sample, from the cache if it is there.

    A file that is damaged is written again; where the cache cannot be written, the choice is not kept.
    """
    path = cache / FOLDER / f"{_key(sample)}.json"
    if (found := _read(path, sample)) is not None:
        return found
    try:
        with locked(path.with_suffix(".lock"), "another process chooses groups for target statistics"):
            found = _read(path, sample) or choose_groups(sample)
            groups = {str(size): [list(g) for g in of_size] for size, of_size in found.groups.items()}
            with suppress(StorageError):
                write_json(path, {"groups": groups, "met": found.met, "siblings": list(found.siblings)})
            return found
    except StorageError:
        return choose_groups(sample)


def _key(sample: Sample) -> str:
    found = hashlib.sha256()
    for module in (derived_groups, derived_fields, row_hash):
        found.update(inspect.getsource(module).encode())
    found.update(repr((sample.schema, sample.scale)).encode())
    for array in (sample.rows.ids, sample.label, sample.others.ids):
        found.update(repr((array.shape, array.dtype.str)).encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()[:32]


def _read(path: Path, sample: Sample) -> Choice | None:
    """A kept choice; None where there is none of fields that the sample has."""
    try:
        content = read_json(path)
        groups = {int(size): [tuple(g) for g in of_size] for size, of_size in content["groups"].items()}
        found = Choice(groups, float(content["met"]), tuple(content["siblings"]))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    known = {f.name for f in sample.schema.fields}
    whole = all(len(g) == size and known.issuperset(g) for size, of_size in groups.items() for g in of_size)
    return found if whole and known.issuperset(found.siblings) else None
