"""The pool: drawings within a budget, shared fairly, by a thread that comes and goes."""

from __future__ import annotations

import gc
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from types import SimpleNamespace

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost import Challenge, Gate, Media
from gatepost.budget import LONGEST_WAIT, Budget
from gatepost.effects import Busy, Draw
from gatepost.pool import Drawn, Pool
from gatepost.testing import ManualClock
from gatepost.threads import settled
from twins import ANSWER, BROWSER, HOST, Reply, Twin
from twins import settings as twin_settings

TwinOf = Callable[..., Twin]

BODY = b"message=hello"
DEADLINE = 30.0  # seconds that a thread of ours may take for what it does at once


class Counting:
    """A kind that counts what it draws, and may fail, or take until it is let go."""

    name = "counting"

    def __init__(self) -> None:
        self.drawn = 0
        self.spent = 0.0  # seconds of processor time, as the pool's timer tells it
        self.takes = 0.0  # of it for one drawing
        self.fails = False
        self.go = threading.Event()
        self.go.set()

    def draw(self, level: int, locale: str) -> Challenge:
        self.drawn += 1
        self.spent += self.takes
        self.go.wait(DEADLINE)
        if self.fails:
            raise OSError("no ink")
        return Challenge(ANSWER, Media("text/plain", f"{level} {locale}".encode()))

    def normalise(self, fields: Mapping[str, str], data: bytes) -> str:  # noqa: ARG002
        return fields.get("answer", "")


class Bad(Counting):
    """A kind that does not keep to what kinds have to do."""

    def __init__(self, challenge: object) -> None:
        super().__init__()
        self.challenge = challenge
        self.tried = 0

    def draw(self, level: int, locale: str) -> Challenge:  # noqa: ARG002
        self.tried += 1
        return self.challenge  # type: ignore[return-value]


class Bench:
    """A pool with a clock that stands still, a kind that counts, and a word for whether it is needed."""

    def __init__(self, rate: float = 50, size: int = 8, **kinds: Counting) -> None:
        self.clock = ManualClock()
        self.kind = Counting()
        self.needed = True
        self.rate = rate
        self.pool = Pool(
            {"counting": self.kind, **kinds},
            size=size,
            rate=rate,
            clients=1000,
            clock=self.clock,
            needed=lambda: self.needed,
            timer=lambda: self.kind.spent,
        )

    def take(self, client: str = "", waited: float = 0.0, kind: str = "counting", *, submission: bytes = b"") -> Drawn:
        """What a request gets in the end."""
        found = self.pool.take(Draw(kind, 1, "en", client, waited, submission))
        return found.result(DEADLINE) if isinstance(found, Future) else found

    def got(self, client: str = "", waited: float = 0.0, *, submission: bytes = b"") -> bool:
        return isinstance(self.take(client, waited, submission=submission), Challenge)

    def retry_after(self, client: str = "", waited: float = 0.0, *, submission: bytes = b"") -> float:
        """For how long a request is sent away; 0 if it got a picture."""
        found = self.take(client, waited, submission=submission)
        return found.retry_after if isinstance(found, Busy) else 0.0

    def settle(self) -> None:
        """Wait until the thread has filled what it may fill, and has nothing more to do."""
        until(self._is_settled)

    def _is_settled(self) -> bool:
        pool = self.pool
        with pool._wake:
            thread, wanted = pool._thread, pool._wanted()
            waits = thread is None or not thread.is_alive() or pool._wake._waiters  # type: ignore[attr-defined]
            return bool(waits) and not pool._orders and (wanted is None or not wanted.budget.has(wanted.paid))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatepost.pool.IDLE", 0.005)  # how often the thread looks whether it is needed
    monkeypatch.setattr("gatepost.pool.LONGEST_REST", 0.0)  # after a drawing, for the sake of others


@pytest.fixture
def bench_of() -> Iterator[Callable[..., Bench]]:
    """Makes benches, whose threads end with the test."""
    benches: list[Bench] = []

    def make(rate: int = 50, size: int = 8, **kinds: Counting) -> Bench:
        benches.append(Bench(rate, size, **kinds))
        return benches[-1]

    yield make
    for bench in benches:
        end(bench)


def end(bench: Bench) -> None:
    bench.needed = False
    bench.kind.go.set()
    until(lambda: bench.pool._thread is None or not bench.pool._thread.is_alive())


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)


BenchOf = Callable[..., Bench]

