"""Faults of a shared store in the moments that count: on its return, over a fork, after a release by hand."""

from __future__ import annotations

import gc
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from threading import Semaphore
from typing import Any

import pytest

from gatepost import Gate, Settings
from gatepost.meter import Meter
from gatepost.protocols import Claim, StoreBusyError, StoreError, Totals
from gatepost.rules import Rate
from gatepost.stores import Front, make_store
from gatepost.stores.ledger import Ledger
from gatepost.stores.sqlite import SqliteStore
from gatepost.testing import ManualClock
from twins import ANSWER, SECRET, Twin, settings

NONCE, OTHER, SUBMISSION = b"n" * 16, b"o" * 16, b"s" * 16


class Flaky(SqliteStore):
    """A store whose claims fail while it is away; it knows its id all the time, as a Redis store does."""

    away = False
    before_claim: Callable[[], None] = staticmethod(lambda: None)

    def claim(
        self, nonce: bytes | None, expires: int, submission: bytes | None, end: int, store: bytes | None = None
    ) -> Claim:
        self.before_claim()
        if self.away:
            raise StoreError("taken away by the test")
        return super().claim(nonce, expires, submission, end, store)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gatepost.db"


@pytest.fixture
def later(clock: ManualClock) -> int:
    return int(clock() * 1000) + 60_000


@pytest.fixture
def store(path: Path, clock: ManualClock) -> Flaky:
    return Flaky(path, settings(clock=clock))


@pytest.fixture
def front(store: Flaky, clock: ManualClock) -> Front:
    return Front(settings(clock=clock), store, lambda _: None)


def test_i10_store_is_back_only_when_it_claims(front: Front, store: Flaky, later: int) -> None:
    """That the id is known does not make a lost store one that works: each request would wait for it again."""
    store.away = True
    assert front.claim(NONCE, later, None, 0) is Claim.NEW
    assert not front.recover()
    front._unwritten = Ledger(0)  # nothing to write, either
    assert not front.recover()
    assert front.away
    store.away = False
    assert front.recover()
    assert not front.away


@pytest.mark.parametrize("error", [StoreError, StoreBusyError])
def test_i10_claim_that_was_made_is_not_said_to_have_failed(
    front: Front, store: Flaky, later: int, monkeypatch: pytest.MonkeyPatch, error: type[StoreError]
) -> None:
    """A store that answers a claim and then cannot tell its id has claimed: else nobody would deliver it."""
    assert front.claim(OTHER, later, None, 0) is Claim.NEW

    def identity() -> bytes:
        raise error("taken away by the test")

    monkeypatch.setattr(store, "identity", identity)
    assert front.claim(NONCE, later, SUBMISSION, later) is Claim.NEW
    assert not front.away
    assert store.delivered(SUBMISSION, later) is Claim.DELIVERED


def test_i10_claims_that_go_on_do_not_keep_the_store_away(front: Front, store: Flaky, later: int) -> None:
    """Answers that arrive while others are written are written, too, before the store is trusted."""
    store.away = True
    assert front.claim(NONCE, later, None, 0) is Claim.NEW
    store.away = False
    fresh = iter([b"%016d" % number for number in range(5)])

    def another() -> None:
        nonce = next(fresh, None)
        if nonce is not None:
            assert front.claim(nonce, later, None, 0) is Claim.NEW

    store.before_claim = another
    assert front.recover()
    assert store.claim(b"%016d" % 4, later, None, 0) is Claim.SPENT


