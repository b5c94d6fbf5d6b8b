"""What every store must do, as a class to inherit from, and what the one in memory does with its bounds and clock.

A store's own test module imports :class:`StoreContract` and says how to make one.
"""

from __future__ import annotations

import random
import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gatepost import Settings
from gatepost.protocols import Claim, Claims
from gatepost.stores import MemoryStore
from gatepost.testing import ManualClock
from twins import settings

MINUTE = 60_000
StoreOf = Callable[..., Claims]


def some_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


NONCE, OTHER_NONCE, SUBMISSION, OTHER_SUBMISSION = map(some_id, range(1, 5))


class StoreContract:
    """What holds for every store."""

    @pytest.fixture
    def new_store(self) -> Callable[[Settings], Claims]:
        """Makes a store for these settings. Each subclass has its own."""
        raise NotImplementedError

    @pytest.fixture
    def store_of(self, new_store: Callable[[Settings], Claims], clock: ManualClock) -> StoreOf:
        """Makes a store with settings as keywords."""
        return lambda **options: new_store(settings(clock=clock, **options))

    @pytest.fixture
    def store(self, store_of: StoreOf) -> Claims:
        return store_of()

    @pytest.fixture
    def now(self, clock: ManualClock) -> int:
        return int(clock() * 1000)

    # --- claims ---

    def test_is_a_store(self, store: Claims) -> None:
        """It has every method of the protocol, and an id of 16 bytes that stays."""
        members = [name for name in dir(Claims) if not name.startswith("_")]
        assert not [name for name in members if not hasattr(store, name)]
        assert len(store.identity()) == 16
        assert store.identity() == store.identity()

    def test_i4_second_claim_fails(self, store: Claims, now: int) -> None:
        """A nonce is new once, then spent; a submission is new once, then delivered."""
        claim = (NONCE, now + MINUTE, SUBMISSION, now + 2 * MINUTE)
        assert [store.claim(*claim) for _ in range(3)] == [Claim.NEW, Claim.DELIVERED, Claim.DELIVERED]
        assert store.claim(NONCE, now + MINUTE, None, 0) is Claim.SPENT
        assert store.claim(None, 0, SUBMISSION, now + 2 * MINUTE) is Claim.DELIVERED

    @pytest.mark.parametrize(
        ("nonce", "submission", "expected"),
        [
            (NONCE, None, Claim.SPENT),
            (None, SUBMISSION, Claim.DELIVERED),
            (NONCE, SUBMISSION, Claim.DELIVERED),
            (OTHER_NONCE, SUBMISSION, Claim.DELIVERED),
            (NONCE, OTHER_SUBMISSION, Claim.SPENT),
            (OTHER_NONCE, OTHER_SUBMISSION, Claim.NEW),
        ],
    )
    def test_i4_claim_is_all_or_nothing(
        self, store: Claims, now: int, nonce: bytes | None, submission: bytes | None, expected: Claim
    ) -> None:
        """If either of the two was claimed before, the other is not claimed by the attempt."""
        expires, end = now + MINUTE, now + 2 * MINUTE
        store.claim(NONCE, expires, SUBMISSION, end)
        assert store.claim(nonce, expires, submission, end) is expected
        untouched = Claim.NEW if expected is not Claim.NEW else Claim.SPENT
        assert store.claim(OTHER_NONCE, expires, None, 0) is untouched
        assert store.delivered(OTHER_SUBMISSION, end) is (Claim.NEW if untouched is Claim.NEW else Claim.DELIVERED)

    def test_i4_claim_compares_the_id_once_more(self, store: Claims, now: int) -> None:
        """A claim for a token of another id is told so, and claims nothing; for one of this id it is made."""
        mine, other = store.identity(), bytes(16)
        claim = (NONCE, now + MINUTE, SUBMISSION, now + MINUTE)
        assert store.claim(*claim, other) is Claim.RESTARTED
        assert store.delivered(SUBMISSION, now + MINUTE) is Claim.NEW
        assert [store.claim(*claim, mine) for _ in range(2)] == [Claim.NEW, Claim.DELIVERED]
        assert store.claim(*claim, other) is Claim.RESTARTED
        assert store.identity() == mine

    def test_looking_changes_nothing(self, store: Claims, now: int) -> None:
        """To ask whether a submission was delivered does not claim it."""
        assert [store.delivered(SUBMISSION, now + MINUTE) for _ in range(2)] == [Claim.NEW] * 2
        assert store.claim(None, 0, SUBMISSION, now + MINUTE) is Claim.NEW
        assert store.delivered(SUBMISSION, now + MINUTE) is Claim.DELIVERED

    def test_nonces_and_submissions_do_not_mix(self, store: Claims, now: int) -> None:
        """The same bytes as a nonce and as a submission are two things."""
        assert store.claim(NONCE, now + MINUTE, None, 0) is Claim.NEW
        assert store.claim(None, 0, NONCE, now + MINUTE) is Claim.NEW

    @pytest.mark.parametrize("later", [59.9, 60, 64.9, 65, 65.1, 3600, 7 * 86400])
    def test_i4_nothing_is_new_again_after_its_end(
        self, store: Claims, now: int, clock: ManualClock, later: float
    ) -> None:
        """What was claimed is never new again: not before its end, not within the leeway, and not after."""
        store.claim(NONCE, now + MINUTE, SUBMISSION, now + MINUTE)
        clock.tick(later)
        store.sweep()
        assert store.claim(NONCE, now + MINUTE, None, 0) is Claim.SPENT
        assert store.delivered(SUBMISSION, now + MINUTE) in (Claim.DELIVERED, Claim.FORGOTTEN)
        assert store.claim(OTHER_NONCE, now + 8 * 86_400_000, SUBMISSION, now + MINUTE) is not Claim.NEW

    def test_withdrawn_submission_can_be_claimed_again(self, store: Claims, now: int) -> None:
        """A submission that was not handed over after all can be, with another nonce; the first stays spent."""
        store.claim(NONCE, now + MINUTE, SUBMISSION, now + MINUTE)
        store.withdraw(SUBMISSION)
        store.withdraw(OTHER_SUBMISSION)  # of which nothing is known
        assert store.delivered(SUBMISSION, now + MINUTE) is Claim.NEW
        assert store.claim(NONCE, now + MINUTE, SUBMISSION, now + MINUTE) is Claim.SPENT
        assert store.claim(OTHER_NONCE, now + MINUTE, SUBMISSION, now + MINUTE) is Claim.NEW
        assert store.claim(some_id(9), now + MINUTE, SUBMISSION, now + MINUTE) is Claim.DELIVERED

    def test_i4_one_of_many_threads_claims(self, store: Claims, now: int) -> None:
        """Of many threads that claim one submission at once, each with a nonce of its own, one gets it."""
        threads = 8
        barrier = threading.Barrier(threads)

        def claim(number: int) -> Claim:
            barrier.wait()
            return store.claim(some_id(100 + number), now + MINUTE, SUBMISSION, now + MINUTE)

        with ThreadPoolExecutor(threads) as pool:
            assert sorted(found.value for found in pool.map(claim, range(threads))) == ["delivered"] * 7 + ["new"]

    # --- kept bodies ---

    @pytest.mark.parametrize("body", [b"", b"\0", bytes(range(256)) * 400])
    def test_kept_body_comes_back(self, store: Claims, now: int, body: bytes) -> None:
        """A kept body is read as it was, as often as asked for, until it is dropped."""
        assert store.keep(SUBMISSION, body, now + MINUTE, "client")
        assert [store.read(SUBMISSION) for _ in range(2)] == [body, body]
        assert store.holds(SUBMISSION)
        assert store.read(OTHER_SUBMISSION) is None
        store.drop(SUBMISSION)
        store.drop(SUBMISSION)
        assert store.read(SUBMISSION) is None
        assert not store.holds(SUBMISSION)

    def test_kept_bodies_are_counted(self, store: Claims, now: int, clock: ManualClock) -> None:
        """The store tells how many bodies it keeps, and how many bytes, for those who watch."""
        kept = getattr(store, "kept")  # noqa: B009 - not every store has it
        assert kept() == (0, 0)
        for submission, body in ((b"1" * 16, b"x" * 10), (b"2" * 16, b"y" * 25), (b"2" * 16, b"z" * 20)):
            assert store.keep(submission, body, now + MINUTE, "")
        assert kept() == (2, 30)
        store.drop(b"1" * 16)
        assert kept() == (1, 20)
        clock.tick(61)
        store.sweep()
        assert kept() == (0, 0)

    def test_kept_body_expires(self, store: Claims, now: int, clock: ManualClock) -> None:
        """A kept body is gone when its time is up, and a sweep says whether others are left."""
        store.keep(SUBMISSION, b"first", now + MINUTE, "client")
        store.keep(OTHER_SUBMISSION, b"second", now + 2 * MINUTE, "client")
        clock.tick(59.9)
        assert store.read(SUBMISSION) == b"first"
        assert store.sweep()
        clock.tick(0.1)
        assert store.read(SUBMISSION) is None
        assert not store.holds(SUBMISSION)
        assert store.sweep()
        clock.tick(60)
        assert not store.sweep()

    @pytest.mark.parametrize(
        ("options", "kept"),
        [
            ({"keep_count": 3}, 3),
            ({"keep_count": 0}, 0),
            ({"keep_total": 250}, 2),
            ({"keep_total": 300}, 3),
            ({"keep_total": 399, "keep_per_client": 250}, 3),
        ],
    )
    def test_i6_kept_bodies_are_bounded(
        self, store_of: StoreOf, clock: ManualClock, options: dict[str, int], kept: int
    ) -> None:
        """Past the cap on bytes or count nothing more is kept, until something is dropped or expires."""
        store = store_of(**({"keep_limit": 100, "carry_limit": 10} | options))

        def fill(begin: int) -> list[bool]:
            until = int(clock() * 1000) + MINUTE
            return [store.keep(some_id(begin + n), bytes(100), until, f"client {begin + n}") for n in range(5)]

        assert fill(0) == [True] * kept + [False] * (5 - kept)
        if kept:
            store.drop(some_id(0))
            assert fill(10) == [True, False, False, False, False]
        clock.tick(60)
        assert fill(20) == [True] * kept + [False] * (5 - kept)

    def test_i6_one_client_cannot_fill_the_store(self, store_of: StoreOf, now: int) -> None:
        """One client's bodies are capped on their own; one that is not known by an address is not one client."""
        store = store_of(keep_limit=100, carry_limit=10, keep_per_client=250)
        assert [store.keep(some_id(n), bytes(100), now + MINUTE, "one") for n in range(3)] == [True, True, False]
        assert store.keep(some_id(3), bytes(50), now + MINUTE, "one")
        assert store.keep(some_id(4), bytes(100), now + MINUTE, "two")
        assert all(store.keep(some_id(n), bytes(100), now + MINUTE, "") for n in range(5, 15))

    # --- limits ---

    def test_limit_counts_so_many_events(self, store_of: StoreOf) -> None:
        """A limit is for one name and one client, and what does not fit does not count."""
        store = store_of(issue_limit="3/minute", failure_limit="1/minute")
        assert [store.limit("issue", "one") == 0 for _ in range(5)] == [True] * 3 + [False] * 2
        assert store.limit("issue", "two") == 0
        assert [store.limit("failure", "one") == 0 for _ in range(2)] == [True, False]

    def test_limit_says_for_how_long(self, store_of: StoreOf, clock: ManualClock) -> None:
        """The wait is true: not much before it one more does not fit, and after it one more does."""
        store = store_of(issue_limit="3/minute")
        for _ in range(3):
            store.limit("issue", "one")
        wait = store.limit("issue", "one")
        assert 0 < wait <= 120
        clock.tick(wait * 0.9)
        assert store.limit("issue", "one") > 0
        clock.tick(wait * 0.1 + 0.001)
        assert store.limit("issue", "one") == 0

    def test_what_is_given_back_can_be_had_again(self, store_of: StoreOf, clock: ManualClock) -> None:
        """What was counted and did not happen leaves room for one more, and for no more than there was."""
        store = store_of(failure_limit="3/minute")
        store.give_back("failure", "one")
        assert [store.limit("failure", "one") == 0 for _ in range(4)] == [True] * 3 + [False]
        store.give_back("failure", "two")
        store.give_back("failure", "one")
        assert [store.limit("failure", "one") == 0 for _ in range(2)] == [True, False]
        clock.tick(86400)
        store.give_back("failure", "one")
        assert [store.limit("failure", "one") == 0 for _ in range(4)] == [True] * 3 + [False]

    def test_i6_limit_holds_for_many_at_once(self, store_of: StoreOf) -> None:
        """Of many threads that ask at once no more are let in than of one after the other."""
        store, threads = store_of(failure_limit="3/minute"), 8
        barrier = threading.Barrier(threads)

        def ask(_: int) -> bool:
            barrier.wait()
            return store.limit("failure", "one") == 0

        with ThreadPoolExecutor(threads) as pool:
            assert sorted(pool.map(ask, range(threads))) == [False] * 5 + [True] * 3


