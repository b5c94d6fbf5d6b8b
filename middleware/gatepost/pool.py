"""The pool: challenges drawn ahead of need, by one thread and within a budget.

Strategy
    Drawing is work that anyone can ask for. So there is a ceiling on drawings a second, a share of it for each client,
    and every second drawing goes to submissions that have already waited: in a flood, those who come back are served.
    The thread starts when a rule nears its threshold, ends when nothing needs it, and starts again when asked,
    after a fork too. It holds no lock while it draws.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future

from .effects import Busy, Draw
from .meter import Limiter
from .protocols import Challenge, Clock, Kind
from .rules import Rate
from .tokens import DATA_LIMIT

log = logging.getLogger("gatepost")

IDLE = 1.0  # seconds between two looks at whether the thread is still needed
_SHORTEST_WAIT = 2.0
_LONGEST_WAIT = 60.0
_TURNS_APART = 0.25  # turns closer than this are kept as one, so that there are few of them

Key = tuple[str, int, str]
Drawn = Challenge | Busy


class Budget:
    """A bucket of drawings that refills at ``rate`` a second and holds one second's worth."""

    def __init__(self, rate: float, clock: Clock) -> None:
        self._rate = rate
        self._most = max(1.0, rate)
        self._clock = clock
        self._left = self._most
        self._at = clock()

    def take(self) -> bool:
        """Take one drawing, if there is one."""
        now = self._clock()
        self._left = min(self._most, self._left + max(0.0, now - self._at) * self._rate)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class _Turns:
    """When those who went without a picture are served, in the order in which they came.

    Each is told a turn of its own, as far after the one before as the reserve needs for a drawing. So whoever comes
    back then finds one, and not only the latest few.
    """

    def __init__(self, gap: float) -> None:
        self._gap = gap
        self._last = 0.0
        self._ahead: deque[tuple[float, float]] = deque()  # until when somebody came, and from when on it is due
        self._due = 0.0  # who came no later than this is due

    def give(self, now: float) -> float:
        """Seconds until the turn of one more."""
        if self._last > now + _LONGEST_WAIT:  # the clock went back
            self._last = self._due = 0.0
            self._ahead.clear()
        self._last = min(max(self._last + self._gap, now + _SHORTEST_WAIT), now + _LONGEST_WAIT)
        if self._ahead and self._last - self._ahead[-1][1] < _TURNS_APART:
            self._ahead[-1] = (now, self._ahead[-1][1])
        else:
            self._ahead.append((now, self._last))
        return self._last - now

    def come(self, now: float, waited: float) -> bool:
        """Whether it is the turn of one that has waited for so long."""
        while self._ahead and self._ahead[0][1] <= now:
            self._due, _ = self._ahead.popleft()
        return waited > _LONGEST_WAIT or (waited > 0 and now - waited <= self._due)


class _Shelf:
    """The stock for one kind, level and locale: one half for anyone, one for those who have waited."""

    def __init__(self) -> None:
        self.anyone: deque[Challenge] = deque()
        self.waited: deque[Challenge] = deque()

    def __len__(self) -> int:
        return len(self.anyone) + len(self.waited)

    def take(self, waited: bool) -> Challenge | None:
        for queue in (self.waited, self.anyone) if waited else (self.anyone,):
            if queue:
                return queue.popleft()
        return None


