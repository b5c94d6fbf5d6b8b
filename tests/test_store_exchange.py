"""What one process counts all know soon, once, and whatever goes wrong in between."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gatepost import Gate
from gatepost.protocols import StoreError, Sums, Totals
from gatepost.stores.sqlite import SqliteStore
from gatepost.testing import ManualClock
from twins import WsgiTwin, settings

Workers = Callable[..., list[WsgiTwin]]


class Late(SqliteStore):
    """A store that can be away, or do what it is told and be too late to say so."""

    late = away = False

    def exchange(self, sums: Sequence[Sums]) -> list[Totals]:
        if self.away:
            raise StoreError("taken away by the test")
        totals = super().exchange(sums)
        if self.late:
            raise StoreError("the test waits no longer")
        return totals


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    """Makes so many workers on one file."""
    made: list[WsgiTwin] = []
    clock = ManualClock()

    def make(count: int = 2, **options: Any) -> list[WsgiTwin]:
        mine: dict[str, Any] = {"clock": clock, "mode": "adaptive"} | options
        made.extend(
            WsgiTwin(Gate(settings(store=Late(tmp_path / "gatepost.db", settings(**mine)), **mine)))
            for _ in range(count)
        )
        return made

    yield make
    clock.tick(10**7)
    for twin in made:
        twin.gate.store.close()


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exchange happens when the test says so."""
    monkeypatch.setattr("gatepost.exchange.Exchange.start", lambda _: None)


by_hand = pytest.mark.usefixtures("stopped")


def store_of(twin: WsgiTwin) -> Late:
    store = twin.gate.settings.store
    assert isinstance(store, Late)
    return store


def until(condition: Callable[[], bool]) -> bool:
    """Whether it comes true in a time that no machine needs."""
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()


def test_change_is_told_at_once(workers: Workers) -> None:
    """That a rule engages, or is released by hand, the store knows long before the next exchange is due."""
    [one] = workers(1, above="2/minute", sync_interval=60)
    store = store_of(one)

    def engaged() -> bool:
        return any(end > one.clock() for told in store.status() for end in told.until)

    one.send(body=b"a=b")
    assert until(lambda: bool(store.status()))
    assert not engaged()
    for _ in range(3):
        one.send(body=b"a=b")
    assert until(engaged)
    one.gate.guards[0].meter.release(one.clock())
    assert until(lambda: not engaged())


@by_hand
def test_what_others_told_is_not_told_back_at_once(workers: Workers) -> None:
    """A change that the exchange itself brought about wakes nobody, or processes would wake each other for ever."""
    [one] = workers(1)
    exchange = one.gate.exchange
    store_of(one).command("/contact", one.clock() + 60, "by hand")
    exchange._thread = threading.current_thread()
    exchange.once()
    assert one.gate.state("/contact") == "engaged"
    assert not exchange._wake.is_set()
    exchange._thread = None
    one.gate.release("/contact")
    assert exchange._wake.is_set()


@by_hand
@pytest.mark.parametrize("fault", ["late", "away"])
@pytest.mark.parametrize("failures", [1, 3])
def test_exchange_that_failed_counts_once(workers: Workers, failures: int, fault: str) -> None:
    """What could not be told is told later; what the store added although nobody waited is not added again."""
    one, two = workers(2, above="1000/minute")
    for _ in range(3):
        one.send(body=b"a=b")
    setattr(store_of(one), fault, True)
    for _ in range(failures):
        assert one.gate.exchange.once()
        assert one.gate.store.away
        one.send(body=b"a=b")
    setattr(store_of(one), fault, False)
    one.gate.exchange.once()
    [told] = store_of(two).status()
    assert told.counts["submissions"] == 3 + failures
    assert told.rate == pytest.approx(3 + failures)
    two.gate.exchange.once()
    assert two.gate.stats()["/contact"].rate == pytest.approx(3 + failures)
    assert one.gate.stats()["/contact"].rate == pytest.approx(3 + failures)


@by_hand
def test_exchange_that_failed_is_told_in_its_own_bucket(workers: Workers) -> None:
    """Submissions that could not be told in their minute count for that one, and not for the minute of the return."""
    one, two = workers(2, above="1000/minute")
    one.clock.tick(60 - one.clock() % 60)
    for _ in range(4):
        one.send(body=b"a=b")
    store_of(one).late = True
    one.gate.exchange.once()
    one.clock.tick(75)
    store_of(one).late = False
    one.gate.exchange.once()
    two.gate.exchange.once()
    assert two.gate.stats()["/contact"].rate == pytest.approx(3)  # of 4, three quarters of the window are left


@by_hand
def test_one_rule_that_fails_leaves_the_others(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a rule cannot take in what others counted, the next ones can, and nothing is told twice."""
    one, two = workers(2, protect=["/one", "/two"], above="2/minute")
    for _ in range(3):
        one.send(path="/one", body=b"a=b")
        one.send(path="/two", body=b"a=b")

    def broken(*_: Any) -> None:
        raise RuntimeError("the test broke it")

    monkeypatch.setattr(two.gate.guards[0], "incoming", broken)
    for twin in (one, two, one, two):
        twin.gate.exchange.once()
    assert two.gate.state("/two") == "engaged"
    assert [told.counts["submissions"] for told in store_of(one).status()] == [3, 3]


@by_hand
def test_all_know_within_one_interval(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process exchanges twice in an interval: what one tells in its half the others ask for in theirs."""
    [one] = workers(1, sync_interval=0.5)
    exchange = one.gate.exchange
    pauses: list[float] = []

    class EndedError(Exception):
        pass

    def wait(pause: float) -> None:
        pauses.append(pause)
        if len(pauses) == 3:
            raise EndedError

    monkeypatch.setattr(exchange._wake, "wait", wait)
    with pytest.raises(EndedError):
        exchange._run()
    assert pauses == [0.25] * 3
