"""No request waits longer than ``store_timeout`` for the shared store, however many steps it has."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gatepost import Settings, Store
from gatepost.protocols import Claim, StoreBusyError, StoreError
from gatepost.stores import Front, patience
from gatepost.stores.sqlite import SqliteStore
from gatepost.testing import ManualClock
from test_faults import NONCE, SUBMISSION
from test_store_shared import redis_port
from twins import ANSWER, Twin, settings

__all__ = ["redis_port"]  # the fixture

LONG, SHORT, FAR = 60.0, 0.05, 20.0  # seconds: the setting, what a request has left, and what no machine is late by
TIMEOUT = 0.25  # seconds; the front's, while the store itself has time enough for a busy machine


@pytest.fixture
def elapsed(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """The time by which waiting is measured."""
    elapsed = ManualClock(0)
    monkeypatch.setattr("gatepost.stores.patience.time.monotonic", elapsed)
    return elapsed


class Slow(SqliteStore):
    """A store that answers, but takes its time."""

    asked = 0
    takes: Callable[[], None] = staticmethod(lambda: None)

    def delivered(self, submission: bytes, end: int) -> Claim:
        self.asked += 1
        self.takes()
        return super().delivered(submission, end)


@pytest.mark.parametrize(("takes", "asked"), [(0.0, 6), (0.04, 6), (0.1, 3), (0.249, 2), (0.25, 1), (5, 1)])
def test_i10_waiting_of_all_steps_adds_up(
    elapsed: ManualClock, tmp_path: Path, clock: ManualClock, takes: float, asked: int
) -> None:
    """When the steps of one request have waited for ``store_timeout`` in all, the store is not asked again."""
    store = Slow(tmp_path / "gatepost.db", settings(clock=clock))
    store.takes = lambda: elapsed.tick(takes)
    front = Front(settings(clock=clock, store_timeout=TIMEOUT), store, lambda _: None)
    found = []
    with patience.allowance(TIMEOUT):
        for _ in range(6):
            try:
                found.append(front.delivered(SUBMISSION, later(clock)))
            except StoreBusyError:
                break
    assert found == [Claim.NEW] * asked
    assert store.asked == asked
    assert not front.away  # it has answered


def later(clock: ManualClock) -> int:
    return int(clock() * 1000) + 60_000


def late(elapsed: ManualClock) -> Callable[[], None]:
    """What a store does that does not answer in time."""

    def wait() -> None:
        elapsed.tick(TIMEOUT)
        raise StoreBusyError("taken away by the test")

    return wait


def test_i10_store_that_answers_others_is_not_lost(elapsed: ManualClock, tmp_path: Path, clock: ManualClock) -> None:
    """A request that waits in vain goes without; the store is lost only if nobody is answered for some time-outs."""
    store = Slow(tmp_path / "gatepost.db", settings(clock=clock))
    front = Front(settings(clock=clock, store_timeout=TIMEOUT), store, lambda _: None)
    for _ in range(5):  # every other one is answered
        store.takes = late(elapsed)
        with pytest.raises(StoreBusyError):
            front.delivered(SUBMISSION, later(clock))
        store.takes = lambda: None
        assert front.delivered(SUBMISSION, later(clock)) is Claim.NEW
    assert not front.away
    store.takes = late(elapsed)
    for _ in range(4):
        with pytest.raises(StoreBusyError):
            front.delivered(SUBMISSION, later(clock))
    assert front.delivered(SUBMISSION, later(clock)) is Claim.NEW  # by itself
    assert front.away


def test_i10_store_that_can_only_be_read_is_lost(elapsed: ManualClock, tmp_path: Path, clock: ManualClock) -> None:
    """A file that another program holds for writing can still be read, which is no sign that claims will be made."""

    class Held(Slow):
        def claim(self, *_: Any, **__: Any) -> Claim:
            late(elapsed)()
            raise AssertionError

    front = Front(
        settings(clock=clock, store_timeout=TIMEOUT),
        Held(tmp_path / "gatepost.db", settings(clock=clock)),
        lambda _: None,
    )
    found: list[Claim | None] = []
    for number in range(6):
        assert front.delivered(SUBMISSION, later(clock)) is Claim.NEW
        try:
            found.append(front.claim(bytes([number]) * 16, later(clock), None, 0))
        except StoreBusyError:
            found.append(None)
    assert found == [None] * 4 + [Claim.NEW] * 2
    assert front.away


def test_i13_claim_of_a_busy_store_is_withdrawn(elapsed: ManualClock, tmp_path: Path, clock: ManualClock) -> None:
    """Whoever was told to try again is not told 'already sent' then, and what was tried counts as used."""

    class Held(Slow):
        def claim(self, *arguments: Any, **more: Any) -> Claim:
            self.takes()
            return super().claim(*arguments, **more)

    store = Held(tmp_path / "gatepost.db", settings(clock=clock))
    front = Front(settings(clock=clock, store_timeout=TIMEOUT), store, lambda _: None)
    store.takes = late(elapsed)
    with pytest.raises(StoreBusyError):
        front.claim(NONCE, later(clock), SUBMISSION, later(clock))
    store.takes = lambda: None
    assert front.delivered(SUBMISSION, later(clock)) is Claim.NEW
    assert front.claim(NONCE, later(clock), SUBMISSION, later(clock)) is Claim.SPENT
    assert front.claim(b"m" * 16, later(clock), SUBMISSION, later(clock)) is Claim.NEW


def test_i13_kept_body_is_not_given_up_while_the_store_cannot_tell(
    elapsed: ManualClock, tmp_path: Path, clock: ManualClock
) -> None:
    """As long as the store with a body is busy or away, the body counts as held, and asking for it is an error."""

    class Held(Slow):
        def holds(self, submission: bytes) -> bool:
            self.takes()
            return super().holds(submission)

        def read(self, submission: bytes) -> bytes | None:
            self.takes()
            return super().read(submission)

    store = Held(tmp_path / "gatepost.db", settings(clock=clock))
    front = Front(settings(clock=clock, store_timeout=TIMEOUT), store, lambda _: None)
    assert front.keep(SUBMISSION, b"body", later(clock), "")
    assert not front.holds(b"x" * 16)
    store.takes = late(elapsed)
    assert front.holds(SUBMISSION)
    for _ in range(6):  # busy, lost by that, away
        with pytest.raises(StoreError):
            front.read(SUBMISSION)
    assert front.away
    assert front.holds(SUBMISSION)
    store.takes = lambda: None
    assert front.recover()
    assert front.read(SUBMISSION) == b"body"
    assert not front.holds(b"x" * 16)


def test_each_request_has_its_own_patience(elapsed: ManualClock) -> None:
    """What one request waited is not taken from the next, and the background has no such bound."""
    for _ in range(3):
        with patience.allowance(0.25), patience.waiting():
            elapsed.tick(0.2)
            assert patience.left(1.0) == 0.25
        assert not patience.spent()
    with patience.allowance(0.25):
        with patience.waiting():
            elapsed.tick(0.2)
        assert patience.left(1.0) == pytest.approx(0.05)
        assert patience.left(0.01) == 0.01
    assert patience.left(1.0) == 1.0


def lock(path: Path) -> sqlite3.Connection:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    return other


def test_i10_file_that_is_held_is_waited_for_no_longer_than_is_left(tmp_path: Path, clock: ManualClock) -> None:
    """A claim gives up a SQLite file that another process holds when the request's own time is up."""
    store = SqliteStore(tmp_path / "gatepost.db", settings(clock=clock, store_timeout=LONG))
    other = lock(tmp_path / "gatepost.db")
    began = time.monotonic()
    with patience.allowance(SHORT), pytest.raises(StoreError):
        store.claim(NONCE, int(clock() * 1000) + 60_000, None, 0)
    assert time.monotonic() - began < FAR
    other.close()
    store.close()


