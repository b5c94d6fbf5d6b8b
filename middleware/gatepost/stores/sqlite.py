"""The store of one host: a SQLite file that several processes open.

Facts
    In WAL mode readers never wait, and one process writes at a time; a claim is one short transaction. A file that was
    deleted while it is open goes on working for those who have it open, and for nobody else, so the file is compared
    with what is open at each exchange.

What is in the file is of use for an hour. So a file that turns out broken while the gate works is put aside and made
anew; one that is broken, or not ours, at the start is a mistake of configuration.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..protocols import Claim, StoreError, Sums, Told, Totals
from ..settings import Settings
from ..window import estimate, wait_for

log = logging.getLogger("gatepost")

_Result = TypeVar("_Result")

APPLICATION_ID = 0x47507354  # "GPsT"
_VERSION = 1
_HEADER = 100  # bytes at the beginning of every SQLite file
_LEAST = 0.2  # of store_timeout that is left to wait for other processes, after waiting for other threads
_SWEPT = 500  # rows that one sweep removes from a table at most

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
CREATE TABLE claims (id BLOB PRIMARY KEY, until INTEGER) WITHOUT ROWID;
CREATE TABLE bodies (id BLOB PRIMARY KEY, until INTEGER, size INTEGER, client TEXT, body BLOB);
CREATE TABLE limits (key TEXT, bucket INTEGER, count INTEGER, until INTEGER, PRIMARY KEY (key, bucket)) WITHOUT ROWID;
CREATE TABLE sums (rule TEXT, bucket INTEGER, count INTEGER, until INTEGER, PRIMARY KEY (rule, bucket)) WITHOUT ROWID;
CREATE TABLE states (rule TEXT PRIMARY KEY, until TEXT, turn INTEGER, since REAL, cause TEXT, period REAL);
CREATE TABLE counts (rule TEXT, name TEXT, value INTEGER, PRIMARY KEY (rule, name)) WITHOUT ROWID;
CREATE INDEX claims_until ON claims (until);
CREATE INDEX bodies_until ON bodies (until);
"""

# Connections that came through a fork. Letting go of one would close it, and that is for the parent alone.
_inherited: list[sqlite3.Connection | None] = []