class TestMemoryStore(StoreContract):
    """The store of one process, with its bounds and its clock."""

    @pytest.fixture
    def new_store(self) -> Callable[[Settings], Claims]:
        return MemoryStore

    def test_ids_differ(self, store_of: StoreOf) -> None:
        """Each store has an id of its own, by which the tokens of another are told."""
        assert len({store_of().identity() for _ in range(20)}) == 20

    # --- watermarks ---

    def test_i4_full_set_of_nonces_refuses_what_it_forgot(self, store_of: StoreOf, now: int) -> None:
        """When a nonce leaves a full set, all that expire no later are spent, and later ones are still new."""
        store = store_of(spent_size=2)
        for number in (10, 20, 30):
            assert store.claim(some_id(number), now + number, None, 0) is Claim.NEW
        for number in (1, 10, 20, 30):  # 10 has left, so what expires with it or before is refused
            assert store.claim(some_id(number), now + number, None, 0) is Claim.SPENT
        assert store.claim(some_id(40), now + 10, None, 0) is Claim.SPENT
        assert store.claim(some_id(41), now + 11, None, 0) is Claim.NEW
        assert store.claim(some_id(41), now + 11, None, 0) is Claim.SPENT

    def test_i4_full_set_of_submissions_refuses_what_it_forgot(self, store_of: StoreOf, now: int) -> None:
        """When a delivered id leaves a full set, all that end no later get 'send again', and later ones are new."""
        store = store_of(delivered_size=2)
        for number in (10, 20, 30):
            assert store.claim(None, 0, some_id(number), now + number) is Claim.NEW
        found = [store.delivered(some_id(number), now + number) for number in (1, 10, 11, 20, 30)]
        assert found == [Claim.FORGOTTEN, Claim.FORGOTTEN, Claim.NEW, Claim.DELIVERED, Claim.DELIVERED]
        assert store.claim(NONCE, now + MINUTE, some_id(1), now + 1) is Claim.FORGOTTEN
        assert store.claim(NONCE, now + MINUTE, None, 0) is Claim.NEW  # the refusal did not spend it

    def test_i4_soonest_to_end_of_a_full_set_is_delivered_and_forgotten_at_once(
        self, store_of: StoreOf, now: int
    ) -> None:
        """One that ends before all that a full set holds is new once, and then forgotten rather than new."""
        store = store_of(delivered_size=1, spent_size=1)
        store.claim(NONCE, now + MINUTE, SUBMISSION, now + MINUTE)
        claim = (OTHER_NONCE, now + 1000, OTHER_SUBMISSION, now + 1000)
        assert [store.claim(*claim) for _ in range(2)] == [Claim.NEW, Claim.FORGOTTEN]
        assert store.claim(OTHER_NONCE, now + 1000, None, 0) is Claim.SPENT
        assert store.delivered(SUBMISSION, now + MINUTE) is Claim.DELIVERED

    def test_i4_ten_thousand_claims_in_sets_of_a_hundred(self, store_of: StoreOf, clock: ManualClock) -> None:
        """None is claimed twice, and each is new if fewer than 100 that end later were claimed meanwhile."""
        store = store_of(spent_size=100, delivered_size=100)
        chance = random.Random(3)  # noqa: S311 - any order will do
        ends: list[int] = []  # of every page that was issued
        begun: list[int] = []  # how many had been claimed when it was
        pages: list[int] = []  # those that are open, the newest last
        claimed: list[int] = []  # the ends that were, in this order
        refused = 0
        while len(claimed) + refused < 10_000:
            clock.tick(0.01 * chance.randint(1, 10))
            pages.append(len(ends))
            ends.append(int(clock() * 1000) + 10 * MINUTE)
            begun.append(len(claimed))
            if len(pages) < 300:
                continue
            mine = pages.pop(-1 - min(len(pages) - 1, int(chance.expovariate(1 / 60))))  # most answer soon, some late
            later = sum(end > ends[mine] for end in claimed[begun[mine] :])
            if store.claim(some_id(mine), ends[mine], some_id(mine), ends[mine]) is Claim.NEW:
                claimed.append(ends[mine])
            else:
                refused += 1
                assert later >= 100
            again = chance.choice((mine, chance.randrange(mine + 1)))
            if again not in pages:
                assert store.claim(some_id(again), ends[again], None, 0) is Claim.SPENT
                assert store.claim(None, 0, some_id(again), ends[again]) is not Claim.NEW
        assert 0 < refused < 5_000

    @pytest.mark.parametrize("withdrawn", [0, 1, 2])
    def test_i4_memory_is_flat(self, store_of: StoreOf, clock: ManualClock, withdrawn: int) -> None:
        """Ten thousand claims, none or half or all of them withdrawn, take no more memory than the first thousand."""
        store = store_of(spent_size=100, delivered_size=100)

        def claim(count: int) -> None:
            for _ in range(count):
                clock.tick(0.01)
                end = int(clock() * 1000) + 10 * MINUTE
                one = random.randbytes(16)  # noqa: S311
                store.claim(one, end, one, end)
                store.withdraw(one if random.randrange(2) < withdrawn else NONCE)  # noqa: S311

        store.claim(None, 0, SUBMISSION, int(clock() * 1000) + MINUTE)
        claim(1000)
        tracemalloc.start()
        try:
            claim(9000)
            assert tracemalloc.get_traced_memory()[0] < 256_000  # of what grew there would be a megabyte
        finally:
            tracemalloc.stop()

    # --- the clock ---

    @pytest.mark.parametrize(("back", "same"), [(0, True), (4.9, True), (5, True), (5.1, False), (86400, False)])
    def test_i4_clock_that_jumps_back_makes_a_new_store(
        self, store: Claims, now: int, clock: ManualClock, back: float, same: bool
    ) -> None:
        """A jump back by more than the leeway makes a new id; delivered ids are kept, and nonces are of the old id."""
        before = store.identity()
        store.claim(NONCE, now + MINUTE, SUBMISSION, now + MINUTE)
        clock.tick(-back)
        assert (store.identity() == before) is same
        assert store.delivered(SUBMISSION, now + MINUTE) is Claim.DELIVERED
        assert store.claim(NONCE, now + MINUTE, None, 0) is (Claim.SPENT if same else Claim.NEW)

    def test_i4_jump_between_the_look_and_the_claim(self, store: Claims, now: int, clock: ManualClock) -> None:
        """A claim for a token of before the jump is not made in the store that began after it."""
        before = store.identity()
        clock.tick(-3600)
        assert store.claim(NONCE, now + MINUTE, SUBMISSION, now + MINUTE, before) is Claim.RESTARTED
        assert store.claim(NONCE, now + MINUTE, SUBMISSION, now + MINUTE, store.identity()) is Claim.NEW

    def test_i4_small_steps_back_add_up(self, store: Claims, clock: ManualClock) -> None:
        """Several small steps back count together, since what expired by the latest time is forgotten."""
        before = store.identity()
        for _ in range(2):
            clock.tick(-3)
            after = store.identity()
        assert after != before

    def test_i4_expired_by_a_wrong_clock(self, store: Claims, now: int, clock: ManualClock) -> None:
        """What a clock far ahead made the store forget is not new under the same id when the clock is right again."""
        before = store.identity()
        store.claim(NONCE, now + MINUTE, SUBMISSION, now + MINUTE)
        clock.tick(86400)
        assert store.claim(NONCE, now + MINUTE, SUBMISSION, now + MINUTE) is Claim.FORGOTTEN
        clock.tick(-86400)
        assert store.identity() != before or store.claim(NONCE, now + MINUTE, None, 0) is Claim.SPENT

    def test_kept_bodies_survive_a_jump(self, store: Claims, now: int, clock: ManualClock) -> None:
        """A clock that jumps back loses no kept body."""
        store.keep(SUBMISSION, b"body", now + MINUTE, "client")
        clock.tick(-3600)
        store.sweep()
        assert store.read(SUBMISSION) == b"body"


