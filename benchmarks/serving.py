"""Latency and throughput of a server over HTTP on this machine."""

import asyncio
import json
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.harness import Line, Note, Results, Setting, Spread, Target
from fmlab.data import Field, FieldEncoding, Schema, Table
from fmlab.evaluation.output_transform import OutputTransform
from fmlab.plugin.registry import build
from fmlab.run.serving_data import ServingData
from fmlab.serving.loaded_run import LoadedRun

ABOUT = "requests over loopback to `fmlab serve` at 100,000 items"
USERS, ITEMS, ROWS = 10_000, 100_000, 100
LATENCY, CLIENTS = 0.005, 16


def run(setting: Setting) -> Iterator[Results]:
    """Latencies and throughput of each kind of request."""
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401

        yield _served(setting)
    except ImportError as error:
        yield [Note(f"serve: no package {error.name}: pip install 'fmlab[serve]'")]


def trained(name: str, users: int, items: int, **options: Any) -> LoadedRun:
    """A model with random parameters on users and items, as a run."""
    torch.manual_seed(0)
    schema = Schema((Field("user", "user", users + 1), Field("item", "item", items + 1)), users, items)
    model = build("model", {"name": name, **options}, schema, gives=nn.Module)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.1)
    data = ServingData(
        name="random",
        fingerprint="",
        schema=schema,
        inputs={n: FieldEncoding(n) for n in ("user", "item")},
        keys={"user": np.arange(users).astype(str), "item": np.arange(items).astype(str)},
        users=Table(1 + np.arange(users, dtype=np.int32)[:, None]),
        items=Table(users + 2 + np.arange(items, dtype=np.int32)[:, None]),
        seen=None,
        popularity=None,
        scale=OutputTransform(),
        log_odds=True,
    )
    return LoadedRun(Path(), Path(), {"model": {"name": name}}, model.eval(), data)


def _served(setting: Setting) -> list[Line | Note]:
    users, items, count = setting.size(USERS, 20), setting.size(ITEMS, 50), setting.size(2000, 10)
    rng, found = np.random.default_rng(0), list[Line | Note]()
    requests = {
        "recommend": lambda: {"users": [str(rng.integers(users))], "k": 10},
        f"score {ROWS} rows": lambda: {
            "rows": [{"user": str(rng.integers(users)), "item": str(rng.integers(items))} for _ in range(ROWS)]
        },
    }
    with _serving(users, items) as port:
        for what, make in requests.items():
            bodies = [json.dumps(make()).encode() for _ in range(count)]
            path = f"/{what.split()[0]}"
            asyncio.run(_ask(port, path, bodies[:20], 1))
            latencies, _ = asyncio.run(_ask(port, path, bodies, 1))
            for share, target in ((50, None), (99, Target(value=1000 * LATENCY))):
                value = 1000 * float(np.percentile(latencies, share))
                goal, met = ("", None) if target is None else target.judge(value, None, more=False)
                shape = f"{what}, {items:,} items, one client"
                found.append(Line(shape, f"p{share}", "ms", Spread.of([value]), 1, None, goal, met))
            _, seconds = asyncio.run(_ask(port, path, bodies, CLIENTS))
            shape = f"{what}, {items:,} items, {CLIENTS} clients"
            found.append(Line(shape, "requests", "1/s", Spread.of([count / seconds]), 1))
    return found


@contextmanager
def _serving(users: int, items: int) -> Iterator[int]:
    """The port of a server in a process of its own: it shares no interpreter with the clients."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, users, items), daemon=True)
    process.start()
    there.close()
    try:
        yield here.recv()
    finally:
        process.terminate()
        process.join()


def _serve(told: Any, users: int, items: int) -> None:
    from fmlab.serving.server import application, listening, server_of

    torch.set_num_threads(1)
    app, sockets = application(trained("fm", users, items)), listening("127.0.0.1", 0)
    for one in sockets:
        one.listen(CLIENTS)
    told.send(sockets[0].getsockname()[1])
    server_of(app).run(sockets)


async def _ask(port: int, path: str, bodies: list[bytes], clients: int) -> tuple[list[float], float]:
    """Seconds of each request, and of all; raises RuntimeError where an answer is missing or no 200."""
    latencies: list[float] = []

    async def client(mine: list[bytes]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for body in mine:
            began = time.perf_counter()
            head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            said = (await reader.readuntil(b"\r\n\r\n")).lower()
            if b" 200 " not in said.split(b"\r\n")[0]:
                raise RuntimeError(said.decode())
            size = int(said.split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(size)
            latencies.append(time.perf_counter() - began)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client(bodies[n::clients]) for n in range(clients)))
    if len(latencies) != len(bodies):
        raise RuntimeError(f"{len(bodies) - len(latencies)} answers are missing")
    return latencies, time.perf_counter() - began