def test_i4_claim_in_flight_at_the_return_is_written(
    front: Front, store: Flaky, later: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim that found the store away and is remembered after its return would be known to this process alone."""
    store.away = True
    assert front.claim(OTHER, later, None, 0) is Claim.NEW
    ask = front._ask

    def late(question: Callable[[Any], Any]) -> Any:
        answer = ask(question)
        store.away = False
        front.recover()
        return answer

    monkeypatch.setattr(front, "_ask", late)
    assert front.claim(NONCE, later, None, 0) is Claim.NEW
    assert store.claim(NONCE, later, None, 0) is Claim.SPENT


def test_i13_withdrawn_claim_is_not_written(front: Front, store: Flaky, later: int) -> None:
    """What was claimed while the store was away, and not delivered after all, can be delivered on its return."""
    store.away = True
    assert front.claim(NONCE, later, SUBMISSION, later) is Claim.NEW
    front.withdraw(SUBMISSION)
    store.away = False
    assert front.recover()
    assert store.delivered(SUBMISSION, later) is Claim.NEW
    assert store.claim(NONCE, later, None, 0) is Claim.SPENT


def _click(front: Front, step: str, later: int, found: list[Claim | StoreError]) -> None:
    """The second of two answers: what it is told."""
    try:
        if step == "delivered":
            found.append(front.delivered(SUBMISSION, later))
        else:
            found.append(front.claim(OTHER, later, SUBMISSION, later))
    except StoreError as error:
        found.append(error)


@pytest.mark.parametrize("step", ["delivered", "claim"])
def test_i13_double_click_into_a_failing_store_is_not_told_a_lie(
    path: Path, clock: ManualClock, later: int, step: str
) -> None:
    """While the first of two answers waits for a store that then fails, the second is not told that it was sent."""
    options = settings(clock=clock, on_store_error="refuse")
    store = Flaky(path, options)
    front = Front(options, store, lambda _: None)
    store.away = True
    found: list[Claim | StoreError] = []

    second = threading.Thread(target=_click, args=(front, step, later, found))

    def before_claim() -> None:
        if second.ident is None:
            second.start()
            second.join(0.05)  # it would be at its end, if it did not wait for the first

    store.before_claim = before_claim
    with pytest.raises(StoreError):
        front.claim(NONCE, later, SUBMISSION, later)
    second.join(10)
    assert isinstance(found[0], StoreError)
    store.away = False
    assert front.recover()
    assert front.delivered(SUBMISSION, later) is Claim.NEW


@pytest.mark.parametrize("policy", ["local", "refuse"])
@pytest.mark.parametrize("step", ["delivered", "claim"])
def test_i13_double_click_into_a_busy_store_is_not_told_a_lie(
    path: Path, clock: ManualClock, later: int, step: str, policy: str
) -> None:
    """Whoever has waited long enough for the first of two answers is asked to try again, as long as that may fail."""
    options = settings(clock=clock, on_store_error=policy, store_timeout=0.05)
    store = Flaky(path, options)
    front = Front(options, store, lambda _: None)
    found: list[Claim | StoreError] = []

    def before_claim() -> None:
        second = threading.Thread(target=_click, args=(front, step, later, found))
        second.start()
        second.join(10)
        raise StoreBusyError("held by the test")

    store.before_claim = before_claim
    with pytest.raises(StoreBusyError):
        front.claim(NONCE, later, SUBMISSION, later)
    assert isinstance(found[0], StoreBusyError)
    store.before_claim = lambda: None
    assert front.delivered(SUBMISSION, later) is Claim.NEW


def test_i13_claim_withdrawn_while_it_is_written_is_taken_back(front: Front, store: Flaky, later: int) -> None:
    """The same, where the withdrawal comes between the reading and the writing of the claim."""
    store.away = True
    assert front.claim(NONCE, later, SUBMISSION, later) is Claim.NEW
    store.away = False
    store.before_claim = lambda: front.withdraw(SUBMISSION)
    assert front.recover()
    assert store.delivered(SUBMISSION, later) is Claim.NEW


def test_i4_store_that_turns_out_another_at_the_claim(twin_of: Callable[..., Twin], path: Path) -> None:
    """An answer whose claim meets a store that has lost what it knew is asked again, and told why."""

    class Renewed(SqliteStore):
        renewed = False

        def claim(self, *_: Any) -> Claim:
            self.renewed = True
            return Claim.RESTARTED

        def identity(self) -> bytes:
            return b"2" * 16 if self.renewed else super().identity()

    clock = ManualClock()
    twin = twin_of(clock=clock, store=Renewed(path, settings(clock=clock)))
    again = twin.answer(twin.send(body=b"message=hello"), ANSWER)
    assert (again.status, again.reason) == (429, "restarted")
    assert not twin.received


def test_i11_connection_of_the_parent_is_not_closed_in_a_fork(store: Flaky) -> None:
    """To let go of an inherited connection would close it, and closing is for the process that opened it."""
    store.command("rule", None, "to have the file open")
    inherited = store._file._writing.connection
    assert inherited is not None
    number = id(inherited)
    del inherited
    store.after_fork()
    gc.collect()
    [kept] = [item for item in gc.get_objects() if id(item) == number] or [None]
    assert isinstance(kept, sqlite3.Connection)
    assert kept.execute("SELECT 1").fetchone() == (1,)
    kept.close()


def test_i10_mistake_of_ours_leaves_the_file_in_place(store: Flaky, path: Path) -> None:
    """Only a broken file is put aside: what SQLite says of a wrong query loses nobody's claims."""
    before = store.identity()
    with pytest.raises(StoreError):
        store._run(lambda connection: connection.execute("INSERT INTO meta VALUES ('id', x'00')"))
    assert store.identity() == before
    assert not os.path.exists(f"{path}.broken")


def test_release_by_hand_is_not_undone_by_an_exchange_on_its_way() -> None:
    """Totals that the store told before a release do not engage the meter again."""
    meter = Meter([Rate(5, 60)], [2], 10)
    meter.force(1100.0, 1000.0)
    meter.release(1001.0)
    meter.incoming(Totals("rule", 16, 0, 0, (1100.0,), 0), 1002.0)
    assert meter.level(1002.0) == 0


def test_i9_no_password_in_a_message() -> None:
    """A URL of an unknown kind is not repeated: it may hold a password."""
    with pytest.raises(ValueError, match="store: got") as caught:
        make_store(Settings(secret=SECRET, protect="/", store="mysql://user:hunter2@host/db"))
    assert "hunter2" not in str(caught.value)


def test_i9_thread_goes_on_until_the_last_body_has_expired(
    store: Flaky, clock: ManualClock, later: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a submission the exchange ends, but not before what was kept is gone from the store."""
    monkeypatch.setattr("gatepost.exchange._IDLE", 0.0)
    monkeypatch.setattr("gatepost.exchange._SWEEP", 0.0)
    sweeps, sweep = Semaphore(0), store.sweep

    def counted() -> bool:
        sweeps.release()
        return sweep()

    monkeypatch.setattr(store, "sweep", counted)
    exchange = Gate(settings(clock=clock, store=store, sync_interval=0.01)).exchange
    assert store.keep(SUBMISSION, b"body", later, "")
    exchange.start()
    thread = exchange._thread
    assert thread is not None
    for _ in range(10):
        assert sweeps.acquire(timeout=10)
    assert thread.is_alive()
    clock.tick(61)
    thread.join(10)
    assert not thread.is_alive()
    assert not store.sweep()
