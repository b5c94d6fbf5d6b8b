"""Several gates on one shared store count, claim and engage as one, and survive its loss as the policy says."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gatepost import Event
from gatepost.protocols import Claim, StoreError
from gatepost.stores.sqlite import SqliteStore
from gatepost.testing import ManualClock
from twins import ANSWER, Twin, settings

Workers = Callable[..., list[Twin]]


class Fragile(SqliteStore):
    """A store that can be taken away, and given back."""

    away = False

    def _run(self, work: Any, *, writing: bool = True) -> Any:
        if self.away:
            raise StoreError("taken away by the test")
        return super()._run(work, writing=writing)

    def identity(self) -> bytes:
        if self.away:
            raise StoreError("taken away by the test")
        return super().identity()


@pytest.fixture
def workers(twin_of: Callable[..., Twin], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workers:
    """Makes so many workers on one file. Their exchange happens when the test says so."""
    monkeypatch.setattr("gatepost.exchange.Exchange.start", lambda _: None)

    def make(count: int = 2, **options: Any) -> list[Twin]:
        clock = ManualClock()
        twins = []
        for _ in range(count):
            store = Fragile(tmp_path / "gatepost.db", settings(clock=clock, **options))
            twins.append(twin_of(clock=clock, store=store, **options))
        return twins

    return make


def exchange(twins: list[Twin]) -> None:
    """Let every worker tell the others, and hear of them."""
    for twin in twins + twins:
        twin.gate.exchange.once()


def take_away(twins: list[Twin], *, away: bool = True) -> None:
    for twin in twins:
        store = twin.gate.settings.store
        assert isinstance(store, Fragile)
        store.away = away


def test_submissions_of_all_workers_count(workers: Workers) -> None:
    """The rule engages when all workers together are above the threshold, in each of them, and ends for all."""
    twins = workers(3, mode="adaptive", above="6/minute", hold=10)
    for twin in twins:
        for _ in range(2):
            assert twin.send(body=b"a=b").status == 200
    exchange(twins)
    assert twins[0].send(body=b"a=b").reason == "rule-engaged"
    exchange(twins)
    assert [twin.gate.state("/contact") for twin in twins] == ["engaged"] * 3
    assert [twin.send(body=b"a=b").status for twin in twins] == [429] * 3
    exchange(twins)
    twins[0].clock.tick(300)
    exchange(twins)
    assert [twin.gate.state("/contact") for twin in twins] == ["calm"] * 3


def test_worker_that_joins_late_learns_the_state(
    workers: Workers, tmp_path: Path, twin_of: Callable[..., Twin]
) -> None:
    """A new process, or one that was restarted, is engaged after its first exchange."""
    twins = workers(1, mode="adaptive", above="2/minute")
    for _ in range(4):
        twins[0].send(body=b"a=b")
    exchange(twins)
    clock = twins[0].clock
    options: dict[str, Any] = {"clock": clock, "mode": "adaptive", "above": "2/minute"}
    late = twin_of(store=Fragile(tmp_path / "gatepost.db", settings(**options)), **options)
    exchange([late])
    assert late.gate.state("/contact") == "engaged"


def test_i4_one_answer_is_delivered_by_one_worker(workers: Workers) -> None:
    """Of many answers with one token, at all workers at once, exactly one is delivered."""
    twins = workers(4)
    page = twins[0].send(body=b"message=hello")
    twins[0].clock.tick(2)
    body = page.answered(ANSWER).body
    barrier = threading.Barrier(16)

    def post(number: int) -> int:
        barrier.wait()
        return twins[number % 4].send(body=body).status

    with ThreadPoolExecutor(16) as pool:
        statuses = sorted(pool.map(post, range(16)))
    assert statuses == [200] + [409] * 15
    assert sum(len(twin.received) for twin in twins) == 1


def test_page_of_one_worker_is_answered_at_another(workers: Workers) -> None:
    """Tokens, and bodies that are too large for the page, work at every worker."""
    one, two = workers(2)
    for size in (10, 200_000):
        page = one.send(body=b"x" * size)
        assert two.answer(page).text == "stored"
        assert len(two.received[-1].body) == size


def test_i10_local_policy_goes_on_alone(workers: Workers) -> None:
    """While the store is away each worker claims by itself; on its return it is told what was claimed meanwhile."""
    events: list[Event] = []
    one, two = workers(2, on_event=events.append)
    page, other = one.send(body=b"message=hello"), one.send(body=b"message=again")
    take_away([one, two])
    assert one.answer(page).text == "stored"
    assert one.answer(page).status == 409
    take_away([one, two], away=False)
    exchange([one])
    assert two.answer(page).status == 409
    assert two.answer(other).text == "stored"
    assert [event.name for event in events if event.name.startswith("store")] == ["store-lost", "store-back"]
    assert [len(one.received), len(two.received)] == [1, 1]


def test_i10_refuse_policy_claims_nothing(workers: Workers) -> None:
    """While the store is away an answer gets 503 and a 'Continue' page with the submission, which works later."""
    [one] = workers(1, on_store_error="refuse")
    page = one.send(body=b"message=hello")
    take_away([one])
    away = one.answer(page)
    assert (away.status, away.reason) == (503, "store-away")
    assert away.get("retry-after") == "5"
    assert not one.received
    take_away([one], away=False)
    exchange([one])
    asked = one.answer(away, button="continue")
    assert asked.reason == "continued"
    assert one.answer(asked).text == "stored"
    assert one.received[0].body == b"message=hello"


def test_i10_counts_are_not_lost_with_the_store(workers: Workers) -> None:
    """What was counted while the store was away is told when it is back."""
    one, two = workers(2, mode="adaptive", above="4/minute")
    exchange([one, two])
    take_away([one])
    for _ in range(4):
        one.send(body=b"a=b")
    one.gate.exchange.once()
    take_away([one], away=False)
    exchange([one, two])
    assert two.send(body=b"a=b").reason == "rule-engaged"


def test_engaged_and_released_by_hand_for_all(workers: Workers) -> None:
    """One worker's command reaches the others with the next exchange."""
    one, two = workers(2, mode="adaptive")
    exchange([one, two])
    one.gate.engage("/contact", seconds=60)
    assert one.send(body=b"a=b").status == 429
    exchange([one, two])
    assert two.send(body=b"a=b").status == 429
    two.gate.release("/contact")
    assert two.send(body=b"a=b").status == 200
    exchange([one, two])
    assert one.send(body=b"a=b").status == 200


