"""ASGI, limits: how long a body may take, how much of it is held, and what is read of the rest."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import anyio
import pytest
from starlette.types import Message

from gatepost.asgi import GatepostMiddleware
from gatepost.intake import FAIR_RATE
from raw import BACKENDS, Line, Probe, call, never, pieces, run, scope_of
from twins import settings


def gated(app: Any, **options: Any) -> GatepostMiddleware:
    return GatepostMiddleware(app, settings=settings(**options))


async def drip(body: bytes, pause: float, line: Line) -> None:
    """Put a body into a line byte by byte, with a pause before each; then nothing more."""
    left = [bytes([byte]) for byte in body]

    async def then() -> Message:
        if not left:
            return await never()
        await anyio.sleep(pause)
        return {"type": "http.request", "body": left.pop(0), "more_body": True}

    line.then = then


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["adaptive", "always"])
@pytest.mark.parametrize("begun", [b"", b"g", b"gatepost_token"])
def test_body_that_stops_before_it_is_known(begun: bytes, mode: str, backend: str) -> None:
    """A body that stops within its first 15 bytes gets 408 when ``read_timeout`` is over, and the line is closed."""
    probe = Probe()
    messages = pieces(begun, more=True) if begun else []
    line = call(gated(probe, mode=mode, read_timeout=7), None, messages, backend, then=never, jump=True)
    assert (line.status, line.reason) == (408, "too-slow")
    assert line.headers["connection"] == "close"
    assert probe.calls == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_drip_fed_prefix_is_cut_at_the_deadline(backend: str) -> None:
    """A byte now and then does not prolong the look at the first 15: the deadline is for all of them."""
    line = Line()
    taken: list[float] = []

    async def main() -> None:
        await drip(b"gatepost_token=", 1, line)
        began = anyio.current_time()
        await gated(Probe(), read_timeout=7)(scope_of(), line.receive, line.send)
        taken.append(anyio.current_time() - began)

    run(backend, main, jump=True)
    assert line.status == 408
    assert taken == [pytest.approx(7)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_body_that_turns_out_to_be_no_answer_has_all_the_time(backend: str) -> None:
    """Once a calm body is known not to be an answer, its pace is the application's business."""
    probe, line = Probe(), Line()

    async def main() -> None:
        await drip(b"name=Ada&message=slowly", 60, line)

        async def until_the_end() -> Message:
            message: Message = await slow()
            return message if message["body"] != b"y" else {**message, "more_body": False}

        assert line.then is not None
        slow, line.then = line.then, until_the_end
        await gated(probe, mode="adaptive", read_timeout=90)(scope_of(), line.receive, line.send)

    run(backend, main, jump=True)
    assert line.status == 200
    assert probe.body == b"name=Ada&message=slowly"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("begin", [b"n", b"gatepost_token=x"])
def test_drip_fed_body_is_cut(begin: bytes, backend: str) -> None:
    """A form or an answer of a byte a second is cut soon after ``read_timeout``: 408, nothing held, nothing called."""
    probe, line = Probe(), Line(pieces(begin, more=True))
    gate = gated(probe, read_timeout=7)
    taken: list[float] = []

    async def main() -> None:
        await drip(b"x" * 1000, 1, line)
        began = anyio.current_time()
        await gate(scope_of(), line.receive, line.send)
        taken.append(anyio.current_time() - began)

    run(backend, main, jump=True)
    assert (line.status, line.reason) == (408, "too-slow")
    assert taken == [pytest.approx(7, abs=0.1)]
    assert gate.gate.buffer.held == 0
    assert probe.calls == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_large_body_at_a_fair_pace_is_not_cut(backend: str) -> None:
    """A body that comes at the fair rate is kept however long it takes, and one at half the rate is not."""
    piece, outcomes = b"x" * FAIR_RATE, []

    async def main(pause: float) -> None:
        gate = gated(Probe(), read_timeout=7, keep_limit=64 * FAIR_RATE, carry_limit=1)
        left = 60

        async def then() -> Message:
            nonlocal left
            await anyio.sleep(pause)
            left -= 1
            return {"type": "http.request", "body": piece, "more_body": left > 0}

        line = Line(then=then)
        await gate(scope_of(content_type="text/plain"), line.receive, line.send)
        outcomes.append(line.status)

    for pause in (1, 2):
        run(backend, main, pause, jump=True)
    assert outcomes == [429, 408]


