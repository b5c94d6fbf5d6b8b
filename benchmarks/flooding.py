"""A load generator: streams of requests over kept connections, each at a rate of its own or as fast as it is answered.

Run as ``python -m benchmarks.flooding``, with a :class:`Load` as JSON on standard input; to standard output go a line
when all is connected and, at the end, the :class:`Answers` of each stream as JSON. It is a process of its own, so that
what it costs is not the server's.

A request that is due while every connection waits for an answer is sent late, and what it waited counts: a server that
falls behind shows in the times, and does not slow the load down.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field

from .traffic import Sent, form_post

_TICK = 0.001  # seconds between two looks at what is due
_SETTLE = 2.0  # seconds that answers may still take after the last request


@dataclass(frozen=True)
class Stream:
    """Requests of one sort.

    :param rate: requests a second; 0 for as many as are answered.
    :param clients: addresses that they come from by turns, as a proxy on this host says; 0 for that of the connection.
    """

    method: str
    path: str
    rate: float
    connections: int
    clients: int = 0


@dataclass(frozen=True)
class Load:
    """Streams that run beside each other for so many seconds."""

    port: int
    seconds: float
    streams: list[Stream]


@dataclass(frozen=True)
class Answers:
    """What came back of one stream. Times are seconds from when a request was due to the end of its answer.

    ``sent`` and ``rate`` are of what was really sent; ``late`` is what was never sent, ``broken`` what a connection
    ended without answering. ``load`` is the share of a core that the generator itself took.
    """

    sent: int
    rate: float
    answered: float
    late: int
    broken: int
    statuses: dict[str, int]
    reasons: dict[str, int]
    median: float
    p99: float
    longest: float
    load: float = 0.0


@dataclass
class _Tally:
    sent: int = 0
    broken: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)


class _Connection(asyncio.Protocol):
    """One connection with at most one request on its way."""

    def __init__(self, sender: _Sender) -> None:
        self._sender = sender
        self._transport: asyncio.Transport | None = None
        self._pieces = bytearray()
        self._whole = 0
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._sender.ready(self)

    def send(self, request: bytes, due: float) -> None:
        """Send a request that was to be sent at this time."""
        assert self._transport is not None
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._pieces += data
        if not self._whole:
            head = self._pieces.find(b"\r\n\r\n")
            if head < 0:
                return
            self._whole = head + 4 + int(_field(bytes(self._pieces[: head + 2]), b"content-length") or 0)
        if len(self._pieces) >= self._whole:
            answer, self._whole, due, self._due = bytes(self._pieces), 0, self._due, 0.0
            self._pieces.clear()
            self._sender.answered(self, answer, due)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - however it ended
        self._sender.lost(self._due > 0)


def _field(head: bytes, name: bytes) -> bytes:
    """The value of a field of an answer's head, or nothing."""
    _, _, rest = head.partition(b"\r\n" + name + b": ")
    return rest.partition(b"\r\n")[0]


class _Sender:
    """Sends one stream and tallies what comes back."""

    def __init__(self, stream: Stream, port: int) -> None:
        self._stream = stream
        self._port = port
        self._idle: deque[_Connection] = deque()
        self._begin, self._end = _around_the_client(stream)
        self._numbers = 0
        self._open = False
        self.tally = _Tally()

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(self._stream.connections):
            await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._port)

    async def run(self, seconds: float) -> None:
        """Send for so long, and wait a little for the last answers."""
        self._open, started = True, time.perf_counter()
        if self._stream.rate:
            await self._pace(started, seconds)
        else:
            while self._idle:
                self._send(self._idle.popleft(), time.perf_counter())
            await asyncio.sleep(seconds)
        self._open = False
        ends = time.perf_counter() + _SETTLE
        while len(self._idle) < self._stream.connections and time.perf_counter() < ends:
            await asyncio.sleep(0.01)

    async def _pace(self, started: float, seconds: float) -> None:
        rate, number = self._stream.rate, 0
        while (now := time.perf_counter()) < started + seconds:
            due = (now - started) * rate
            while number < due and self._idle:
                self._send(self._idle.popleft(), started + number / rate)
                number += 1
            await asyncio.sleep(_TICK)

    def _send(self, connection: _Connection, due: float) -> None:
        self.tally.sent += 1
        connection.send(self._request(), due)

    def _request(self) -> bytes:
        if not self._stream.clients:
            return self._begin + self._end
        self._numbers = (self._numbers + 1) % self._stream.clients
        number = self._numbers
        address = b"198.%d.%d.%d" % (18 + (number >> 16), number >> 8 & 255, number & 255)
        return self._begin + b"x-forwarded-for: " + address + b"\r\n" + self._end

    def ready(self, connection: _Connection) -> None:
        """A connection can take a request."""
        self._idle.append(connection)

    def answered(self, connection: _Connection, answer: bytes, due: float) -> None:
        """An answer came whole."""
        now, tally = time.perf_counter(), self.tally
        tally.times.append(now - due)
        tally.statuses[answer[9:12].decode()] += 1
        reason = _field(answer[:1000], b"gatepost").partition(b"reason=")[2]
        if reason:
            tally.reasons[reason.decode()] += 1
        if self._open and not self._stream.rate:
            self._send(connection, now)
        else:
            self._idle.append(connection)

    def lost(self, waiting: bool) -> None:
        """A connection ended."""
        self.tally.broken += waiting

    def result(self, seconds: float, load: float) -> Answers:
        """What came of it."""
        tally, times = self.tally, sorted(self.tally.times)
        wanted = round(self._stream.rate * seconds) or tally.sent

        def at(share: float) -> float:
            return times[min(len(times) - 1, int(share * len(times)))] if times else 0.0

        return Answers(
            sent=tally.sent,
            rate=tally.sent / seconds,
            answered=len(times) / seconds,
            late=max(0, wanted - tally.sent),
            broken=tally.broken,
            statuses=dict(tally.statuses),
            reasons=dict(tally.reasons),
            median=at(0.5),
            p99=at(0.99),
            longest=times[-1] if times else 0.0,
            load=load,
        )


def _around_the_client(stream: Stream) -> tuple[bytes, bytes]:
    """What a request has before and after the field that says whose it is."""
    sent = form_post("", stream.path) if stream.method == "POST" else Sent("", stream.method, stream.path)
    fields = "".join(f"{name}: {value}\r\n" for name, value in sent.fields)
    return f"{stream.method} {stream.path} HTTP/1.1\r\n{fields}".encode(), b"\r\n" + sent.body


async def _main(load: Load) -> list[Answers]:
    senders = [_Sender(stream, load.port) for stream in load.streams]
    for sender in senders:
        await sender.connect()
    print("connected", flush=True)
    busy, started = time.process_time(), time.perf_counter()
    await asyncio.gather(*(sender.run(load.seconds) for sender in senders))
    share = (time.process_time() - busy) / (time.perf_counter() - started)
    return [sender.result(load.seconds, share) for sender in senders]


if __name__ == "__main__":
    given = json.load(sys.stdin)
    wanted = Load(given["port"], given["seconds"], [Stream(**stream) for stream in given["streams"]])
    json.dump([asdict(answers) for answers in asyncio.run(_main(wanted))], sys.stdout)
