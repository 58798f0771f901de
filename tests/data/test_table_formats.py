"""How a text table may be written: quotes, escapes, blanks, headers, comments, encodings, and what packs it."""

import bz2
import gzip
import io
import lzma
import tarfile

import numpy as np
import pyarrow as pa
import pytest
from data_cases import write_zip
from test_csv import field, read

from fmlab.data.raw import table as tabular
from fmlab.data.raw.quoted_lines import line_ends
from fmlab.errors import DataError

ROLES = {"user": "u", "item": "i", "label": "y"}
HEAD = "u,i,y,x\n"
TEXT = HEAD + "1,a,1,p\n2,b,0,q\n"


def opened(root, text, name="a.csv", **options):
    (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(root, name, **{**ROLES, **options})


def columns(root, text, name="a.csv", **options):
    data = opened(root, text, name, **options)
    return [field(data, name) for name in ("user", "item")] + [data.label.tolist(), field(data, "x")]


PLAIN = [["1", "2"], ["a", "b"], [1, 0], ["p", "q"]]


def by_hand(text, separators, escape):
    """Line ends and whether quotes enclose them, character by character."""
    ends, state, opened_at, at = [], "begin", -1, 0
    while at < len(text):
        c = text[at]
        if escape and c == escape:
            at, state = at + 1, "plain" if state == "begin" else state
        elif state == "quoted":
            if c == '"' and text[at + 1 : at + 2] == '"':
                at += 1
            elif c == '"':
                state = "plain"
        elif c in separators + "\r\n":
            state = "begin"
        elif c == '"' and state == "begin":
            state, opened_at = "quoted", at
        else:
            state = "plain"
        if at < len(text) and text[at] == "\n" and c == "\n":
            ends.append((at, state == "quoted"))
        at += 1
    return ends, opened_at if state == "quoted" else -1


def test_ends_of_rows_are_found_as_a_parser_finds_them():
    rng = np.random.default_rng(0)
    for _ in range(3000):
        text = "".join(rng.choice(list('a,"\n"'), rng.integers(0, 14)))
        found = line_ends(memoryview(text.encode()), b",")
        expected, place = by_hand(text, ",", "")
        assert list(zip(found.places.tolist(), found.enclosed.tolist(), strict=True)) == expected, text
        assert found.opened == place, text


def broken(rows, stray=""):
    lines = [f'{n % 50},i{n % 9}{stray},{n % 2},"text {n % 60},\nover ""two"" lines"\n' for n in range(rows)]
    return HEAD + "".join(lines)


@pytest.mark.parametrize("stray", ["", '" nail'])
@pytest.mark.parametrize("block", [64, 1000, 1 << 20])
def test_line_breaks_in_quotes_are_read_in_files_of_any_size(tmp_path, monkeypatch, block, stray):
    """Blocks end anywhere, and quotes may stand within unquoted values."""
    monkeypatch.setattr(tabular, "BLOCK_BYTES", block)
    monkeypatch.setattr(tabular.batches, "__defaults__", (tabular.ignore_bytes, block, (), ()))
    monkeypatch.setattr("fmlab.data.raw.delimited.LEAST_SHARE", 64)
    data = opened(tmp_path, broken(300, stray), "a.csv")
    assert data.rows == 300
    assert field(data, "x") == [f'text {n % 60},\nover "two" lines' for n in range(300)]
    assert field(data, "item")[1] == f"i1{stray}"
    assert opened(tmp_path, broken(300, stray), "b.csv", drop_columns=("x",)).rows == 300


def test_line_numbers_count_the_lines_in_quotes(tmp_path, monkeypatch):
    monkeypatch.setattr(tabular.batches, "__defaults__", (tabular.ignore_bytes, 200, (), ()))
    with pytest.raises(DataError, match="line 202: 2 columns: 5,a"):
        opened(tmp_path, broken(100) + "5,a\n", drop_columns=("x",))
    with pytest.raises(DataError, match=r"text holds no NUL bytes, .*in line 202"):
        opened(tmp_path, broken(100) + "5,a,1,\0\n")
    with pytest.raises(DataError, match=r"not utf-8: .*line 203"):
        opened(tmp_path, broken(100).encode() + b'5,a,1,"\n\xe9"\n')
    with pytest.raises(DataError, match=r'line 202: 4 columns: 5,a,1,"open; is a quote open\? It is never closed'):
        opened(tmp_path, broken(100) + '5,a,1,"open\n6,a,1,x\n')


def test_a_quote_that_swallows_rows_is_no_line_break(tmp_path, caplog):
    swallowed = '1,"a,1,p\n2,b,0,q\n3,c",1,r\n'
    with pytest.raises(
        DataError, match=r"column 'i' of .*line 2, has a line break .*is a quote open.*line_breaks=true"
    ):
        opened(tmp_path, HEAD + swallowed)
    assert field(opened(tmp_path, HEAD + swallowed, line_breaks=True), "item") == ["a,1,p\n2,b,0,q\n3,c"]
    assert opened(tmp_path, broken(3) + swallowed).rows == 4
    assert "line 8, has a line break inside a value: is a quote open" in caplog.text


WAYS = {
    "blanks": ("u i   y\tx\n1   a 1  p\n 2 b\t0 q  \n", {"sep": "blanks"}),
    "blanks, quotes, CRLF": ('u  i y x\r\n1 a  1 "p"\r\n  2 "b" 0 q\r\n', {"sep": "blanks"}),
    "semicolons, a header with commas": ('"u";"i";"y";"x";"a,b,c,d,e"\n1;a;1;p;\n2;b;0;q;\n', {}),
    "a first line for Excel": ("sep=;\n" + TEXT.replace(",", ";"), {}),
    "a first line for Excel, quoted, CRLF": ('"sep=|"\r\n' + TEXT.replace(",", "|").replace("\n", "\r\n"), {}),
    "bars": (TEXT.replace(",", "|"), {}),
    "blanks around names": (TEXT.replace(HEAD, "u, i ,y , x\n"), {}),
    "no header": (TEXT.removeprefix(HEAD), {"names": ("u", "i", "y", "x")}),
    "another header": (TEXT.replace("u,i", "U,I"), {"names": ("u", "i", "y", "x"), "header": True}),
    "comments": ('# mine,\n# it\'s "so"\n' + HEAD + "1,a,1,p\n#,no\n2,b,0,q\n", {"comment": "#"}),
    "comments and no header": ("%1\n" + TEXT.removeprefix(HEAD), {"comment": "%", "names": ("u", "i", "y", "x")}),
    "utf-16": (TEXT.encode("utf-16"), {"encoding": "utf-16"}),
    "utf-16-le": (TEXT.encode("utf-16-le"), {"encoding": "utf-16-le"}),
    "mark, quotes": (b"\xef\xbb\xbf" + TEXT.replace("u,", '"u",').replace("1,a", '"1",a').encode(), {}),
    "mark, no header": (b"\xef\xbb\xbf" + TEXT.removeprefix(HEAD).encode(), {"names": ("u", "i", "y", "x")}),
}


@pytest.mark.parametrize("way", WAYS)
def test_tables_are_written_in_many_ways(tmp_path, way):
    text, options = WAYS[way]
    assert columns(tmp_path, text, **options) == PLAIN


@pytest.mark.parametrize("header", ["none", None, False])
def test_columns_without_names_are_numbered(tmp_path, header):
    data = opened(tmp_path, TEXT.removeprefix(HEAD), header=header, user="0", item="1", label="2")
    assert field(data, "3") == ["p", "q"]


def test_quotes_after_a_backslash_are_read_where_that_is_said(tmp_path):
    text = HEAD + '1,a,1,"5\\", nail\nand more"\n2,b,0,"q \\" z \\\\"\n'
    assert columns(tmp_path, text, escape="\\")[-1] == ['5", nail\nand more', 'q " z \\']
    with pytest.raises(DataError, match=r"line 2: 5 columns: .*escape='\\\\' reads"):
        opened(tmp_path, HEAD + '1,a,1,"5\\", nail"\n')
    with pytest.raises(DataError, match=r"line 3, has a quote after a backslash within quotes; escape='\\\\'"):
        opened(tmp_path, HEAD + '0,a,1,x\n1,a,1,"5\\" nail"\n')
    assert columns(tmp_path, HEAD + '1,a,1,"C:\\dir\\"\n2,b,0,5\\" nail\n')[-1] == ["C:\\dir\\", '5\\" nail']


def test_a_header_may_be_long_and_have_line_breaks(tmp_path):
    names = [f"column{n:07}" for n in range(80_000)]
    assert len(",".join(names)) > 1 << 20
    text = "u,i,y,x," + ",".join(names) + "\n" + "".join(f"{row}{',' * len(names)}\n" for row in ("1,a,1,p", "2,b,0,q"))
    assert columns(tmp_path, text, categorical=("x",)) == PLAIN
    assert field(opened(tmp_path, TEXT.replace("x\n", '"x\ny"\n', 1)), "x\ny") == ["p", "q"]


HINTS = {
    "blanks": ("u i y x\n1 a 1 p\n", {}, "no column 'u' .*are columns parted by blanks. sep=blanks"),
    "no header": ("5,a,1,2\n6,b,0,3\n", {}, "no column 'u' .*is there no header. header=none"),
    "no header, repeated": ("5,a,5,2\n6,b,0,3\n", {}, r"repeats '5' \(columns 1 and 3\); is there no header"),
    "repeated": ("u,i,y,x,x\n1,a,1,p,q\n", {}, r"repeats 'x' \(columns 4 and 5\); names="),
    "comment": ("# mine\n" + TEXT, {}, "is the first line a comment. comment='#'"),
    "a mark before the header": (
        "#" + TEXT,
        {},
        r"begins with '#': header=true and names=\[u,i,y,x\] name the columns",
    ),
    "names are a header": (TEXT, {"names": ("u", "i", "y", "x")}, "is a header, .*header=true"),
    "too few names": (TEXT, {"names": ("u", "i")}, "has 4 columns at sep=',', 2 were named"),
    "utf-16-le": (TEXT.encode("utf-16-le"), {}, "NUL bytes, .*first line: is it encoding=utf-16"),
    "escape": (TEXT, {"escape": "ab"}, "escape is one character, .*got 'ab'"),
    "escape without quotes": (TEXT, {"escape": "\\", "quoting": False}, "is for quotes"),
    "comment is a quote": (TEXT, {"comment": '"'}, "comment is one character"),
}


@pytest.mark.parametrize("case", HINTS)
def test_hints_name_the_option(tmp_path, case):
    text, options, said = HINTS[case]
    with pytest.raises(DataError, match=said):
        opened(tmp_path, text, **options)


INDEXES = {
    "pandas": ",u,i,y,x\n0,1,a,1,p\n1,2,b,0,q\n",
    "pandas, twice": ",Unnamed: 0,u,i,y,x\n0,0,1,a,1,p\n1,1,2,b,0,q\n",
    "parts put together": "Unnamed: 0,u,i,y,x\n0,1,a,1,p\n0,2,b,0,q\n",
    "R": '"","u","i","y","x"\n"r1",1,a,1,p\n"r2",2,b,0,q\n',
    "separators at the ends": "u,i,y,x,,\n1,a,1,p,,\n2,b,0,q,,\n",
}


@pytest.mark.parametrize("case", INDEXES)
def test_columns_that_number_the_rows_are_left_out_and_this_is_said(tmp_path, caplog, case):
    data = opened(tmp_path, INDEXES[case])
    assert {f.name for f in data.schema.fields} == {"user", "item", "x"}
    assert "of a.csv is left out: it " in caplog.text


def test_a_column_without_a_name_is_read_where_it_holds_something_or_is_asked_for(tmp_path):
    assert field(opened(tmp_path, ",u,i,y\nx,1,a,1\nx,2,b,0\n"), "Unnamed: 0") == ["x", "x"]
    asked = opened(tmp_path, INDEXES["pandas"], categorical=("Unnamed: 0",))
    assert field(asked, "Unnamed: 0") == ["0", "1"]


def zstd(data, codec="zstd"):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def tar(members, mode):
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode=f"w:{mode}") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return sink.getvalue()


