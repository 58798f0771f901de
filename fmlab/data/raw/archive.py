"""Reading raw files as they come: as text, compressed, or a member of a zip or tar archive or of its unpacked folder.

Nothing is ever unpacked to disk. Archives are refused as a whole if their table of contents is hostile.
"""

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO

from fmlab.data.raw import compression
from fmlab.data.raw.compression import DAMAGE, MAGIC, MAX_RATIO, WORKBOOKS, bare, unpacked
from fmlab.errors import DataError
from fmlab.files import BLOCK

RATIO_FROM = 64 << 20
MAX_MEMBERS = 10_000
MAX_LINE = 64 << 20
TARS = (".tar", ".tgz", ".tbz2", ".txz")
CHOOSE = "member=<name>"
SPECIAL = 0o6000  # set-user-ID and set-group-ID
SYMLINK, TYPE_MASK, REGULAR, FOLDER = 0o120000, 0o170000, 0o100000, 0o040000


@contextmanager
def opened(path: Path, member: str = "") -> Iterator[BinaryIO]:
    """Bytes of a file; what is compressed is unpacked on the way, and of an archive or folder the `member` is read.

    A member is named by its path in the archive or, if only one fits, by the end of that path; without a name the
    archive must hold one file. Raises DataError for a damaged or hostile archive or a missing member.
    """
    if path.is_dir():
        with opened(_in_folder(path, member)) as file:
            yield file
        return
    name = f"{path}, member {member}" if member else str(path)
    try:
        with ExitStack() as stack:
            if _is_tar(path):
                yield _tar_member(path, member, stack)
            elif not _is_zip(path):
                if member:
                    raise zipfile.BadZipFile("it is no zip archive")
                yield unpacked(stack.enter_context(path.open("rb")), path.name, RATIO_FROM)
            else:
                yield _zip_member(path, member, stack)
    except (zipfile.BadZipFile, tarfile.TarError, *DAMAGE) as error:
        raise DataError(f"the file is damaged or cut short: {name}: {error}; remove it and fetch it again") from error


def text_size(path: Path, member: str = "") -> int | None:
    """About how many bytes `opened` gives, to tell how far a reader is: gzip is judged by its beginning.

    None where that cannot be known; a damaged file is reported by whoever reads it.
    """
    with suppress(DataError, OSError, zipfile.BadZipFile, zlib.error):
        if path.is_dir():
            return _in_folder(path, member).stat().st_size
        packed = path.stat().st_size
        if _is_zip(path):
            with zipfile.ZipFile(path) as archive:
                return _in_archive(path, archive, member).file_size
        with path.open("rb") as file:
            kind = compression.compression(file.read(16), path.name.replace(".tgz", ".gz"))
        if kind != ".gz":
            return None if kind else packed
        with path.open("rb") as file:
            stream, start = zlib.decompressobj(zlib.MAX_WBITS | 16), file.read(BLOCK)
        text = stream.decompress(start, 16 * BLOCK)  # no bomb goes off here
        used = len(start) - len(stream.unconsumed_tail) - len(stream.unused_data)
        return len(text) * packed // max(used, 1)
    return None


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04" or zipfile.is_zipfile(path)


def _is_tar(path: Path) -> bool:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return suffixes[-1:] in [[s] for s in TARS] or (suffixes[-2:-1] == [".tar"] and suffixes[-1] in MAGIC)


def member_name(path: Path, member: str = "") -> str:
    """The name of what `opened` gives, without the suffixes of compression; raises DataError as it does."""
    if path.is_dir() or not (_is_tar(path) or _is_zip(path)):
        return bare(member or path.name)
    if member:
        return bare(member)
    try:
        if _is_tar(path):
            with ExitStack() as stack:
                return bare(_tar_entry(path, "", stack)[1].name)
        with zipfile.ZipFile(path) as archive:
            return bare(_in_archive(path, archive, "").filename)
    except (zipfile.BadZipFile, tarfile.TarError, *DAMAGE):
        return bare(path.name)  # whoever reads it says what is wrong


