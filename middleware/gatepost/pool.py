"""The pool: challenges drawn ahead of need, by one thread and within a budget.

Strategy
    Drawing is work that anyone can ask for. So there is a ceiling on drawings a second, a share of it for each client,
    and every second drawing goes to submissions that have already waited: in a flood, those who come back are served.
    A submission has waited for one drawing, not for as many as its token is sent: after one, it is like a new one for
    a while, whatever address it comes from.
    What takes long counts for several drawings, so that the ceiling is one on processor time as well.
    The thread starts when a rule nears its threshold, ends when nothing needs it or its pool is gone, and starts
    again when asked, after a fork too. It holds no lock while it draws. It is woken only for what it can do: a flood
    that wakes it for every request takes more from the event loop by the switching than by the drawing.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from .budget import LONGEST_WAIT, SHORTEST_WAIT, Budget, Prices, Turns, price_of
from .effects import Busy, Draw
from .meter import Limiter
from .protocols import Challenge, Clock, Kind
from .rules import Rate
from .tokens import DATA_LIMIT

log = logging.getLogger("gatepost")

IDLE = 1.0  # seconds between two looks at whether the thread is still needed
_SHORTEST_REST = 0.002  # seconds
# After a drawing the thread sleeps for so many times as long, up to so many seconds. While it draws, every system call
# of an event loop costs that loop the lock that threads share, for as long as the drawing lasts or for 5 ms.
_REST = 3.0
LONGEST_REST = 0.02

Key = tuple[str, int, str]
Drawn = Challenge | Busy


@dataclass(frozen=True, slots=True)
class _Task:
    """What is to be drawn, for whom, and what was paid for it out of which budget."""

    key: Key
    recipient: Future[Drawn] | deque[Challenge]
    budget: Budget
    paid: float


class _Shelf:
    """The stock for one kind, level and locale: one half for anyone, one for those who have waited."""

    def __init__(self) -> None:
        self.anyone: deque[Challenge] = deque()
        self.waited: deque[Challenge] = deque()
        #: Until when nothing is drawn for it, since the kind has just failed.
        self.left_alone = 0.0

    def __len__(self) -> int:
        return len(self.anyone) + len(self.waited)

    @property
    def emptier(self) -> deque[Challenge]:
        return self.waited if len(self.waited) < len(self.anyone) else self.anyone

    def take(self, waited: bool) -> Challenge | None:
        for queue in (self.waited, self.anyone) if waited else (self.anyone,):
            if queue:
                return queue.popleft()
        return None


class Pool:
    """Hands out challenges.

    :param size: challenges kept ready, over all kinds, levels and locales.
    :param rate: drawings a second at most.
    :param clients: clients whose share is remembered, and as many submissions that were served for having waited.
    :param needed: asked about once a second whether the thread is still needed.
    :param timer: processor time of the calling thread, in seconds.
    """

    def __init__(
        self,
        kinds: Mapping[str, Kind],
        *,
        size: int,
        rate: float,
        clients: int,
        clock: Clock,
        needed: Callable[[], bool],
        timer: Callable[[], float] = time.thread_time,
    ) -> None:
        self._kinds = kinds
        self._size = size
        self._rate = rate
        self._clock = clock
        self._needed = needed
        self._timer = timer
        self._prices = Prices()
        # One half of the drawings is for those who have waited; while nobody waits, anyone may have it.
        self._budget = Budget(rate / 2, clock)
        self._reserve = Budget(rate / 2, clock)
        self._shares = Limiter(Rate(int(rate // 8), 1) if rate >= 8 else Rate(1, 8 / rate), clients)
        self._served = Limiter(Rate(1, LONGEST_WAIT), clients)
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._shelves: dict[Key, _Shelf] = {}
        self._orders: deque[_Task] = deque()
        self._short = 0.0  # submissions that went without a picture and have not come back, about
        self._short_at = clock()
        self._turns = Turns(2 / rate)
        #: Challenges drawn so far.
        self.drawn = 0

    # --- for the drivers ---

    def start(self, key: Key | None = None) -> None:
        """See to it that the thread runs, and that it keeps a stock of ``key``. Cheap when it does."""
        thread = self._thread
        if thread is not None and thread.is_alive() and (key is None or key in self._shelves):
            return
        with self._wake:
            self._start(key)

    def _start(self, key: Key | None) -> None:
        if key is not None and key not in self._shelves and len(self._shelves) < self._size:
            self._shelves[key] = _Shelf()
            self._wake.notify()
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(
                target=_run, args=(weakref.ref(self), self._wake), name="gatepost-pool", daemon=True
            )
            self._thread.start()

    def take(self, order: Draw) -> Drawn | Future[Drawn]:
        """A challenge from the stock, a future of one that is being drawn, or :class:`Busy`. Does not block."""
        key = (order.kind, order.level, order.locale)
        now, price = self._clock(), self._prices[order.kind]
        with self._wake:
            if order.client:
                wait = self._shares.wait(order.client, now, spend=False, weight=price)
                if wait:
                    return Busy(max(wait, 1.0))
            self._start(key)
            self._forget(now)
            waited = self._has_waited(order, now)
            found: Drawn | Future[Drawn] | None = self._from_stock(key, waited)
            if found is None:
                found = self._on_order(key, waited)
            if found is None:
                return self._turn_away(order, now)
            self._wake.notify()
            if waited:
                self._short = max(0.0, self._short - 1.0)
                self._served_for(order, now, spend=True)
            if order.client:
                self._shares.wait(order.client, now, spend=True, weight=price)
        return found

    def put_back(self, order: Draw, challenge: Challenge) -> None:
        """Put what was taken for this order back into the stock: nobody has seen it.

        It stays counted for the client, so that one who may have no more cannot hold all of the stock by asking.
        """
        with self._wake:
            shelf = self._shelves.get((order.kind, order.level, order.locale))
            if shelf is not None and sum(map(len, self._shelves.values())) < self._size:
                shelf.emptier.append(challenge)

    def _has_waited(self, order: Draw, now: float) -> bool:
        """Whether it is this submission's turn, and it was not served for having waited a moment ago."""
        return self._turns.come(now, order.waited) and not self._served_for(order, now, spend=False)

    def _served_for(self, order: Draw, now: float, spend: bool) -> float:
        """Seconds until having waited counts for this submission; 0 if it does now, and then ``spend`` uses it up."""
        return self._served.wait(order.submission.hex(), now, spend) if order.submission else 0.0

    def _turn_away(self, order: Draw, now: float) -> Busy:
        self._short += 1.0
        turn = self._turns.give(now, self._prices[order.kind])
        return Busy(max(turn, self._served_for(order, now, spend=False)))

    def _from_stock(self, key: Key, waited: bool) -> Challenge | None:
        shelf = self._shelves.get(key)
        return shelf.take(waited) if shelf is not None else None

    def _on_order(self, key: Key, waited: bool) -> Future[Drawn] | None:
        """One drawing of the budget, if this submission may have it."""
        price = self._prices[key[0]]
        if len(self._orders) >= self._rate:
            return None
        budget = next((budget for budget in self._budgets(waited) if budget.take(price)), None)
        if budget is None:
            return None
        future = Future[Drawn]()
        self._orders.append(_Task(key, future, budget, price))
        return future

    def _budgets(self, waited: bool) -> tuple[Budget, ...]:
        """Out of what a drawing may come, in order."""
        if waited:
            return self._reserve, self._budget
        return (self._budget, self._reserve) if self._short < 1.0 else (self._budget,)

    def _forget(self, now: float) -> None:
        """Most of a flood never comes back, so nothing is held back for long for those that have not."""
        self._short *= 0.5 ** (max(0.0, now - self._short_at) / LONGEST_WAIT)
        self._short_at = now

    @property
    def stock(self) -> int:
        """Challenges that are ready."""
        with self._wake:
            return sum(map(len, self._shelves.values()))

    # --- the thread ---

    def _rest(self) -> float:
        """Seconds until there can be something to do that nobody tells of. Called under the lock."""
        wanted = self._wanted()
        return min(IDLE, max(_SHORTEST_REST, wanted.budget.wait(wanted.paid))) if wanted is not None else IDLE

    def _next(self) -> _Task | None:
        """What to draw next and for whom: what is on order, else the emptiest shelf. Called under the lock."""
        if self._orders:
            return self._orders.popleft()
        wanted = self._wanted()
        return wanted if wanted is not None and wanted.budget.take(wanted.paid) else None

    def _wanted(self) -> _Task | None:
        """What the stock lacks, if anything."""
        if not self._shelves or sum(map(len, self._shelves.values())) >= self._size:
            return None
        now = self._clock()
        # A clock that goes back makes none of them wait for longer.
        keys = [key for key, it in self._shelves.items() if not now < it.left_alone <= now + SHORTEST_WAIT]
        if not keys:
            return None
        key = min(keys, key=lambda key: len(self._shelves[key]))
        shelf, price = self._shelves[key], self._prices[key[0]]
        emptier = shelf.emptier
        return _Task(key, emptier, self._reserve if emptier is shelf.waited else self._budget, price)

    def _draw(self, task: _Task, started: float) -> float:
        """Draw, and hand out what was drawn; the processor time that it took since the thread began to look for it."""
        kind, level, locale = task.key
        drawn: Drawn
        try:
            drawn = checked(self._kinds[kind].draw(level, locale))
        except Exception:
            log.exception("The kind %r could not draw a challenge.", kind)
            drawn = Busy(SHORTEST_WAIT)
        taken = self._timer() - started
        self.drawn += 1
        with self._wake:
            task.budget.settle(task.paid, price_of(taken))
            self._prices.note(kind, taken)
            if isinstance(task.recipient, deque) and isinstance(drawn, Challenge):
                task.recipient.append(drawn)
            elif isinstance(drawn, Busy) and task.key in self._shelves:
                # It may be this language alone. As the emptiest shelf it would get all the budget, and others nothing.
                self._shelves[task.key].left_alone = self._clock() + SHORTEST_WAIT
        if isinstance(task.recipient, Future):
            task.recipient.set_result(drawn)
        return taken

    def _still_needed(self) -> bool:
        if self._needed():
            return True
        with self._wake:
            if self._orders:
                return True
            self._shelves = {}
            self._thread = None
            return False