DATA = TEXT.encode()
MAC = {"__MACOSX/._a.csv": b"\0\1", "a.csv": DATA, ".DS_Store": b"\0"}
PACKED = {
    "a.csv.bz2": bz2.compress(DATA),
    "a.csv.xz": lzma.compress(DATA),
    "a.csv.zst": zstd(DATA),
    "a.csv.lz4": zstd(DATA, "lz4"),
    "packed, not named so.csv": gzip.compress(DATA, mtime=0),
    "named so, not packed.csv.gz": DATA,
    "a.tar.gz": tar(MAC, "gz"),
    "a.tgz": tar({"._a.csv": b"\0", "d/a.csv": DATA}, "gz"),
    "a.tar.bz2": tar({"a.csv": DATA}, "bz2"),
    "a.tar.xz": tar({"a.csv": DATA}, "xz"),
    "a.tar": tar({"a.csv.gz": gzip.compress(DATA, mtime=0)}, ""),
}


@pytest.mark.parametrize("name", PACKED)
def test_packed_tables_are_read(tmp_path, name):
    assert columns(tmp_path, PACKED[name], name) == PLAIN


def test_a_zip_archive_of_a_mac_holds_one_table(tmp_path):
    write_zip(tmp_path / "a.zip", MAC)
    assert field(read(tmp_path, "a.zip", **ROLES), "x") == ["p", "q"]
    write_zip(tmp_path / "b.zip", {"b.jsonl": b'{"u": 1, "i": "a", "y": 1, "x": ["p|q"]}\n'})
    assert field(read(tmp_path, "b.zip", **ROLES), "x") == ["p|q"]


