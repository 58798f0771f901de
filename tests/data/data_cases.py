"""What several tests of the data need: a small data set, its source, archives, and processes."""

import multiprocessing
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fmlab.contracts import RawFile
from fmlab.data import Dataset, Field, PlantedScores, PositivesRule, PreparationStep, PublishedFigure, Schema, Table

FORK = multiprocessing.get_context("fork")


def small(rows: int = 50) -> Dataset:
    """Every kind of array that a data set can have."""
    rng = np.random.default_rng(0)
    schema = Schema(
        (
            Field("user", "user", 5),
            Field("hour", "context", 4),
            Field("price", "context", 2, numeric=True),
            Field("item", "item", 4),
            Field("genres", "item", 3, slots=2),
        ),
        n_users=4,
        n_items=3,
    )
    user_at, hour_at, price_at, item_at, genre_at = schema.offsets
    context = np.stack([rng.integers(hour_at, hour_at + 4, rows), np.full(rows, price_at + 1)], 1)
    items = np.column_stack([item_at + 1 + np.arange(3), np.full(3, genre_at + 1), np.full(3, genre_at)])
    return Dataset(
        name="small",
        schema=schema,
        rows=rows,
        user=rng.integers(0, 4, rows).astype(np.int32),
        item=rng.integers(0, 3, rows).astype(np.int32),
        users=Table((user_at + 1 + np.arange(4))[:, None].astype(np.int32)),
        items=Table(items.astype(np.int32)),
        context=Table(context.astype(np.int32), rng.normal(size=(rows, 2)).astype(np.float32)),
        label=rng.integers(0, 2, rows).astype(np.float32),
        time=rng.integers(0, 10**9, rows),
        split=rng.integers(0, 3, rows).astype(np.int8),
        rule=PositivesRule(0.5, 3),
        steps=(PreparationStep("all", rows, 4, 3, schema.n_features),),
        keys={
            "user": np.array(["7", "007", "NA", "löwe ☞"]),
            "item": np.array(["a", "", "c" * 300]),
            "hour": np.array(["1", "2", "3"]),
        },
        published=(PublishedFigure("paper", "rows", 50, "50", "why"),),
        truth=PlantedScores(*(rng.normal(size=s).astype(np.float32) for s in ((4, 2), (3, 2), (4,), (3,)))),
    )


class Made:
    """A source that needs no file, counts its builds in a file, and can be slow."""

    version = "1"
    license = "none"
    citation = "none"

    def __init__(
        self, root: Path, *, pause: float = 0.0, dim: int = 2, flags: tuple[int, ...] = (1, 2), rows: int = 50
    ) -> None:
        self.raw: Sequence[RawFile] = ()
        self.log, self.pause, self.rows = root / "builds", pause, rows

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        with self.log.open("a") as log:
            log.write("build\n")
        (workspace / "half").write_bytes(bytes(1000))
        time.sleep(self.pause)
        return small(self.rows)


def builds(root: Path) -> int:
    """How often a `Made` was built under this root."""
    log = root / "builds"
    return len(log.read_text().splitlines()) if log.exists() else 0


def in_child(work: Callable[[], Any]) -> Any:
    """What `work` returns, or the exception it raises, in a process of its own."""
    queue = FORK.SimpleQueue()

    def run() -> None:
        try:
            queue.put(work())
        except BaseException as error:
            queue.put(error)

    child = FORK.Process(target=run)
    child.start()
    found = queue.get()
    child.join()
    return found


def write_zip(path: Path, members: Mapping[str, bytes]) -> Path:
    """A zip archive with these members."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
