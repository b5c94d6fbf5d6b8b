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
from gatepost.protocols import Claim, StoreError
from gatepost.stores import Front, patience
from gatepost.stores.sqlite import SqliteStore
from gatepost.testing import ManualClock
from test_faults import NONCE, SUBMISSION
from test_store_shared import redis_port
from twins import ANSWER, Twin, settings

__all__ = ["redis_port"]  # the fixture

LONG, SHORT, FAR = 60.0, 0.05, 20.0  # seconds: the setting, what a request has left, and what no machine is late by


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


@pytest.mark.parametrize(
    ("takes", "asked", "away"),
    [(0.0, 6, False), (0.04, 6, False), (0.1, 3, True), (0.249, 2, True), (0.25, 1, True), (5, 1, True)],
)
def test_i10_waiting_of_all_steps_adds_up(
    elapsed: ManualClock, tmp_path: Path, clock: ManualClock, takes: float, asked: int, away: bool
) -> None:
    """When the steps of one request have waited for ``store_timeout`` in all, the store is not asked again."""
    store = Slow(tmp_path / "gatepost.db", settings(clock=clock))
    store.takes = lambda: elapsed.tick(takes)
    front = Front(settings(clock=clock), store, lambda _: None)
    with patience.budget(0.25):
        for _ in range(6):
            assert front.delivered(SUBMISSION, int(clock() * 1000) + 60_000) is Claim.NEW
    assert (store.asked, front.away) == (asked, away)


def test_each_request_has_its_own_patience(elapsed: ManualClock) -> None:
    """What one request waited is not taken from the next, and the background has no such bound."""
    for _ in range(3):
        with patience.budget(0.25), patience.waiting():
            elapsed.tick(0.2)
            assert patience.left(1.0) == 0.25
        assert not patience.spent()
    with patience.budget(0.25):
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
    with patience.budget(SHORT), pytest.raises(StoreError):
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
        with patience.budget(SHORT), pytest.raises(StoreError):
            store.claim(NONCE, int(clock() * 1000) + 60_000, None, 0)
        assert time.monotonic() - began < FAR
    finally:
        os.kill(process, signal.SIGCONT)
    assert store.claim(NONCE, int(clock() * 1000) + 60_000, None, 0) in (Claim.NEW, Claim.SPENT)
    store.close()


def test_i10_both_twins_bound_a_whole_request(
    twin_of: Callable[..., Twin], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer at a held file is judged by the process itself, after one time-out and not after several."""
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
        if patience._budget.get() is not None:  # a thread of another test's gate has none
            waits.append(left(most))
        return left(most)

    monkeypatch.setattr("gatepost.stores.patience.left", noted)
    other = lock(path)
    assert twin.answer(page, "wrong").reason == "wrong"
    assert twin.gate.store.away
    asked = len(waits)
    assert 0 < asked <= 3
    assert max(waits) <= 0.5
    assert waits == sorted(waits, reverse=True)
    assert twin.answer(twin.send(body=b"message=again"), ANSWER).text == "stored"
    assert len(waits) == asked
    other.close()
    store.close()