# --- the budget ---

loads = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.5, 1.0, 7.0, -3.0]), st.integers(0, 40), st.sampled_from([0.0, 3.0, 99.0])),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([1 / 60, 0.5, 1, 2, 5, 8, 20, 50]), loads)
def test_i7_budget_is_never_exceeded(rate: float, load: list[tuple[float, int, float]]) -> None:
    """Whatever is asked for, in whatever rhythm: one second's worth to begin with, and then so many a second."""
    bench = Bench(rate, size=30)
    # Half of a drawing cannot be had at once, so each half of the smallest budget begins with a whole one.
    begin = max(rate, 2)
    ahead = 0.0
    for seconds, requests, waited in load:
        bench.clock.tick(seconds)
        ahead += max(0.0, seconds)
        for number in range(requests):
            bench.pool.take(Draw("counting", 1, "en", f"client {number}", waited))
        bench.settle()
        assert bench.kind.drawn <= begin + rate * ahead
        assert bench.pool.stock <= 30
    end(bench)


def test_i7_budget_does_not_pile_up(bench_of: BenchOf) -> None:
    """After an hour of calm no more is drawn at once than after a second."""
    bench = bench_of(rate=20, size=2)
    bench.got()
    bench.settle()
    bench.clock.tick(3600)
    assert sum(bench.got(f"client {number}", waited=99) for number in range(100)) <= 22  # two were in stock


def test_i7_budget_is_used(bench_of: BenchOf) -> None:
    """Under a load far above it, the whole budget is drawn and handed out, second by second."""
    bench = bench_of(rate=20)
    granted = []
    for _ in range(20):
        granted.append(sum(bench.got(f"client {number}", waited=99) for number in range(60)))
        bench.clock.tick(1)
    assert granted[1:] == [20] * 19


