"""Reading WSGI bodies: a look at the first bytes, a bounded read, and handing on what was read.

Facts
    ``read`` is called with exactly one argument, and never for more than ``CONTENT_LENGTH``: on some servers a read
    past the end blocks until a timeout. Without a length only ``wsgi.input_terminated`` says that the end of the input
    is the end of the body. With neither there is no body that could be read; a chunked one on such a server cannot
    be had by any application.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .effects import Body, Read
from .form import PREFIX
from .intake import Buffer, Intake, Pace, declared_length
from .protocols import Request
from .settings import KIB, Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import InputStream, WSGIEnvironment

_BLOCK = 64 * KIB

#: The input of a delivered request.
BodyInput = io.BytesIO


class ReplayInput:
    """An input stream that gives bytes that were read already, then those of the real stream."""

    __slots__ = ("_begin", "_stream")

    def __init__(self, begin: bytes, stream: InputStream) -> None:
        self._begin = begin
        self._stream = stream

    def read(self, size: int = -1, /) -> bytes:
        """See PEP 3333."""
        begin = self._begin
        if not begin:
            return self._stream.read(size) if size is not None and size >= 0 else self._stream.read()
        if size is None or size < 0:
            self._begin = b""
            return begin + self._stream.read()
        self._begin = begin[size:]
        if size <= len(begin):
            return begin[:size]
        return begin + self._stream.read(size - len(begin))

    def readline(self, size: int = -1, /) -> bytes:
        """See PEP 3333."""
        begin = self._begin
        if not begin:
            return self._stream.readline(size) if size is not None and size >= 0 else self._stream.readline()
        limited = size is not None and size >= 0
        end = begin.find(b"\n") + 1 or len(begin)
        if limited:
            end = min(end, size)
        line, self._begin = begin[:end], begin[end:]
        if line.endswith(b"\n") or self._begin or (limited and len(line) >= size):
            return line
        return line + (self._stream.readline(size - len(line)) if limited else self._stream.readline())

    def readlines(self, hint: int = -1, /) -> list[bytes]:
        """See PEP 3333."""
        lines, size = [], 0
        for line in self:
            lines.append(line)
            size += len(line)
            if hint is not None and 0 < hint <= size:
                break
        return lines

    def __iter__(self) -> Iterator[bytes]:
        while line := self.readline():
            yield line


class FailedInput(io.RawIOBase):
    """An input that has failed once, and goes on to. Some servers' own would say next that the body ends here."""

    def __init__(self, error: OSError) -> None:
        self._error = error

    def read(self, size: int = -1, /) -> bytes:  # noqa: ARG002
        """See PEP 3333."""
        raise self._error


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at the first bytes of a body showed. The input gives them again."""

    ours: bool
    slow: bool = False


_OURS, _OTHER, _SLOW = Seen(ours=True), Seen(ours=False), Seen(ours=False, slow=True)
_WANTED = len(PREFIX)


def _readable(environ: WSGIEnvironment) -> int | None:
    """How many bytes may be read: the declared length; ``None`` for up to the end; 0 if there is none to be had."""
    length = declared_length(str(environ.get("CONTENT_LENGTH") or environ.get("HTTP_CONTENT_LENGTH") or ""))
    if length is not None:
        return length
    return None if environ.get("wsgi.input_terminated") else 0


def peek(environ: WSGIEnvironment, timeout: float) -> Seen:
    """Look whether the body begins like an answer request, and put an input in place that gives it whole.

    :param timeout: seconds that this may take, checked between reads.
    """
    readable = _readable(environ)
    stream = environ["wsgi.input"]
    wanted = _WANTED if readable is None or readable > _WANTED else readable
    begin = b""
    started = 0.0
    while len(begin) < wanted and PREFIX.startswith(begin):
        if begin:  # nearly always one read is enough, and the clock is not asked
            started = started or time.monotonic()
            if time.monotonic() - started > timeout:
                return _SLOW
        try:
            piece = stream.read(wanted - len(begin))
        except OSError as error:  # the client left, and whoever reads on has to meet that
            stream = FailedInput(error)
            break
        if not piece:
            break
        begin += piece
    if begin or isinstance(stream, FailedInput):
        environ["wsgi.input"] = ReplayInput(begin, stream)
    return _OURS if begin == PREFIX else _OTHER


def read_body(request: Request, cap: int, settings: Settings, buffer: Buffer) -> Body:
    """Read a body of up to ``cap`` bytes; drain a longer one, so that the answer reaches simple clients.

    The bytes of :attr:`Body.data` stay counted in ``buffer``; the caller gives them back.
    """
    environ: Any = request.raw
    left = _readable(environ)
    if left == 0 and request.headers.get("transfer-encoding"):
        return Body(Read.OVER)  # chunked, on a server that does not say where it ends
    pace = Pace(settings.read_timeout, time.monotonic())
    intake = Intake(request, cap, buffer)
    most = max(cap, settings.drain_limit)
    stream = environ["wsgi.input"]
    try:
        while left is None or left > 0:
            piece = stream.read(_BLOCK if left is None else min(_BLOCK, left))
            if not piece:
                if left is None:
                    break
                return intake.end(Read.GONE)
            if intake.take(piece):
                intake.hash(piece)
            left = left if left is None else left - len(piece)
            if intake.length > most:
                return intake.end(Read.OVER, closing=True)
            if (left is None or left) and not pace.left(intake.length, time.monotonic()):
                return intake.end(Read.SLOW, closing=True)
    except OSError:  # how several servers tell that the client left
        return intake.end(Read.GONE)
    except BaseException:
        intake.end(Read.GONE)
        raise
    return intake.finish()
