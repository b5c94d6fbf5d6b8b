"""A load of visitors for the tests of faults: each sends a form, answers what it is asked, and does not give up.

Every answer goes out twice, at the same moment and on two connections, so that each is a chance to deliver twice.
"""

from __future__ import annotations

import itertools
import random
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from fleet import Diary, Fleet, Place
from server_clients import PAGE, PATIENCE, URLENCODED, Connection, Reply
from servers import wait_until

SLACK = 3.0  # seconds, for a busy machine; the store's time-out is a quarter of one, and a pause takes five
FEW = 20  # who wait in vain before it is known that nobody is answered
_PAUSE = 0.03  # seconds between two visits of one thread: a load, and not a test of strength
_AGAIN = 0.5  # seconds after which a visitor presses 'Continue'
_LARGE = 60_000  # bytes; does not fit into the page, so that the store keeps it
_UNKEPT = b'id="unkept"'  # in a page that asks to send the form again


@dataclass
class Visitor:
    """Somebody who wants one form delivered."""

    path: str
    name: str
    large: bool = False
    page: Reply = field(default_factory=lambda: Reply(0))
    delivered: bool = False
    told: str = ""  # what ended it without a delivery
    due: float = 0.0

    @property
    def done(self) -> bool:
        return self.delivered or bool(self.told)

    def submit(self, fleet: Fleet) -> Reply:
        """Send the form for the first time."""
        body = f"{self.name}&text={'x' * _LARGE if self.large else 'hello'}".encode()
        fields = [PAGE, ("Content-Type", URLENCODED), ("Content-Length", str(len(body)))]
        with fleet.connect() as line:
            _send(line, self.path, fields, body)
            reply = _read(line)
        if reply.status in (429, 503):
            self.page = reply
        else:
            self.delivered, self.told = reply.status == 200, reply.reason
        return reply

    def answer(self, one: Fleet, other: Fleet) -> list[Reply]:
        """Answer the page twice at once, and go on with what the first answer brings."""
        solved = self.page.answered()
        fields = [PAGE, ("Content-Type", solved.content_type), ("Content-Length", str(len(solved.body)))]
        with one.connect() as first, other.connect() as second:
            for line in (first, second):
                _send(line, self.path, fields, solved.body)
            replies = [_read(line) for line in (first, second)]
        self.delivered = any(reply.status == 200 for reply in replies)
        ends = [reply.reason for reply in replies if reply.status not in (0, 200, 429, 503)]
        self.told = ends[0] if ends and not self.delivered else ""
        page = next((reply for reply in replies if reply.status in (429, 503)), None)
        self.page = page or self.page
        self.due = time.monotonic() + _AGAIN
        return replies


def _send(line: Connection, path: str, fields: Sequence[tuple[str, str]], body: bytes) -> None:
    with suppress(OSError):  # the worker has died
        line.send_head("POST", path, fields)
        line.socket.sendall(body)


def _read(line: Connection) -> Reply:
    try:
        return line.read_reply()
    except (OSError, AssertionError):  # the worker has died, perhaps in the middle of its answer
        return Reply(0)


@dataclass
class Tally:
    """What came of the visits to one path."""

    begun: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    slowest: float = 0.0  # seconds that an answer took
    visitors: list[Visitor] = field(default_factory=list)

    def note(self, replies: Sequence[Reply], seconds: float) -> None:
        self.begun += len(replies) == 1
        self.statuses.update(reply.status for reply in replies)
        self.slowest = max(self.slowest, seconds)


@dataclass(frozen=True)
class Count:
    """What a fault did to the visitors of one path, as the application's diary tells it."""

    delivered: int
    challenged: int
    refused: int
    again: int  # were told to send the form again, since what was kept of it is gone
    lost: int
    twice: int
    twice_by_one: int  # process
    slowest: float

    @classmethod
    def of(cls, path: str, tally: Tally, diary: Diary) -> Count:
        names = {visitor.name for visitor in tally.visitors}
        got = {name: count for name, count in diary.deliveries(path).items() if name in names}
        again = {visitor.name for visitor in tally.visitors if visitor.told == "lost"}
        by_one = diary.deliveries_of_one(path).items()
        return cls(
            delivered=len(got),
            challenged=tally.statuses[429],
            refused=tally.statuses[503],
            again=len(again),
            lost=len(names - got.keys() - again),
            twice=sum(count > 1 for count in got.values()),
            twice_by_one=sum(count > 1 and name in names for (_, name), count in by_one),
            slowest=tally.slowest,
        )


