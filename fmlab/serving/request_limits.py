"""Bodies of requests, of bounded size and number: what is read and not answered yet takes bounded memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fmlab.serving.batching import Overloaded


class TooLarge(Exception):
    """A body has more bytes than one request may have."""


class TooSlow(Exception):
    """A body did not come in time."""


class BodyReader:
    """Reads bodies. `limit`: bytes of one; `held`: bytes of all that are not answered yet; `patience`: seconds."""

    def __init__(self, limit: int, held: int, patience: float) -> None:
        self.limit, self.room, self.patience = limit, held, patience

    @asynccontextmanager
    async def of(self, request: Any) -> AsyncIterator[bytes]:
        """The body, until it is answered; raises TooLarge, TooSlow, or Overloaded where there is no room for it."""
        parts: list[bytes] = []
        size = 0
        try:
            try:
                async with asyncio.timeout(self.patience):
                    async for part in request.stream():
                        size += len(part)
                        self.room -= len(part)
                        if size > self.limit:
                            raise TooLarge
                        if self.room < 0:
                            raise Overloaded
                        parts.append(part)
            except TimeoutError as error:
                raise TooSlow from error
            yield b"".join(parts)
        finally:
            self.room += size
