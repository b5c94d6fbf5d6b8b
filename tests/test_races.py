"""Many threads at once, switched as often as the interpreter can: what may happen once happens once."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import pytest

from gatepost import Rate, Rule
from gatepost.guard import Guard
from gatepost.intake import Buffer
from gatepost.meter import ClientMeters, Limiter, Meter
from gatepost.protocols import Claim, State
from gatepost.stores import MemoryStore
from gatepost.testing import Answer
from test_tokens import respellings
from twins import BROWSER, HOST, Reply, Twin, make_twin, settings

Result = TypeVar("Result")

THREADS = 8
BODY = b"message=hello"
PROGRAM = (("host", HOST), ("accept", "application/json"))


@pytest.fixture(autouse=True)
def _switched_often(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("gatepost.gate._DRAW_TIMEOUT", 60)  # the one thread that draws gets its turn late here
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def at_once(calls: Sequence[Callable[[], Result]]) -> list[Result]:
    """Make all calls from a few threads that start together, and give their results."""
    barrier = threading.Barrier(THREADS)

    def work(first: int) -> list[Result]:
        barrier.wait()
        return [call() for call in calls[first::THREADS]]

    with ThreadPoolExecutor(THREADS) as pool:
        return [result for results in pool.map(work, range(THREADS)) for result in results]


def outcomes(replies: Sequence[Reply]) -> Counter[str]:
    """How often each reason was given; the application's answer has none."""
    return Counter(reply.reason for reply in replies)


def posting(twin: Twin, body: bytes) -> Callable[[], Reply]:
    return partial(twin.send, body=body)


class Slow(int):
    """A number that gives way to other threads while it is added or taken away."""

    def __radd__(self, other: int) -> int:
        time.sleep(0)
        return other + int(self)

    def __rsub__(self, other: int) -> int:
        time.sleep(0)
        return other - int(self)


class SlowTime(float):
    """A time that gives way to other threads while one reckons with it."""

    def __sub__(self, other: float) -> SlowTime:
        time.sleep(0)
        return SlowTime(float(self) - other)

    def __truediv__(self, other: float) -> float:
        time.sleep(0)
        return float(self) / other


class SlowId(bytes):
    """An id that gives way to other threads whenever it is looked up."""

    def __hash__(self) -> int:
        time.sleep(0)
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other)


NOW = SlowTime(1000.0)

# --- one submission ---


@pytest.mark.parametrize("what", ["nonce", "submission", "both"])
def test_i4_store_claims_once(what: str) -> None:
    """Of many threads that claim the same at once, one is told that it is new, even if each look-up takes its time."""
    store = MemoryStore(settings())
    until = 2**50
    for number in range(50):
        nonce = SlowId(b"nonce %10d" % number) if what != "submission" else None
        submission = SlowId(b"other %10d" % number) if what != "nonce" else None
        found = at_once([partial(store.claim, nonce, until, submission, until)] * THREADS)
        assert found.count(Claim.NEW) == 1


def test_i4_two_thousand_attempts_with_one_token() -> None:
    """Of 2,000 answers with one right token one is delivered, and all others hear that it was sent already."""
    twin = make_twin("wsgi")
    body = twin.send(body=BODY).answered().body
    twin.clock.tick(2)
    replies = at_once([posting(twin, body)] * 2000)
    assert [received.body for received in twin.received] == [BODY]
    assert outcomes(replies) == {"": 1, "already-sent": 1999}


@pytest.mark.parametrize("name", ["wsgi", "asgi-asyncio", "asgi-trio"])
def test_i4_many_pages_of_one_submission(name: str) -> None:
    """Of all pages that a submission was ever given, re-issued and re-spelt ones included, one delivers."""
    twin = make_twin(name)
    page = twin.send(body=BODY)
    bodies = [page.answered().body]
    for button in ("another", "", "another", ""):
        page = twin.answer(page, "wrong", button=button)
        bodies.append(page.answered().body)
    fields = dict(page.answered())
    spellings = [text for text in respellings(fields["gatepost_token"]) if text.isascii()]
    respelt = [Answer({**fields, "gatepost_token": text}, {}).body for text in spellings]
    twin.clock.tick(2)
    replies = at_once([posting(twin, body) for body in [*bodies * 20, *respelt]])
    assert [received.body for received in twin.received] == [BODY]
    assert {reply.status for reply in replies} <= {200, 400, 409, 429}


def test_i4_live_pages_of_one_submission() -> None:
    """Several live pages of one submission, each answered right at the same moment: one delivers."""
    twin = make_twin("wsgi")
    for _ in range(20):
        twin.received.clear()
        page = twin.send(body=BODY)
        twin.clock.tick(601)  # what has expired is issued again without its nonce being spent, as often as it comes
        pages = [twin.send(body=page.answered().body) for _ in range(THREADS)]
        twin.clock.tick(2)
        replies = at_once([posting(twin, one.answered().body) for one in pages])
        assert [received.body for received in twin.received] == [BODY]
        assert outcomes(replies) == {"": 1, "already-sent": THREADS - 1}


def test_i4_one_picture_is_worth_one_try() -> None:
    """Of many different answers to one picture at the same moment, one is compared, and so shown to be wrong."""
    twin = make_twin("wsgi")
    page = twin.send(body=BODY)
    twin.clock.tick(2)
    replies = at_once([posting(twin, page.answered(f"guess {number}").body) for number in range(400)])
    assert outcomes(replies) == {"wrong": 1, "used": 399}
    assert not twin.received


