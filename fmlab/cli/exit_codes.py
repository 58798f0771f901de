"""What the program says where it fails, and the status that it ends with: see the table in `command_line`."""

import errno
import os
import signal
import sys
import traceback

from fmlab.errors import FmlabError, StorageError
from fmlab.terminal.escaping import shown

_STORAGE = {
    errno.ENOSPC,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EDQUOT,
    errno.EIO,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EMFILE,
    errno.ENFILE,
}


def failed(error: Exception) -> int:
    """Print one line about an error; returns the exit code."""
    if os.environ.get("FMLAB_TRACEBACK") == "1":
        print(shown("".join(traceback.format_exception(error))), end="", file=sys.stderr)
    print(f"error: {message(error)}", file=sys.stderr)
    if isinstance(error, FmlabError | MemoryError):
        return getattr(error, "code", FmlabError.code)
    return StorageError.code if isinstance(error, OSError) and error.errno in _STORAGE else 1


def message(error: BaseException) -> str:
    """One line: without secrets, without control characters."""
    return shown(_told(error))


def _told(error: BaseException) -> str:
    if isinstance(error, FmlabError):
        return " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return f"this needs more memory than the machine has: {error or 'nothing is left'}; choose smaller options"
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return f"too many files are open ({error.filename or 'no name'}); raise the limit, see ulimit -n"
    if isinstance(error, FileNotFoundError) and error.filename is None and _is_nowhere():
        return "the working folder is not there any more"
    if isinstance(error, OSError) and error.errno in _STORAGE:
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    text = " ".join(str(error).split("\n")[0].split())
    if "OutOfMemory" in type(error).__name__:
        text += "; try a smaller batch_size or model"
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    notes = getattr(error, "__notes__", ["FMLAB_TRACEBACK=1 shows the traceback"])
    return f"{type(error).__name__}: {text}{place}; {'; '.join(notes)}"


def _is_nowhere() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def ended(error: BaseException, stopped: int) -> int:
    """The exit code of an interruption, or of a program that wants to end; `stopped`: that of a signal, or 0."""
    if stopped:
        print(shown(f"stopped by {signal.Signals(stopped - 128).name}: {error}"), file=sys.stderr)
        return stopped
    code: object = error.code if isinstance(error, SystemExit) else 1
    link: BaseException | None = error
    while link is not None:  # Lightning turns Ctrl-C into sys.exit(1)
        if isinstance(link, KeyboardInterrupt):
            print(shown(str(link)) or "interrupted", file=sys.stderr)
            return 128 + signal.SIGINT
        link = link.__cause__ or link.__context__
    if isinstance(code, str):
        print(shown(code), file=sys.stderr)
    return code if isinstance(code, int) else int(code is not None)