class SqliteStore:
    """Claims, limits, sums and bodies in one file.

    :param path: of the file, which is made with mode 0600 if it is missing.
    :raises ValueError: at once, if the file cannot be opened for writing, or is not a store of this kind.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self._path = path
        self._settings = settings
        self._leeway = int(settings.leeway * 1000)
        self._rates = {"issue": settings.issue_rate, "failure": settings.failure_rate}
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._inode = (0, 0)
        self._pid = 0
        self._id = b""
        try:
            with self._open():
                pass
        except (sqlite3.Error, OSError, StoreError) as error:
            raise ValueError(
                f"store: got the file '{path}', which cannot be used ({error}); wanted one that this user may write, "
                f"or a path in a folder that exists, where it can be made."
            ) from error
        finally:
            self.close()  # nothing is to be open across a fork

    # --- the connection ---

    def _connect(self, timeout: float) -> sqlite3.Connection:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise StoreError("it is no regular file")
            if 0 < found.st_size < _HEADER:  # SQLite would take it for an empty database
                raise StoreError("it holds something else")
        finally:
            os.close(descriptor)
        connection = sqlite3.connect(self._path, timeout=timeout, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            self._check(connection)
        except BaseException:
            connection.close()
            raise
        self._inode = (found.st_dev, found.st_ino)
        self._pid = os.getpid()
        return connection

    def _check(self, connection: sqlite3.Connection) -> None:
        """See that the file is ours, or make it so, once for all processes."""
        connection.execute("BEGIN IMMEDIATE")
        with _ending(connection):
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
            if application == 0 and empty:
                for statement in _SCHEMA.strip().split(";\n"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {_VERSION}")
                connection.execute("INSERT INTO meta VALUES ('id', ?)", (secrets.token_bytes(16),))
            elif application != APPLICATION_ID:
                raise StoreError("it holds something else")
            elif connection.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
                raise StoreError("it is of another version")
            row = connection.execute("SELECT value FROM meta WHERE name = 'id'").fetchone()
            if row is None:
                raise StoreError("it has lost its id")
            self._id = bytes(row[0])

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The connection of this process, for one caller at a time."""
        timeout = self._settings.store_timeout
        deadline = time.monotonic() + timeout
        if not self._lock.acquire(timeout=timeout):
            raise StoreError("the file is busy")
        try:
            # Of the time to wait some may be gone. A little is always left, or a crowd in here would lose the store.
            left = max(deadline - time.monotonic(), timeout * _LEAST)
            if self._connection is None or self._pid != os.getpid():
                # A connection that came through a fork is its parent's: it may not even be closed here.
                self._connection = self._connect(left)
            self._connection.execute(f"PRAGMA busy_timeout = {int(left * 1000)}")
            yield self._connection
        finally:
            self._lock.release()

    def _run(self, work: Callable[[sqlite3.Connection], _Result], *, writing: bool = True) -> _Result:
        """Do some work in one transaction.

        :raises StoreError: for whatever goes wrong with the file.
        """
        try:
            with self._open() as connection:
                if not writing:
                    return work(connection)
                connection.execute("BEGIN IMMEDIATE")
                with _ending(connection):
                    return work(connection)
        except sqlite3.OperationalError as error:
            # Busy, full or read-only: it may pass. Closed, because a full disk can leave a connection unusable.
            self._let_go()
            raise StoreError(str(error)) from error
        except sqlite3.DatabaseError as error:
            # A broken file raises this class itself; its other subclasses tell of us.
            if type(error) is sqlite3.DatabaseError:
                self._put_aside(error)
            else:
                self._let_go()
            raise StoreError(str(error)) from error
        except OSError as error:
            raise StoreError(error.strerror or str(error)) from error

    def _let_go(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None and self._pid == os.getpid():
                connection.close()

    def _put_aside(self, error: sqlite3.Error) -> None:
        """Make room for a new file, if the broken one is still in place: of several processes the first one does it."""
        self._let_go()
        try:
            found = os.stat(self._path, follow_symlinks=False)
            if (found.st_dev, found.st_ino) == self._inode:
                log.error("The store's file '%s' is broken (%s); it is put aside and made anew.", self._path, error)
                os.replace(self._path, f"{self._path}.broken")
                for suffix in ("-wal", "-shm"):
                    Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        except OSError as problem:
            log.error("The store's file '%s' is broken, and cannot be put aside (%s).", self._path, problem)

    def after_fork(self) -> None:
        """In a forked process: the connection is the parent's, and so is whoever holds the lock."""
        self._lock = threading.Lock()
        _inherited.append(self._connection)
        self._connection = None

    def __del__(self) -> None:
        connection = getattr(self, "_connection", None)
        if connection is not None and self._pid == os.getpid():
            connection.close()

    def close(self) -> None:
        """See :meth:`gatepost.Store.close`."""
        self._let_go()

    def _now(self) -> int:
        return int(self._settings.clock() * 1000)

    # --- claims ---

    def identity(self) -> bytes:
        """See :meth:`gatepost.Store.identity`."""
        if self._connection is None or self._pid != os.getpid():
            self._run(lambda _: None, writing=False)
        return self._id

    def delivered(self, submission: bytes, end: int) -> Claim:
        """See :meth:`gatepost.Store.delivered`."""
        if self._run(lambda connection: _has(connection, b"d" + submission), writing=False):
            return Claim.DELIVERED
        return Claim.FORGOTTEN if end + self._leeway <= self._now() else Claim.NEW

    def claim(self, nonce: bytes | None, expires: int, submission: bytes | None, end: int) -> Claim:
        """See :meth:`gatepost.Store.claim`."""

        def work(connection: sqlite3.Connection) -> Claim:
            if submission is not None and _has(connection, b"d" + submission):
                return Claim.DELIVERED
            if nonce is not None and _has(connection, b"n" + nonce):
                return Claim.SPENT
            rows = []
            if submission is not None:
                rows.append((b"d" + submission, end + self._leeway))
            if nonce is not None:
                rows.append((b"n" + nonce, expires + self._leeway))
            for key, until in rows:
                if until <= self._now():
                    return Claim.SPENT if key[:1] == b"n" else Claim.FORGOTTEN
            connection.executemany("INSERT INTO claims VALUES (?, ?)", rows)
            return Claim.NEW

        return self._run(work)

    def withdraw(self, submission: bytes) -> None:
        """See :meth:`gatepost.Store.withdraw`."""
        self._run(lambda connection: connection.execute("DELETE FROM claims WHERE id = ?", (b"d" + submission,)))

    # --- bodies ---

    def keep(self, submission: bytes, body: bytes, until: int, client: str) -> bool:
        """See :meth:`gatepost.Store.keep`."""
        limits = self._settings

        def work(connection: sqlite3.Connection) -> bool:
            connection.execute("DELETE FROM bodies WHERE until <= ? OR id = ?", (self._now(), submission))
            count, total = connection.execute("SELECT count(*), coalesce(sum(size), 0) FROM bodies").fetchone()
            query = "SELECT coalesce(sum(size), 0) FROM bodies WHERE client = ?"
            theirs = connection.execute(query, (client,)).fetchone()[0] if client else 0
            if count >= limits.keep_count or total + len(body) > limits.keep_total:
                return False
            if theirs + len(body) > limits.keep_per_client:
                return False
            connection.execute(
                "INSERT INTO bodies VALUES (?, ?, ?, ?, ?)", (submission, until, len(body), client, body)
            )
            return True

        return self._run(work)

    def holds(self, submission: bytes) -> bool:
        """See :meth:`gatepost.Store.holds`."""
        query = "SELECT 1 FROM bodies WHERE id = ? AND until > ?"
        values = (submission, self._now())
        return self._run(lambda connection: connection.execute(query, values).fetchone(), writing=False) is not None

    def read(self, submission: bytes) -> bytes | None:
        """See :meth:`gatepost.Store.read`."""
        query = "SELECT body FROM bodies WHERE id = ? AND until > ?"
        values = (submission, self._now())
        row = self._run(lambda connection: connection.execute(query, values).fetchone(), writing=False)
        return None if row is None else bytes(row[0])

    def kept(self) -> tuple[int, int]:
        """How many bodies are kept, and how many bytes they have; for those who watch."""
        query = "SELECT count(*), coalesce(sum(size), 0) FROM bodies WHERE until > ?"
        found: tuple[int, int] = self._run(lambda db: db.execute(query, (self._now(),)).fetchone(), writing=False)
        return found

    def drop(self, submission: bytes) -> None:
        """See :meth:`gatepost.Store.drop`."""
        self._run(lambda connection: connection.execute("DELETE FROM bodies WHERE id = ?", (submission,)))

    # --- counts ---

    def limit(self, name: str, client: str, spend: bool) -> float:
        """See :meth:`gatepost.Store.limit`."""
        rate, now, key = self._rates[name], self._settings.clock(), f"{name}:{client}"
        bucket = int(now // rate.period)

        def work(connection: sqlite3.Connection) -> float:
            query = "SELECT bucket, count FROM limits WHERE key = ? AND bucket >= ?"
            counts = dict(connection.execute(query, (key, bucket - 1)).fetchall())
            current, previous = counts.get(bucket, 0), counts.get(bucket - 1, 0)
            wait = wait_for(rate.count, current, previous, bucket * rate.period, rate.period, now)
            if not wait and spend:
                connection.execute(
                    "INSERT INTO limits VALUES (?, ?, 1, ?) ON CONFLICT DO UPDATE SET count = count + 1",
                    (key, bucket, int((bucket + 2) * rate.period * 1000)),
                )
            return wait

        return self._run(work, writing=spend)

    def exchange(self, sums: Sequence[Sums]) -> list[Totals]:
        """See :meth:`gatepost.Store.exchange`."""
        self._notice_another_file()
        return self._run(lambda connection: [self._exchange(connection, mine) for mine in sums])

    def _notice_another_file(self) -> None:
        try:
            found = os.stat(self._path, follow_symlinks=False)
            same = (found.st_dev, found.st_ino) == self._inode
        except OSError:
            same = False
        if not same and self._connection is not None:
            log.error("The store's file '%s' was taken away; a new one is made.", self._path)
            self._let_go()

    def _exchange(self, connection: sqlite3.Connection, mine: Sums) -> Totals:
        for bucket, count in ((mine.bucket, mine.fresh), (mine.bucket - 1, mine.late)):
            if count:
                connection.execute(
                    "INSERT INTO sums VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count",
                    (mine.rule, bucket, count, int((bucket + 3) * mine.period * 1000)),
                )
        for name, value in mine.counts.items():
            connection.execute(
                "INSERT INTO counts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value",
                (mine.rule, name, value),
            )
        query = "SELECT bucket, count FROM sums WHERE rule = ? AND bucket >= ?"
        counts = dict(connection.execute(query, (mine.rule, mine.bucket - 1)).fetchall())
        until, turn = self._merge(connection, mine)
        return Totals(mine.rule, mine.bucket, counts.get(mine.bucket, 0), counts.get(mine.bucket - 1, 0), until, turn)

    def _merge(self, connection: sqlite3.Connection, mine: Sums) -> tuple[tuple[float, ...], int]:
        """The later end of each level; what was engaged before a release by hand does not count."""
        query = "SELECT until, turn, since, cause FROM states WHERE rule = ?"
        row = connection.execute(query, (mine.rule,)).fetchone()
        now = self._settings.clock()
        theirs, turn, since, cause = (json.loads(row[0]), *row[1:]) if row else ([], 0, now, "")
        # A process may know of a release that the store does not: its file is another one, or the command comes later.
        until = list(theirs) if mine.turn <= turn else []
        if mine.turn >= turn:
            turn = mine.turn
            until += [0.0] * (len(mine.until) - len(until))
            until = [max(until[index], end) for index, end in enumerate(mine.until)] + until[len(mine.until) :]
        engaged, was = any(end > now for end in until), any(end > now for end in theirs)
        if engaged != was or not row:
            since, cause = now, mine.cause if engaged else ""
        values = (mine.rule, json.dumps(until), turn, since, cause, mine.period)
        connection.execute("INSERT OR REPLACE INTO states VALUES (?, ?, ?, ?, ?, ?)", values)
        return tuple(until), turn

    def command(self, rule: str, until: float | None, cause: str) -> None:
        """See :meth:`gatepost.Store.command`."""
        now = self._settings.clock()

        def work(connection: sqlite3.Connection) -> None:
            row = connection.execute("SELECT turn, period FROM states WHERE rule = ?", (rule,)).fetchone()
            turn, period = row or (0, 60.0)
            ends = [until] if until is not None else []
            values = (rule, json.dumps(ends), turn + (until is None), now, cause, period)
            connection.execute("INSERT OR REPLACE INTO states VALUES (?, ?, ?, ?, ?, ?)", values)

        self._run(work)

    def status(self) -> list[Told]:
        """See :meth:`gatepost.Store.status`."""
        return self._run(self._status, writing=False)

    def _status(self, connection: sqlite3.Connection) -> list[Told]:
        now, told = self._settings.clock(), []
        query = "SELECT rule, until, since, cause, period FROM states ORDER BY rule"
        for rule, until, since, cause, period in connection.execute(query).fetchall():
            bucket = int(now // period)
            sums = "SELECT bucket, count FROM sums WHERE rule = ? AND bucket >= ?"
            counts = dict(connection.execute(sums, (rule, bucket - 1)).fetchall())
            rate = estimate(counts.get(bucket, 0), counts.get(bucket - 1, 0), bucket * period, period, now)
            outcomes = connection.execute("SELECT name, value FROM counts WHERE rule = ?", (rule,)).fetchall()
            told.append(Told(rule, period, rate, tuple(json.loads(until)), since, cause, dict(outcomes)))
        return told

    def sweep(self) -> bool:
        """See :meth:`gatepost.Store.sweep`."""
        now = self._now()

        def work(connection: sqlite3.Connection) -> bool:
            for query in _SWEEPS:
                connection.execute(query, (now, _SWEPT))
            return connection.execute("SELECT 1 FROM bodies LIMIT 1").fetchone() is not None

        return self._run(work)


_SWEEPS = (
    "DELETE FROM claims WHERE id IN (SELECT id FROM claims WHERE until <= ? LIMIT ?)",
    "DELETE FROM bodies WHERE id IN (SELECT id FROM bodies WHERE until <= ? LIMIT ?)",
    "DELETE FROM limits WHERE (key, bucket) IN (SELECT key, bucket FROM limits WHERE until <= ? LIMIT ?)",
    "DELETE FROM sums WHERE (rule, bucket) IN (SELECT rule, bucket FROM sums WHERE until <= ? LIMIT ?)",
)


def _has(connection: sqlite3.Connection, key: bytes) -> bool:
    return connection.execute("SELECT 1 FROM claims WHERE id = ?", (key,)).fetchone() is not None


@contextlib.contextmanager
def _ending(connection: sqlite3.Connection) -> Iterator[Any]:
    """Commit what the block has done, or roll it back."""
    try:
        yield connection
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
