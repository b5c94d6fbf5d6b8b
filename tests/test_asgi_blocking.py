"""ASGI, waiting: stores and pictures that take their time are waited for off the event loop, and cancelled cleanly."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import anyio
import anyio.from_thread
import pytest

from gatepost import Challenge, Event, Gate, Settings
from gatepost.asgi import GatepostMiddleware
from gatepost.intake import Intake
from gatepost.protocols import Claim, Sums, Told, Totals
from gatepost.stores import MemoryStore
from gatepost.testing import Answer, KnownChallenge
from raw import BACKENDS, Line, Probe, call, pieces, run, scope_of
from twins import ANSWER, settings

ORIGINAL = b"name=Ada&message=hello"


class BlockingStore(MemoryStore):
    """A store that processes share, as far as the gate can tell; it notes on which threads it was called."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.threads: set[int] = set()
        self.after_claim: Any = None

    def claim(
        self, nonce: bytes | None, expires: int, submission: bytes | None, end: int, store: bytes | None = None
    ) -> Claim:
        self.threads.add(threading.get_ident())
        found = super().claim(nonce, expires, submission, end, store)
        if self.after_claim is not None and submission is not None:
            self.after_claim()
        return found

    def exchange(self, sums: Sequence[Sums]) -> list[Totals]:
        return [Totals(mine.rule, mine.bucket, mine.fresh, mine.late, (), 0) for mine in sums]

    def command(self, rule: str, until: float | None, cause: str) -> None:
        raise NotImplementedError

    def status(self) -> list[Told]:
        raise NotImplementedError

    def close(self) -> None:
        pass


def blocking_gate(app: Any, **options: Any) -> tuple[GatepostMiddleware, BlockingStore]:
    """A gate on a store of its own that blocks."""
    plain = settings(**options)
    store = BlockingStore(plain)
    gate = GatepostMiddleware(app, gate=Gate(settings(**options, clock=plain.clock, store=store)))
    return gate, store


def answer_to(gate: GatepostMiddleware, backend: str) -> Answer:
    answer = call(gate, None, pieces(ORIGINAL), backend).answered()
    gate.gate.settings.clock.tick(2)  # type: ignore[attr-defined]
    return answer


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("carry_limit", [5, 5000])
def test_i8_store_that_blocks_is_called_in_a_thread(carry_limit: int, backend: str) -> None:
    """A store that may block is never called on the event loop's own thread, on any way through the flow."""
    probe = Probe()
    gate, store = blocking_gate(probe, carry_limit=carry_limit, permit_uses=1)
    answer = answer_to(gate, backend)
    delivered = call(gate, None, pieces(answer.body), backend)
    assert delivered.status == 200
    assert probe.body == ORIGINAL
    assert call(gate, None, pieces(answer.body), backend).status == 409
    cookie = delivered.headers["set-cookie"].partition(";")[0].encode()
    permitted = scope_of()
    permitted["headers"].append((b"cookie", cookie))
    assert call(gate, permitted, pieces(ORIGINAL), backend).status == 200
    assert store.threads
    assert threading.get_ident() not in store.threads


@pytest.mark.parametrize("carry_limit", [5, 5000])
@pytest.mark.parametrize("backend", BACKENDS)
def test_i4_cancelled_between_claim_and_application(backend: str, carry_limit: int) -> None:
    """A request that is cancelled after its claim, before the application: the submission is free, the nonce used.

    Nothing is told of a delivery, and a body that was kept is still there.
    """
    probe = Probe()
    events: list[Event] = []
    gate, store = blocking_gate(probe, carry_limit=carry_limit, on_event=events.append)
    answer = answer_to(gate, backend)

    async def main() -> bool:
        with anyio.CancelScope() as scope:
            store.after_claim = lambda: anyio.from_thread.run_sync(scope.cancel)
            await gate(scope_of(), Line(pieces(answer.body)).receive, Line().send)
        return scope.cancelled_caught

    assert run(backend, main) is True
    assert probe.calls == []
    assert [event.name for event in events] == ["challenged"]
    store.after_claim = None
    fresh = call(gate, None, pieces(answer.body), backend)
    assert (fresh.status, fresh.reason) == (429, "used")
    gate.gate.settings.clock.tick(2)  # type: ignore[attr-defined]
    assert call(gate, None, pieces(fresh.answered().body), backend).status == 200
    assert probe.body == ORIGINAL
    assert [event.name for event in events] == ["challenged", "challenged", "delivered"]


class SlowKind(KnownChallenge):
    """A kind that draws only when it is told to."""

    def __init__(self) -> None:
        super().__init__(ANSWER)
        self.go = threading.Event()

    def draw(self, level: int, locale: str) -> Challenge:
        self.go.wait(10)
        return super().draw(level, locale)


@pytest.mark.parametrize("backend", BACKENDS)
def test_cancelled_wait_for_a_picture_leaks_nothing(backend: str) -> None:
    """Whoever leaves while waiting for a picture gives back its bytes, and those after get theirs."""
    kind = SlowKind()
    gate = GatepostMiddleware(Probe(), settings=settings(challenge=kind))

    async def main() -> Line:
        for _ in range(3):
            with anyio.move_on_after(0.02):
                await gate(scope_of(), Line(pieces(ORIGINAL)).receive, Line().send)
        assert gate.gate.buffer.held == 0
        kind.go.set()
        line = Line(pieces(ORIGINAL))
        await gate(scope_of(), line.receive, line.send)
        return line

    line: Line = run(backend, main)
    assert line.status == 429
    assert line.answered()["gatepost_answer"] == ANSWER


@pytest.mark.parametrize("backend", BACKENDS)
def test_i8_loop_runs_on_while_a_picture_is_drawn(backend: str) -> None:
    """While one request waits for its picture, others pass."""
    kind = SlowKind()
    gate = GatepostMiddleware(Probe(), settings=settings(challenge=kind))
    lines = [Line(pieces(ORIGINAL)), Line(pieces(b""))]

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gate, scope_of(), lines[0].receive, lines[0].send)
            await anyio.wait_all_tasks_blocked()
            await gate(scope_of(path="/elsewhere"), lines[1].receive, lines[1].send)
            assert lines[0].sent == []
            kind.go.set()

    run(backend, main)
    assert [line.status for line in lines] == [429, 200]


@pytest.mark.parametrize("backend", BACKENDS)
def test_large_bodies_are_hashed_off_the_loop(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes longer than a millisecond, such as hashing megabytes, is not done on the loop's thread."""
    threads: dict[int, set[int]] = {}
    original = Intake.hash

    def noting(self: Intake, piece: bytes) -> None:
        threads.setdefault(len(piece), set()).add(threading.get_ident())
        original(self, piece)

    monkeypatch.setattr(Intake, "hash", noting)
    gate = GatepostMiddleware(Probe(), settings=settings())
    page = call(gate, scope_of(content_type="text/plain"), pieces(b"x" * 2_000_000, b"y" * 100), backend)
    assert page.status == 429
    assert threading.get_ident() in threads[100]
    assert threading.get_ident() not in threads[2_000_000]
