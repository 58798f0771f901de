"""`fmlab serve`: a trained model behind HTTP, one process, on this machine alone unless `--host` says otherwise."""

import argparse
import errno
import json
import logging
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmlab.errors import FmlabError
from fmlab.serving.command import TYPE_OF_RUN, Parser, show_messages

if TYPE_CHECKING:
    from fmlab.serving.engine import Limits
    from fmlab.serving.loaded_run import LoadedRun

DESCRIPTION = """\
Serves a trained model over HTTP (pip install "fmlab[serve]"). Requests and answers are JSON:

  POST /score      {"rows": [{column: cell, ...}, ...]}           as fmlab predict
  POST /recommend  {"users": [id, ...], "k": 10, "exclude": "all", "context": {...}}   as fmlab recommend
  POST /recommend  {"histories": [[item, ...], ...], "k": 10}     as fmlab recommend --history, for new users
  POST /similar    {"items": [id, ...], "k": 10, "measure": "auto"}                    as LoadedRun.similar
  GET  /health     the model, its data and what it can answer
  GET  /metrics    requests, rows, seconds and unknown values, as Prometheus reads them

What is wrong with a request is said with status 400, in {"error": "..."}. There is no password: whoever reaches the
port may ask. It is reached from this machine alone unless --host is given."""

