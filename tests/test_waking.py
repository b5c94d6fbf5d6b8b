"""A process that has rested, or has just begun, knows what the others know before it judges its first request."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gatepost import Gate, Settings
from gatepost.protocols import StoreError, Sums, Totals
from gatepost.stores import patience
from gatepost.stores.sqlite import SqliteStore
from gatepost.testing import ManualClock
from twins import ANSWER, SECRET, Twin, settings

TESTS = Path(__file__).parent
LONG = 30.0  # seconds that no test waits for

Join = Callable[..., Twin]


class Slow(SqliteStore):
    """A store that does not answer an exchange until the test lets it, or until it has no more time."""

    def __init__(self, path: Path, settings: Settings) -> None:
        super().__init__(path, settings)
        self.answering = threading.Event()
        self.asked = threading.Event()
        self._most = settings.store_timeout

    def exchange(self, sums: Sequence[Sums]) -> list[Totals]:
        self.asked.set()
        if not self.answering.wait(self._most):
            raise StoreError("the test lets it wait")
        return super().exchange(sums)


@pytest.fixture
def join(twin_of: Callable[..., Twin], tmp_path: Path) -> Iterator[Join]:
    """Adds a worker to those on one file."""
    clock = ManualClock()
    joined: list[Twin] = []

    def join(*, answering: bool = True, **options: Any) -> Twin:
        mine: dict[str, Any] = {"clock": clock, "mode": "adaptive", "above": "2/minute", "store_timeout": LONG}
        mine |= options
        store = Slow(tmp_path / "gatepost.db", settings(**mine))
        if answering:
            store.answering.set()
        joined.append(twin_of(store=store, **mine))
        return joined[-1]

    yield join
    for twin in joined:
        store_of(twin).answering.set()
        twin.gate.store.close()


def store_of(twin: Twin) -> Slow:
    store = twin.gate.settings.store
    assert isinstance(store, Slow)
    return store


def engage(twin: Twin) -> None:
    """Let the traffic at this worker engage the rule, and let the store know."""
    while twin.send(body=b"a=b").status == 200:
        pass
    twin.gate.exchange.once()


def in_threads(twin: Twin, count: int) -> tuple[ThreadPoolExecutor, list[Any]]:
    pool = ThreadPoolExecutor(count)
    return pool, [pool.submit(twin.send, body=b"a=b") for _ in range(count)]


def test_first_submission_of_a_process_that_joins_late_is_challenged(join: Join) -> None:
    """A process that nobody has asked anything before lets nothing through while the rule is engaged in the others."""
    engage(join())
    assert join().send(body=b"a=b").reason == "rule-engaged"


def test_calm_is_learnt_as_well(join: Join) -> None:
    """Where the rule is engaged nowhere, the first submission passes, and counts for all."""
    one, two = join(above="2/minute"), join(above="2/minute")
    assert [twin.send(body=b"a=b").status for twin in (one, two)] == [200, 200]
    one.gate.exchange.once()
    two.gate.exchange.once()
    assert join().send(body=b"a=b").reason == "rule-engaged"


def test_wrong_answer_at_a_process_that_joins_late_is_not_delivered(join: Join) -> None:
    """Nor is the rule calm for an answer that happens to be the first request of its process."""
    one = join()
    engage(one)
    page = one.send(body=b"message=hello")
    late = join()
    assert late.answer(page, "wrong").reason == "wrong"
    assert not late.received
    assert join().answer(late.send(body=b"message=hello"), ANSWER).text == "stored"


def test_first_submission_after_a_rest_is_challenged(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process whose exchange has ended for want of submissions asks again when one comes."""
    one = join(sync_interval=0.01, above="100/minute")
    assert [one.send(body=b"a=b").status for _ in range(2)] == [200] * 2
    assert not one.gate.guards[0].asleep
    thread = one.gate.exchange._thread
    assert thread is not None
    with monkeypatch.context() as patch:
        patch.setattr("gatepost.exchange._IDLE", 0.0)
        thread.join(20)
        assert not thread.is_alive()
    engage(join())
    assert one.gate.state("/contact") == "calm"
    assert one.send(body=b"a=b").reason == "rule-engaged"


def test_all_that_come_at_once_wait(join: Join) -> None:
    """Of many submissions that wake a process together, not only the one that came first is judged rightly."""
    engage(join())
    late = join(answering=False)
    pool, replies = in_threads(late, 6)
    with pool:
        assert store_of(late).asked.wait(LONG)
        store_of(late).answering.set()
        assert [future.result(LONG).reason for future in replies] == ["rule-engaged"] * 6


