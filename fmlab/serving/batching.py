"""Requests that arrive while others are answered wait, and are then answered together by one thread."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fmlab.serving.engine import Answer, Engine, Request

TOGETHER = {"score": 64, "recommend": 8, "similar": 8}  # requests answered at once: lists may be long


class Overloaded(Exception):
    """More requests wait than may wait."""


class Batcher:
    """Gives requests to an engine. `waiting`: how many may wait."""

    def __init__(self, engine: Engine, waiting: int = 1024) -> None:
        self.engine, self.waiting, self.batches = engine, waiting, 0
        self._pool = ThreadPoolExecutor(1, "fmlab-serve")
        self._queue: list[tuple[str, Request, asyncio.Future[Any]]] = []
        self._task: asyncio.Task[None] | None = None

    async def ask(self, kind: str, request: Request) -> dict[str, Any]:
        """The answer; raises what the engine raised for this request, or Overloaded."""
        if len(self._queue) >= self.waiting:
            raise Overloaded
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.append((kind, request, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        answer = await future
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue:
            kind = self._queue[0][0]
            taken = [entry for entry in self._queue if entry[0] == kind][: TOGETHER[kind]]
            gone = set(map(id, taken))
            self._queue = [entry for entry in self._queue if id(entry) not in gone]
            answers = await loop.run_in_executor(self._pool, self._answers, kind, [entry[1] for entry in taken])
            self.batches += 1
            for (_, _, future), answer in zip(taken, answers, strict=True):
                if not future.done():  # the client may have gone
                    future.set_result(answer)

    def _answers(self, kind: str, requests: Sequence[Request]) -> list[Answer]:
        try:
            return self.engine.kinds[kind](requests)
        except Exception as error:  # a defect: no request may wait for ever
            return [error] * len(requests)

    def close(self) -> None:
        """End the thread."""
        self._pool.shutdown(wait=False, cancel_futures=True)
