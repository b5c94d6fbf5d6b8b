"""WSGI, bodies: looked at, buffered and replayed read by read, within limits of bytes and time."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost import wsgi_body
from gatepost.testing import Answer
from gatepost.wsgi import GatepostMiddleware
from gatepost.wsgi_body import ReplayInput
from raw import Call, call_wsgi, environ_of
from twins import settings

ORIGINAL = b"name=Ada&message=hello"
PREFIX = b"gatepost_token="


def gated(app: Any, **options: Any) -> GatepostMiddleware:
    return GatepostMiddleware(app, settings=settings(**options))


def answer_to(gate: GatepostMiddleware, body: bytes = ORIGINAL) -> Answer:
    """The right answer to a challenge, two seconds later."""
    answer = call_wsgi(gate, environ_of(body)).answered()
    gate.gate.settings.clock.tick(2)  # type: ignore[attr-defined]
    return answer


class Echo:
    """A WSGI application that reads its input in a way of its own and keeps what it got."""

    def __init__(self, read: Callable[[Any], bytes] | None = None) -> None:
        self._read = read
        self.bodies: list[bytes] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if self._read is not None:
            self.bodies.append(self._read(environ["wsgi.input"]))
        else:
            self.bodies.append(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
        start_response("200 OK", [])
        return [b"stored"]


class Input:
    """A server's input: each read gives at most one of its pieces, and none goes past the declared length."""

    def __init__(self, *bodies: bytes | Exception, allowed: int | None = None) -> None:
        self.pieces = list(bodies)
        self.reads: list[int] = []
        self._left = allowed

    def read(self, size: int, /) -> bytes:
        self.reads.append(size)
        if self._left is not None:
            assert size <= self._left, "a read past CONTENT_LENGTH blocks on some servers"
        if not self.pieces:
            return b""
        piece = self.pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        if len(piece) > size:
            self.pieces.insert(0, piece[size:])
        piece = piece[:size]
        if self._left is not None:
            self._left -= len(piece)
        return piece


# --- pieces ---


@pytest.mark.parametrize("size", [1, 7, 14, 15, 16, 4000])
def test_i2_short_reads_are_joined(size: int) -> None:
    """An input that gives less than it is asked for is read to its end, for a form as for an answer."""
    echo = Echo()
    gate = gated(echo)
    body = ORIGINAL * 100
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    stream = Input(*chunks, allowed=len(body))
    page = call_wsgi(gate, environ_of(body, stream=stream))
    gate.gate.settings.clock.tick(2)  # type: ignore[attr-defined]
    answer = page.answered().body
    chunks = [answer[at : at + size] for at in range(0, len(answer), size)]
    stream = Input(*chunks, allowed=len(answer))
    assert call_wsgi(gate, environ_of(answer, stream=stream)).code == 200
    assert echo.bodies == [body]


def test_calm_form_is_looked_at_with_one_read() -> None:
    """A calm urlencoded POST costs one read of 15 bytes; a shorter one is never read past its end."""
    for body, reads in ((ORIGINAL, [15]), (b"a=b", [3]), (b"", [])):
        seen: list[list[int]] = []
        stream = Input(body, allowed=len(body))

        def app(_environ: Any, start_response: Any, seen: Any = seen, stream: Any = stream) -> Iterable[bytes]:
            seen.append(list(stream.reads))
            start_response("200 OK", [])
            return []

        call_wsgi(gated(app, mode="adaptive"), environ_of(body, stream=stream))
        assert seen == [reads]


