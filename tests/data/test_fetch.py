import gzip
import hashlib
import http.server
import threading

import pytest
from data_cases import in_child, tree, write_zip

from fmlab.contracts import RawFile
from fmlab.data.raw import download, fetch
from fmlab.data.raw.fetch import ensure, find, mismatch
from fmlab.errors import DataError, StorageError
from fmlab.files import digest, size

DATA = b"user,item\n1,2\n" * 100
LONG = DATA * 1000
PACKED = gzip.compress(DATA, mtime=0)
SHA = hashlib.sha256(DATA).hexdigest()


BODIES = {
    "/page": b"<!DOCTYPE html><html>log in</html>",
    "/late": b"\xef\xbb\xbf<!-- -->\n<HTML>",
    "/flaky": PACKED,
    "/other": DATA + b"x",
    "/empty": b"",
}
fetch_waits = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    seen: list[str] = []

    def do_GET(self):
        self.seen.append(self.path)
        if self.path in ("/closes", "/flaky") and (self.path != "/flaky" or self.seen.count("/flaky") < 3):
            self.send_response(200)  # says no length, and stops half-way
            self.end_headers()
            self.wfile.write(PACKED[: len(PACKED) // 2])
            return
        if self.path.startswith("/breaks"):
            self.break_off()
            return
        body = BODIES.get(self.path, DATA)
        if self.path == "/slow":
            fetch_waits.wait(5)
        self.send_response(404 if self.path == "/404" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.path == "/half" else body)

    def break_off(self):
        """Gives a third of what is asked for, and the rest from the third time on."""
        time, options = self.seen.count(self.path), self.path.split("-")[1:]
        tag = "" if "plain" in options else f'"{time}"' if "renewed" in options else '"1"'
        wanted, known = self.headers.get("Range", ""), self.headers.get("If-Range")
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and known == tag else 0
        self.asked.append(start)
        rest = LONG[start:]
        self.send_response(206 if start else 200)
        self.send_header("ETag", tag)
        if start:
            self.send_header("Content-Range", f"bytes {start + ('askew' in options)}-{len(LONG) - 1}/{len(LONG)}")
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest if time > 2 and "always" not in options else rest[: len(rest) // 3])

    asked: list[int] = []

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    Handler.seen.clear()
    Handler.asked.clear()


def test_a_missing_file_is_fetched_once_and_checked(tmp_path, server):
    raw = RawFile("in/a.csv", (f"{server}/good",), sha256=SHA)
    assert ensure(raw, tmp_path, retries=0) == tmp_path / "in" / "a.csv"
    assert ensure(raw, tmp_path, retries=0).read_bytes() == DATA
    assert Handler.seen == ["/good"]


def test_mirrors_are_tried_in_order(tmp_path, server):
    raw = RawFile("a.csv", tuple(f"{server}/{p}" for p in ("404", "other", "good", "never")), sha256=SHA)
    assert ensure(raw, tmp_path, retries=0).read_bytes() == DATA
    assert Handler.seen == ["/404", "/other", "/good"]


@pytest.mark.parametrize(
    ("path", "name", "text"),
    [
        ("404", "a.csv", "404"),
        ("page", "a.csv", "a web page instead of a.csv"),
        ("late", "a.csv", "a web page instead of a.csv"),
        ("closes", "a.csv.gz", "a part instead of a.csv.gz"),
        ("closes", "a.zip", "no zip archive instead of a.zip"),
        ("half", "a.csv", "./half"),
        ("empty", "a.csv", "nothing instead of a.csv"),
        ("good", "a.zip", "no zip archive instead of a.zip"),
        ("good", "a.csv.gz", "no gzip file instead of a.csv.gz"),
    ],
)
def test_what_is_not_the_file_is_never_kept(tmp_path, server, path, name, text):
    with pytest.raises(StorageError, match=text):
        ensure(RawFile(name, (f"{server}/{path}",)), tmp_path, retries=0)
    assert [p for p in tree(tmp_path) if not p.endswith(".lock")] == []


def test_a_wrong_checksum_names_both(tmp_path, server):
    with pytest.raises(StorageError, match=SHA):
        ensure(RawFile("a.csv", (f"{server}/other",), sha256=SHA), tmp_path, retries=0)
    assert not (tmp_path / "a.csv").exists()


def test_a_server_that_does_not_answer_is_given_up_for_the_next(tmp_path, server, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    raw = RawFile("a.csv", (f"{server}/slow", f"{server}/half", f"{server}/good"), sha256=SHA)
    assert ensure(raw, tmp_path, retries=0).read_bytes() == DATA
    fetch_waits.set()
    assert Handler.seen == ["/slow", "/half", "/good"]


def test_it_tries_again(tmp_path, server, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(StorageError, match="404"):
        ensure(RawFile("a.csv", (f"{server}/404",)), tmp_path, retries=2)
    assert Handler.seen == ["/404"] * 3


def test_what_breaks_off_twice_is_fetched_a_third_time(tmp_path, server, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert ensure(RawFile("a.csv.gz", (f"{server}/flaky",)), tmp_path).read_bytes() == PACKED
    assert Handler.seen == ["/flaky"] * 3


LONG_SHA = hashlib.sha256(LONG).hexdigest()
THIRD = len(LONG) // 3 // download.PIECE * download.PIECE  # what is not a whole piece is lost
TWO_STEPS = THIRD + (len(LONG) - THIRD) // 3 // download.PIECE * download.PIECE


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/breaks", [0, THIRD, TWO_STEPS]),
        ("/breaks-renewed", [0, 0, 0]),  # every answer is of another version of the file
        ("/breaks-plain", [0, 0, 0]),  # the server does not say which version it gives
        ("/breaks-askew", [0, THIRD, THIRD, THIRD]),  # what is given is not what was asked for
    ],
)
def test_what_breaks_off_is_gone_on_with_if_it_is_the_same_file(tmp_path, server, monkeypatch, path, asked):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    if "askew" in path:
        with pytest.raises(StorageError, match="another piece"):
            ensure(RawFile("a.csv", (server + path,)), tmp_path)
    else:
        assert ensure(RawFile("a.csv", (server + path,)), tmp_path).read_bytes() == LONG
        assert [p for p in tree(tmp_path) if not p.endswith(".lock")] == ["a.csv"]
    assert Handler.asked == asked


def test_a_later_process_goes_on_where_one_gave_up(tmp_path, server, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    raw = RawFile("a.csv", (f"{server}/breaks",), sha256=LONG_SHA)
    with pytest.raises(StorageError, match=f"{size(THIRD)} of it are kept"):
        ensure(raw, tmp_path, retries=0)
    assert not (tmp_path / "a.csv").exists()
    assert ensure(raw, tmp_path, retries=1).read_bytes() == LONG
    assert Handler.asked == [0, THIRD, TWO_STEPS]


def test_a_part_of_another_address_is_not_gone_on_with(tmp_path, server):
    raw = RawFile("a.csv", (f"{server}/breaks-always", f"{server}/good"), sha256=SHA)
    assert ensure(raw, tmp_path, retries=0).read_bytes() == DATA
    assert [p for p in tree(tmp_path) if not p.endswith(".lock")] == ["a.csv"]


def test_a_part_that_others_spoilt_is_fetched_anew(tmp_path, server, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    raw = RawFile("a.csv", (f"{server}/breaks",), sha256=LONG_SHA)
    with pytest.raises(StorageError):
        ensure(raw, tmp_path, retries=1)
    (tmp_path / ".a.csv.part").write_bytes(bytes(TWO_STEPS))
    assert ensure(raw, tmp_path).read_bytes() == LONG
    assert Handler.asked == [0, THIRD, TWO_STEPS, 0]


def test_a_full_disk_while_fetching_is_no_fault_of_the_network(tmp_path, server):
    import resource

    import requests  # noqa: F401  its compiled parts cannot be loaded under the limit

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
        return ensure(RawFile("a.csv", (f"{server}/good", f"{server}/good")), tmp_path, retries=0)

    error = in_child(work)
    assert isinstance(error, StorageError)
    assert "FMLAB_DATA_DIR" in str(error)
    assert "free: " in str(error)
    assert "could not be fetched" not in str(error)
    assert not (tmp_path / "a.csv").exists()


def test_a_file_that_needs_a_login_says_where_to_go(tmp_path):
    raw = RawFile("train.csv", page="https://example.org/contest")
    with pytest.raises(DataError, match=r"train.csv .*https://example.org/contest .*looked for it at"):
        ensure(raw, tmp_path)
    assert not (tmp_path / "train.csv").exists()


@pytest.mark.parametrize("place", ["a.zip", "mine/a.zip", "a/data.csv", "mine/a/data.csv"])
def test_a_file_is_found_where_users_put_it(tmp_path, place):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(DATA)
    expected = path if place.endswith(".zip") else path.parent
    assert ensure(RawFile("a.zip"), tmp_path, "mine") == expected


def test_an_empty_file_and_a_folder_are_no_data(tmp_path):
    (tmp_path / "a.csv").touch()
    with pytest.raises(DataError, match=r"the file is empty: .*a.csv"):
        find(RawFile("a.csv"), tmp_path)
    (tmp_path / "b.csv").mkdir()
    with pytest.raises(DataError, match=r"expected a file, got a folder: .*b.csv"):
        find(RawFile("b.csv"), tmp_path)


def test_a_file_of_another_checksum_is_described(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(DATA)
    assert mismatch(RawFile("a.csv", sha256=SHA.upper()), digest(path), path) == ""
    assert mismatch(RawFile("a.csv"), digest(path), path) == ""
    text = mismatch(RawFile("a.csv", sha256="0" * 64), digest(path), path)
    assert all(part in text for part in ("0" * 64, SHA, "1.4 kB", "used all the same"))
    md5 = hashlib.md5(DATA).hexdigest()
    assert mismatch(RawFile("a.csv", md5=md5), digest(path, md5=True), path) == ""
    assert "md5" in mismatch(RawFile("a.csv", md5="0" * 32), digest(path, md5=True), path)


def test_an_unpacked_folder_has_a_checksum_of_names_and_contents(tmp_path):
    write_zip(tmp_path / "z.zip", {})
    for name in ("a", "b"):
        (tmp_path / "x" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "x" / name).write_text(name)
    before = digest(tmp_path / "x")
    (tmp_path / "x" / "b").rename(tmp_path / "x" / "c")
    renamed = digest(tmp_path / "x")
    (tmp_path / "x" / "c").write_text("c")
    assert len({before.sha256, renamed.sha256, digest(tmp_path / "x").sha256}) == 3


def test_of_two_processes_one_fetches(tmp_path, server):
    from data_cases import FORK

    raw = RawFile("a.csv", (f"{server}/good",), sha256=SHA)
    children = [FORK.Process(target=lambda: fetch.ensure(raw, tmp_path)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert Handler.seen == ["/good"]