class Pool:
    """Hands out challenges.

    :param size: challenges kept ready, over all kinds, levels and locales.
    :param rate: drawings a second at most.
    :param clients: clients whose share is remembered.
    :param needed: asked about once a second whether the thread is still needed.
    """

    def __init__(
        self,
        kinds: Mapping[str, Kind],
        *,
        size: int,
        rate: int,
        clients: int,
        clock: Clock,
        needed: Callable[[], bool],
    ) -> None:
        self._kinds = kinds
        self._size = size
        self._rate = rate
        self._clock = clock
        self._needed = needed
        # One half of the drawings is for those who have waited; while nobody waits, anyone may have it.
        self._budget = Budget(rate / 2, clock)
        self._reserve = Budget(rate / 2, clock)
        self._shares = Limiter(Rate(rate // 8, 1) if rate >= 8 else Rate(1, 8 / rate), clients)
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._shelves: dict[Key, _Shelf] = {}
        self._orders: deque[tuple[Key, Future[Drawn]]] = deque()
        self._short = 0.0  # submissions that went without a picture and have not come back, about
        self._short_at = clock()
        self._turns = _Turns(2 / rate)
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
            self._thread = threading.Thread(target=self._run, name="gatepost-pool", daemon=True)
            self._thread.start()

    def take(self, order: Draw) -> Drawn | Future[Drawn]:
        """A challenge from the stock, a future of one that is being drawn, or :class:`Busy`. Does not block."""
        key = (order.kind, order.level, order.locale)
        now = self._clock()
        with self._wake:
            if order.client:
                wait = self._shares.wait(order.client, now, spend=False)
                if wait:
                    return Busy(max(wait, 1.0))
            self._start(key)
            self._forget(now)
            waited = self._turns.come(now, order.waited)
            found: Drawn | Future[Drawn] | None = self._from_stock(key, waited)
            if found is None:
                found = self._on_order(key, waited)
            self._wake.notify()
            if found is None:
                self._short += 1.0
                return Busy(self._turns.give(now))
            if waited:
                self._short = max(0.0, self._short - 1.0)
            if order.client:
                self._shares.wait(order.client, now, spend=True)
        return found

    def _from_stock(self, key: Key, waited: bool) -> Challenge | None:
        shelf = self._shelves.get(key)
        return shelf.take(waited) if shelf is not None else None

    def _on_order(self, key: Key, waited: bool) -> Future[Drawn] | None:
        """One drawing of the budget, if this submission may have it."""
        if len(self._orders) >= self._rate:
            return None
        if waited:
            granted = self._reserve.take() or self._budget.take()
        else:
            granted = self._budget.take() or (self._short < 1.0 and self._reserve.take())
        if not granted:
            return None
        future: Future[Drawn] = Future()
        self._orders.append((key, future))
        return future

    def _forget(self, now: float) -> None:
        """Most of a flood never comes back, so nothing is held back for long for those that have not."""
        self._short *= 0.5 ** (max(0.0, now - self._short_at) / _LONGEST_WAIT)
        self._short_at = now

    @property
    def stock(self) -> int:
        """Challenges that are ready."""
        with self._wake:
            return sum(map(len, self._shelves.values()))

    # --- the thread ---

    def _run(self) -> None:
        while True:
            with self._wake:
                task = self._next()
                if task is None:
                    self._wake.wait(IDLE)
                    task = self._next()
            if task is not None:
                self._draw(*task)
            elif not self._still_needed():
                return

    def _next(self) -> tuple[Key, Future[Drawn] | deque[Challenge]] | None:
        """What to draw next and for whom: what is on order, else the emptiest shelf. Called under the lock."""
        if self._orders:
            return self._orders.popleft()
        if not self._shelves or sum(map(len, self._shelves.values())) >= self._size:
            return None
        key = min(self._shelves, key=lambda key: len(self._shelves[key]))
        shelf = self._shelves[key]
        if len(shelf.waited) < len(shelf.anyone):
            return (key, shelf.waited) if self._reserve.take() else None
        return (key, shelf.anyone) if self._budget.take() else None

    def _draw(self, key: Key, recipient: Future[Drawn] | deque[Challenge]) -> None:
        kind, level, locale = key
        drawn: Drawn
        try:
            drawn = self._kinds[kind].draw(level, locale)
            if not drawn.answer:
                raise ValueError("the answer is empty, and an empty answer is never right")
            if len(drawn.data) > DATA_LIMIT:
                raise ValueError(f"the data has {len(drawn.data)} bytes, wanted at most {DATA_LIMIT}")
        except Exception:
            log.exception("The kind %r could not draw a challenge.", kind)
            drawn = Busy(_SHORTEST_WAIT)
        self.drawn += 1
        if isinstance(recipient, Future):
            recipient.set_result(drawn)
        elif isinstance(drawn, Challenge):
            with self._wake:
                recipient.append(drawn)

    def _still_needed(self) -> bool:
        if self._needed():
            return True
        with self._wake:
            if self._orders:
                return True
            self._shelves = {}
            self._thread = None
            return False