def test_one_of_several_files_is_chosen(tmp_path):
    for name, data in {"two.zip": None, "two.tar.gz": tar({"a.csv": b"x\n", "b.csv": DATA}, "gz")}.items():
        (tmp_path / name).write_bytes(data) if data else write_zip(tmp_path / name, {"a.csv": b"x\n", "b.csv": DATA})
        assert field(read(tmp_path, name, member="b.csv", **ROLES), "x") == ["p", "q"]
        with pytest.raises(DataError, match=r"member=<name>.*b\.csv"):
            read(tmp_path, name, **ROLES)


SENTENCES = {
    "a.xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(50), "an Excel workbook: save it as CSV"),
    "a.7z": (b"7z\xbc\xaf\x27\x1c" + bytes(50), "a 7z archive: unpack it"),
    "twice.csv.gz": (gzip.compress(gzip.compress(DATA)), "is packed twice, inside is a .gz file: unpack it once"),
    "a.feather": (b"ARROW1\0\0" + bytes(50), "Feather.* file: save it as Parquet"),
    "a.csv.Z": (b"\x1f\x9d\x90" + bytes(50), "packed by `compress`: unpack it"),
    "cut.csv.bz2": (bz2.compress(DATA)[:-8], "damaged or cut short"),
    "cut.csv.xz": (lzma.compress(DATA)[:-8], "damaged or cut short"),
    "cut.csv.zst": (zstd(DATA)[:-4], "damaged or cut short"),
}


@pytest.mark.parametrize("name", SENTENCES)
def test_what_cannot_be_read_is_named(tmp_path, name):
    data, said = SENTENCES[name]
    with pytest.raises(DataError, match=said):
        opened(tmp_path, data, name)


def test_workbooks_are_named(tmp_path):
    for name, member in {"a.xlsx": "xl/workbook.xml", "a.ods": "content.xml"}.items():
        write_zip(tmp_path / name, {"[Content_Types].xml": b"x", member: b"y", "z": b""})
        with pytest.raises(DataError, match="is a workbook of Excel or LibreOffice: save the sheet as CSV"):
            read(tmp_path, name, **ROLES)


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress, zstd])
def test_bombs_of_any_kind_are_refused(tmp_path, monkeypatch, pack):
    from fmlab.data.raw import archive as reading

    monkeypatch.setattr(reading, "RATIO_FROM", 1 << 16)
    with pytest.raises(DataError, match="unpacks to more than 250 times"):
        opened(tmp_path, pack(HEAD.encode() + b"1,a,1,p\n" * (1 << 17)), "a.csv.packed")
