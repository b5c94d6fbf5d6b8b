"""The stores that processes share pass the contract, and tell one process what the others do."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from gatepost import Settings, Store
from gatepost.protocols import Claim, Claims, StoreBusyError, StoreError, Sums, Terms
from gatepost.stores.redis_scripts import UNDO
from gatepost.stores.sqlite import SqliteStore
from gatepost.testing import ManualClock
from store_servers import PROGRAMS, store_server
from test_store_contract import NONCE, SUBMISSION, StoreContract
from twins import settings

MINUTE = 60_000


@contextmanager
def _held(path: Path, how: str) -> Iterator[None]:
    """The file as another process holds it meanwhile."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(f"BEGIN {how}")
        yield
        other.execute("COMMIT")


class SharedContract(StoreContract):
    """What holds for every store that several processes use."""

    @pytest.fixture
    def open_store(self) -> Callable[[Settings], Store]:
        """Opens the one store of this test, as another process would."""
        raise NotImplementedError

    @pytest.fixture
    def new_store(self, open_store: Callable[[Settings], Store]) -> Callable[[Settings], Claims]:
        return open_store

    @pytest.fixture
    def pair(self, open_store: Callable[[Settings], Store], clock: ManualClock) -> tuple[Store, Store]:
        """The store as two processes see it."""
        mine = settings(clock=clock, failure_limit="2/minute")
        return open_store(mine), open_store(mine)

    def test_i4_what_one_process_claimed_is_claimed_for_all(self, pair: tuple[Store, Store], now: int) -> None:
        """The id is the same, and each claim holds in the other process, too."""
        one, two = pair
        assert one.identity() == two.identity()
        assert one.claim(NONCE, now + MINUTE, SUBMISSION, now + MINUTE) is Claim.NEW
        assert two.claim(NONCE, now + MINUTE, None, 0) is Claim.SPENT
        assert two.delivered(SUBMISSION, now + MINUTE) is Claim.DELIVERED
        two.withdraw(SUBMISSION)
        assert one.delivered(SUBMISSION, now + MINUTE) is Claim.NEW

    def test_bodies_and_limits_are_for_all(self, pair: tuple[Store, Store], now: int) -> None:
        """What one keeps the other can read, and a limit counts what both allowed."""
        one, two = pair
        assert one.keep(SUBMISSION, b"body", now + MINUTE, "client")
        assert two.read(SUBMISSION) == b"body"
        two.drop(SUBMISSION)
        assert not one.holds(SUBMISSION)
        for store in (one, two):
            assert store.limit("failure", "client") == 0
        assert one.limit("failure", "client") > 0

    def test_sums_add_up(self, pair: tuple[Store, Store], clock: ManualClock) -> None:
        """Each process gets the sum of all, in this bucket and in the one before."""
        one, two = pair
        bucket = int(clock() // 60)
        [first] = one.exchange([_sums(bucket, fresh=3, late=2)])
        assert (first.current, first.previous) == (3, 2)
        [second] = two.exchange([_sums(bucket, fresh=4, late=1)])
        assert (second.current, second.previous) == (7, 3)
        [third] = one.exchange([_sums(bucket)])
        assert (third.current, third.previous) == (7, 3)
        clock.tick(60)
        [fourth] = one.exchange([_sums(bucket + 1, fresh=1)])
        assert (fourth.current, fourth.previous) == (1, 7)

    def test_latest_end_wins_until_somebody_releases_by_hand(
        self, pair: tuple[Store, Store], clock: ManualClock
    ) -> None:
        """All learn the latest end of each level; after a release by hand what was known before does not count."""
        one, two = pair
        bucket, soon, late = int(clock() // 60), clock() + 10, clock() + 20
        one.exchange([_sums(bucket, until=(late, 0.0))])
        [totals] = two.exchange([_sums(bucket, until=(soon, soon))])
        assert totals.until == pytest.approx((late, soon))
        assert totals.turn == 0
        two.command("rule", None, "by hand")
        [totals] = one.exchange([_sums(bucket, until=(late, 0.0))])
        assert totals.turn == 1
        assert not any(end > clock() for end in totals.until)
        [totals] = one.exchange([_sums(bucket, until=(soon, 0.0), turn=1)])
        assert totals.until[0] == pytest.approx(soon)

    def test_release_that_the_store_has_not_heard_of_counts(
        self, pair: tuple[Store, Store], clock: ManualClock
    ) -> None:
        """A store that has lost what it knew learns from the processes how often a rule was released by hand."""
        one, two = pair
        bucket, late = int(clock() // 60), clock() + 20
        one.exchange([_sums(bucket, until=(late, 0.0))])
        [totals] = two.exchange([_sums(bucket, turn=1)])
        assert totals.turn == 1
        assert not any(end > clock() for end in totals.until)
        two.command("rule", None, "by hand")
        [totals] = two.exchange([_sums(bucket, turn=1)])
        assert totals.turn == 2

    def test_command_engages_for_all(self, pair: tuple[Store, Store], clock: ManualClock) -> None:
        """A rule that was engaged by hand is engaged for whoever asks, and the status says by whom."""
        one, two = pair
        bucket = int(clock() // 60)
        one.exchange([_sums(bucket)])
        one.command("rule", clock() + 30, "by hand")
        [totals] = two.exchange([_sums(bucket)])
        assert totals.until[0] == pytest.approx(clock() + 30)
        [told] = two.status()
        assert (told.rule, told.cause) == ("rule", "by hand")

    def test_what_was_told_once_is_added_once(self, pair: tuple[Store, Store], clock: ManualClock) -> None:
        """An exchange that seemed to fail, and is told again under its number, changes no sum and no count."""
        bucket = int(clock() // 60)
        mine = _sums(bucket, fresh=3, late=2, counts={"wrong": 2}, teller=b"A" * 8, number=1)
        for store in pair:
            [totals] = store.exchange([mine])
            assert (totals.current, totals.previous) == (3, 2)
        for teller, number in ((b"A" * 8, 2), (b"B" * 8, 1)):
            [totals] = pair[0].exchange([_sums(bucket, fresh=1, teller=teller, number=number)])
        assert (totals.current, totals.previous) == (5, 2)
        assert pair[0].status()[0].counts == {"wrong": 2}

    def test_status_adds_the_counts_of_all(self, pair: tuple[Store, Store], clock: ManualClock) -> None:
        """Outcomes are added up over all processes, and the rate is that of all."""
        bucket = int(clock() // 60)
        for store in pair:
            store.exchange([_sums(bucket, fresh=2, counts={"wrong": 2, "solved": 1})])
        [told] = pair[0].status()
        assert told.counts == {"wrong": 4, "solved": 2}
        assert told.rate == pytest.approx(4)

    def test_status_tells_the_terms_that_were_told_last(self, pair: tuple[Store, Store], clock: ManualClock) -> None:
        """What a process has configured stays until one with other settings comes; a command by hand changes none."""
        bucket = int(clock() // 60)
        before, after = Terms("adaptive", (20.0, 60.0), (10.0, 30.5), 60.0), Terms("always", (5.0,), (2.0,), 1.5)
        for terms, expected in ((Terms(), Terms()), (before, before), (Terms(), before), (after, after)):
            pair[0].exchange([_sums(bucket, terms=terms)])
            assert pair[1].status()[0].terms == expected
        pair[0].command("rule", clock() + 10, "by hand")
        assert pair[1].status()[0].terms == after


def _sums(bucket: int, **values: Any) -> Sums:
    defaults: dict[str, Any] = {
        "rule": "rule",
        "period": 60.0,
        "bucket": bucket,
        "fresh": 0,
        "late": 0,
        "until": (0.0, 0.0),
        "turn": 0,
        "cause": "",
        "counts": {},
    }
    return Sums(**(defaults | values))


class TestSqliteStore(SharedContract):
    """The store of one host."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "gatepost.db"

    @pytest.fixture
    def open_store(self, path: Path) -> Iterator[Callable[[Settings], Store]]:
        opened: list[Store] = []

        def open_one(settings: Settings) -> Store:
            opened.append(SqliteStore(path, settings))
            return opened[-1]

        yield open_one
        for store in opened:
            store.close()

    def test_file_is_for_this_user_alone(self, store: Claims, path: Path) -> None:
        """The file is made with mode 0600."""
        store.identity()
        assert path.stat().st_mode & 0o777 == 0o600

    @pytest.mark.parametrize("content", [b"not a database, but long enough to be taken for one" * 40, b"x"])
    def test_file_of_something_else_stops_the_start(self, path: Path, content: bytes) -> None:
        """What is no store is left alone, with one sentence."""
        path.write_bytes(content)
        with pytest.raises(ValueError, match="store: got the file"):
            SqliteStore(path, settings())
        assert path.read_bytes() == content

    def test_other_database_stops_the_start(self, path: Path) -> None:
        """An application's own database is not written to."""
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE entries (id)")
        connection.close()
        before = path.read_bytes()
        with pytest.raises(ValueError, match="something else"):
            SqliteStore(path, settings())
        assert path.read_bytes() == before

    def test_new_file_that_another_process_makes_is_waited_for(
        self, path: Path, now: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Workers that make the file at the same moment all start, though SQLite refuses some of them at once."""
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        waited: list[float] = []

        def end_writing(seconds: float) -> None:
            waited.append(seconds)
            other.execute("COMMIT")

        monkeypatch.setattr(time, "sleep", end_writing)
        store = SqliteStore(path, settings())
        assert len(waited) == 1
        assert store.claim(NONCE, now + MINUTE, None, 0) is Claim.NEW
        store.close()
        other.close()

    def test_new_file_that_another_process_holds_is_given_up(
        self, store_of: Callable[..., Store], path: Path, now: int
    ) -> None:
        """Waiting for a file of one's own ends when the time is up."""
        store = store_of(store_timeout=0.05)
        store.close()
        path.unlink()
        with _held(path, "IMMEDIATE"), pytest.raises(StoreBusyError):
            store.claim(NONCE, now + MINUTE, None, 0)
        assert store.claim(NONCE, now + MINUTE, None, 0) is Claim.NEW

    def test_file_that_another_process_makes_meanwhile_is_no_others(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Between two looks at a new file another worker may make it a store; that is not taken for somebody else's."""
        meanwhile = [SqliteStore]

        class Watched(sqlite3.Connection):
            def execute(self, sql: str, *rest: Any) -> sqlite3.Cursor:
                cursor = super().execute(sql, *rest)
                if sql == "PRAGMA application_id" and meanwhile:
                    meanwhile.pop()(path, settings()).close()
                return cursor

        def watched(*args: Any, connect: Any = sqlite3.connect, **options: Any) -> sqlite3.Connection:
            return connect(*args, factory=Watched, **options)  # type: ignore[no-any-return]

        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        monkeypatch.setattr(sqlite3, "connect", watched)
        SqliteStore(path, settings()).close()
        assert not meanwhile

    def test_missing_folder_stops_the_start(self, tmp_path: Path) -> None:
        """A path that cannot be made is a mistake of configuration."""
        with pytest.raises(ValueError, match="folder that exists"):
            SqliteStore(tmp_path / "no" / "file.db", settings())

    def test_link_is_not_followed(self, tmp_path: Path, path: Path) -> None:
        """A link in the file's place could lead anywhere."""
        path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(ValueError, match="store: got the file"):
            SqliteStore(path, settings())
        assert not (tmp_path / "elsewhere").exists()

    def test_i10_busy_file_is_given_up_in_time(self, store_of: Callable[..., Store], path: Path, now: int) -> None:
        """While another process holds the file, a claim fails with an error, and works again afterwards."""
        store = store_of(store_timeout=0.05)
        store.identity()
        with _held(path, "EXCLUSIVE"), pytest.raises(StoreError):
            store.claim(NONCE, now + MINUTE, None, 0)
        assert store.claim(NONCE, now + MINUTE, None, 0) is Claim.NEW

    def test_i10_deleted_file_is_made_anew(self, store_of: Callable[..., Store], path: Path, now: int) -> None:
        """A file that was taken away is noticed at the next exchange, and the new one has another id."""
        store = store_of()
        before = store.identity()
        path.unlink()
        store.exchange([])
        assert store.identity() != before
        assert path.exists()
        assert store.claim(NONCE, now + MINUTE, None, 0) is Claim.NEW

    def test_calm_exchange_writes_nothing(self, store: Store, path: Path, clock: ManualClock) -> None:
        """An exchange that brings nothing new leaves the log beside the file as it is; one that does, does not."""
        mine = _sums(int(clock() // 60), fresh=1, terms=Terms("adaptive", (20.0,), (10.0,), 60.0))
        log = path.with_name(path.name + "-wal")
        sizes = []
        for sums in (mine, _sums(mine.bucket, terms=mine.terms), mine):
            store.exchange([sums])
            sizes.append(log.stat().st_size)
            clock.tick(0.5)
        assert sizes[0] == sizes[1] < sizes[2]

    def test_i9_files_beside_it_are_for_this_user_alone(self, store: Store, path: Path, now: int) -> None:
        """The log and the index that SQLite makes beside the file are of the same mode."""
        store.claim(NONCE, now + MINUTE, None, 0)
        beside = [path.with_name(path.name + suffix) for suffix in ("-wal", "-shm")]
        assert [file.stat().st_mode & 0o777 for file in beside] == [0o600] * 2

    @pytest.mark.parametrize("leave", ["drop", "expire"])
    def test_i9_nothing_is_left_of_a_body(
        self, store: Store, path: Path, now: int, clock: ManualClock, leave: str
    ) -> None:
        """After a body was delivered, or has expired, no file has any of it."""
        store.keep(SUBMISSION, b"the password" * 5000, now + MINUTE, "")
        store.keep(NONCE, b"another one" * 5000, now + 10 * MINUTE, "")
        store.exchange([])
        if leave == "drop":
            store.drop(SUBMISSION)
        clock.tick(61)
        store.sweep()
        files = [file.read_bytes() for file in path.parent.iterdir()]
        assert not [content for content in files if b"the password" in content]
        assert [content for content in files if b"another one" in content]

    def test_i4_clock_that_jumps_back_behind_a_sweep_makes_a_new_store(
        self, store_of: Callable[..., Store], now: int, clock: ManualClock
    ) -> None:
        """What a clock far ahead made the store sweep is not new under the same id when the clock is right again."""
        one, two = store_of(), store_of()
        before = one.identity()
        assert one.claim(NONCE, now + MINUTE, SUBMISSION, now + MINUTE, before) is Claim.NEW
        clock.tick(86400)
        two.sweep()
        clock.tick(-86400)
        assert one.claim(NONCE, now + MINUTE, SUBMISSION, now + MINUTE, before) is Claim.RESTARTED
        two.exchange([])
        assert before != one.identity() == two.identity()

    def test_i4_step_back_within_the_leeway_forgets_nothing(self, store: Store, now: int, clock: ManualClock) -> None:
        """What was swept a moment ago is past its time, although the clock has gone back a little since."""
        store.claim(NONCE, now, SUBMISSION, now)
        clock.tick(5)
        store.sweep()
        clock.tick(-4)
        assert store.claim(NONCE, now, None, 0) is Claim.SPENT
        assert store.delivered(SUBMISSION, now) is Claim.FORGOTTEN

    def test_i6_limits_are_bounded(self, store_of: Callable[..., Store], path: Path, clock: ManualClock) -> None:
        """Of more clients than are to be remembered, a sweep forgets those that were counted first."""
        store = store_of(clients_size=10)
        for minute in range(2):
            for number in range(100):
                store.limit("issue", f"client {minute} {number}")
            clock.tick(60)
        clock.tick(-60)
        store.sweep()
        connection = sqlite3.connect(path)
        left = connection.execute("SELECT key FROM limits").fetchall()
        connection.close()
        assert len(left) == 40
        assert all("client 1" in key for [key] in left)

    def test_i10_who_looks_does_not_wait_for_who_writes(
        self, store_of: Callable[..., Store], path: Path, now: int
    ) -> None:
        """While another process holds the file and a thread waits for it, reading goes on."""
        store = store_of(store_timeout=20)
        store.claim(NONCE, now + MINUTE, SUBMISSION, now + MINUTE)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(store.claim, b"2" * 16, now + MINUTE, None, 0)
            assert store.delivered(SUBMISSION, now + MINUTE) is Claim.DELIVERED
            assert not waiting.done()
            other.execute("COMMIT")
            assert waiting.result(10) is Claim.NEW
        other.close()

    def test_i4_broken_file_is_put_aside_once(self, store_of: Callable[..., Store], path: Path, now: int) -> None:
        """Of several processes that find the file broken one makes room; the others do not take the new one away."""
        stores = [store_of() for _ in range(8)]
        for store in stores:
            store.claim(os.urandom(16), now + MINUTE, None, 0)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        with path.open("r+b") as file:
            file.write(b"\0" * 100 + os.urandom(8000))
        for store in stores:
            store._file._put_aside(sqlite3.DatabaseError("broken"))  # type: ignore[attr-defined]
            assert store.claim(NONCE if store is stores[0] else os.urandom(16), now + MINUTE, None, 0) is Claim.NEW
        assert {store.claim(NONCE, now + MINUTE, None, 0) for store in stores} == {Claim.SPENT}

    def test_i10_broken_file_is_put_aside(self, store_of: Callable[..., Store], path: Path, now: int) -> None:
        """A file that turns out broken is put aside; the next claim goes to a new one with another id."""
        store = store_of()
        before = store.identity()
        store.close()
        path.write_bytes(b"\0" * 100 + os.urandom(8000))
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        with pytest.raises(StoreError):
            store.claim(NONCE, now + MINUTE, None, 0)
        assert store.claim(NONCE, now + MINUTE, None, 0) is Claim.NEW
        assert store.identity() != before
        assert path.with_name(path.name + ".broken").exists()

    def test_i6_sweeping_is_bounded_and_leaves_what_matters(
        self, store_of: Callable[..., Store], now: int, clock: ManualClock
    ) -> None:
        """Expired claims go a few hundred at a time; those that can still matter stay."""
        store = store_of()
        for number in range(700):
            store.claim((1000 + number).to_bytes(16, "big"), now + MINUTE, None, 0)
        store.claim(NONCE, now + 10 * MINUTE, None, 0)
        clock.tick(120)
        store.sweep()
        store.sweep()
        assert store.claim(NONCE, now + 10 * MINUTE, None, 0) is Claim.SPENT


@pytest.fixture(scope="module", params=PROGRAMS)
def redis_port(request: pytest.FixtureRequest) -> Iterator[int]:
    """A Redis or Valkey server of our own on a free port."""
    with store_server(request.param) as server:
        yield server.port


def _claim_unheard(store: Store, now: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Claim :data:`SUBMISSION`, and do not hear the server's answer."""
    import redis

    store.identity()
    run = redis.Redis.eval

    def deaf(client: Any, *arguments: Any) -> Any:
        run(client, *arguments)
        raise redis.TimeoutError

    with monkeypatch.context() as patched:
        patched.setattr("redis.Redis.eval", deaf)
        with pytest.raises(StoreBusyError):
            store.claim(NONCE, now + MINUTE, SUBMISSION, now + MINUTE)


class TestRedisStore(SharedContract):
    """The store of several hosts, on a real server."""

    @pytest.fixture
    def open_store(self, redis_port: int) -> Iterator[Callable[[Settings], Store]]:
        redis = pytest.importorskip("redis", reason="redis-py is not installed")
        from gatepost.stores.redis import RedisStore

        url = f"redis://127.0.0.1:{redis_port}/0"
        opened: list[Store] = []

        def open_one(settings: Settings) -> Store:
            opened.append(RedisStore(url, "0123456789abcdef", settings))
            return opened[-1]

        client = redis.Redis.from_url(url)
        client.flushall()
        client.close()
        yield open_one
        for store in opened:
            store.close()

    def test_i10_flushed_server_is_another_store(
        self, store_of: Callable[..., Store], redis_port: int, now: int
    ) -> None:
        """After a flush a claim for a token of before could have been made, and the store has another id."""
        import redis

        store = store_of()
        before = store.identity()
        client = redis.Redis(port=redis_port)
        client.flushall()
        client.close()
        assert store.claim(NONCE, now + MINUTE, None, 0, before) is Claim.RESTARTED
        assert store.identity() != before
        assert store.claim(NONCE, now + MINUTE, None, 0, store.identity()) is Claim.NEW

    def test_i10_claim_of_any_id_is_made_in_a_flushed_server(
        self, store_of: Callable[..., Store], redis_port: int, now: int
    ) -> None:
        """What was claimed while the server was away is written to it, even if it has lost what it knew meanwhile."""
        import redis

        store = store_of()
        store.identity()
        client = redis.Redis(port=redis_port)
        client.flushall()
        client.close()
        assert [store.claim(NONCE, now + MINUTE, None, 0) for _ in range(2)] == [Claim.NEW, Claim.SPENT]

    def test_i10_refused_delivery_is_not_claimed_by_a_late_server(
        self, store_of: Callable[..., Store], redis_port: int, now: int
    ) -> None:
        """A server that slept finds a claim that was given up meanwhile, and does not carry it out."""
        import redis

        client = redis.Redis(port=redis_port)
        process = int(client.info("server")["process_id"])
        store = store_of(store_timeout=0.05)
        store.identity()
        os.kill(process, signal.SIGSTOP)
        try:
            with pytest.raises(StoreBusyError):
                store.claim(NONCE, now + MINUTE, SUBMISSION, now + MINUTE)
            deadline = time.monotonic() + 0.05  # which has to go by before the server is awake
            while time.monotonic() < deadline:
                pass
        finally:
            os.kill(process, signal.SIGCONT)
        assert client.ping()
        client.close()
        assert store.delivered(SUBMISSION, now + MINUTE) is Claim.NEW
        assert store.claim(NONCE, now + MINUTE, SUBMISSION, now + MINUTE) is Claim.NEW

    @pytest.mark.parametrize(("late", "claimed"), [(0, True), (9_000, True), (11_000, False), (19_000, False)])
    def test_i10_claim_that_comes_late_to_the_server_is_not_made(
        self, store_of: Callable[..., Store], now: int, monkeypatch: pytest.MonkeyPatch, late: int, claimed: bool
    ) -> None:
        """The answer to what the server does has half of the time to come back, so that it is waited for."""
        store = store_of(store_timeout=20)
        store.identity()
        with monkeypatch.context() as patched:
            # The claim is sent so many milliseconds ago, and all that follows is now.
            sent = iter([time.monotonic() * 1000 - late])
            patched.setattr("gatepost.stores.redis._monotonic", lambda: next(sent, time.monotonic() * 1000))
            if claimed:
                assert store.claim(NONCE, now + MINUTE, SUBMISSION, now + MINUTE) is Claim.NEW
            else:
                with pytest.raises(StoreBusyError, match="late"):
                    store.claim(NONCE, now + MINUTE, SUBMISSION, now + MINUTE)
        assert store.delivered(SUBMISSION, now + MINUTE) is (Claim.DELIVERED if claimed else Claim.NEW)

    def test_i10_claim_that_was_made_after_all_is_taken_back(
        self, store_of: Callable[..., Store], now: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where the server claimed, and only its answer was lost, the next claim takes the submission's back."""
        store = store_of()
        _claim_unheard(store, now, monkeypatch)
        assert store.delivered(SUBMISSION, now + MINUTE) is Claim.DELIVERED
        assert store.claim(b"2" * 16, now + MINUTE, None, 0) is Claim.NEW
        assert store.delivered(SUBMISSION, now + MINUTE) is Claim.NEW
        assert store.claim(NONCE, now + MINUTE, None, 0) is Claim.SPENT

    def test_i10_exchange_takes_back_what_was_claimed_after_all(
        self, store_of: Callable[..., Store], now: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nobody has to claim anything first: the background does it, since the visitor may come back elsewhere."""
        one, other = store_of(), store_of()
        _claim_unheard(one, now, monkeypatch)
        assert other.delivered(SUBMISSION, now + MINUTE) is Claim.DELIVERED
        one.exchange([_sums(0)])
        assert other.delivered(SUBMISSION, now + MINUTE) is Claim.NEW

    def test_i13_claim_holds_though_another_cannot_be_taken_back(
        self, store_of: Callable[..., Store], now: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A claim that was made is told, or its submission would count as delivered and never be."""
        import redis

        store = store_of()
        _claim_unheard(store, now, monkeypatch)
        run = redis.Redis.eval

        def without_undo(client: Any, script: str, *arguments: Any) -> Any:
            if script == UNDO:
                raise redis.TimeoutError
            return run(client, script, *arguments)

        with monkeypatch.context() as patched:
            patched.setattr("redis.Redis.eval", without_undo)
            assert store.claim(b"2" * 16, now + MINUTE, b"another.........", now + MINUTE) is Claim.NEW
        assert store.delivered(SUBMISSION, now + MINUTE) is Claim.DELIVERED
        store.exchange([_sums(0)])
        assert store.delivered(SUBMISSION, now + MINUTE) is Claim.NEW
        assert store.delivered(b"another.........", now + MINUTE) is Claim.DELIVERED

    @pytest.mark.parametrize("step", [-3_600_000, 3_600_000])
    def test_i10_server_whose_clock_was_set_is_not_late(
        self, store_of: Callable[..., Store], now: int, step: int
    ) -> None:
        """A clock of the server that jumps costs one more question, and no claim."""
        store = store_of()
        store.identity()
        store._ahead += step  # type: ignore[attr-defined]
        for number in range(3):
            assert store.claim(bytes([number]) * 16, now + MINUTE, None, 0) is Claim.NEW

    def test_i10_key_of_another_type_is_an_error_and_no_more(
        self, store_of: Callable[..., Store], redis_port: int, now: int
    ) -> None:
        """Somebody else's key in our place fails the claim with a store error."""
        import redis

        client = redis.Redis(port=redis_port)
        client.lpush("gatepost:{0123456789abcdef}:id", "x")
        store = store_of()
        with pytest.raises(StoreError):
            store.claim(NONCE, now + MINUTE, None, 0)
        client.flushall()
        client.close()
        assert store.claim(NONCE, now + MINUTE, None, 0) is Claim.NEW

    def test_absent_server_is_an_error_and_not_a_mistake(self, now: int) -> None:
        """A server that is away does not stop the start; asking it fails in time."""
        from gatepost.stores.redis import RedisStore

        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        store = RedisStore(f"redis://127.0.0.1:{port}/0", "x", settings())
        with pytest.raises(StoreError):
            store.claim(NONCE, now + MINUTE, None, 0)

    def test_client_that_decodes_stops_the_start(self) -> None:
        """Bodies are bytes, so a client that makes text of them is refused with one sentence."""
        import redis

        from gatepost.stores.redis import RedisStore

        with pytest.raises(ValueError, match="decode_responses"):
            RedisStore(redis.Redis(decode_responses=True), "x", settings())