def test_i4_header_answers_pass_once() -> None:
    """Of many requests with one right answer in their header one passes."""
    twin = make_twin("wsgi")
    answer = twin.send(body=BODY, fields=PROGRAM).answered()
    fields = [*PROGRAM, *((name.lower(), value) for name, value in answer.headers.items())]
    twin.clock.tick(2)
    replies = at_once([partial(twin.send, body=BODY, fields=fields)] * 400)
    assert outcomes(replies) == {"": 1, "already-sent": 399}
    assert len(twin.received) == 1


def test_i4_calm_delivery_happens_once() -> None:
    """A page that is posted many times at once while no challenge is demanded is delivered once."""
    engaged = make_twin("wsgi")
    calm = make_twin("wsgi", mode="off", store=engaged.gate.store.local, clock=engaged.clock)
    body = engaged.send(body=BODY).answered().body
    replies = at_once([posting(calm, body)] * 400)
    assert [received.body for received in calm.received] == [BODY]
    assert outcomes(replies) == {"": 1, "already-sent": 399}


def test_i4_kept_body_is_delivered_once() -> None:
    """A body that was kept in the store is delivered once, whole, and is kept no longer."""
    twin = make_twin("wsgi", carry_limit=10, keep_limit=1000)
    large = BODY * 50
    page = twin.send(body=large)
    twin.clock.tick(2)
    replies = at_once([posting(twin, page.answered().body)] * 400)
    assert [received.body for received in twin.received] == [large]
    assert outcomes(replies) == {"": 1, "already-sent": 399}
    assert not twin.gate.store.sweep()
    assert twin.gate.buffer.held == 0


@pytest.mark.parametrize("uses", [1, 5])
def test_i4_permit_passes_so_many_and_no_more(uses: int) -> None:
    """However many requests bring a permit at the same moment, as many pass as it has uses, re-spelt or not."""
    twin = make_twin("wsgi", permit_uses=uses)
    name, _, value = twin.answer(twin.send(body=BODY)).get("set-cookie").partition(";")[0].partition("=")
    twin.received.clear()
    texts = [value] * 200 + [text for text in respellings(value) if text.isascii()]
    replies = at_once([partial(twin.send, body=BODY, cookie=f"{name}={text}") for text in texts])
    assert sum(reply.status == 200 for reply in replies) == len(twin.received) == uses


# --- counts ---


def test_meter_counts_every_submission() -> None:
    """No submission is lost or counted twice, and exactly those past the threshold are challenged."""
    twin = make_twin("wsgi", mode="adaptive", above="300/minute")
    replies = at_once([posting(twin, BODY)] * 600)
    stats = twin.gate.stats()["/contact"]
    assert (stats.submissions, stats.passed, stats.challenged) == (600, 300, 300)
    assert outcomes(replies) == {"": 300, "rule-engaged": 300}


def test_meter_engages_once() -> None:
    """However many submissions pass the threshold at the same moment, it is told once."""
    told: list[State] = []

    def changed(state: State, at: float, rate: float) -> None:  # noqa: ARG001
        told.append(state)

    meter = Meter([Rate(50, 60)], [25.0], 60, changed=changed)
    levels = at_once([partial(meter.count, NOW)] * 1600)
    assert told == [State.ENGAGED]
    assert meter.total == 1600
    assert levels.count(0) == 50


def test_client_meters_count_every_submission() -> None:
    """Each client is counted exactly, from its first submission on, whichever thread is the first to meet it."""
    meters = ClientMeters([Rate(10, 60)], 60, 1000, lambda *_: None)
    for client in map(str, range(100)):
        levels = at_once([partial(meters.count, client, NOW)] * 16)
        assert sorted(levels) == [0] * 10 + [1] * 6


def test_limiter_grants_exactly() -> None:
    """Of many events at the same moment as many are within the limit as it says."""
    limiter = Limiter(Rate(100, 60), 10)
    waits = at_once([partial(limiter.wait, "client", NOW, spend=True)] * 1600)
    assert waits.count(0.0) == 100


def test_i6_buffer_never_holds_more_than_its_limit() -> None:
    """However many requests grow and shrink it, the buffer is never over its limit, and is empty at the end."""
    buffer = Buffer(1000)
    most: list[int] = []

    def use(size: int) -> None:
        if buffer.grow(Slow(size)):
            most.append(buffer.held)
            buffer.shrink(Slow(size))

    at_once([partial(use, size % 400 + 1) for size in range(800)])
    assert buffer.held == 0
    assert max(most) <= 1000


def test_counts_agree_after_a_storm() -> None:
    """Submissions, right and wrong answers from many threads: what the statistics say is what happened."""
    twin = make_twin("wsgi", protect=[Rule("/contact", above="5/minute", above_per_client="1000/minute")])
    pages = [twin.send(body=b"%d" % number) for number in range(40)]
    twin.clock.tick(2)
    calls = [posting(twin, page.answered("wrong" if n % 2 else "open sesame").body) for n, page in enumerate(pages)]
    replies = at_once([*calls, *[posting(twin, BODY)] * 40])
    stats = twin.gate.stats()["/contact"]
    assert outcomes(replies) == {"": 20, "wrong": 20, "rule-engaged": 40}
    assert (stats.submissions, stats.delivered, stats.challenged) == (80, 20, 100)
    assert len(twin.received) == 20


def test_stats_can_be_asked_meanwhile() -> None:
    """Asking for statistics from one thread while others count blocks nobody."""
    twin = make_twin("wsgi", above_per_client="10/minute")
    guard = twin.gate.guards[0]
    assert isinstance(guard, Guard)
    calls: list[Callable[[], object]] = [posting(twin, BODY), twin.gate.stats, lambda: guard.state(twin.clock())]
    assert len(at_once(calls * 100)) == 300
    assert twin.gate.stats()["/contact"].submissions == 100
    assert twin.send(body=BODY, fields=BROWSER).status == 429