def _run(reference: weakref.ref[Pool], wake: threading.Condition) -> None:
    """The thread: draws what is wanted until nothing needs it, or until its pool is gone."""
    looked = time.monotonic()
    while (pool := reference()) is not None:
        started = pool._timer()
        with wake:
            task = pool._next()
            if task is None:
                rest = pool._rest()
                del pool  # or it would be there for as long as the thread is
                wake.wait(rest)
                if (pool := reference()) is None:
                    return
                task = pool._next()
        if task is not None:
            time.sleep(min(LONGEST_REST, _REST * pool._draw(task, started)))
        elif time.monotonic() - looked >= IDLE:
            if not pool._still_needed():
                return
            looked = time.monotonic()


def checked(drawn: Challenge) -> Challenge:
    """A challenge that a page can show and a token can hold: what a site's own kind draws may be anything.

    :raises ValueError: for another one.
    """
    media = drawn.media
    for value, sort in ((drawn.answer, str), (drawn.data, bytes), (media.type, str), (media.content, bytes)):
        if not isinstance(value, sort):
            raise ValueError(f"it has {type(value).__name__} where {sort.__name__} is wanted")
    if not drawn.answer:
        raise ValueError("the answer is empty, and an empty answer is never right")
    if len(drawn.data) > DATA_LIMIT:
        raise ValueError(f"the data has {len(drawn.data)} bytes, wanted at most {DATA_LIMIT}")
    return drawn