# --- bounds ---


@pytest.mark.parametrize("backend", BACKENDS)
def test_i6_full_buffer_turns_bodies_away(backend: str) -> None:
    """Above ``buffer_limit`` a body gets 503 with ``Retry-After``; what others hold is theirs, and room comes back."""
    probe = Probe()
    gate = gated(probe, buffer_limit=100_000, carry_limit=50_000, keep_limit=50_000, keep_per_client=50_000)
    big = b"x" * 40_000
    outcomes: list[tuple[int, str]] = []

    async def upload(wait: anyio.Event | None) -> None:
        async def then() -> Message:
            if wait is not None:
                await wait.wait()
            return pieces(b"the end")[0]

        line = Line(pieces(big, more=True), then)
        await gate(scope_of(content_type="text/plain"), line.receive, line.send)
        outcomes.append((line.status, line.headers.get("retry-after", "")))

    async def main() -> None:
        done = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(upload, done)
            tasks.start_soon(upload, done)
            await anyio.wait_all_tasks_blocked()
            assert gate.gate.buffer.held == 80_000
            await upload(None)
            assert gate.gate.buffer.held == 80_000
            done.set()
        await upload(None)

    run(backend, main)
    assert outcomes == [(503, "5"), (429, ""), (429, ""), (429, "")]
    assert gate.gate.buffer.held == 0
    assert probe.calls == []


@pytest.mark.parametrize(
    ("size", "version", "taken", "closing"),
    [
        (300_000, "1.1", 30, False),
        (900_000, "1.1", 51, True),
        (900_000, "2", 51, False),
    ],
)
def test_i6_body_beyond_the_limits_is_drained(size: int, version: str, taken: int, closing: bool) -> None:
    """What is too large to keep is read on and let go up to ``drain_limit``; past it the connection is closed."""
    gate = gated(Probe(), carry_limit=1000, keep_limit=100_000, drain_limit=500_000)
    line = Line(pieces(*[b"x" * 10_000] * (size // 10_000)))
    run("asyncio", gate, scope_of(http_version=version, content_type="text/plain"), line.receive, line.send)
    assert line.status == 429
    assert b"too large to be kept" in line.body
    assert line.taken == taken
    assert ("connection" in line.headers) is closing
    assert gate.gate.buffer.held == 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("error", [None, OSError("the client has gone")])
def test_unread_body_does_not_hold_up_the_answer(error: OSError | None, backend: str) -> None:
    """A server may end an answer only when its queue of body messages has been taken; its error comes as it is."""
    line = Line(pieces(*[b"x" * 10_000] * 90, more=True), never)

    async def send(message: Message) -> None:
        await line.send(message)
        if message["type"] == "http.response.body":
            with anyio.move_on_after(60):
                while line.messages:
                    await anyio.sleep(0.1)
            if error is not None:
                raise error

    gate = gated(Probe(), carry_limit=1000, keep_limit=100_000, drain_limit=500_000)
    with nullcontext() if error is None else pytest.raises(OSError, match=r"^the client has gone$"):
        run(backend, gate, scope_of(content_type="text/plain"), line.receive, send, jump=True)
    assert line.status == 429
    assert line.messages == []


@pytest.mark.parametrize(
    ("fields", "taken"),
    [
        ([(b"accept", b"application/json")], 3),
        ([(b"accept", b"application/json"), (b"expect", b"100-continue")], 0),
        ([(b"accept", b"text/html"), (b"expect", b"100-continue")], 3),
    ],
)
def test_body_is_only_asked_for_if_it_is_needed(fields: list[tuple[bytes, bytes]], taken: int) -> None:
    """A client that waits for ``100 Continue`` is told no without its upload, unless the page has to carry it."""
    line = Line(pieces(b"x" * 10, b"x" * 10, b"x" * 10))
    scope = scope_of(headers=[*fields, (b"content-type", b"text/plain")])
    run("asyncio", gated(Probe()), scope, line.receive, line.send)
    assert line.status == 429
    assert line.taken == taken