@pytest.mark.parametrize("connected", [False, True])
def test_i10_server_that_sleeps_is_waited_for_no_longer_than_is_left(
    redis_port: int,
    clock: ManualClock,
    connected: bool,
) -> None:
    """A claim gives up a Redis server that is stopped when the request's own time is up, connected or not."""
    redis = pytest.importorskip("redis", reason="redis-py is not installed")
    from gatepost.stores.redis import RedisStore

    mine: Settings = settings(clock=clock, store_timeout=LONG)
    store: Store = RedisStore(f"redis://127.0.0.1:{redis_port}/0", "patience", mine)
    with redis.Redis(port=redis_port) as client:
        process = int(client.info("server")["process_id"])
    if connected:
        store.identity()
    os.kill(process, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with patience.allowance(SHORT), pytest.raises(StoreError):
            store.claim(NONCE, int(clock() * 1000) + 60_000, None, 0)
        assert time.monotonic() - began < FAR
    finally:
        os.kill(process, signal.SIGCONT)
    assert store.claim(NONCE, int(clock() * 1000) + 60_000, None, 0) in (Claim.NEW, Claim.SPENT)
    store.close()


def test_i10_both_twins_bound_a_whole_request(
    twin_of: Callable[..., Twin], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer at a held file waits for one time-out and not for several, and is kept; the next need not wait."""
    monkeypatch.setattr("gatepost.exchange.Exchange.start", lambda _: None)
    path, clock = tmp_path / "gatepost.db", ManualClock()
    mine: dict[str, Any] = {
        "clock": clock,
        "store_timeout": 0.5,
        "failure_limit": "5/minute",
        "issue_limit": "5/minute",
    }
    store = SqliteStore(path, settings(**mine))
    twin = twin_of(store=store, **mine)
    page = twin.send(body=b"message=hello")
    waits: list[float] = []
    left = patience.left

    def noted(most: float) -> float:
        if patience._allowance.get() is not None:  # a thread of another test's gate has none
            waits.append(left(most))
        return left(most)

    monkeypatch.setattr("gatepost.stores.sqlite_file.left", noted)
    other = lock(path)
    reasons = []
    while page.status != 200:  # nobody is answered meanwhile, so one of them finds the store lost
        waits.clear()
        page = twin.answer(page, ANSWER)
        reasons.append(page.reason)
        assert waits or twin.gate.store.away  # or nothing would be noted here
        assert len(waits) <= 4
        assert max(waits, default=0) <= 0.5
        assert waits == sorted(waits, reverse=True)
        assert len(reasons) < 10
    assert reasons[0] == "store-away"
    assert set(reasons[1:]) == {"store-away", "continued", ""}
    assert page.text == "stored"
    assert twin.gate.store.away
    waits.clear()
    assert twin.answer(twin.send(body=b"message=again"), ANSWER).text == "stored"
    assert not waits
    other.close()
    store.close()
