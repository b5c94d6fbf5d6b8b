"""Worker threads for the ASGI side."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

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
