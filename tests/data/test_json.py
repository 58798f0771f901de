"""JSON: keys wherever they begin, values as they are written, and errors with the line."""

import json

import pytest
from test_csv import field, read

from fmlab.errors import DataError

ROLES = {"user": "u", "item": "i", "label": "y"}
FIRST = '{"u": "1", "i": "a", "y": 1}\n'
SECOND = '{"u": "2", "i": "b", "y": 0}\n'


def opened(root, text, name="a.jsonl", **options):
    (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(root, name, **{**ROLES, **options})


def test_a_key_is_found_wherever_it_first_is(tmp_path):
    rows = "".join(f'{{"u": "{n}", "i": "i{n % 7}", "y": {n % 2}}}\n' for n in range(40_000))
    assert len(rows) > 1 << 20
    data = opened(tmp_path, f'{rows}{{"u": "1", "i": "a", "y": 1, "late": "v"}}\n')
    assert field(data, "late")[-2:] == [None, "v"]


WAYS = {
    "lines": FIRST + SECOND,
    "lines of Windows, with blank ones": (FIRST + "\n" + SECOND).replace("\n", "\r\n"),
    "array": f"[{FIRST.strip()},{SECOND.strip()}]",
    "array over lines": json.dumps([json.loads(FIRST), json.loads(SECOND)], indent=2),
    "objects over lines": "\n".join(json.dumps(json.loads(row), indent=2) for row in (FIRST, SECOND)),
    "byte order mark": b"\xef\xbb\xbf" + (FIRST + SECOND).encode(),
    "array with a mark": b"\xef\xbb\xbf[" + FIRST.strip().encode() + b", " + SECOND.encode() + b"]",
    "numbers as text": (FIRST + SECOND).replace('"y": 1', '"y": "1"').replace('"u": "2"', '"u": 2'),
    "true and false": (FIRST + SECOND).replace('"y": 1', '"y": true').replace('"y": 0', '"y": false'),
}


@pytest.mark.parametrize("way", WAYS)
def test_any_way_of_writing_objects_gives_the_same_data(tmp_path, way):
    data = opened(tmp_path, WAYS[way], "a.json")
    assert (data.label.tolist(), field(data, "user"), field(data, "item")) == ([1, 0], ["1", "2"], ["a", "b"])


def test_a_last_line_without_its_end_is_whole(tmp_path, caplog):
    assert opened(tmp_path, FIRST + SECOND.rstrip()).rows == 2
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '{"u": {"0": "1", "1": "2"}, "i": {"0": "a", "1": "b"}}',
            "columns, perhaps, of which pandas makes rows by to_json",
        ),
        (f'{{"data": [{FIRST.strip()}]}}', "is one object of lists or objects alone"),
        ("[]", r"a\.json has no rows$"),
        ("\n\n", r"a\.json has no rows$"),
    ],
)
def test_what_holds_no_rows_is_said(tmp_path, text, said):
    with pytest.raises(DataError, match=said):
        opened(tmp_path, text, "a.json")


def test_an_array_in_one_long_line_is_read_in_pieces(tmp_path, monkeypatch):
    from fmlab.data.raw import json_lines as jsonlines
    from fmlab.data.raw import table as tabular

    monkeypatch.setattr(jsonlines, "HEAD_BYTES", 37)
    monkeypatch.setattr(tabular, "BLOCK_BYTES", 11)
    rows = [{"u": str(n), "i": "é☞"[n % 2], "y": n % 2} for n in range(100)]
    data = opened(tmp_path, json.dumps(rows, ensure_ascii=False), "a.json")
    assert field(data, "item") == ["é", "☞"] * 50


def test_what_a_key_lacks_or_holds_as_null_or_nan_is_missing(tmp_path):
    text = FIRST.replace("}", ', "x": NaN}') + SECOND.replace("}", ', "x": null}') + SECOND.replace("}", ', "x": 1.5}')
    assert field(opened(tmp_path, text, standardize=False), "x") == [None, None, 1.5]


BAD = {
    "lone surrogate": (r'{"u": "\ud800", "i": "a", "y": 1}', r"half a character, \\ud800, .*line 2, 'u' holds one"),
    "lone surrogate in a key": (r'{"\udc00": 1}', r"half a character, \\udc00, .*line 2, a key"),
    "nested deeply": ('{"u": ' + "[" * 100_000 + "]" * 100_000 + "}", "line 2, is nested too deeply"),
    "key twice": ('{"u": "2", "i": "a", "y": 1, "u": "3"}', "has each key once: .*line 2, repeats 'u'"),
    "no object": ("[1, 2]", r"one object a line.*line 2, got '\[1, 2\]'"),
    "cut": ('{"u": "2"', "one object a line.*line 2: Expecting"),
    "latin-1": ('{"u": "é"}'.encode("latin-1"), "not utf-8: .*line 2; is it encoding=latin-1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_lines_are_named(tmp_path, case):
    line, text = BAD[case]
    with pytest.raises(DataError, match=text):
        opened(tmp_path, FIRST.encode() + (line if isinstance(line, bytes) else line.encode()) + b"\n")


def test_the_line_of_a_bad_object_in_an_array_is_named(tmp_path):
    with pytest.raises(DataError, match=r"line 4: (Expecting property name|Illegal trailing comma)"):
        opened(tmp_path, f'[\n{FIRST},\n{{"u": 5,}}\n]', "a.json")
    with pytest.raises(DataError, match="written in utf-16; give encoding=utf-16"):
        opened(tmp_path, FIRST.encode("utf-16"))


def test_what_is_ignored_may_hold_anything(tmp_path):
    more = r'{"u": "3", "i": "a", "y": 1, "x": {"a": 1, "a": 2}, "z": "\ud800"}' + "\n"
    assert opened(tmp_path, FIRST + more, drop_columns=("x", "z")).rows == 2
