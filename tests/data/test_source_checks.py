"""Notes of checksums in the cache: what was changed in one is never believed."""

import json
import os

import pytest

from fmlab.files import digest, remembered_digest


@pytest.fixture
def noted(tmp_path):
    raw, memory = tmp_path / "raw.txt", tmp_path / "checksums"
    raw.write_text("some rows")
    os.utime(raw, (1, 1))
    assert remembered_digest(raw, memory, md5=True) == digest(raw, md5=True)
    (note,) = memory.iterdir()
    return raw, memory, note


CHANGES = {
    "another sha256": lambda note: note["digest"].__setitem__(1, "0" * 64),
    "another md5": lambda note: note["digest"].__setitem__(2, "0" * 32),
    "another size": lambda note: note["digest"].__setitem__(0, 1),
    "of an older version": lambda note: note.pop("checksum") and note["digest"].__setitem__(1, "0" * 64),
    "a list for a checksum": lambda note: note.__setitem__("checksum", ["x"]),
    "too short": lambda note: note.__setitem__("digest", []),
    "a key renamed": lambda note: note.__setitem__("digests", note.pop("digest")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_note_is_made_again(noted, change):
    raw, memory, note = noted
    content = json.loads(note.read_text())
    CHANGES[change](content)
    note.write_text(json.dumps(content))
    assert remembered_digest(raw, memory, md5=True) == digest(raw, md5=True)
    assert json.loads(note.read_text())["digest"] == list(digest(raw, md5=True))


def test_any_flipped_bit_of_a_note_is_noticed(noted):
    raw, memory, note = noted
    content, right = note.read_bytes(), digest(raw, md5=True)
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        note.write_bytes(damaged)
        assert remembered_digest(raw, memory, md5=True) == right


@pytest.mark.parametrize("text", ["", "[]", "3", "[" * 100_000, "\x00" * 40])
def test_a_note_that_is_none_is_made_again(noted, text):
    raw, memory, note = noted
    note.write_text(text)
    assert remembered_digest(raw, memory, md5=True) == digest(raw, md5=True)