@pytest.mark.parametrize("rate", [1, 2, 4, 7, 8, 16, 50, 100])
def test_i7_one_client_gets_an_eighth(bench_of: BenchOf, rate: int) -> None:
    """One client that asks all the time gets no more than an eighth of the budget, and others get the rest."""
    bench = bench_of(rate=rate, size=4)
    seconds = 40
    mine = others = 0
    for _ in range(seconds * 4):
        bench.clock.tick(0.25)
        mine += sum(bench.got("greedy", waited=99) for _ in range(5))
        others += sum(bench.got(f"client {number}") for number in range(3))
    assert 0 < mine <= rate * seconds / 8 + max(1, rate // 8)
    assert others > 0


def test_i7_one_client_cannot_overshoot_with_threads(bench_of: BenchOf) -> None:
    """Many requests of one client at the same moment get no more than its share."""
    bench = bench_of(rate=80)
    barrier = threading.Barrier(8)
    found: list[bool] = []

    def ask() -> None:
        barrier.wait()
        found.extend(bench.got("greedy") for _ in range(10))

    workers = [threading.Thread(target=ask) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(DEADLINE)
    assert sum(found) == 10
    assert len(found) == 80


def test_i7_those_who_waited_get_their_half(bench_of: BenchOf) -> None:
    """However many new ones come, half of each second's drawings are for those who have waited."""
    bench = bench_of(rate=20)
    waiting = Counter[str]()
    for second in range(30):
        for number in range(100):  # new ones, always first in line
            waiting["new"] += bench.got(f"new {second} {number}")
        for number in range(30):
            waiting["waited"] += bench.got(f"waited {second} {number}", waited=99)
        bench.clock.tick(1)
    assert waiting["waited"] >= 29 * 10
    assert waiting["new"] >= 29 * 9


def test_while_nobody_waits_anyone_may_have_all(bench_of: BenchOf) -> None:
    """Nothing is held back for those who have waited while there are none."""
    bench = bench_of(rate=20, size=2)
    bench.got()
    bench.settle()
    for _ in range(3):
        bench.clock.tick(1)
        assert sum(bench.got(f"client {number}") for number in range(20)) == 20


# --- one submission, sent again and again ---


def test_i7_replayed_token_does_not_starve_those_who_waited(bench_of: BenchOf) -> None:
    """A submission sent again from a new address each time leaves the reserve to those who have waited."""
    bench = bench_of(rate=8)
    replayed, asked = 0, 0
    unserved = [f"visitor {number}" for number in range(20)]
    for _ in range(15):
        for _ in range(40):
            asked += 1
            replayed += bench.got(f"address {asked}", waited=99, submission=b"replayed")
        unserved = [who for who in unserved if not bench.got(who, waited=99, submission=who.encode())]
        bench.clock.tick(1)
    assert unserved == []
    assert replayed <= 8 + 15 * 8 - 20


@pytest.mark.parametrize("submission", [b"replayed", b""])
def test_i7_submission_has_waited_for_one_drawing(bench_of: BenchOf, submission: bytes) -> None:
    """In two minutes of a flood, one submission gets one or two drawings of the reserve; one without an id, all."""
    bench = bench_of(rate=2, size=1)
    replayed = 0
    for second in range(120):
        for number in range(4):  # new ones take the common half, and so many go without that nothing else is theirs
            bench.take(f"new {second} {number}")
        replayed += bench.got(f"address {second}", waited=99, submission=submission)
        bench.clock.tick(1)
    assert (1 <= replayed <= 2) if submission else replayed >= 100


def test_i7_retry_after_is_true_for_a_submission_that_was_served(bench_of: BenchOf) -> None:
    """Who had a picture for having waited, and needs another, finds one after the time that was told."""
    bench = bench_of(rate=8, size=1)
    for number in range(40):
        bench.take(f"client {number}")
    bench.clock.tick(61)
    assert bench.got("visitor", waited=61, submission=b"one")
    served = bench.clock()
    wait = 10.0
    for _ in range(2):
        bench.clock.tick(math.ceil(wait))
        for number in range(40):
            bench.take(f"new {bench.clock()} {number}")
        wait = bench.retry_after("visitor", waited=bench.clock() - served, submission=b"one")
    assert wait == 0.0
    assert LONGEST_WAIT <= bench.clock() - served <= 2 * LONGEST_WAIT + 1


def test_i6_submissions_that_were_served_are_bounded(bench_of: BenchOf) -> None:
    """However many submissions are served, or only ask, no more are remembered than there is room for."""
    bench = bench_of(rate=50)
    bench.got(waited=99, submission=b"first")
    while bench.got(waited=99):
        pass
    for number in range(3000):
        assert isinstance(bench.pool.take(Draw("counting", 1, "en", "", 99.0, b"asks %d" % number)), Busy)
    assert len(bench.pool._served._windows) == 1
    for number in range(1500):
        bench.clock.tick(0.1)
        assert bench.got(waited=99, submission=b"%d" % number)
    assert len(bench.pool._served._windows) == 1000


# --- drawings that take long ---


@pytest.mark.parametrize("rate", [8, 50])
@pytest.mark.parametrize("takes", [0.0, 0.001, 0.005, 0.0066, 0.02, 0.3])
def test_i7_processor_time_is_within_the_budget(bench_of: BenchOf, rate: int, takes: float) -> None:
    """However long a drawing takes, the budget costs no more than 5 ms for each of its drawings a second."""
    bench = bench_of(rate=rate)
    bench.kind.takes = takes
    for step in range(60 * 4):
        if step == 20 * 4:  # by now it is known how long a drawing takes
            drawn, before = bench.kind.drawn, bench.kind.spent
        bench.clock.tick(0.25)
        for number in range(rate):
            bench.take(f"client {step} {number}", waited=99.0 * (number % 2))
    assert bench.kind.spent - before <= 0.005 * rate * 40 * 1.1 + 2 * takes
    assert bench.kind.drawn - drawn >= min(1, 0.005 / max(takes, 0.001)) * rate * 40 * 0.9 - 2


def test_first_drawing_holds_up_nobody(bench_of: BenchOf) -> None:
    """That the first drawing takes ten times as long, as fonts have to be read, counts for no more than it took."""
    bench = bench_of(rate=50, size=2)
    bench.kind.takes = 0.05
    bench.kind.go.clear()
    bench.pool.start(("counting", 1, "en"))
    until(lambda: bench.kind.drawn == 1)
    bench.kind.takes = 0.001
    bench.kind.go.set()
    until(lambda: bench.pool.stock == 2)
    assert sum(bench.got(f"client {number}", waited=99) for number in range(60)) >= 50 - 10 - 1


@pytest.mark.parametrize("rate", [0.005, 0.5, 4, 25])
@pytest.mark.parametrize("takes", [1.0, 7.0, 60.0, 10_000.0])
def test_debt_is_paid_within_the_longest_wait(rate: float, takes: float) -> None:
    """However many drawings one turned out to count for, drawing goes on when the longest wait has paid for it."""
    clock = ManualClock()
    budget = Budget(rate, clock)
    assert budget.take(1.0)
    budget.settle(1.0, takes)
    assert budget.wait(1.0) <= LONGEST_WAIT + 1 / rate + 1e-6
    clock.tick(budget.wait(1.0) + 1e-6)
    assert budget.take(1.0)


def test_i7_one_client_gets_an_eighth_of_the_time(bench_of: BenchOf) -> None:
    """One client that asks for what takes long gets no more than an eighth of the processor time."""
    bench = bench_of(rate=50, size=4)
    bench.kind.takes = 0.01
    mine = 0
    for step in range(60 * 4):
        bench.clock.tick(0.25)
        asked = [bench.got("greedy", waited=99) for _ in range(5)]
        mine += sum(asked) if step >= 20 * 4 else 0
        for number in range(5):
            bench.take(f"client {number}")
    assert 0 < mine * 0.01 <= 40 * 0.25 / 8 * 1.1


# --- what nobody has seen ---


def test_put_back_is_handed_out_again(bench_of: BenchOf) -> None:
    """A challenge that was put back is in the stock again, whatever the budget, and is handed out once."""
    bench = bench_of(rate=8)
    order = Draw("counting", 1, "en", "over the limit", 0.0)
    found = bench.pool.take(order)
    challenge = found.result(DEADLINE) if isinstance(found, Future) else found
    assert isinstance(challenge, Challenge)
    others = 0
    while bench.got(f"client {others}"):
        others += 1
    bench.pool.put_back(order, challenge)
    assert bench.pool.take(Draw("counting", 1, "en", "another", 0.0)) is challenge
    assert not bench.got("one more")


def test_i6_put_back_fills_no_more_than_the_stock(bench_of: BenchOf) -> None:
    """However many are put back, and of whichever kind, no more are kept than the stock may hold."""
    bench = bench_of(rate=50, size=4)
    found = bench.pool.take(Draw("counting", 1, "en", "", 0.0))
    challenge = found.result(DEADLINE) if isinstance(found, Future) else found
    assert isinstance(challenge, Challenge)
    for level in range(9):
        bench.pool.put_back(Draw("counting", level, "en", "", 0.0), challenge)
        bench.pool.put_back(Draw("counting", 1, "en", "", 0.0), challenge)
    assert bench.pool.stock <= 4


def test_i7_one_client_holds_no_stock_by_putting_back(bench_of: BenchOf) -> None:
    """What was put back stays counted for the client: by asking again and again one does not get hold of all."""
    bench = bench_of(rate=50)
    order = Draw("counting", 1, "en", "over the limit", 0.0)
    taken = 0
    for _ in range(100):
        found = bench.pool.take(order)
        if not isinstance(found, Busy):
            taken += 1
            bench.pool.put_back(order, found.result(DEADLINE) if isinstance(found, Future) else found)  # type: ignore[arg-type]
    assert 0 < taken <= 50 // 8


def test_i8_those_who_go_without_wake_nobody(bench_of: BenchOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood past the budget leaves the thread asleep: woken for every request, it would hold up the event loop."""
    bench = bench_of(rate=8)
    while bench.got():
        pass
    woken: list[int] = []
    monkeypatch.setattr(bench.pool._wake, "notify", lambda n=1: woken.append(n))
    for number in range(200):
        order = Draw("counting", 1, "en", f"client {number}", 0.0)
        assert isinstance(bench.pool.take(order), Busy)
    assert woken == []


def test_stock_grows_without_being_asked(bench_of: BenchOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the budget was spent the thread goes on by itself as soon as there is more of it."""
    bench = bench_of(rate=8, size=20)
    bench.pool.start(("counting", 1, "en"))
    until(lambda: bench.pool.stock == 8)
    with monkeypatch.context() as patch:
        patch.setattr("gatepost.pool.IDLE", 2 * DEADLINE)
        for stock in (12, 16):
            bench.clock.tick(0.5)
            until(lambda: bench.pool.stock == stock)  # noqa: B023 - waited for at once
    bench.got()  # wakes a thread that sleeps for so long


# --- Retry-After ---


def come_back(bench: Bench, count: int, new_a_second: int = 0) -> dict[int, int]:
    """Let so many come at once, and come back when they were told to; how often each had to come."""
    begin = bench.clock()
    due: dict[int, list[int]] = {0: list(range(count))}
    tries: Counter[int] = Counter()
    for second in range(200):
        bench.clock.now = begin + second
        for number in range(new_a_second):
            bench.take(f"new {second} {number}")
        for person in due.pop(second, []):
            tries[person] += 1
            wait = bench.retry_after(f"person {person} of {begin}", waited=float(second))
            if wait:
                due.setdefault(second + math.ceil(wait), []).append(person)
    assert not due
    return dict(tries)


def test_retry_after_is_true_for_what_takes_long(bench_of: BenchOf) -> None:
    """Whoever is told a time finds a picture then, also where each counts for several drawings."""
    bench = bench_of(rate=20)
    bench.kind.takes = 0.015
    for number in range(100):
        bench.clock.tick(1)
        bench.take(f"early {number}")
    assert set(come_back(bench, 100).values()) <= {1, 2}


@pytest.mark.parametrize(
    ("rate", "count", "new_a_second"), [(10, 30, 0), (10, 200, 0), (50, 500, 0), (2, 40, 0), (10, 50, 5), (10, 50, 40)]
)
def test_retry_after_is_true(bench_of: BenchOf, rate: int, count: int, new_a_second: int) -> None:
    """Whoever comes back after the time that was told finds a picture, however many others come meanwhile."""
    tries = come_back(bench_of(rate=rate), count, new_a_second)
    assert set(tries.values()) <= {1, 2}


def test_retry_after_is_no_longer_than_needed(bench_of: BenchOf) -> None:
    """The last of those who went without is told what half of the budget needs for all of them, up to a minute."""
    bench = bench_of(rate=10, size=2)
    bench.settle()
    waits = [wait for number in range(400) if (wait := bench.retry_after(f"client {number}"))]
    assert waits == sorted(waits)
    assert waits[0] == 2.0
    assert waits[100] == pytest.approx(2.0 + 100 / 5)
    assert waits[-1] == 60.0


def test_turns_take_little_memory(bench_of: BenchOf) -> None:
    """However many go without, what is remembered of their turns is bounded."""
    bench = bench_of(rate=10)
    for step in range(10_000):
        bench.clock.tick(0.006)
        bench.take(f"client {step}" if step % 2 else "")
    assert len(bench.pool._turns._ahead) <= 300


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_clock_that_jumps_is_survived(bench_of: BenchOf, step: float) -> None:
    """After a jump of the clock the pool draws on, and what it tells is again true."""
    bench = bench_of(rate=10)
    come_back(bench, 60)
    bench.take()
    bench.clock.tick(step)
    assert set(come_back(bench, 60).values()) <= {1, 2}


def test_limit_of_a_client_is_told_truly(bench_of: BenchOf) -> None:
    """A client that has had its share is told when it may have more."""
    bench = bench_of(rate=16)
    assert [bench.got("greedy") for _ in range(3)] == [True, True, False]
    bench.clock.tick(bench.retry_after("greedy") + 0.001)
    assert bench.got("greedy")


# --- the thread ---


def test_construction_starts_no_thread(bench_of: BenchOf) -> None:
    """A pool that nobody has asked has no thread, and has drawn nothing."""
    bench = bench_of()
    assert bench.pool._thread is None
    assert bench.kind.drawn == 0


def test_thread_ends_in_calm_and_starts_again(bench_of: BenchOf) -> None:
    """When it is not needed the thread ends and the stock is let go; the next request starts another."""
    bench = bench_of()
    for _ in range(3):
        bench.needed = True
        bench.pool.start(("counting", 1, "en"))
        until(lambda: bench.pool.stock == 8)
        bench.needed = False
        bench.clock.tick(1)
        until(lambda: bench.pool._thread is None)
        assert bench.pool.stock == 0
        assert bench.got()  # somebody asks, needed or not
        bench.clock.tick(10)


def test_thread_ends_with_its_gate() -> None:
    """A gate that nobody has any more takes its thread with it, even if its clock stands still under a flood."""
    thread = flooded().pool._thread
    assert thread is not None

    def has_ended() -> bool:
        gc.collect()  # for whoever looks at the wrong moment, the thread has the pool in hand
        return not thread.is_alive()

    until(has_ended)


def flooded() -> Gate:
    """A gate that challenges everyone, with a stock."""
    gate = Gate(twin_settings(mode="always"))
    gate.guards[0].meter.count(gate.settings.clock())
    gate.pool.start(("known", 1, "en"))
    until(lambda: gate.pool.stock > 0)
    return gate


def test_stock_is_drawn_ahead_and_bounded(bench_of: BenchOf) -> None:
    """The stock is filled up to its size, over all kinds, levels and languages, and no further."""
    bench = bench_of(rate=50, size=10)
    for level in range(5):
        bench.pool.start(("counting", level, "en"))
    until(lambda: bench.pool.stock == 10)
    bench.clock.tick(100)
    bench.settle()
    assert (bench.pool.stock, bench.kind.drawn) == (10, 10)


def test_i6_shelves_are_bounded(bench_of: BenchOf) -> None:
    """However many levels and languages are asked for, only so many are kept in stock."""
    bench = bench_of(size=4)
    for level in range(200):
        bench.clock.tick(1)
        bench.pool.take(Draw("counting", level, "en", "", 0))
    assert len(bench.pool._shelves) <= 4


def test_one_thread_however_many_ask(bench_of: BenchOf) -> None:
    """Many that ask at once start one thread."""
    bench = bench_of()
    before = set(threading.enumerate())  # some of them are other tests', and about to end
    workers = [threading.Thread(target=bench.pool.start, args=(("counting", 1, "en"),)) for _ in range(20)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(DEADLINE)
    thread = bench.pool._thread
    assert thread is not None
    assert {one for one in set(threading.enumerate()) - before if one.name == thread.name} == {thread}
    assert thread.daemon


def test_i8_thread_rests_after_each_drawing(bench_of: BenchOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a drawing the thread sleeps for three times as long, up to a limit, so that others have their turn."""
    rests: list[float] = []
    bench = bench_of(rate=50, size=100)

    def sleep(seconds: float) -> None:
        if threading.current_thread() is bench.pool._thread:  # and not that of another test, which is about to end
            rests.append(seconds)

    monkeypatch.setattr("gatepost.pool.LONGEST_REST", 0.02)
    monkeypatch.setattr("gatepost.pool.time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
    for takes in (0.001, 0.005, 0.3):
        bench.kind.takes = takes
        bench.clock.tick(30)
        assert bench.got(waited=99)
    until(lambda: any(rest == 0.02 for rest in rests))
    assert rests[0] == pytest.approx(0.003)
    assert max(rests) == 0.02


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_request_that_leaves_harms_no_drawing(backend: str) -> None:
    """A request that stops waiting for a drawing leaves it to be made, and one that is not made ends the waiting."""
    future: Future[int] = Future()
    assert not future.cancelled()

    async def wait() -> tuple[bool, bool]:
        with anyio.move_on_after(0) as scope:
            await settled(future, DEADLINE)
        late = await settled(future, 0.001)
        return scope.cancelled_caught, late

    assert anyio.run(wait, backend=backend) == (True, False)
    future.set_result(1)
    assert anyio.run(settled, future, DEADLINE, backend=backend)


# --- kinds that fail ---


def test_failing_kind_blocks_nobody(bench_of: BenchOf, caplog: pytest.LogCaptureFixture) -> None:
    """A kind that cannot draw is told of in the log; its requests are sent away, others are served, and it may mend."""
    other = Counting()
    bench = bench_of(rate=400, other=other)
    bench.kind.fails = True
    assert isinstance(bench.take(), Busy)
    assert isinstance(bench.take(kind="other"), Challenge)
    assert "could not draw" in caplog.text
    assert bench.pool._thread is not None
    assert bench.pool._thread.is_alive()
    bench.kind.fails = False
    bench.clock.tick(1)
    assert bench.got()


def test_failing_kind_takes_nothing_from_the_stock_of_others(bench_of: BenchOf) -> None:
    """Whoever asks for what cannot be drawn, a language for one, does not keep the thread from drawing the rest."""
    broken = Bad(None)
    bench = bench_of(rate=20, size=8, broken=broken)
    bench.pool.start(("broken", 1, "en"))
    bench.pool.start(("counting", 1, "en"))
    until(lambda: bench.pool.stock == 8)
    assert bench.kind.drawn == 8
    for step in (1.9, 0.2):  # tried once more every two seconds
        bench.clock.tick(step)
        assert bench.got()
        until(lambda: bench.pool.stock == 8)
    assert broken.tried == 2


@pytest.mark.parametrize(
    "challenge",
    [
        None,
        "text",
        Challenge("", Media("text/plain", b"")),
        Challenge("x", Media("text/plain", b""), data=bytes(65)),
        Challenge("x", Media("text/plain", b""), data="x"),  # type: ignore[arg-type]
        Challenge(7, Media("text/plain", b"")),  # type: ignore[arg-type]
        Challenge("x", "What is this?"),  # type: ignore[arg-type]
        Challenge("x", Media("text/plain", "What is this?")),  # type: ignore[arg-type]
        Challenge("x", Media(None, b"")),  # type: ignore[arg-type]
    ],
)
def test_kind_that_breaks_its_word_is_failing(bench_of: BenchOf, challenge: object) -> None:
    """What is no challenge, has no answer or too much data never reaches a page."""
    bench = bench_of(bad=Bad(challenge))
    found = bench.take(kind="bad")
    assert isinstance(found, Busy)
    assert found.retry_after == 2.0


def test_kind_that_hangs_is_waited_for_briefly(twin_of: TwinOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a drawing that does not end, pages go out without a picture, and nothing of what was sent is lost."""
    monkeypatch.setattr("gatepost.gate._DRAW_TIMEOUT", 0.05)
    kind = Counting()
    twin = twin_of(challenge=kind)
    kind.go.clear()
    pages = [twin.send(body=b"message=hello") for _ in range(3)]
    assert {(page.status, page.reason) for page in pages} == {(429, "busy")}
    assert pages[0].get("retry-after")
    kind.go.set()
    until(lambda: twin.send(body=b"x").reason == "always")
    page = twin.answer(pages[0])
    assert twin.answer(page).status == 200
    assert [received.body for received in twin.received] == [b"message=hello"]


def test_i6_orders_are_bounded(bench_of: BenchOf) -> None:
    """While the thread is held up, no more is on order than a second's worth, and the rest is sent away at once."""
    bench = bench_of(rate=10)
    bench.kind.go.clear()
    found = []
    for number in range(200):
        bench.clock.tick(1)
        found.append(bench.pool.take(Draw("counting", 1, "en", f"client {number}", 0)))
    futures = [one for one in found if isinstance(one, Future)]
    assert len(futures) <= 11  # ten on order and the one that is being drawn
    bench.kind.go.set()
    assert all(isinstance(future.result(DEADLINE), Challenge) for future in futures)


# --- through the twins ---


def test_i7_page_goes_out_when_the_budget_is_spent(twin_of: TwinOf) -> None:
    """Past the budget the page has no picture but the submission, 'Continue' and a true time, and then a picture."""
    twin = twin_of(render_rate=4, pool_size=2)
    pages = [twin.send(body=b"number=%d" % number, peer=f"192.0.2.{number}") for number in range(12)]
    reasons = Counter(page.reason for page in pages)
    assert set(reasons) == {"always", "busy"}
    assert reasons["always"] <= 4
    late = next(number for number, page in enumerate(pages) if page.reason == "busy")
    assert twin.answer(pages[late], peer=f"192.0.2.{late}").reason in ("busy", "continued")
    twin.clock.tick(int(pages[late].get("retry-after")))
    page = twin.answer(pages[late], peer=f"192.0.2.{late}")
    assert page.reason == "continued"
    assert twin.answer(page, peer=f"192.0.2.{late}").status == 200
    assert [received.body for received in twin.received] == [b"number=%d" % late]


@pytest.mark.parametrize("fields", [BROWSER, (("host", HOST), ("accept", "application/json"))], ids=["form", "header"])
def test_i7_one_continue_token_is_good_for_one_wait(twin_of: TwinOf, fields: tuple[tuple[str, str], ...]) -> None:
    """A token without a picture that is sent from many addresses leaves a picture to the next that has waited."""
    twin = twin_of(render_rate=8, pool_size=2)

    def go_on(page: Reply, peer: str) -> str:
        answer = page.answered()
        if fields is BROWSER:
            return twin.send(body=answer.body, content_type=answer.content_type, peer=peer).reason
        return twin.send(body=BODY, fields=(*fields, *answer.headers.items()), peer=peer).reason

    pages = [twin.send(body=BODY, fields=fields, peer=f"192.0.2.{number}") for number in range(40)]
    replayed, *waiting = [page for page in pages if page.reason == "busy"]
    twin.clock.tick(61)
    reasons = Counter(go_on(replayed, f"198.51.100.{number}") for number in range(40))
    assert set(reasons) == {"continued", "busy"}
    assert [go_on(waiting[number], f"203.0.113.{number}") for number in range(3)] == ["continued"] * 3