# --- against a model ---

numbers = st.integers(0, 7)
steps = st.lists(
    st.tuples(st.just("claim"), st.none() | numbers, st.none() | numbers)
    | st.tuples(st.just("tick"), st.integers(-3, 40), st.none())
    | st.tuples(st.just("jump"), st.integers(-100, -6), st.none()),
    max_size=60,
)


@hypothesis_settings(max_examples=200, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), steps)
def test_i4_no_sequence_claims_twice_under_one_id(
    spent: int, delivered: int, sequence: list[tuple[str, int | None, int | None]]
) -> None:
    """Whatever the order, the sizes and the clock: under one id of the store nothing is new twice."""
    clock = ManualClock()
    store = MemoryStore(settings(clock=clock, spent_size=spent, delivered_size=delivered))
    begin = int(clock() * 1000)
    seen: set[tuple[bytes, str, int]] = set()
    for step, one, two in sequence:
        if step != "claim":
            clock.tick(one or 0)
            continue
        nonce = None if one is None else some_id(one)
        submission = None if two is None else some_id(two)
        ends = begin + 20_000 * (one or 0), begin + 20_000 * (two or 0)
        identity = store.identity()
        if store.claim(nonce, ends[0], submission, ends[1]) is Claim.NEW:
            mine = {(identity, "nonce", one or 0)} if nonce else set()
            mine |= {(identity, "submission", two or 0)} if submission else set()
            assert not mine & seen
            seen |= mine
