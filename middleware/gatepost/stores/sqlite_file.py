"""The file under the SQLite store: its connections, its tables, and what becomes of it when it is broken.

Facts
    In WAL mode readers never wait, and one process writes at a time. So who only looks has another connection than who
    writes, and does not stand behind a thread that waits for another process; a third one waits for the disk.

    A file that was deleted while it is open goes on working for those who have it open, and for nobody else, so the
    file is compared with what is open now and again.

    To close any descriptor of a file lets go of all locks that the process has on it. So a file that exists is never
    opened here but by SQLite itself.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import secrets
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from ..protocols import StoreBusyError, StoreError
from .patience import left

try:
    import fcntl
except ImportError:  # pragma: no cover - where there is none, one process has the file
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger("gatepost")

_Result = TypeVar("_Result")

APPLICATION_ID = 0x47507354  # "GPsT"
_VERSION = 1
_HEADER = 100  # bytes at the beginning of every SQLite file
_LOG = 2000  # pages of 4 KiB that the log beside the file may have before a writer has to take them over
_LEAST = 0.2  # of the time that is left to wait for other processes, after waiting for other threads

# Later versions may add to it, so that processes of both can use one file while the new one is rolled out.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claims (id BLOB PRIMARY KEY, until INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bodies (id BLOB PRIMARY KEY, until INTEGER, size INTEGER, client TEXT, body BLOB);
CREATE TABLE IF NOT EXISTS limits
    (key TEXT, bucket INTEGER, count INTEGER, until INTEGER, PRIMARY KEY (key, bucket)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sums
    (rule TEXT, bucket INTEGER, count INTEGER, until INTEGER, PRIMARY KEY (rule, bucket)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS states
    (rule TEXT PRIMARY KEY, until TEXT, turn INTEGER, since REAL, cause TEXT, period REAL);
CREATE TABLE IF NOT EXISTS counts (rule TEXT, name TEXT, value INTEGER, PRIMARY KEY (rule, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS terms (rule TEXT PRIMARY KEY, terms TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tellers
    (teller BLOB, rule TEXT, number INTEGER, until INTEGER, PRIMARY KEY (teller, rule)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS claims_until ON claims (until);
CREATE INDEX IF NOT EXISTS bodies_until ON bodies (until);
CREATE INDEX IF NOT EXISTS limits_until ON limits (until)
"""
_NAMES = sum("CREATE" in line for line in _SCHEMA.splitlines())

# Connections that came through a fork. Letting go of one would close it, and that is for the parent alone.
_inherited: list[sqlite3.Connection | None] = []


class _Lane:
    """One connection of this process, for one caller at a time."""

    __slots__ = ("connection", "lock", "pid")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connection: sqlite3.Connection | None = None
        self.pid = 0

    @property
    def open(self) -> bool:
        """Whether there is a connection; one that came through a fork is its parent's, and may not even be closed."""
        return self.connection is not None and self.pid == os.getpid()

    def let_go(self) -> None:
        with self.lock:
            self.drop()

    def drop(self) -> None:
        """The same for who has the lock."""
        mine, connection, self.connection = self.open, self.connection, None
        if connection is not None and mine:
            connection.close()
        elif connection is not None:
            _inherited.append(connection)

    def __del__(self) -> None:
        self.drop()


