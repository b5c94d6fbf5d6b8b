"""ASGI, bodies: looked at, buffered and replayed piece by piece, and clients that leave in the middle."""

from __future__ import annotations

import math
from typing import Any

import anyio
import pytest
from starlette.types import Message, Receive, Scope, Send

from gatepost.asgi import GatepostMiddleware
from gatepost.testing import Answer
from raw import BACKENDS, Line, Probe, call, never, pieces, run, scope_of
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


def test_body_that_is_here_needs_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the look at an urlencoded body has brought is read without the timer that waiting for more needs."""

    def timer(seconds: float) -> None:
        raise AssertionError(f"set a timer of {seconds} s")

    gate = gated(Probe())
    monkeypatch.setattr("anyio.fail_after", timer)
    page = call(gate, None, pieces(ORIGINAL))
    assert page.status == 429
    assert b'name="gatepost_carry"' in page.body
    with pytest.raises(AssertionError, match="set a timer"):
        call(gate, None, pieces(ORIGINAL, b"&more=yes"))


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
@pytest.mark.parametrize("mode", ["adaptive", "always"])
def test_i6_empty_messages_are_not_looked_at_for_ever(mode: str, backend: str) -> None:
    """After many empty messages a body counts as no answer, and what was looked at is handed on or kept."""
    probe = Probe()
    gate = gated(probe, mode=mode)
    messages = pieces(*[b""] * 300, b"gatepost_token=x")
    line = call(gate, None, messages, backend)
    if mode == "always":
        assert line.reason == "always"
        gate.gate.settings.clock.tick(2)  # type: ignore[attr-defined]
        assert call(gate, None, pieces(line.answered().body), backend).status == 200
    else:
        assert probe.messages == messages
    assert probe.body == b"gatepost_token=x"


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
