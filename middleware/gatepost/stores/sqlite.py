"""The store of one host: a SQLite file that several processes open.

What is in the file is of use for an hour. So a file that turns out broken while the gate works is put aside and made
anew; one that is broken, or not ours, at the start is a mistake of configuration.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from ..protocols import Claim, StoreError, Sums, Told, Totals
from ..settings import Settings
from ..window import wait_for
from .sqlite_file import SqliteFile
from .sqlite_sums import command as command_sums
from .sqlite_sums import exchange as exchange_sums
from .sqlite_sums import status as status_of_sums

_Result = TypeVar("_Result")

_SWEPT = 500  # rows that one step of a sweep removes from a table at most
_STEPS = 8  # of a sweep; between two of them others may write
_START = 10.0  # seconds that the first opening of the file may take


class SqliteStore:
    """Claims, limits, sums and bodies in one file.

    :param path: of the file, which is made with mode 0600 if it is missing.
    :param locate: tells the path anew whenever the file is opened, where it may be another one in another process.
    :raises ValueError: at once, if the file cannot be opened for writing, or is not a store of this kind.
    """

    def __init__(self, path: Path, settings: Settings, locate: Callable[[], Path] | None = None) -> None:
        self._settings = settings
        self._leeway = int(settings.leeway * 1000)
        self._rates = {"issue": settings.issue_rate, "failure": settings.failure_rate}
        # No request waits yet, and all workers of a server make the file at the same moment.
        self._file = SqliteFile(path, max(settings.store_timeout, _START), locate)
        self._dropped = False  # a body, which the log beside the file still has
        try:
            self._file.run(lambda _: None, writing=True)
        except StoreError as error:
            raise ValueError(
                f"store: got the file '{path}', which cannot be used ({error}); wanted one that this user may write, "
                f"or a path in a folder that exists, where it can be made."
            ) from error
        finally:
            self.close()  # nothing is to be open across a fork
            self._file.timeout = settings.store_timeout

    def _run(self, work: Callable[[sqlite3.Connection], _Result], *, writing: bool = True) -> _Result:
        return self._file.run(work, writing=writing)

    def after_fork(self) -> None:
        """In a forked process: what is open is the parent's."""
        self._file.after_fork()

    def close(self) -> None:
        """See :meth:`gatepost.Store.close`."""
        self._file.let_go()

    def _now(self) -> int:
        return int(self._settings.clock() * 1000)

    # --- claims ---

    def identity(self) -> bytes:
        """See :meth:`gatepost.Store.identity`."""
        if not self._file.open:
            self._run(lambda _: None, writing=False)
        return self._file.id

    def delivered(self, submission: bytes, end: int) -> Claim:
        """See :meth:`gatepost.Store.delivered`."""

        def work(connection: sqlite3.Connection) -> Claim:
            if _has(connection, b"d" + submission):
                return Claim.DELIVERED
            over = end + self._leeway <= max(self._now(), _swept(connection))
            return Claim.FORGOTTEN if over else Claim.NEW

        return self._run(work, writing=False)

    def claim(
        self, nonce: bytes | None, expires: int, submission: bytes | None, end: int, store: bytes | None = None
    ) -> Claim:
        """See :meth:`gatepost.Store.claim`."""

        def work(connection: sqlite3.Connection) -> Claim:
            latest = self._latest(connection)
            if store is not None and self._file.read_id(connection) != store:
                return Claim.RESTARTED
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
                if until <= latest:
                    return Claim.SPENT if key[:1] == b"n" else Claim.FORGOTTEN
            connection.executemany("INSERT INTO claims VALUES (?, ?)", rows)
            return Claim.NEW

        return self._run(work)

    def _latest(self, connection: sqlite3.Connection) -> int:
        """The time by which claims may have been swept. After a clock that went back the store has another id."""
        now, swept = self._now(), _swept(connection)
        if now + self._leeway >= swept:
            return max(now, swept)
        connection.execute("UPDATE meta SET value = ? WHERE name = 'id'", (secrets.token_bytes(16),))
        connection.execute("DELETE FROM meta WHERE name = 'swept'")
        self._file.read_id(connection)
        return now

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
            values = (submission, until, len(body), client, body)
            connection.execute("INSERT INTO bodies VALUES (?, ?, ?, ?, ?)", values)
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
        self._dropped = True

    # --- limits ---

    def limit(self, name: str, client: str) -> float:
        """See :meth:`gatepost.Store.limit`."""
        rate, now, key = self._rates[name], self._settings.clock(), f"{name}:{client}"
        bucket = int(now // rate.period)

        def work(connection: sqlite3.Connection) -> float:
            query = "SELECT bucket, count FROM limits WHERE key = ? AND bucket >= ?"
            counts = dict(connection.execute(query, (key, bucket - 1)).fetchall())
            current, previous = counts.get(bucket, 0), counts.get(bucket - 1, 0)
            wait = wait_for(rate.count, current, previous, bucket * rate.period, rate.period, now)
            if not wait:
                connection.execute(
                    "INSERT INTO limits VALUES (?, ?, 1, ?) ON CONFLICT DO UPDATE SET count = count + 1",
                    (key, bucket, int((bucket + 2) * rate.period * 1000)),
                )
            return wait

        return self._run(work)

    def give_back(self, name: str, client: str) -> None:
        """See :meth:`gatepost.Store.give_back`."""
        bucket = int(self._settings.clock() // self._rates[name].period)
        query = "UPDATE limits SET count = count - 1 WHERE key = ? AND bucket = ? AND count > 0"
        self._run(lambda connection: connection.execute(query, (f"{name}:{client}", bucket)))

    # --- the background ---

    def exchange(self, sums: Sequence[Sums]) -> list[Totals]:
        """See :meth:`gatepost.Store.exchange`."""
        self._file.notice_another()

        def work(connection: sqlite3.Connection) -> list[Totals]:
            self._file.read_id(connection)  # another process may have noticed a clock that went back
            now = self._settings.clock()
            return [exchange_sums(connection, mine, now) for mine in sums]

        return self._run(work)

    def command(self, rule: str, until: float | None, cause: str) -> None:
        """See :meth:`gatepost.Store.command`."""
        now = self._settings.clock()
        self._run(lambda connection: command_sums(connection, rule, until, cause, now))

    def status(self) -> list[Told]:
        """See :meth:`gatepost.Store.status`."""
        now = self._settings.clock()
        return self._run(lambda connection: status_of_sums(connection, now), writing=False)

    def sweep(self) -> bool:
        """See :meth:`gatepost.Store.sweep`."""
        for _ in range(_STEPS):
            if self._run(self._sweep) < _SWEPT:
                break
        dropped, self._dropped = self._dropped, False
        if not self._file.checkpoint(empty=dropped):
            self._dropped = self._dropped or dropped
        query = "SELECT 1 FROM bodies LIMIT 1"
        return self._run(lambda connection: connection.execute(query).fetchone(), writing=False) is not None

    def _sweep(self, connection: sqlite3.Connection) -> int:
        """Remove some of what has expired; the most rows that went from one table."""
        now = self._now()
        most = 0
        for table, query in _SWEEPS.items():
            gone = connection.execute(query, (now, _SWEPT)).rowcount
            most = max(most, gone)
            if gone and table == "claims":
                swept = max(now, _swept(connection))
                connection.execute("INSERT OR REPLACE INTO meta VALUES ('swept', ?)", (swept,))
            self._dropped = self._dropped or (gone > 0 and table == "bodies")
        count = connection.execute("SELECT count(*) FROM limits").fetchone()[0]
        surplus = count - 2 * len(self._rates) * self._settings.clients_size  # two buckets of each client
        if surplus > 0:
            most = max(most, connection.execute(_SURPLUS, (min(surplus, _SWEPT),)).rowcount)
        return most


def _oldest(table: str, key: str, condition: str = "WHERE until <= ? LIMIT ?") -> str:
    return f"DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} {condition})"  # noqa: S608 - all ours


_KEYS = {"claims": "id", "bodies": "id", "limits": "key, bucket", "sums": "rule, bucket", "tellers": "teller, rule"}
_SWEEPS = {table: _oldest(table, key) for table, key in _KEYS.items()}
_SURPLUS = _oldest("limits", "key, bucket", "ORDER BY until LIMIT ?")


def _has(connection: sqlite3.Connection, key: bytes) -> bool:
    return connection.execute("SELECT 1 FROM claims WHERE id = ?", (key,)).fetchone() is not None


def _swept(connection: sqlite3.Connection) -> int:
    """By when claims that had expired were removed, in milliseconds since the epoch."""
    row = connection.execute("SELECT value FROM meta WHERE name = 'swept'").fetchone()
    return int(row[0]) if row is not None else 0
