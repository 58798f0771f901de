"""Bodies of requests, of bounded size and number: what is read and not answered yet takes bounded memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fmlab.serving.batching import Overloaded


class TooLarge(Exception):
    """A body has more bytes than one request may have."""


class TooSlow(Exception):
    """A body did not come in time."""


DROPPED = 4  # times the limit: bytes of a refused body that are still read
LINGER = 5.0  # seconds for them


class BodyReader:
    """Reads bodies. `limit`: bytes of one; `held`: bytes of all that are not answered yet; `patience`: seconds.

    What is left of a refused body is read and dropped, within bounds: a connection that is closed while its client
    still sends is reset, and the client does not get the answer that says why.
    """

    def __init__(self, limit: int, held: int, patience: float) -> None:
        self.limit, self.room, self.patience = limit, held, patience

    @asynccontextmanager
    async def of(self, request: Any) -> AsyncIterator[bytes]:
        """The body, until it is answered; raises TooLarge, TooSlow, or Overloaded where there is no room for it."""
        parts: list[bytes] = []
        stream, size = request.stream(), 0
        try:
            try:
                async with asyncio.timeout(self.patience):
                    async for part in stream:
                        size += len(part)
                        self.room -= len(part)
                        if size > self.limit:
                            raise TooLarge
                        if self.room < 0:
                            raise Overloaded
                        parts.append(part)
            except TimeoutError as error:
                raise TooSlow from error
            except (TooLarge, Overloaded):
                parts.clear()
                self.room, size = self.room + size, 0
                await self._drop(stream)
                raise
            yield b"".join(parts)
        finally:
            self.room += size

    async def _drop(self, stream: AsyncIterator[bytes]) -> None:
        left = DROPPED * self.limit
        with suppress(TimeoutError):
            async with asyncio.timeout(min(LINGER, self.patience)):
                async for part in stream:
                    left -= len(part)
                    if left < 0:
                        return