class Load:
    """Visitors of some paths, a few at a time.

    :param hosts: where they go: an answer may go to another one than the form did.
    """

    def __init__(self, hosts: Sequence[Fleet], paths: Sequence[str], *, threads: int = 6) -> None:
        self._hosts = hosts
        self._paths = itertools.cycle(paths)
        self._numbers = itertools.count()
        self._name = secrets.token_hex(4)
        self._lock = threading.Lock()
        self._coming, self._over = True, threading.Event()
        self._pending: deque[Visitor] = deque()
        self._patient: list[Visitor] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        self._failed: list[BaseException] = []
        self.tallies = {path: Tally() for path in paths}

    def prepare(self, count: int, *, large: bool) -> None:
        """Let so many send their form now to each path, and answer only when :meth:`return_` says so.

        :param large: whether the store has to keep the form. One that is busy may not, and then it is sent again.
        """
        for path, tally in self.tallies.items():
            for number in range(count):
                visitor = Visitor(path, f"{self._name}-{'large' if large else 'small'}-{number}", large)
                wait_until(partial(self._is_kept, visitor), f"the form of {visitor.name} is kept")
                tally.visitors.append(visitor)
                self._patient.append(visitor)

    def _is_kept(self, visitor: Visitor) -> bool:
        reply = visitor.submit(self._host())
        assert reply.status == 429
        return _UNKEPT not in reply.body

    def return_(self) -> None:
        """Let those answer who have waited until now."""
        with self._lock:
            self._pending.extend(self._patient)

    @property
    def slowest(self) -> float:
        """The longest that anybody has waited for an answer so far, in seconds."""
        return max(tally.slowest for tally in self.tallies.values())

    def begin(self) -> None:
        """Let them come."""
        for thread in self._threads:
            thread.start()

    def visits(self, count: int) -> None:
        """Wait until so many more have begun at each path."""
        wanted = {path: tally.begun + count for path, tally in self.tallies.items()}
        wait_until(
            lambda: self._failed or all(self.tallies[path].begun >= wanted[path] for path in wanted),
            f"{count} visitors have come",
        )

    def end(self) -> None:
        """Let nobody come any more, and wait until all have got what they wanted, or were told that they cannot."""
        self._coming = False
        wait_until(lambda: self._failed or not self._open(), "every visitor has come to an end")
        if self._failed:
            raise self._failed[0]

    def stop(self) -> None:
        """Send everybody away."""
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _open(self) -> bool:
        return any(not visitor.done for tally in self.tallies.values() for visitor in tally.visitors)

    def _run(self) -> None:
        try:
            while not self._over.wait(_PAUSE):
                visitor = self._next()
                if visitor is not None:
                    self._visit(visitor)
        except BaseException as error:
            self._failed.append(error)  # for whoever waits

    def _next(self) -> Visitor | None:
        with self._lock:
            if self._pending and (self._pending[0].due < time.monotonic()):
                return self._pending.popleft()
            if not self._coming:
                return None
            path = next(self._paths)
            visitor = Visitor(path, f"{self._name}-{next(self._numbers)}")
            self.tallies[path].visitors.append(visitor)
            return visitor

    def _host(self) -> Fleet:
        return random.choice(self._hosts)  # noqa: S311 - as a balancer in front would

    def _visit(self, visitor: Visitor) -> None:
        one, other = self._host(), self._host()
        tally, begun = self.tallies[visitor.path], time.monotonic()
        replies = visitor.answer(one, other) if visitor.page.status else [visitor.submit(one)]
        with self._lock:
            tally.note(replies, time.monotonic() - begun)
            if not visitor.done:
                self._pending.append(visitor)


@contextmanager
def load(hosts: Sequence[Fleet], paths: Sequence[str]) -> Iterator[Load]:
    """A load as long as the block lasts, and until its last visitor has come to an end."""
    visitors = Load(hosts, paths)
    visitors.begin()
    try:
        yield visitors
        visitors.end()
    finally:
        visitors.stop()


Fault = Callable[[], AbstractContextManager[object]]


def suffer(here: Place, hosts: Sequence[Fleet], paths: Sequence[str], fault: Fault) -> dict[str, Count]:
    """What becomes of visitors who come before, during and after a fault, once every worker is over it.

    The block of the fault is left when the gates of all paths have told that something is wrong. See :func:`judged` for
    what is wanted of the visitors.
    """
    diary = here.diary

    def told(path: str) -> int:
        return len(diary.lines("store-lost", path)) + sum(host.output.count(f"{path[1:]}.db' was") for host in hosts)

    wait_until(lambda: not any(map(diary.away, paths)), "nothing is wrong yet")
    with load(hosts, paths) as visitors:
        visitors.visits(10)
        calm = visitors.slowest
        visitors.prepare(3, large=False)
        visitors.prepare(3, large=True)
        before = {path: told(path) for path in paths}
        with fault():
            visitors.visits(20)
            wait_until(lambda: all(told(path) > before[path] for path in paths), "the gates tell of it")
        wait_until(lambda: not any(map(diary.away, paths)), "every worker has the store back")
        visitors.return_()
        visitors.visits(10)
    return judged(visitors, diary, calm)


def judged(visitors: Load, diary: Diary, calm: float = 0) -> dict[str, Count]:
    """What became of them.

    Nothing may be lost; by one process nothing may be delivered twice, and by several only where the policy of the
    path (the end of its name) is ``local``; there few are asked to try again, until the store counts as lost. No answer
    may take longer than when all was well, but for :data:`SLACK`.

    :param calm: how long answers took when all was well, in seconds.
    """
    counts = {path: Count.of(path, tally, diary) for path, tally in visitors.tallies.items()}
    print(f"slowest before: {calm:.3f} s", *counts.items(), sep="\n")
    for path, count in counts.items():
        assert count.lost == 0
        assert count.twice_by_one == 0
        assert count.twice == 0 or path.endswith("local")
        assert count.refused <= FEW or path.endswith("refuse")
        assert count.slowest < calm + SLACK
    return counts
