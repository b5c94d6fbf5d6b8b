"""A server to be flooded: uvicorn with a small application, alone or behind a gate, which tells how it fares.

Run as ``python -m benchmarks.flooded``, with the gate's options as JSON on standard input, or ``null`` for the
application alone. It prints its port. ``GET /figures`` answers with the figures since the last time, ``GET /memory``
with the bytes that are in use.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from gatepost import Gate, Settings
from gatepost.asgi import GatepostMiddleware

PROTECTED = "/contact"
UNPROTECTED = "/posts/7"

_NAP = 0.005  # seconds; by how much it takes longer is the lag of the event loop
_PAGE = "<!doctype html><title>A post</title><p>" + "Lorem ipsum dolor sit amet. " * 40


class Watch:
    """Keeps the event loop's lag and the processor time, of the process and of the thread that draws."""

    def __init__(self) -> None:
        self._lags: list[float] = []
        self._used, self._drawing = time.process_time(), 0.0

    async def nap(self) -> None:
        """Sleep again and again, and note by how much too long."""
        while True:
            started = time.perf_counter()
            await asyncio.sleep(_NAP)
            self._lags.append(time.perf_counter() - started - _NAP)

    def figures(self, gate: Gate | None) -> dict[str, Any]:
        """What was seen since the last time, in seconds, and bytes of memory."""
        used, drawing, lags = time.process_time(), drawing_time(), sorted(self._lags)
        found = {
            "used": used - self._used,
            "drawing": drawing - self._drawing,
            "drawn": gate.pool.drawn if gate else 0,
            "lags": [lags[int(share * (len(lags) - 1))] for share in (0.5, 0.99, 1.0)] if lags else [0.0, 0.0, 0.0],
            "memory": _memory(),
        }
        self._lags, self._used, self._drawing = [], used, drawing
        return found


def drawing_time() -> float:
    """Processor time of the pool's thread so far, in seconds."""
    for thread in threading.enumerate():
        if thread.name == "gatepost-pool" and thread.ident is not None:
            return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
    return 0.0


def _memory() -> int:
    """Bytes of memory that this process has in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _read(request: Request) -> Response:  # noqa: ARG001 - the same page for all
    return HTMLResponse(_PAGE)


async def _store(request: Request) -> Response:
    async with request.form() as form:
        assert form["message"]
    return RedirectResponse(UNPROTECTED, 303)


def _application(gate: Gate | None, watch: Watch) -> ASGIApp:
    async def figures(request: Request) -> Response:  # noqa: ARG001 - the same figures for all
        return JSONResponse(watch.figures(gate))

    async def memory(request: Request) -> Response:  # noqa: ARG001 - the same for all
        return Response(str(_memory()))

    @asynccontextmanager
    async def watched(app: Starlette) -> AsyncIterator[None]:  # noqa: ARG001 - there is one only
        task = asyncio.create_task(watch.nap())
        yield
        task.cancel()

    routes = [
        Route(PROTECTED, _store, methods=["POST"]),
        Route(UNPROTECTED, _read),
        Route("/figures", figures),
        Route("/memory", memory),
    ]
    return Starlette(routes=routes, lifespan=watched)


def main() -> None:
    """Serve until the process is ended."""
    options = json.load(sys.stdin)
    watch, gate = Watch(), None
    if options is not None:
        gate = Gate(Settings(secret=secrets.token_urlsafe(32), protect=PROTECTED, **options))
    application = _application(gate, watch)
    if gate is not None:
        application = GatepostMiddleware(application, gate=gate)
    # Without its protocol's number asyncio does not take it for TCP, and lets short answers wait for what may follow.
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(application, log_level="warning", access_log=False, forwarded_allow_ips="127.0.0.1")
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