def _tar_member(path: Path, member: str, stack: ExitStack) -> BinaryIO:
    """A tar archive has no table of contents: entries are looked at until the member comes, and after its end."""
    archive, entry, rest = _tar_entry(path, member, stack)
    found = archive.extractfile(entry)
    assert found is not None
    followed = _Followed(found, lambda: _refuse_second(path, rest, member))
    return unpacked(io.BufferedReader(followed, BLOCK), entry.name, RATIO_FROM)


def _tar_entry(
    path: Path, member: str, stack: ExitStack
) -> tuple[tarfile.TarFile, tarfile.TarInfo, Iterator[tarfile.TarInfo]]:
    """The archive, the entry of the member, and those that come after it."""
    file = unpacked(stack.enter_context(path.open("rb")), path.name.replace(".tgz", ".gz"), RATIO_FROM)
    archive = stack.enter_context(tarfile.TarFile.open(fileobj=file, mode="r|"))
    names: list[str] = []
    entries = _checked_tar(path, archive, names)
    for entry in entries:
        if _fits(entry, member):
            return archive, entry, entries
    raise DataError(f"{path} has no file {member!r}; it holds: {', '.join(names[:20]) or '(nothing)'}")


def _fits(entry: tarfile.TarInfo, member: str) -> bool:
    if not member:
        return entry.isfile() and not _is_leftover(entry.name)
    return entry.isfile() and f"/{entry.name}".endswith(f"/{member}")


def _checked_tar(path: Path, archive: tarfile.TarFile, names: list[str]) -> Iterator[tarfile.TarInfo]:
    """Entries as they come, their names added to `names`; raises DataError at one that no honest archive has."""
    seen: set[str] = set()
    for entry in archive:
        if reason := _hostile_tar(entry, seen):
            raise DataError(f"refused: {path} holds an entry {reason}: {entry.name!r}")
        seen.add(entry.name.casefold())
        names.append(entry.name)
        yield entry


def _refuse_second(path: Path, rest: Iterable[tarfile.TarInfo], member: str) -> None:
    if more := [e.name for e in rest if _fits(e, member)]:
        which = f" {member!r}" if member else f", and none is named ({CHOOSE})"
        raise DataError(f"{path} has several files{which}; a later one is {more[0]!r}")


class _Followed(io.RawIOBase):
    """A member of an archive whose end, once reached, is followed by a look at what comes after it."""

    def __init__(self, member: IO[bytes], look: Callable[[], None]) -> None:
        self._member, self._look, self._looked = member, look, False

    def readable(self) -> bool:
        """As of any file."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; raises DataError, at the end, if the rest of the archive is hostile."""
        data = self._member.read(len(buffer))
        buffer[: len(data)] = data
        if not data and not self._looked:
            self._looked = True
            self._look()
        return len(data)


def _hostile_tar(entry: tarfile.TarInfo, seen: Collection[str]) -> str:
    if len(seen) >= MAX_MEMBERS:
        return f"after {MAX_MEMBERS} others"
    if reason := _hostile_name(entry.name):
        return reason
    if entry.issym() or entry.islnk():
        return "that is a link"
    if not (entry.isfile() or entry.isdir()):
        return "that is neither a file nor a folder"
    if entry.mode & SPECIAL and entry.isfile():
        return "that runs as another user"
    return "that is there twice" if entry.name.casefold() in seen and entry.isfile() else ""


def _zip_member(path: Path, member: str, stack: ExitStack) -> BinaryIO:
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
        entry = _in_archive(path, archive, member)
        return unpacked(stack.enter_context(archive.open(entry)), entry.filename, RATIO_FROM)
    except (NotImplementedError, RuntimeError, UnicodeDecodeError, OSError, struct.error) as error:  # a damaged table
        raise zipfile.BadZipFile(str(error)) from error