READERS: dict[str, Callable[[Any], bytes]] = {
    "read": lambda stream: stream.read(len(ORIGINAL) * 3),
    "read in bits": lambda stream: b"".join(iter(lambda: stream.read(4), b"")),
    "readline": lambda stream: b"".join(iter(stream.readline, b"")),
    "readline of a size": lambda stream: b"".join(iter(lambda: stream.readline(3), b"")),
    "readlines": lambda stream: b"".join(stream.readlines()),
    "readlines of a size": lambda stream: b"".join(iter(lambda: b"".join(stream.readlines(5)), b"")),
    "iteration": lambda stream: b"".join(stream),
    "a bit of each": lambda stream: b"".join([stream.read(1), stream.readline(), *stream.readlines(1), *stream]),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("mode", ["adaptive", "always"])
def test_i2_application_reads_as_it_likes(mode: str, reader: str) -> None:
    """A calm form and a delivered one can be read, iterated and taken line by line."""
    echo = Echo(READERS[reader])
    gate = gated(echo, mode=mode)
    body = b"name=\nAda\n\nmessage=hello\r\nand more"
    if mode == "always":
        assert call_wsgi(gate, environ_of(answer_to(gate, body).body)).code == 200
    else:
        assert call_wsgi(gate, environ_of(body)).code == 200
    assert echo.bodies == [body]


STEP = st.one_of(
    st.tuples(st.just("read"), st.integers(0, 40)),
    st.tuples(st.just("readline"), st.integers(-1, 40)),
    st.tuples(st.just("readlines"), st.integers(-1, 40)),
    st.tuples(st.just("read"), st.sampled_from([-1, None])),
    st.tuples(st.just("readline"), st.none()),
    st.tuples(st.just("readlines"), st.none()),
)


@given(
    body=st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r\n", b"defgh"])).map(b"".join),
    cut=st.integers(0, 15),
    steps=st.lists(STEP, max_size=12),
)
def test_i1_replaying_input_is_like_the_whole(body: bytes, cut: int, steps: list[tuple[str, int | None]]) -> None:
    """Any row of reads from a replaying input gives what it would give from the untouched one."""
    whole = io.BytesIO(body)
    replay = ReplayInput(body[:cut], io.BytesIO(body[cut:]))
    for name, size in steps:
        got = getattr(replay, name)(size)
        wanted = getattr(whole, name)(size)
        if name == "readlines":  # where a list ends is the stream's own business
            rest, whole = b"".join(wanted) + whole.read(), io.BytesIO()
            assert rest.startswith(b"".join(got))
            assert all(line.endswith(b"\n") for line in got[:-1])
            whole = io.BytesIO(rest[len(b"".join(got)) :])
        else:
            assert got == wanted, (name, size)
    assert replay.read() == whole.read()


# --- lengths ---


@pytest.mark.parametrize("length", ["", "banana", "-1", "-22", "2.5", "0x10", "1e3", "٣", "²", "+22", "1_0"])
@pytest.mark.parametrize("terminated", [False, True])
def test_length_that_is_none(length: str, terminated: bool) -> None:
    """A length that is no number is as good as none: read to the end if that is safe, else there is no body."""
    echo = Echo(lambda stream: bytes(stream.read(100)))
    gate = gated(echo)
    page = call_wsgi(gate, environ_of(ORIGINAL, CONTENT_LENGTH=length, terminated=terminated))
    assert page.code == 429
    gate.gate.settings.clock.tick(2)  # type: ignore[attr-defined]
    assert call_wsgi(gate, environ_of(page.answered().body)).code == 200
    assert echo.bodies == [ORIGINAL if terminated else b""]


def test_length_in_an_odd_place() -> None:
    """``HTTP_CONTENT_LENGTH`` and ``HTTP_CONTENT_TYPE`` are taken where the proper ones are missing."""
    echo = Echo()
    gate = gated(echo)
    odd = {"HTTP_CONTENT_LENGTH": str(len(ORIGINAL)), "HTTP_CONTENT_TYPE": "text/plain"}
    page = call_wsgi(gate, environ_of(ORIGINAL, "CONTENT_LENGTH", "CONTENT_TYPE", **odd))
    gate.gate.settings.clock.tick(2)  # type: ignore[attr-defined]
    assert call_wsgi(gate, environ_of(page.answered().body)).code == 200
    assert echo.bodies == [ORIGINAL]


@pytest.mark.parametrize("extra", [b"", b"GET / HTTP/1.1\r\n"])
def test_nothing_is_read_past_the_length(extra: bytes) -> None:
    """What comes after the declared length is the next request's and stays where it is."""
    stream = Input(ORIGINAL + extra, allowed=len(ORIGINAL))
    environ = environ_of(ORIGINAL, stream=stream)
    assert call_wsgi(gated(Echo()), environ).code == 429
    assert b"".join(piece for piece in stream.pieces if isinstance(piece, bytes)) == extra


def chunked(*bodies: bytes, **extra: Any) -> dict[str, Any]:
    """The environ of a chunked request, as gunicorn makes it."""
    return environ_of(
        b"", "CONTENT_LENGTH", HTTP_TRANSFER_ENCODING="chunked", **{"wsgi.input": Input(*bodies)}, **extra
    )


@pytest.mark.parametrize("bodies", [(ORIGINAL,), (b"name=", b"Ada"), (b"g",), ()])
def test_i2_chunked_body_is_kept_where_its_end_is_known(bodies: tuple[bytes, ...]) -> None:
    """A chunked body on a server that ends the input is kept, and delivered with a length instead."""
    echo = Echo()
    environs: list[dict[str, Any]] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environs.append(environ)
        return echo(environ, start_response)

    gate = gated(app)
    page = call_wsgi(gate, chunked(*bodies, terminated=True))
    assert page.code == 429
    gate.gate.settings.clock.tick(2)  # type: ignore[attr-defined]
    answer = chunked(page.answered().body, terminated=True)
    assert call_wsgi(gate, answer).code == 200
    assert echo.bodies == [b"".join(bodies)]
    assert environs[0]["CONTENT_LENGTH"] == str(len(b"".join(bodies)))
    assert "HTTP_TRANSFER_ENCODING" not in environs[0]


def test_chunked_body_without_an_end_is_not_kept() -> None:
    """A chunked body without a known end is not kept; the page says so, and its answer earns a permit."""
    echo = Echo()
    gate = gated(echo)
    environ = chunked(ORIGINAL)
    page = call_wsgi(gate, environ)
    assert page.code == 429
    assert b"too large to be kept" in page.body
    assert environ["wsgi.input"].reads == []
    gate.gate.settings.clock.tick(2)  # type: ignore[attr-defined]
    solved = call_wsgi(gate, environ_of(page.answered().body))
    assert (solved.code, solved.reason) == (413, "not-kept")
    assert "gatepost_permit" in solved.get("set-cookie")
    assert echo.bodies == []


def test_i1_calm_chunked_body_passes() -> None:
    """A calm chunked form passes on either kind of server, whole where its end is known."""
    for terminated in (False, True):
        stream = Input(b"name", b"=Ada&", b"message=hello")
        echo = Echo(lambda stream: b"".join(iter(lambda: stream.read(9), b"")))
        environ = chunked(terminated=terminated) | {"wsgi.input": stream}
        assert call_wsgi(gated(echo, mode="adaptive"), environ).code == 200
        assert echo.bodies == [ORIGINAL]


# --- clients that leave ---

LEFT: dict[str, tuple[bytes | Exception, ...]] = {
    "short": (b"name",),
    "short, later": (ORIGINAL, b"&more="),
    "reset at once": (ConnectionResetError("gone"),),
    "reset, later": (b"name=Ad", OSError("gone")),
    "reset, still later": (ORIGINAL, b"&", BrokenPipeError("gone")),
}


def left(how: str) -> Call:
    """A form of 100 bytes of which the client sends less."""
    echo = Echo()
    gate = gated(echo)
    result = call_wsgi(gate, environ_of(ORIGINAL, CONTENT_LENGTH="100", stream=Input(*LEFT[how])))
    assert echo.bodies == []
    assert gate.gate.buffer.held == 0
    assert gate.gate.stats()["/contact"].challenged == 0
    return result


@pytest.mark.parametrize("how", LEFT)
def test_client_that_leaves_a_form(how: str) -> None:
    """A body that ends early: no page, no call of the application, nothing held, and no 500."""
    result = left(how)
    assert (result.code, result.body) == (400, b"")


@pytest.mark.parametrize("how", ["short", "reset"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_i4_client_that_leaves_an_answer(share: float, how: str) -> None:
    """An answer that ends early burns no token: the same one, sent again, is right."""
    echo = Echo()
    gate = gated(echo)
    answer = answer_to(gate).body
    begun = answer[: int(len(answer) * share)]
    stream = Input(begun) if how == "short" else Input(begun, ConnectionResetError("gone"))
    assert call_wsgi(gate, environ_of(answer, stream=stream)).code == 400
    assert echo.bodies == []
    assert call_wsgi(gate, environ_of(answer)).code == 200
    assert echo.bodies == [ORIGINAL]


@pytest.mark.parametrize("begun", [b"", b"gate", b"name"])
def test_calm_client_that_leaves_is_the_applications_business(begun: bytes) -> None:
    """An input that fails within the look at its first bytes fails again where the application reads on."""
    stream = Input(*([begun] if begun else []), ConnectionResetError("gone"), ConnectionResetError("gone"))
    caught: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            environ["wsgi.input"].read(100)
        except ConnectionResetError as error:
            caught.append(str(error))
        start_response("200 OK", [])
        return []

    result = call_wsgi(gated(app, mode="adaptive"), environ_of(CONTENT_LENGTH="100", stream=stream))
    assert result.code == 200
    assert caught == ["gone"]


# --- deadlines and bounds ---


class Slow(Input):
    """An input of which each read takes a second."""

    def __init__(self, body: bytes, piece: int, clock: list[float]) -> None:
        super().__init__(*(body[at : at + piece] for at in range(0, len(body), piece)))
        self._clock = clock

    def read(self, size: int, /) -> bytes:
        self._clock[0] += 1.0
        return super().read(size)


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the WSGI side takes for the time, to be moved on by hand."""
    now = [100.0]
    monkeypatch.setattr(wsgi_body, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


@pytest.mark.parametrize(
    ("body", "piece", "code"),
    [
        (PREFIX + b"x" * 100, 1, 408),  # in the look at the first bytes
        (b"n" + b"x" * 100, 1, 408),  # in the body
        (PREFIX + b"x" * 150, 15, 408),  # in an answer
        (b"x" * 100, 20, 429),
        (b"x" * 16 * 1024 * 60, 16 * 1024, 429),  # a minute at the fair rate
        (b"x" * 8 * 1024 * 60, 8 * 1024, 408),
    ],
    ids=["look", "form", "answer", "short", "fair", "unfair"],
)
def test_slow_body_is_cut(body: bytes, piece: int, code: int, seconds: list[float]) -> None:
    """Checked between reads, a body past ``read_timeout`` gets 408, and one that comes at a fair pace does not."""
    echo = Echo()
    gate = gated(echo, read_timeout=6)
    result = call_wsgi(gate, environ_of(body, stream=Slow(body, piece, seconds)))
    assert result.code == code
    assert code != 408 or result.reason == "too-slow"
    assert echo.bodies == []
    assert gate.gate.buffer.held == 0


def test_slow_calm_body_is_the_applications_business(seconds: list[float]) -> None:
    """Once a calm body is known not to be an answer, its pace is the application's business."""
    echo = Echo(lambda stream: b"".join(iter(lambda: stream.read(5), b"")))
    stream = Slow(ORIGINAL, 1, seconds)
    gate = gated(echo, mode="adaptive", read_timeout=6)
    assert call_wsgi(gate, environ_of(ORIGINAL, stream=stream)).code == 200
    assert echo.bodies == [ORIGINAL]


def test_i6_full_buffer_turns_bodies_away() -> None:
    """Above ``buffer_limit`` a body gets 503 with ``Retry-After``; what others hold is theirs, and room comes back."""
    gate = gated(Echo(), buffer_limit=100_000, carry_limit=50_000, keep_limit=50_000, keep_per_client=50_000)
    environ = environ_of(b"x" * 40_000, content_type="text/plain")
    assert gate.gate.buffer.grow(80_000)
    full = call_wsgi(gate, environ)
    assert (full.code, full.reason, full.get("retry-after")) == (503, "overloaded", "5")
    assert gate.gate.buffer.held == 80_000
    gate.gate.buffer.shrink(80_000)
    assert call_wsgi(gate, environ_of(b"x" * 40_000, content_type="text/plain")).code == 429
    assert gate.gate.buffer.held == 0


@pytest.mark.parametrize(("size", "read"), [(300_000, 300_000), (900_000, 524_288)])
def test_i6_body_beyond_the_limits_is_drained(size: int, read: int) -> None:
    """What is too large to keep is read on and let go up to ``drain_limit``, and no further."""
    gate = gated(Echo(), carry_limit=1000, keep_limit=100_000, drain_limit=500_000)
    stream = io.BytesIO(b"x" * size)
    result = call_wsgi(gate, environ_of(b"x" * size, content_type="text/plain", stream=stream))
    assert result.code == 429
    assert b"too large to be kept" in result.body
    assert stream.tell() == read
    assert gate.gate.buffer.held == 0
