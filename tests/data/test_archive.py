import gzip
import io
import tarfile
import zipfile

import pytest
from data_cases import tree, write_zip

from fmlab.data.raw import archive as reading
from fmlab.data.raw.archive import lines, members, opened, text_size
from fmlab.errors import DataError


def read(path, member=""):
    with opened(path, member) as file:
        return file.read()


def entry(name, mode=0o100644, data=b"x"):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info, data


HOSTILE = {
    "leaves its folder": [entry("../evil")],
    "leaves its folder, from within": [entry("a/../../evil")],
    "leaves its folder, backslashes": [entry("a\\..\\..\\evil")],
    "absolute": [entry("/etc/evil")],
    "absolute, windows": [entry("C:/evil")],
    "symbolic link": [entry("link", 0o120777, b"/etc/passwd")],
    "neither a file": [entry("device", 0o060644)],
    "neither a file, pipe": [entry("pipe", 0o010644)],
    "runs as another user": [entry("a", 0o104755)],
    "there twice": [entry("a"), entry("a")],
    "there twice, in another case": [entry("a"), entry("A")],
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_archives_are_refused(tmp_path, text):
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.csv", "a")
        for info, data in HOSTILE[text]:
            archive.writestr(info, data)
    with pytest.raises(DataError, match=f"refused.*{text.split(',')[0]}"):
        read(path, "good.csv")
    assert list(tree(tmp_path)) == ["data.zip"]


def packed(path, *entries):
    """A tar archive of entries `(name, what differs from a plain file)`."""
    with tarfile.open(path, "w:gz") as archive:
        for name, more in entries:
            info = tarfile.TarInfo(name)
            for key, value in more.items():
                setattr(info, key, value)
            info.size = 1 if info.isfile() else 0
            archive.addfile(info, io.BytesIO(b"x"))
    return path


GOOD = ("good.csv", {})
HOSTILE_TAR = {
    "leaves its folder": [("../evil", {}), GOOD],
    "leaves its folder, after the member": [GOOD, ("../evil", {})],
    "absolute": [("/etc/evil", {}), GOOD],
    "that is a link": [("a", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}), GOOD],
    "that is a link, hard": [GOOD, ("a", {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"})],
    "neither a file": [("a", {"type": tarfile.CHRTYPE}), GOOD],
    "neither a file, pipe": [("a", {"type": tarfile.FIFOTYPE}), GOOD],
    "runs as another user": [("a", {"mode": 0o4755}), GOOD],
    "there twice": [GOOD, GOOD],
    "there twice, before": [("a", {}), ("a", {}), GOOD],
    "there twice, in another case": [GOOD, ("GOOD.csv", {})],
    "after 5 others": [(f"{n}", {}) for n in range(6)] + [GOOD],
}


@pytest.mark.parametrize("text", HOSTILE_TAR)
def test_hostile_tar_archives_are_refused(tmp_path, monkeypatch, text):
    monkeypatch.setattr(reading, "MAX_MEMBERS", 5)
    path = packed(tmp_path / "a.tar.gz", *HOSTILE_TAR[text])
    with pytest.raises(DataError, match=f"refused.*{text.split(',')[0]}"):
        read(path, "good.csv")
    assert list(tree(tmp_path)) == ["a.tar.gz"]


def test_a_member_of_a_tar_archive_is_not_guessed_either(tmp_path):
    path = packed(tmp_path / "a.tar.gz", ("a/good.csv", {}), ("b/good.csv", {}), ("c", {}))
    with pytest.raises(DataError, match=r"has several files 'good\.csv'; a later one is 'b/good\.csv'"):
        read(path, "good.csv")
    assert read(path, "b/good.csv") == b"x"


def test_bombs_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "RATIO_FROM", 1 << 16)
    bomb = bytes(1 << 20)
    with pytest.raises(DataError, match="unpacks to more than 250 times"):
        read(write_zip(tmp_path / "bomb.zip", {"good.csv": b"a", "bomb.csv": bomb}), "good.csv")
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bomb))
    with pytest.raises(DataError, match="unpacks to more than 250 times"):
        read(tmp_path / "bomb.gz")
    nested = write_zip(tmp_path / "nested.zip", {"bomb.csv.gz": gzip.compress(bomb)})
    with pytest.raises(DataError, match="unpacks to more than 250 times"):
        read(nested, "bomb.csv.gz")


