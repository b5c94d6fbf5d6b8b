"""The pool: what the first visitors wait for, what many at once do to an event loop, and what drawing costs.

Run as ``python -m benchmarks.pooling``, with the name of a measurement and of a kind, it does one of them in a process
that has drawn nothing yet, and prints its figures as JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from starlette.types import Message

from gatepost import Gate, Settings
from gatepost.asgi import GatepostMiddleware
from gatepost.effects import Draw

from . import passing_asgi
from .flooded import drawing_time
from .tables import ROW, show
from .timing import Plan
from .traffic import form_post

FIRST = 0.250  # seconds that the first challenge may take
STALL = 0.010  # seconds that the event loop may be held, with a hundred at once
SHARE = 0.25  # of a core, at the default render_rate

_KINDS = ("image", "audio")
_MANY = 100
_NAP = 0.001  # seconds; by how much it takes longer is the lag of the event loop
_WAITED = 99.0  # seconds; for so long nobody is made to wait
_PATH = "/contact"


def _gated(kind: str) -> GatepostMiddleware:
    """A gate that always asks, and that nobody has come to."""
    gate = Gate(Settings(secret=secrets.token_urlsafe(32), protect=_PATH, mode="always", challenge=[kind]))
    return GatepostMiddleware(passing_asgi.application, gate=gate)


async def _ask(app: GatepostMiddleware, number: int) -> tuple[float, bool]:
    """One submission of a client of its own: seconds until its page is there, and whether that has a challenge."""
    sent, page = form_post("", _PATH), bytearray()
    scope = sent.scope | {"client": (f"198.18.{number >> 8}.{number & 255}", 50000)}

    async def send(message: Message) -> None:
        page.extend(message.get("body", b""))

    started = time.perf_counter()
    await app(scope, passing_asgi.Client({"type": "http.request", "body": sent.body}).receive, send)
    return time.perf_counter() - started, b"gatepost_answer" in page


async def _first(kind: str) -> dict[str, Any]:
    """The first submission that is challenged: nothing was drawn, and nothing imported that drawing needs."""
    seconds, challenged = await _ask(_gated(kind), 0)
    return {"seconds": seconds if challenged else float("inf")}


async def _cold(kind: str) -> dict[str, Any]:
    """A hundred submissions at once, to a gate that has drawn nothing yet."""
    return await _at_once(_gated(kind))


async def _stocked(kind: str) -> dict[str, Any]:
    """A hundred submissions at once, to a gate that has filled its stock and rests."""
    app = _gated(kind)
    await _ask(app, 0)
    while app.gate.pool.stock < app.gate.settings.pool_size:
        await asyncio.sleep(0.05)
    return await _at_once(app)


async def _at_once(app: GatepostMiddleware) -> dict[str, Any]:
    """A hundred submissions, which each arrive by themselves, while others use the event loop as well."""
    lags, loop = list[float](), asyncio.get_running_loop()

    async def nap() -> None:
        while True:
            started = time.perf_counter()
            await asyncio.sleep(_NAP)
            lags.append(time.perf_counter() - started - _NAP)

    # The first full collection of garbage takes 15 ms by what was imported alone; a server that runs has had it.
    gc.collect()
    napping = asyncio.create_task(nap())
    await asyncio.sleep(0.05)
    lags.clear()
    arrived: list[asyncio.Task[tuple[float, bool]]] = []
    done = asyncio.Event()

    def arrive(number: int) -> None:
        # As a server does it: a task for each, when its bytes are read.
        arrived.append(loop.create_task(_ask(app, number)))
        if number < _MANY:
            loop.call_soon(arrive, number + 1)
        else:
            done.set()

    loop.call_soon(arrive, 1)
    await done.wait()
    answers = await asyncio.gather(*arrived)
    await asyncio.sleep(0.02)
    napping.cancel()
    return {
        "longest": max(lags),
        "seconds": max(seconds for seconds, _ in answers),
        "challenged": sum(challenged for _, challenged in answers),
    }


async def _budget(kind: str, seconds: float) -> dict[str, Any]:
    """New clients, and those who have waited, always ask: what drawing takes, and how the event loop fares."""
    app, lags, number = _gated(kind), list[float](), 0
    pool = app.gate.pool
    settled, ends = time.monotonic() + 2, time.monotonic() + 2 + seconds
    drawn, used, begun = 0, 0.0, 0.0
    while (now := time.monotonic()) < ends:
        if now >= settled and not begun:
            drawn, used, begun = pool.drawn, drawing_time(), now
            lags.clear()
        number += 1
        await _ask(app, number % 60_000)
        pool.take(Draw(kind, 1, "en", "", _WAITED))
        started = time.perf_counter()
        await asyncio.sleep(_NAP)
        lags.append(time.perf_counter() - started - _NAP)
    passed = time.monotonic() - begun
    lags.sort()
    return {
        "drawn": (pool.drawn - drawn) / passed,
        "share": (drawing_time() - used) / passed,
        "median": lags[len(lags) // 2],
        "p99": lags[int(0.99 * len(lags))],
        "longest": lags[-1],
    }


def _apart(what: str, kind: str, seconds: float = 0) -> dict[str, Any]:
    """Measure in a process of its own."""
    run = [sys.executable, "-m", "benchmarks.pooling", what, kind, str(seconds)]
    done = subprocess.run(run, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True)  # noqa: S603
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def run(plan: Plan) -> None:
    """Measure and print."""
    quick = plan.turns < Plan().turns
    times, seconds = (2, 3.0) if quick else (10, 20.0)

    def milli(values: list[float], pick: Callable[[list[float]], float]) -> str:
        return f"{1e3 * pick(values):,.1f}"

    first, cold, stocked = (
        {kind: [_apart(what, kind) for _ in range(times)] for kind in _KINDS} for what in ("first", "cold", "stocked")
    )
    budget = {kind: _apart("budget", kind, seconds) for kind in _KINDS}

    def each(found: dict[str, list[dict[str, Any]]], name: str, pick: Callable[[list[float]], float]) -> list[str]:
        return [milli([one[name] for one in found[kind]], pick) for kind in _KINDS]

    def cost(name: str, factor: float, digits: int) -> list[str]:
        return [f"{factor * budget[kind][name]:.{digits}f}" for kind in _KINDS]

    def at_once(title: str, found: dict[str, list[dict[str, Any]]]) -> list[ROW]:
        return [
            (f"{title}: challenges", *(str(found[kind][0]["challenged"]) for kind in _KINDS), ""),
            ("  until the last page, ms", *each(found, "seconds", statistics.median), ""),
            ("  longest stall of the event loop, ms: median", *each(found, "longest", statistics.median), ""),
            ("  longest of all", *each(found, "longest", max), f"< {1e3 * STALL:.0f}"),
        ]

    rows: list[ROW] = [
        ("the first challenge of a process, ms: median", *each(first, "seconds", statistics.median), ""),
        ("  longest", *each(first, "seconds", max), f"< {1e3 * FIRST:.0f}"),
        *at_once(f"{_MANY} at once, none in stock", cold),
        *at_once(f"{_MANY} at once, stock full", stocked),
        ("the budget used up: drawn a second", *cost("drawn", 1, 1), "<= 50"),
        ("  share of a core", *cost("share", 1, 3), f"<= {SHARE}"),
        ("  lag of the event loop, ms: median", *cost("median", 1e3, 2), ""),
        ("  p99", *cost("p99", 1e3, 2), "< 10.00"),
        ("  longest", *cost("longest", 1e3, 2), ""),
    ]
    note = f"Processes of their own, {times} for each of the first three; the budget is used up for {seconds:g} s."
    show("The pool", ("", *_KINDS, "target"), rows, note)


if __name__ == "__main__":
    measurements = {"first": _first, "cold": _cold, "stocked": _stocked}
    name, kind = sys.argv[1:3]
    figures = asyncio.run(measurements[name](kind) if name in measurements else _budget(kind, float(sys.argv[3])))
    print(json.dumps(figures))