ROUTES = "POST /score, POST /recommend, POST /similar, GET /health and GET /metrics"
KINDS = ("score", "recommend", "similar")
HELD = 8 << 20  # bytes of requests that are not answered yet
PATIENCE = 30  # seconds for the body of a request to come, and for answers when the server ends
LOOPBACK = ("127.0.0.1", "::1", "localhost")
BODY = 1 << 20
log = logging.getLogger("fmlab")


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run `fmlab serve RUN [--host ADDRESS] [--port N]` until it is stopped; returns the exit code. Raises
    FmlabError."""
    args = _parser().parse_args(arguments)
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise FmlabError(f'serve needs the package {error.name}: pip install "fmlab[serve]"') from error
    for name in ("max_rows", "max_k", "max_items", "max_body", "threads"):
        if getattr(args, name) < 1:
            raise FmlabError(f"--{name.replace('_', '-')} must be 1 or more, got {getattr(args, name)}")
    if not 0 <= args.port < 1 << 16:
        raise FmlabError(f"--port must be from 0 to 65535, got {args.port}")
    import torch

    from fmlab.serving import load_run
    from fmlab.serving.engine import Limits

    show_messages()
    torch.set_num_threads(args.threads)
    app = application(load_run(args.run), Limits(args.max_rows, args.max_k, args.max_items), body=args.max_body)
    if args.host not in LOOPBACK:
        print(f"whoever reaches {args.host} may ask: there is no password", file=sys.stderr)
    sockets = listening(args.host, args.port)
    print(f"http://{args.host}:{sockets[0].getsockname()[1]}", file=sys.stderr, flush=True)
    with suppress(KeyboardInterrupt):  # Ctrl-C is how a server ends
        server_of(app).run(sockets)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="fmlab serve", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", type=Path, help=TYPE_OF_RUN)
    parser.add_argument("--host", metavar="ADDRESS", default="127.0.0.1", help="where to listen (default: 127.0.0.1)")
    parser.add_argument("--port", metavar="N", type=int, default=8000, help="(default: 8000)")
    parser.add_argument("--max-rows", metavar="N", type=int, default=1000, help="rows of a request (default: 1000)")
    parser.add_argument("--max-k", metavar="N", type=int, default=1000, help="items of a list (default: 1000)")
    parser.add_argument(
        "--max-items", metavar="N", type=int, default=100_000, help="of all lists of a request (default: 100000)"
    )
    parser.add_argument("--max-body", metavar="BYTES", type=int, default=BODY, help=f"of a request (default: {BODY})")
    parser.add_argument("--threads", metavar="N", type=int, default=1, help="of torch (default: 1)")
    return parser


def listening(host: str, port: int) -> list[socket.socket]:
    """Sockets bound to all addresses of a host; `port` 0 takes a free one. Raises FmlabError where that cannot be.

    Their connections send at once. An answer goes out in two pieces, head and body; without TCP_NODELAY the second one
    would wait until the client has acknowledged the first, which clients put off for 40 ms. asyncio sets that option
    only where a socket names its protocol, and a connection has what its listening socket has.
    """
    made: list[socket.socket] = []
    try:
        known = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, _, _, address in dict.fromkeys(known):
            try:
                made.append(_bound(family, kind, address))
            except OSError as error:
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) or len(known) == 1:
                    raise  # a machine without IPv6 may still name its addresses
    except OSError as error:
        for one in made:
            one.close()
        raise FmlabError(f"a server needs a free port of this machine, got {host}:{port}: {error.strerror}") from error
    return made


def _bound(family: int, kind: int, address: Any) -> socket.socket:
    made = socket.socket(family, kind, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made


def server_of(app: Any) -> Any:
    """The uvicorn.Server of an application; `run(sockets)` serves until it is stopped."""
    import uvicorn

    bounds = {"limit_concurrency": 2048, "timeout_graceful_shutdown": PATIENCE}
    return uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, **bounds))


def application(run: "LoadedRun", limits: "Limits | None" = None, *, body: int = BODY) -> Any:
    """The FastAPI application of a run, for a server of your own; `body`: bytes that a request may have."""
    from fastapi import FastAPI, Request
    from fastapi.responses import PlainTextResponse, Response
    from starlette.requests import ClientDisconnect
    from starlette.routing import Route

    from fmlab.serving.batching import Batcher, Overloaded
    from fmlab.serving.engine import Engine
    from fmlab.serving.request_limits import BodyReader, TooLarge, TooSlow
    from fmlab.serving.request_metrics import RequestMetrics

    engine, metrics = Engine(run, limits), RequestMetrics()
    batcher, bodies = Batcher(engine), BodyReader(body, max(HELD, 2 * body), PATIENCE)

    @asynccontextmanager
    async def life(_: Any) -> AsyncIterator[None]:
        yield
        batcher.close()

    app = FastAPI(title=f"fmlab: {run.name}", docs_url=None, redoc_url=None, openapi_url=None, lifespan=life)

    def answer(kind: str, began: float, status: int, content: Any) -> Response:
        metrics.count(kind, status, time.perf_counter() - began)
        return Response(json.dumps(content), status, media_type="application/json")

    def endpoint(kind: str) -> Any:
        async def ask(request: Request) -> Response:
            began = time.perf_counter()
            try:
                async with bodies.of(request) as given:
                    found = await batcher.ask(kind, _parsed(given))
            except ClientDisconnect:
                return answer(kind, began, 499, {"error": "the client has gone"})
            except TooLarge:
                return answer(kind, began, 413, {"error": f"a request has at most {body:,} bytes"})
            except TooSlow:
                return answer(kind, began, 408, {"error": f"a request comes within {PATIENCE} seconds"})
            except FmlabError as error:
                return answer(kind, began, 400, {"error": str(error)})
            except Overloaded:
                return answer(kind, began, 503, {"error": "too many requests wait; try again later"})
            except Exception:
                log.exception("a request failed by a defect")
                return answer(kind, began, 500, {"error": "a defect of fmlab or of a plugin; the server's log has it"})
            return answer(kind, began, 200, found)

        return ask

    for kind in KINDS:  # routes of Starlette: FastAPI's would look for dependencies and fields at each request
        app.router.routes.append(Route(f"/{kind}", endpoint(kind), methods=["POST"]))

    async def health() -> dict[str, Any]:
        return {"status": "ok", "model": run.name, "data": run.data.name, "columns": run.columns, "ranks": engine.ranks}

    async def scraped() -> PlainTextResponse:
        return PlainTextResponse(metrics.text(engine.unseen, batcher.batches), media_type="text/plain; version=0.0.4")

    async def elsewhere(request: Request, error: Exception) -> Response:
        """Of a path that is not there, or another method."""
        said = f"requests are {ROUTES}; got {request.method} {request.url.path:.100}"
        return Response(json.dumps({"error": said}), getattr(error, "status_code", 404), media_type="application/json")

    for status in (404, 405):
        app.add_exception_handler(status, elsewhere)
    app.add_api_route("/health", health, methods=["GET"], response_model=None)
    app.add_api_route("/metrics", scraped, methods=["GET"], response_model=None)
    return app


def _parsed(given: bytes) -> Any:
    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is no number of JSON; null stands for a missing value")

    try:
        return json.loads(given, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise FmlabError(f"a request must be JSON: {error!s:.200}") from error