def test_i10_nobody_waits_longer_than_for_any_store(join: Join) -> None:
    """A store that does not answer is waited for as long as ``store_timeout``; then the process goes by itself."""
    engage(join())
    late = join(answering=False, store_timeout=0.1)
    began = time.monotonic()
    assert late.send(body=b"a=b").status == 200
    assert time.monotonic() - began < LONG / 3


def test_i10_lost_store_is_not_waited_for(join: Join) -> None:
    """While the store is away the first submission passes at once, however long the thread tries to bring it back."""
    late = join(answering=False)
    late.gate.store._mark_lost(StoreError("the test lost it"))
    assert late.gate.exchange.start() is None
    store_of(late).answering.set()


@pytest.mark.parametrize(("mode", "status"), [("always", 429), ("observe", 200), ("off", 200)])
def test_where_it_decides_nothing_nobody_waits(join: Join, mode: str, status: int) -> None:
    """In other modes than the adaptive one the first submission is answered before the store has."""
    late = join(answering=False, mode=mode)
    assert late.send(body=b"a=b").status == status
    assert not store_of(late).answering.is_set()


def test_i10_what_was_waited_is_taken_from_the_rest(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that has waited for the others has that much less time for its own questions to the store."""
    engage(join())
    late = join(answering=False)
    waited = 0.2
    store_of(late)._most = 0.0
    exchange = store_of(late).exchange

    def slowly(sums: Sequence[Sums]) -> list[Totals]:
        store_of(late).answering.wait(waited)
        store_of(late).answering.set()
        return exchange(sums)

    monkeypatch.setattr(store_of(late), "exchange", slowly)
    left: list[float] = []
    limit = store_of(late).limit

    def noted(name: str, client: str) -> float:
        left.append(patience.left(LONG))
        return limit(name, client)

    monkeypatch.setattr(store_of(late), "limit", noted)
    assert late.send(body=b"a=b").reason == "rule-engaged"
    assert left
    assert max(left) <= LONG - waited * 0.9


def test_calm_path_asks_once(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the others have been heard, no rule wakes the gate again, until it rests; and a tick's rest asks nobody."""
    twin = join(protect=["/contact", "/other"], above="100/minute")
    woken: list[str] = []
    wake = twin.gate.wake

    def noted(guard: Any) -> Any:
        woken.append(guard.rule.name)
        return wake(guard)

    monkeypatch.setattr(twin.gate, "wake", noted)
    twin.send(body=b"a=b")
    twin.send(body=b"a=b", path="/other")  # finds it known, for all
    before = len(woken)
    for path in ("/contact", "/other") * 2:
        twin.send(body=b"a=b", path=path)
    assert len(woken) == before
    store_of(twin).answering.clear()
    twin.gate._rest()
    assert twin.send(body=b"a=b").status == 200
    assert len(woken) == before + 1


PROGRAMME = """
import json, os, sys, time
sys.path.insert(0, sys.argv[1])
from gatepost import Gate, Settings
from gatepost.testing import KnownChallenge
from twins import TWINS, AsgiTwin, WsgiTwin

def make(name):
    gate = Gate(Settings(
        secret=sys.argv[2], protect="/contact", store=sys.argv[3], store_timeout=10, challenge=KnownChallenge("x")
    ))
    return WsgiTwin(gate) if name == "wsgi" else AsgiTwin(gate, backend=name.partition("-")[2])

twins = [make(name) for name in TWINS]
# A worker that serves pages alone, which nobody protects.
before = [twin.send("GET", "/").status for twin in twins]
print("ready", flush=True)
sys.stdin.readline()
readable, writable = os.pipe()
if os.fork() == 0:
    os.write(writable, json.dumps([twin.send(body=b"a=b").reason for twin in twins]).encode())
    os._exit(0)
os.wait()
theirs = json.loads(os.read(readable, 65536))
print(json.dumps([before, [twin.send(body=b"a=b").reason for twin in twins], theirs]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
def test_i11_idle_process_challenges_its_first_submission(tmp_path: Path) -> None:
    """A process that idles while others engage the rule, and one that it forks, let nothing through; both end."""
    url = f"sqlite:///{tmp_path}/gatepost.db"
    with subprocess.Popen(  # noqa: S603 - our own programme
        [sys.executable, "-c", PROGRAMME, str(TESTS), SECRET, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as idle:
        assert idle.stdout is not None
        assert idle.stdout.readline() == "ready\n"
        gate = Gate(Settings(secret=SECRET, protect="/contact", store=url, store_timeout=10))
        gate.engage("/contact", seconds=600)
        out, _ = idle.communicate("\n", timeout=60)
        gate.release("/contact")
        gate.store.close()
    assert idle.returncode == 0
    before, mine, theirs = json.loads(out)
    assert before == [200] * len(before)
    assert mine == theirs == ["rule-engaged"] * len(before)
