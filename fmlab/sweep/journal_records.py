"""The line of a journal: a JSON record with a seal that holds it to its content and to its place.

    {"op_code":6, ... ,"seal":"1:<line>:<digest>"}

The digest is a hash of the record, of the number of its line, and of the digest of the line before. A line without a
seal is a record of Optuna itself, of its dashboard, or of fmlab before there were seals: it has exactly the keys that
Optuna gives it, so that no seal becomes one by a damage to its name, and the next seal holds it as well.
"""

import hashlib
import json
import re
from typing import Any

SIZE = 8  # bytes of a digest
NOTHING = bytes(SIZE)
"""The digest before the first line."""

_VERSION = b"1"
_SEAL = re.compile(rb',"seal":"1:([1-9][0-9]{0,11}):([0-9a-f]{16})"\}\n\Z')
_TRACE = re.compile(rb'"seal"|:[0-9a-f]{16}"\}\n\Z')
_PRINTED = bytes(range(0x20, 0x7F))
_TEXT = 0.9  # share of printed characters in a line that a writer of records may have left, whole or damaged
_STUDY, _TRIAL = {"study_id"}, {"trial_id"}
_TEMPLATE = {"state", "value", "values", "datetime_complete", "distributions", "params"}
_ATTRIBUTES = {"user_attrs", "system_attrs", "intermediate_values"}
_KEYS: dict[int, tuple[set[str], set[str]]] = {  # operation: keys that it has, keys that it may have
    0: ({"study_name", "directions"}, set()),
    1: (_STUDY, set()),
    2: (_STUDY | {"user_attr"}, set()),
    3: (_STUDY | {"system_attr"}, set()),
    4: (_STUDY | {"datetime_start"}, _TEMPLATE | _ATTRIBUTES),
    5: (_TRIAL | {"param_name", "param_value_internal", "distribution"}, set()),
    6: (_TRIAL | {"state", "values"}, {"datetime_start", "datetime_complete"}),
    7: (_TRIAL | {"step", "intermediate_value"}, set()),
    8: (_TRIAL | {"user_attr"}, set()),
    9: (_TRIAL | {"system_attr"}, set()),
}


class DamagedError(Exception):
    """A line is not what its writer wrote, or not where it wrote it."""


def seal(record: bytes, number: int, before: bytes) -> tuple[bytes, bytes]:
    """The line of a record, which is a JSON object, and its digest. `number`: of the line, from 1."""
    digest = _digest(record, number, before)
    end = b',"seal":"%s:%d:%s"}\n' % (_VERSION, number, digest.hex().encode())
    return record[:-1] + end, digest


def _digest(record: bytes, number: int, before: bytes) -> bytes:
    return hashlib.blake2b(b"%s%d:%s" % (before, number, record), digest_size=SIZE).digest()


def read_line(line: bytes, chain: bytes | bytearray, *, old: bool) -> tuple[dict[str, Any] | None, bytes, bool]:
    """The record of a finished line, its digest, and whether it is sealed; raises DamagedError.

    `chain`: digests of all lines before it, one after the other, the first is `NOTHING`. `old`: no line before it has
    a seal; what is no record there is passed over, as there is no telling what it was: the record is None.
    """
    number, before = len(chain) // SIZE, bytes(chain[-SIZE:])
    found = _SEAL.search(line)
    if found is None:
        record = _unsealed(line, old=old)
        return record, _digest(line, number, before), False
    content = line[: found.start()] + b"}"
    digest, said = bytes.fromhex(found[2].decode()), int(found[1])
    if said > number:
        raise DamagedError(f"it says that it is line {said}: lines before it are missing")
    if digest != _digest(content, said, bytes(chain[(said - 1) * SIZE : said * SIZE])):
        raise DamagedError("it is not what was written, or not where it was written: its checksum differs")
    if said < number and any(chain[i : i + SIZE] == digest for i in range(said * SIZE, len(chain), SIZE)):
        raise DamagedError(f"line {said} stands here again")
    # Else a lower number is that of a writer that was stopped with the lock in its hands, until others broke it.
    record = json.loads(content)
    return record, digest if said == number else _digest(line, number, before), True


def _unsealed(line: bytes, *, old: bool) -> dict[str, Any] | None:
    if _TRACE.search(line):
        raise DamagedError("its checksum cannot be read")
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        if old:
            return None
        raise DamagedError("it is no JSON record") from error
    operation = record.get("op_code") if isinstance(record, dict) else None
    if type(operation) is not int or operation not in _KEYS:
        raise DamagedError("it is no record of a study")
    always, perhaps = _KEYS[operation]
    always = always | {"op_code", "worker_id"}
    if not always <= set(record) <= always | perhaps:
        odd = sorted(set(record) ^ always - perhaps)
        raise DamagedError(f"a record of its kind must have the keys {', '.join(sorted(always))}; it differs in {odd}")
    return record


def is_noise(line: bytes) -> bool:
    """Whether a line is nothing that a writer of records left: zeros after a power cut, another program's bytes."""
    return not line.strip() or len(line.translate(None, _PRINTED)) - line.endswith(b"\n") > (1 - _TEXT) * len(line)


def is_torn(rest: bytes) -> bool:
    """Whether an unfinished line may be the beginning of a record, or noise, and not a record with a damaged end."""
    try:
        found, end = json.JSONDecoder().raw_decode(rest.decode("latin-1"))
    except (ValueError, RecursionError):
        return True
    return end == len(rest) or not isinstance(found, dict)
