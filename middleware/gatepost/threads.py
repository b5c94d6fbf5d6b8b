"""Worker threads for the ASGI side, and waiting for what other threads make."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_here
from contextlib import suppress
from typing import TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

with suppress(ImportError):
    # anyio imports it when it is first asked for anything: some 15 ms in which the event loop would serve nobody.
    import anyio._backends._asyncio

_Result = TypeVar("_Result")

# Our own, and one for each event loop: waiting for pictures must not take the threads of the application.
_THREADS = 100
_limiter: RunVar[anyio.CapacityLimiter] = RunVar("gatepost_threads")


async def in_thread(function: Callable[..., _Result], *args: object) -> _Result:
    """Call a function that blocks in a worker thread. A cancelled caller does not wait for its end."""
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(_THREADS)
        _limiter.set(limiter)
    return await anyio.to_thread.run_sync(function, *args, limiter=limiter, abandon_on_cancel=True)


def on_asyncio() -> bool:
    """Whether this runs in an event loop of asyncio."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def settled(future: Future[_Result], timeout: float) -> bool:
    """Wait until a thread has set this future, for so many seconds at most; whether it has.

    In asyncio no thread has to wait for it: as many as there are requests would make the event loop wait for them.
    """
    if on_asyncio():
        await asyncio.wait([asyncio.wrap_future(future)], timeout=timeout)
    else:
        await in_thread(wait_here, [future], timeout)
    return future.done()