def lines(path: Path, member: str = "", encoding: str = "utf-8") -> Iterator[str]:
    """Lines of a text file without their ends; a byte order mark is dropped. Raises DataError for a wrong encoding."""
    with opened(path, member) as file:
        for number, raw in enumerate(iter(lambda: file.readline(MAX_LINE + 1), b""), 1):
            if len(raw) > MAX_LINE:
                raise DataError(f"a line has more than {MAX_LINE >> 20} MiB: {path}, line {number}; is it a text?")
            if number == 1 and raw.startswith(b"\xef\xbb\xbf"):
                raw = raw[3:]
            try:
                yield raw.rstrip(b"\r\n").decode(encoding)
            except UnicodeDecodeError as error:
                where = f"{path}{f', member {member}' if member else ''}, line {number}"
                raise DataError(f"the text is not {encoding}: {where}: {error.reason}") from error


def members(path: Path) -> list[str]:
    """Names of the files in a zip archive or folder."""
    if path.is_dir():
        return sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file())
    with zipfile.ZipFile(path) as archive:
        return [m.filename for m in _checked(path, archive)]


def _in_folder(folder: Path, member: str) -> Path:
    names = members(folder)
    return folder / _pick(folder, names, member)


def _in_archive(path: Path, archive: zipfile.ZipFile, member: str) -> zipfile.ZipInfo:
    found = {m.filename: m for m in _checked(path, archive)}
    return found[_pick(path, list(found), member)]


def _is_leftover(name: str) -> bool:
    """Whether an archive holds this for the system that made it: macOS adds files of its own to every archive."""
    parts = PurePosixPath(name).parts
    last = parts[-1] if parts else ""
    return "__MACOSX" in parts or last.startswith("._") or last in (".DS_Store", "Thumbs.db")


def _pick(path: Path, names: list[str], member: str) -> str:
    names = [n for n in names if not _is_leftover(n)]
    if not member and any(n in names for n in WORKBOOKS):
        raise DataError(f"{path} is a workbook of Excel or LibreOffice: save the sheet as CSV (UTF-8), and read that")
    fits = [n for n in names if n == member] or [n for n in names if f"/{n}".endswith(f"/{member}")]
    fits = fits or [n for n in names if f"{member}/".endswith(f"/{n}/")]  # the folder itself was unpacked
    if not member and len(names) == 1:
        return names[0]
    if len(fits) != 1:
        rule = f"has no file {member!r}" if not fits else f"has several files {member!r}"
        rule = rule if member else f"must hold one file, or one is to be named ({CHOOSE})"
        raise DataError(f"{path} {rule}; it holds: {', '.join(sorted(names)[:20]) or '(nothing)'}")
    return fits[0]


def _checked(path: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The regular files of an archive; raises DataError if any entry is one that no honest archive has."""
    entries = archive.infolist()
    if len(entries) > MAX_MEMBERS:
        raise DataError(f"refused: {path} holds {len(entries)} entries, at most {MAX_MEMBERS} are read")
    seen: set[str] = set()
    for entry in entries:
        if reason := _hostile(entry, seen):
            raise DataError(f"refused: {path} holds an entry {reason}: {entry.filename!r}")
        seen.add(entry.filename.casefold())
    return [e for e in entries if not e.is_dir()]


def _hostile_name(name: str) -> str:
    if name.startswith(("/", "\\")) or ":" in name.split("/")[0]:
        return "with an absolute path"
    if ".." in PurePosixPath(name.replace("\\", "/")).parts:
        return "that leaves its folder"
    return ""


def _hostile(entry: zipfile.ZipInfo, seen: set[str]) -> str:
    name = entry.filename
    kind = (entry.external_attr >> 16) & TYPE_MASK
    if reason := _hostile_name(name):
        return reason
    if kind == SYMLINK:
        return "that is a symbolic link"
    if kind not in (0, REGULAR, FOLDER):
        return "that is neither a file nor a folder"
    if (entry.external_attr >> 16) & SPECIAL and kind == REGULAR:
        return "that runs as another user"
    if name.casefold() in seen:
        return "that is there twice"
    if entry.flag_bits & 1:
        return "that is encrypted"
    if entry.file_size > RATIO_FROM and entry.file_size > MAX_RATIO * max(entry.compress_size, 1):
        return f"that unpacks to more than {MAX_RATIO} times its size"
    return ""