def test_store_of_memory_needs_no_exchange(twin_of: Callable[..., Twin]) -> None:
    """By hand works without a shared store, too."""
    twin = twin_of(mode="adaptive")
    twin.gate.engage("/contact", seconds=60)
    assert twin.send(body=b"a=b").status == 429
    twin.clock.tick(61)
    assert twin.send(body=b"a=b").status == 200
    with pytest.raises(KeyError):
        twin.gate.engage("/nowhere")


def test_i4_lost_claim_is_not_forgotten(workers: Workers) -> None:
    """A nonce that was spent while the store was away is spent for all afterwards."""
    one, two = workers(2)
    front = one.gate.store
    take_away([one])
    nonce, later = bytes(16), int(one.clock() * 1000) + 60_000
    assert front.claim(nonce, later, None, 0) is Claim.NEW
    take_away([one], away=False)
    exchange([one])
    assert two.gate.store.claim(nonce, later, None, 0) is Claim.SPENT


def test_i4_store_away_from_the_start(workers: Workers) -> None:
    """Workers that have never seen the store take each other's pages, each of them once."""
    one, two = workers(2)
    take_away([one, two])
    page = one.send(body=b"message=hello")
    assert one.gate.store.identity() == two.gate.store.identity()
    assert [one.answer(page).status for _ in range(2)] == [200, 409]
    assert [two.answer(page).status for _ in range(2)] == [200, 409]
    take_away([one, two], away=False)
    exchange([one, two])
    assert one.gate.store.identity() == two.gate.store.identity()
    late = one.answer(page)
    assert late.status == 409


def test_i4_page_of_before_the_store_says_that_it_may_have_been_sent(workers: Workers) -> None:
    """What was asked while nobody had seen the store is asked again when it is there: others may have delivered it."""
    one, two = workers(2)
    take_away([one, two])
    page = one.send(body=b"message=hello")
    take_away([one, two], away=False)
    exchange([one, two])
    again = two.answer(page)
    assert (again.status, again.reason) == (429, "restarted")
    assert two.answer(again).text == "stored"


def test_i4_workers_of_other_secrets_have_other_ids(workers: Workers) -> None:
    """The id that workers have in common without a store is that of their secret and site."""
    one = workers(1)[0]
    two = workers(1, site="another")[0]
    take_away([one, two])
    for twin in (one, two):
        twin.send(body=b"message=hello")
    assert one.gate.store.identity() != two.gate.store.identity()


@pytest.mark.parametrize("seen", [False, True])
def test_i4_clock_that_jumps_back_while_the_store_is_away(workers: Workers, seen: bool) -> None:
    """What the process has forgotten by that belongs to an id that is not the one of its pages any more."""
    [one] = workers(1)
    if seen:
        one.send(body=b"message=hello")
    take_away([one])
    page = one.send(body=b"message=hello")
    wrong = one.answer(page, "wrong")
    assert wrong.reason == "wrong"
    one.clock.tick(-60)
    again = one.answer(page)
    assert again.reason == "restarted"
    assert one.answer(again).text == "stored"
    assert one.answer(again).status == 409


def test_i4_jump_between_the_look_and_the_claim_while_the_store_is_away(workers: Workers) -> None:
    """A claim is made under the id that was compared, or not at all."""
    [one] = workers(1)
    one.send(body=b"message=hello")
    take_away([one])
    one.send(body=b"message=hello")
    front, later = one.gate.store, int(one.clock() * 1000) + 60_000
    before = front.identity()
    assert front.claim(b"1" * 16, later, None, 0, before) is Claim.NEW
    one.clock.tick(-60)
    assert front.claim(b"1" * 16, later, b"2" * 16, later, before) is Claim.RESTARTED
    assert front.claim(b"3" * 16, later, b"2" * 16, later, front.identity()) is Claim.NEW
