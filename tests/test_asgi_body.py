"""ASGI, bodies: looked at, buffered and replayed piece by piece, within limits of bytes and time."""

from __future__ import annotations

import math
from typing import Any

import anyio
import pytest
from starlette.types import Message, Receive, Scope, Send

from gatepost.asgi import GatepostMiddleware
from gatepost.intake import FAIR_RATE
from gatepost.testing import Answer
from raw import BACKENDS, Line, Probe, call, pieces, run, scope_of
from twins import settings

ORIGINAL = b"name=Ada&message=hello"
PREFIX = b"gatepost_token="


def gated(app: Any, **options: Any) -> GatepostMiddleware:
    return GatepostMiddleware(app, settings=settings(**options))


def answer_to(gate: GatepostMiddleware, body: bytes = ORIGINAL, backend: str = "asyncio") -> Answer:
    """The right answer to a challenge, two seconds later."""
    answer = call(gate, None, pieces(body), backend).answered()
    gate.gate.settings.clock.tick(2)  # type: ignore[attr-defined]
    return answer


async def never() -> Message:
    """A client that sends nothing more, and stays."""
    await anyio.sleep(math.inf)
    raise AssertionError("that was more than forever")


# --- pieces ---

SPLITS: dict[str, list[bytes]] = {
    "whole": [ORIGINAL],
    "empty ones between": [b"", ORIGINAL[:3], b"", b"", ORIGINAL[3:], b""],
    "bytes": [ORIGINAL[index : index + 1] for index in range(len(ORIGINAL))],
    "hundreds of bytes": [b"x"] * 700,
    "nothing": [b""],
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("split", SPLITS)
def test_i2_pieces_are_joined(split: str, backend: str) -> None:
    """A body in any pieces is kept and delivered as one, and an answer in single bytes is understood."""
    probe = Probe()
    gate = gated(probe)
    page = call(gate, None, pieces(*SPLITS[split]), backend)
    assert page.status == 429
    gate.gate.settings.clock.tick(2)  # type: ignore[attr-defined]
    answer = page.answered().body
    assert call(gate, None, pieces(*(bytes([byte]) for byte in answer)), backend).status == 200
    assert probe.messages == [{"type": "http.request", "body": b"".join(SPLITS[split]), "more_body": False}]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("at", range(17))
def test_answer_is_known_wherever_it_is_cut(at: int, backend: str) -> None:
    """An answer request is known as one wherever its first bytes are split into messages."""
    line = call(
        gated(Probe(), mode="adaptive"), None, pieces(b"gatepost_token=x"[:at], b"gatepost_token=x"[at:]), backend
    )
    assert (line.status, line.reason) == (400, "forged")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("at", range(16))
def test_i1_almost_an_answer_passes(at: int, backend: str) -> None:
    """A body that leaves the prefix at any byte, or ends within it, is the application's, every message of it."""
    for body in (PREFIX[:at], PREFIX[:at] + b"!" + b"x" * 20) if at < 15 else (PREFIX[:14],):
        probe = Probe()
        messages = pieces(body[: at // 2], body[at // 2 :])
        call(gated(probe, mode="adaptive"), None, messages, backend)
        assert probe.messages == messages
        assert probe.body == body


@pytest.mark.parametrize(
    "messages",
    [
        [{"type": "http.request"}],
        [{"type": "http.request", "more_body": True}, {"type": "http.request", "body": ORIGINAL}],
        [{"type": "http.request", "body": ORIGINAL, "more_body": True}, {"type": "http.request"}],
    ],
    ids=["nothing", "no body first", "no body last"],
)
@pytest.mark.parametrize("mode", ["adaptive", "always"])
def test_keys_of_messages_may_be_missing(messages: list[Message], mode: str) -> None:
    """``body`` and ``more_body`` may be missing from a message, in calm as in a challenge."""
    whole = b"".join(message.get("body", b"") for message in messages)
    probe = Probe()
    gate = gated(probe, mode=mode)
    line = call(gate, None, messages)
    if mode == "always":
        gate.gate.settings.clock.tick(2)  # type: ignore[attr-defined]
        line = call(gate, None, pieces(line.answered().body))
    assert line.status == 200
    assert probe.body == whole


@pytest.mark.parametrize("backend", BACKENDS)
def test_unheard_of_messages_are_passed_along(backend: str) -> None:
    """A message of an unknown type reaches the application in its place; a body that is kept goes on without it."""
    strange = {"type": "http.strange", "body": PREFIX}
    messages = [strange, *pieces(ORIGINAL[:5], more=True), strange, *pieces(ORIGINAL[5:])]
    probe = Probe()
    call(gated(probe, mode="adaptive"), None, messages, backend)
    assert probe.messages == messages

    probe = Probe()
    gate = gated(probe)
    page = call(gate, None, messages, backend)
    gate.gate.settings.clock.tick(2)  # type: ignore[attr-defined]
    assert call(gate, None, [strange, *pieces(page.answered().body)], backend).status == 200
    assert probe.body == ORIGINAL


@pytest.mark.parametrize("backend", BACKENDS)
def test_after_the_replay_comes_the_real_receive(backend: str) -> None:
    """Behind a delivered body the application waits on the server itself, and can stream its answer meanwhile."""
    leaving = {"type": "http.disconnect"}
    received: list[Message] = []

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        received.append(await receive())
        await send({"type": "http.response.start", "status": 200, "headers": []})

        async def watch() -> None:
            received.append(await receive())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            for number in range(3):
                await anyio.sleep(0.01)
                await send({"type": "http.response.body", "body": b"%d" % number, "more_body": True})
        await send({"type": "http.response.body"})

    gate = gated(app)
    answer = answer_to(gate)

    async def leave_later() -> Message:
        await anyio.sleep(1)
        return leaving

    line = call(gate, None, pieces(answer.body), backend, then=leave_later, jump=True)
    assert line.body == b"012"
    assert received[0] == {"type": "http.request", "body": ORIGINAL, "more_body": False}
    assert received[1] is leaving


# --- clients that leave ---


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sent", [[], [b"na"], [b"name=Ada", b"&mess"], [b""], [b"gatepost_to"]], ids=repr)
def test_client_that_leaves_a_form(sent: list[bytes], backend: str) -> None:
    """A disconnect in a body that is being kept: no answer, no call of the application, nothing held."""
    probe = Probe()
    gate = gated(probe)
    line = call(gate, None, pieces(*sent, more=True), backend)
    assert line.sent == []
    assert probe.calls == []
    assert gate.gate.buffer.held == 0
    assert gate.gate.stats()["/contact"].challenged == 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_i4_client_that_leaves_an_answer(share: float, backend: str) -> None:
    """A disconnect in an answer burns no token: the same answer, sent again, is right."""
    probe = Probe()
    gate = gated(probe)
    answer = answer_to(gate)
    begun = answer.body[: int(len(answer.body) * share)]
    assert call(gate, None, pieces(begun[:50], begun[50:], more=True), backend).sent == []
    assert probe.calls == []
    assert call(gate, None, pieces(answer.body), backend).status == 200
    assert probe.body == ORIGINAL


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("what", ["look", "form", "answer"])
def test_cancellation_leaves_nothing_behind(what: str, backend: str) -> None:
    """A cancelled request ends at once, holds no bytes, burns no token, and never reached the application."""
    probe = Probe()
    gate = gated(probe)
    answer = answer_to(gate)
    begun = {"look": b"gatepost", "form": ORIGINAL, "answer": answer.body[:-9]}[what]
    line = Line(pieces(begun, more=True), never)

    async def cancelled() -> bool:
        with anyio.move_on_after(5) as scope:
            await gate(scope_of(), line.receive, line.send)
        return scope.cancelled_caught

    assert run(backend, cancelled, jump=True) is True
    assert line.sent == []
    assert probe.calls == []
    assert gate.gate.buffer.held == 0
    assert call(gate, None, pieces(answer.body), backend).status == 200


@pytest.mark.parametrize("backend", BACKENDS)
def test_i4_cancelled_application_counts_as_called(backend: str) -> None:
    """A cancellation while the application works on a delivery takes nothing back: it may have acted already."""
    calls: list[bytes] = []

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        calls.append((await receive())["body"])
        await anyio.sleep(math.inf)

    gate = gated(app)
    answer = answer_to(gate)

    async def cancelled() -> None:
        with anyio.move_on_after(5):
            await gate(scope_of(), Line(pieces(answer.body)).receive, Line().send)

    run(backend, cancelled, jump=True)
    again = call(gate, None, pieces(answer.body), backend)
    assert (again.status, again.reason) == (409, "already-sent")
    assert calls == [ORIGINAL]


# --- deadlines ---


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