class SqliteFile:
    """A file that several processes and threads use.

    :param timeout: seconds that a transaction waits at most.
    :param locate: tells the path whenever the file is opened; ``None`` if it stays what it is.
    """

    def __init__(self, path: Path, timeout: float, locate: Callable[[], Path] | None = None) -> None:
        self.path = path
        self.timeout = timeout
        self._locate = locate or (lambda: path)
        self._writing, self._reading, self._behind = self._lanes = _Lane(), _Lane(), _Lane()
        self._inode = (0, 0)
        #: The id of the store, as this process knows it.
        self.id = b""

    @property
    def open(self) -> bool:
        """Whether this process has opened the file."""
        return any(lane.open for lane in self._lanes)

    def run(self, work: Callable[[sqlite3.Connection], _Result], *, writing: bool) -> _Result:
        """Do some work in one transaction.

        :raises StoreError: for whatever goes wrong with the file.
        """
        lane = self._writing if writing else self._reading
        try:
            with self._entered(lane) as connection:
                connection.execute("BEGIN IMMEDIATE" if writing else "BEGIN")
                with _ending(connection):
                    return work(connection)
        except sqlite3.OperationalError as error:
            # Busy, full or read-only: it may pass. Closed, because a full disk can leave a connection unusable.
            if _is_busy(error):
                raise StoreBusyError(str(error)) from error
            lane.let_go()
            raise StoreError(str(error)) from error
        except sqlite3.DatabaseError as error:
            # A broken file raises this class itself; its other subclasses tell of us.
            if type(error) is sqlite3.DatabaseError:
                self._put_aside(error)
            else:
                lane.let_go()
            raise StoreError(str(error)) from error
        except OSError as error:
            raise StoreError(error.strerror or str(error)) from error

    @contextlib.contextmanager
    def _entered(self, lane: _Lane) -> Iterator[sqlite3.Connection]:
        timeout = left(self.timeout)
        deadline = time.monotonic() + timeout
        if not lane.lock.acquire(timeout=timeout * (1 - _LEAST)):
            raise StoreBusyError("the file is busy")
        try:
            milliseconds = max(1, int((deadline - time.monotonic()) * 1000))
            if not lane.open:
                lane.drop()
                lane.connection, lane.pid = self._connect(milliseconds), os.getpid()
            assert lane.connection is not None
            lane.connection.execute(f"PRAGMA busy_timeout = {milliseconds}")
            yield lane.connection
        finally:
            lane.lock.release()

    def _connect(self, milliseconds: int) -> sqlite3.Connection:
        self.path = self._locate()
        inode = self._found()
        connection = sqlite3.connect(
            self.path, timeout=milliseconds / 1000, isolation_level=None, check_same_thread=False
        )
        try:
            # Before anything is written: it may be the file of somebody else.
            known = self._known(connection)
            _keep_log(connection, time.monotonic() + milliseconds / 1000)
            connection.execute("PRAGMA synchronous = NORMAL")
            # The background does it earlier; who writes is to wait for the disk only if that cannot keep up.
            connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG}")
            # What is deleted is overwritten: bodies may hold passwords.
            connection.execute("PRAGMA secure_delete = ON")
            if not known:
                self._make(connection)
            self.read_id(connection)
            if self._found() != inode:
                raise StoreError("it was changed for another one just now")
        except BaseException:
            connection.close()
            raise
        self._inode = inode
        return connection

    def _found(self) -> tuple[int, int]:
        """Which file is there; it is made if it is missing."""
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):  # another process has made it in this moment
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            found = os.lstat(self.path)
        if not stat.S_ISREG(found.st_mode):
            raise StoreError("it is no regular file")
        if 0 < found.st_size < _HEADER:  # SQLite would take it for an empty database
            raise StoreError("it holds something else")
        return found.st_dev, found.st_ino

    def _known(self, connection: sqlite3.Connection) -> bool:
        """Whether the file has all that a store of this version needs."""
        connection.execute("BEGIN")  # or another process might make it ours between two looks
        with _ending(connection):
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            names = connection.execute("SELECT count(*) FROM sqlite_master WHERE sql IS NOT NULL").fetchone()[0]
        if application not in (APPLICATION_ID, 0) or (application == 0 and names):
            raise StoreError("it holds something else")
        if application and version != _VERSION:
            raise StoreError("it is of another version")
        return bool(application) and names >= _NAMES

    def _make(self, connection: sqlite3.Connection) -> None:
        """Make a file a store, or add what it lacks, once for all processes."""
        connection.execute("BEGIN IMMEDIATE")
        with _ending(connection):
            for statement in _SCHEMA.strip().split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {_VERSION}")
            connection.execute("INSERT OR IGNORE INTO meta VALUES ('id', ?)", (secrets.token_bytes(16),))

    def read_id(self, connection: sqlite3.Connection) -> bytes:
        """The id of the store, as the file has it now."""
        row = connection.execute("SELECT value FROM meta WHERE name = 'id'").fetchone()
        if row is None:
            raise StoreError("it has lost its id")
        self.id = bytes(row[0])
        return self.id

    def notice_another(self) -> None:
        """Let go of a file that was taken away; what is open would go on working, for this process alone."""
        try:
            found = os.lstat(self.path)
            same = (found.st_dev, found.st_ino) == self._inode
        except OSError:
            same = False
        if not same and self.open:
            log.error("The store's file '%s' was taken away; a new one is made.", self.path)
            self.let_go()

    def _put_aside(self, error: sqlite3.Error) -> None:
        """Make room for a new file, if the broken one is still in place: of several processes the first one does it."""
        broken = self._inode
        self.let_go()
        try:
            with _alone_in(self.path.parent):
                found = os.lstat(self.path)
                if (found.st_dev, found.st_ino) == broken:
                    log.error("The store's file '%s' is broken (%s); it is put aside and made anew.", self.path, error)
                    # Those first: beside a new file they would be taken for its own.
                    for suffix in ("-wal", "-shm"):
                        Path(f"{self.path}{suffix}").unlink(missing_ok=True)
                    os.replace(self.path, f"{self.path}.broken")
        except OSError as problem:
            log.error("The store's file '%s' is broken, and cannot be put aside (%s).", self.path, problem)

    def checkpoint(self, *, empty: bool) -> bool:
        """Take over what is in the log beside the file, for the background; whether that was done.

        :param empty: leave nothing in the log, which still has what was deleted; not while others read or write.
        """
        try:
            with self._entered(self._behind) as connection:
                connection.execute("PRAGMA busy_timeout = 0")
                query = f"PRAGMA wal_checkpoint({'TRUNCATE' if empty else 'PASSIVE'})"
                return not connection.execute(query).fetchone()[0]
        except (StoreError, sqlite3.Error, OSError):
            self._behind.let_go()
            return False

    def let_go(self) -> None:
        """Close the connections of this process; they are opened again when needed."""
        for lane in self._lanes:
            lane.let_go()

    def after_fork(self) -> None:
        """In a forked process: the connections are the parent's, and so is whoever holds the locks."""
        for lane in self._lanes:
            _inherited.append(lane.connection)
            lane.connection = None
        self._writing, self._reading, self._behind = self._lanes = _Lane(), _Lane(), _Lane()


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Of all processes that rename or remove a store in this folder, one at a time."""
    if fcntl is None:  # pragma: no cover
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _keep_log(connection: sqlite3.Connection, deadline: float) -> None:
    """Go over to WAL mode. A file that is new needs to be this process's alone for that, and SQLite does not wait."""
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() >= deadline:
                raise
            # Not all at the same moment again.
            time.sleep(random.uniform(0.001, 0.01))  # noqa: S311 - nothing secret


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


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
