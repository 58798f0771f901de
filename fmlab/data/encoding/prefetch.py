"""Work that overlaps, and the memory that it gives back."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pyarrow as pa


def ahead(stream: Iterable[Any]) -> Iterator[Any]:
    """The same, with the next one being made by another thread."""
    source = iter(stream)
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, source, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, source, None)
            yield batch


@contextmanager
def returning_memory() -> Iterator[None]:
    """Take Arrow's memory from jemalloc, where Arrow has it.

    Blocks and vocabularies come and go in all sizes; its pages are left with fewer holes than those of the usual pool,
    and go back at once: kept for a while, as they are otherwise, they add to the peak.
    """
    usual = pa.default_memory_pool()
    with suppress(NotImplementedError):
        pa.set_memory_pool(pa.jemalloc_memory_pool())
        pa.jemalloc_set_decay_ms(0)
    try:
        yield
    finally:
        pa.set_memory_pool(usual)
