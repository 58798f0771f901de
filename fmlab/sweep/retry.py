"""Waiting for the server of a study: a database or a gRPC storage that restarts stops no sweep and no trial."""

import logging
import sys
import time
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar, cast

from optuna.exceptions import StorageInternalError

from fmlab.errors import StorageError

log = logging.getLogger("fmlab")
PAUSES: Sequence[float] = (1, 2, 5, 10, 10, 10, 10, 10)  # seconds between tries while a sweep is at work
FIRST: Sequence[float] = (0.5, 1, 2)  # at the first contact, where the address may be wrong
_GONE = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "ABORTED")  # gRPC's words for a server that went away
P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound="Patient")


def is_unreachable(error: BaseException) -> bool:
    """Whether a server cannot be reached for now: the same step may work later."""
    if isinstance(error, StorageInternalError):
        return True
    grpc = sys.modules.get("grpc")  # whoever uses it has imported it
    if grpc is None or not isinstance(error, grpc.RpcError) or not hasattr(error, "code"):
        return False
    # The server passes on what its own database raises as text.
    behind = error.code().name == "UNKNOWN" and "StorageInternalError" in str(error.details())
    return error.code().name in _GONE or behind


def wait_out(step: Callable[[], T], pauses: Sequence[float]) -> T:
    """The result of a step that is tried again while the server cannot be reached; raises StorageError at the end."""
    for pause in (*pauses, None):
        try:
            return step()
        except Exception as error:
            if not is_unreachable(error):
                raise
            reason = _reason(error)
            if pause is None:
                hint = "the same command goes on from what the study holds"
                raise StorageError(f"the study cannot be reached since {sum(pauses):g} s: {reason}; {hint}") from error
        log.warning(f"the study cannot be reached, trying again in {pause} s: {reason}")
        time.sleep(pause)
    raise AssertionError("the last try returns or raises")


class Patient:
    """Has methods that wait a server out, see `patiently`."""

    _in_vain = False
    _away = 0.0

    def away(self) -> float:
        """Seconds that were waited since this was last asked."""
        seconds, self._away = self._away, 0.0
        return seconds

    def _wait_out(self, step: Callable[[], T]) -> T:
        began, tries = time.monotonic(), 0

        def counted() -> T:
            nonlocal tries
            tries += 1
            return step()

        try:
            found = wait_out(counted, () if self._in_vain else PAUSES)
        except StorageError:
            self._in_vain = True  # the next steps have waited with this one
            raise
        self._in_vain = False
        if tries > 1:
            self._away += time.monotonic() - began
        return found


def patiently(step: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """A method that waits a server out; raises StorageError once that was in vain."""

    @wraps(step)
    def patient(self: S, *arguments: P.args, **named: P.kwargs) -> T:
        return self._wait_out(lambda: step(self, *arguments, **named))

    return cast(Callable[Concatenate[S, P], T], patient)


def _reason(error: BaseException) -> str:
    text = error.details() if hasattr(error, "details") else str(error.__cause__ or error)
    return " ".join(str(text).split())[:300]
