"""Taking in a body, whichever way it comes: bounded in bytes, in time, and over all requests of the process."""

from __future__ import annotations

import hashlib
import threading

from .effects import Body, Read
from .protocols import Request
from .settings import KIB

#: A body that arrives at this many bytes a second is never too slow: a large upload on a poor line is not an attack.
FAIR_RATE = 16 * KIB

_NEVER = 10**19  # a length that no body reaches


class Buffer:
    """Counts the bytes that all requests of this process hold while their bodies are read."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        #: Bytes held now.
        self.held = 0

    def grow(self, size: int) -> bool:
        """Take ``size`` bytes more, if there is room."""
        with self._lock:
            if self.held + size > self._limit:
                return False
            self.held += size
            return True

    def shrink(self, size: int) -> None:
        """Give ``size`` bytes back."""
        with self._lock:
            self.held -= size


class Pace:
    """The deadline of one body: a fixed time, and what its bytes take at :data:`FAIR_RATE`.

    :param timeout: the fixed time in seconds.
    :param started: the time by any clock; the same clock gives ``now``.
    """

    __slots__ = ("_started", "_timeout")

    def __init__(self, timeout: float, started: float) -> None:
        self._timeout = timeout
        self._started = started

    def left(self, received: int, now: float) -> float:
        """Seconds left for the next bytes; never negative."""
        return max(0.0, self._started + self._timeout + received / FAIR_RATE - now)


def declared_length(text: str) -> int | None:
    """The number in a ``Content-Length``, if it is one; a hint, never a promise."""
    text = text.strip()
    if not text.isascii() or not text.isdigit():
        return None
    digits = text.lstrip("0") or "0"
    return int(digits) if len(digits) < 20 else _NEVER  # not unknown, or what came before the client left were all


class Intake:
    """Takes in the pieces of one body: keeps them up to the cap, and only counts them past it.

    The bytes that it keeps stay counted in the buffer after :meth:`finish`; the caller gives them back.
    """

    def __init__(self, request: Request, cap: int, buffer: Buffer) -> None:
        self._cap = cap
        self._buffer = buffer
        self._pieces: list[bytes] = []
        self._hash = hashlib.sha256()
        declared = declared_length(request.headers.get("content-length"))
        # This spares us the buffering of what will not be kept.
        self._over = declared is not None and declared > cap
        self._overloaded = False
        #: Bytes that came.
        self.length = 0
        #: Bytes that are kept.
        self.held = 0

    def take(self, piece: bytes) -> bool:
        """Count a piece; whether it is kept, and so is to be given to :meth:`hash`."""
        self.length += len(piece)
        if self._over or self._overloaded:
            return False
        if self.length > self._cap:
            self._over = True
        elif not self._buffer.grow(len(piece)):
            self._overloaded = True
        if self._over or self._overloaded:
            self._let_go()
            return False
        self.held += len(piece)
        self._pieces.append(piece)
        return True

    def hash(self, piece: bytes) -> None:
        """Take a kept piece into the digest. Its own step, since a large piece takes its time."""
        self._hash.update(piece)

    def _let_go(self) -> None:
        self._buffer.shrink(self.held)
        self.held = 0
        self._pieces.clear()

    def end(self, ended: Read, *, closing: bool = False) -> Body:
        """What there is to say of a body that was not read whole."""
        self._let_go()
        return Body(ended, length=self.length, closing=closing)

    def finish(self) -> Body:
        """The body, now that all of it has come."""
        if self._overloaded:
            return self.end(Read.OVERLOADED)
        if self._over:
            return self.end(Read.OVER)
        return Body(Read.WHOLE, b"".join(self._pieces), self.length, self._hash.digest())