def test_an_archive_of_too_many_entries_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_MEMBERS", 5)
    with pytest.raises(DataError, match="holds 6 entries"):
        read(write_zip(tmp_path / "many.zip", {f"{n}": b"" for n in range(6)}), "1")


def test_an_encrypted_archive_is_refused(tmp_path):
    path = write_zip(tmp_path / "data.zip", {"a": b"x"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="encrypted"):
        read(path, "a")


@pytest.mark.parametrize("packed", [True, False])
def test_a_member_is_found_by_the_end_of_its_path(tmp_path, packed):
    files = {"ml/ratings.dat": b"1", "ml/extra/users.dat": b"2"}
    if packed:
        path = write_zip(tmp_path / "ml.zip", files)
    else:
        path = tmp_path / "unpacked"
        for name, data in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
    assert read(path, "ratings.dat") == b"1"
    assert read(path, "ml/ratings.dat") == b"1"
    assert read(path, "users.dat") == b"2"
    assert members(path) == sorted(files) or members(path) == list(files)
    with pytest.raises(DataError, match=r"has no file 'atings.dat'; it holds: ml/extra/users.dat"):
        read(path, "atings.dat")


def test_a_member_that_several_files_fit_is_not_guessed(tmp_path):
    path = write_zip(tmp_path / "ml.zip", {"a/x.csv": b"1", "b/x.csv": b"2"})
    with pytest.raises(DataError, match=r"has several files 'x\.csv'"):
        read(path, "x.csv")
    assert read(path, "b/x.csv") == b"2"


def test_gzip_is_unpacked_wherever_it_is(tmp_path):
    data = b"line\n" * 1000
    (tmp_path / "a.gz").write_bytes(gzip.compress(data))
    assert read(tmp_path / "a.gz") == data
    assert read(write_zip(tmp_path / "a.zip", {"a.gz": gzip.compress(data)}), "a.gz") == data


@pytest.mark.parametrize("kind", ["gz", "zip"])
def test_no_damage_passes_in_silence(tmp_path, kind):
    data = "".join(f"{n},{n * n}\n" for n in range(300)).encode()
    path = tmp_path / f"a.{kind}"
    if kind == "gz":
        path.write_bytes(gzip.compress(data, mtime=0))
    else:
        write_zip(path, {"a.csv": data})
    whole = path.read_bytes()
    member = "a.csv" if kind == "zip" else ""
    silent = 0
    for place in range(0, len(whole) * 8, 131):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            silent += read(path, member) != data
        except DataError:
            continue
    for length in range(1, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="damaged"):
            read(path, member)
    assert silent == 0


def test_lines_lose_their_ends_and_the_mark_but_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone \r\n\n two\nthree")
    assert list(lines(path)) == ["one ", "", " two", "three"]


def test_a_wrong_encoding_names_the_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("a\nb\nLéon\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"is not utf-8: .*a.txt, line 3"):
        list(lines(path))
    assert list(lines(path, "", "latin-1")) == ["a", "b", "Léon"]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.zip", "a.tar.gz", "folder"])
def test_the_size_of_a_text_is_about_known_before_it_is_read(tmp_path, name):
    data = "".join(f"{n},{n * n}\n" for n in range(200_000)).encode()
    path, member = tmp_path / name, ""
    if name == "a.zip":
        write_zip(path, {"a.csv": data})
    elif name == "folder":
        path.mkdir()
        (path / "a.csv").write_bytes(data)
        member = "a.csv"
    elif name == "a.tar.gz":
        with tarfile.open(path, "w:gz") as archive:
            info = tarfile.TarInfo("a.csv")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        member = "a.csv"
    else:
        path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert text_size(path, member) == pytest.approx(len(data), rel=0.2)


@pytest.mark.parametrize("name", ["a.csv.gz", "a.zip"])
def test_the_size_of_what_is_damaged_is_left_to_its_reader(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK\x03\x04 and no more")
    assert text_size(tmp_path / name) is None
