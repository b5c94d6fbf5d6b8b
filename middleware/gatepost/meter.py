"""The meter: a sliding window that says whether a rule, or one client of it, is calm or engaged.

Strategy
    With no further submissions the estimate only falls, and when it passes a given value can be computed. So there is
    no timer: each submission fixes when the rule would end if it were the last one, and whoever asks compares.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from cachetools import LRUCache

from .protocols import State, Totals
from .rules import Rate
from .window import NEVER, Window


@dataclass(frozen=True, slots=True)
class Share:
    """What one process adds to the sums of all: see :class:`gatepost.protocols.Sums`."""

    bucket: int
    fresh: int
    late: int
    until: tuple[float, ...]
    turn: int


Notify = Callable[[State, float, float], None]
"""Called with the new state, when it began, and the rate; never under a lock of the meter."""


def _ignore(state: State, at: float, rate: float) -> None:
    pass


class Meter:
    """Counts submissions and knows the level they demand: 0 is calm, each threshold that was passed adds 1.

    :param above: the thresholds, rising, over one period.
    :param below: for each, the count under which it ends, once the rate was under it for ``hold`` seconds.
    :param near: called for each submission past half of the first threshold.
    :param changed: called when the meter becomes engaged or calm.
    """

    __slots__ = (
        "_above",
        "_below",
        "_changed",
        "_forced",
        "_hold",
        "_level",
        "_lock",
        "_near",
        "_quiet",
        "_under",
        "_window",
        "since",
        "turn",
    )

    def __init__(
        self,
        above: Sequence[Rate],
        below: Sequence[float],
        hold: float,
        near: Callable[[], None] = lambda: None,
        changed: Notify = _ignore,
    ) -> None:
        self._above = tuple(float(rate.count) for rate in above)
        self._below = tuple(below)
        self._hold = hold
        self._near = near
        self._changed = changed
        self._quiet = self._above[0] / 2
        self._window = Window(above[0].period)
        self._lock = threading.Lock()
        self._level = 0
        self._under = [NEVER] * len(self._above)  # since when the rate is under each `below`, or will be
        self._forced = [NEVER] * len(self._above)  # until when others, or a person, want each level
        #: When the meter last became engaged or calm, in seconds since the epoch.
        self.since = NEVER
        #: How often the rule was released by hand.
        self.turn = 0

    def count(self, now: float) -> int:
        """Count one submission; the level that is demanded of it."""
        with self._lock:
            estimate = self._window.add(now)
            if estimate <= self._quiet and not self._level:
                return 0
            released = self._settle(now)
            engaged = self._rise(now, estimate)
            level = self._level
        if released is not None:
            self._changed(State.CALM, released, estimate)
        if engaged:
            self._changed(State.ENGAGED, now, estimate)
        self._near()
        return level

    def uncount(self) -> None:
        """Take back the submission that was counted last; a level it brought about stays."""
        with self._lock:
            self._window.take_back()

    def _rise(self, now: float, estimate: float) -> bool:
        """Take in a submission past the quiet range; whether it engaged the meter."""
        before = self._level
        for index, above in enumerate(self._above):
            if index == self._level and estimate > above:
                self._level += 1
            if index < self._level and estimate >= self._below[index]:
                self._under[index] = max(now, self._window.falls_to(self._below[index]))
        engaged = bool(self._level) and not before
        if engaged:
            self.since = now
        return engaged

    def _settle(self, now: float) -> float | None:
        """Leave the levels that have ended; when the meter became calm, if it did by that."""
        if self._level:
            # A clock that went back must not leave a rule engaged for longer than any rate could.
            latest = now + 2 * self._window.period
            self._under = [min(under, latest) for under in self._under]
        before, self._level = self._level, self._current(now)
        if self._level or not before:
            return None
        self.since = min(max(self._under[0] + self._hold, self._forced[0]), now)
        return self.since

    def _current(self, now: float) -> int:
        level = self._level
        while level and now >= self._end_of(level - 1):
            level -= 1
        return level

    def _end_of(self, index: int) -> float:
        return max(self._under[index] + self._hold, self._forced[index])

    def force(self, until: float, now: float) -> None:
        """Engage by hand, until this time at least."""
        self._wanted([until], self.turn, now)

    def release(self, now: float) -> None:
        """Become calm by hand; what is counted stays, so a flood that goes on engages the meter again."""
        self._wanted([], self.turn + 1, now)

    def outgoing(self, now: float) -> Share:
        """What other processes have not been told of yet."""
        with self._lock:
            window = self._window
            window.estimate(now)  # moves the buckets on
            fresh, late = window.tell()
            level = self._current(now)
            until = tuple(self._end_of(index) if index < level else 0.0 for index in range(len(self._above)))
            return Share(window.bucket, fresh, late, until, self.turn)

    def incoming(self, totals: Totals, now: float) -> None:
        """Take in what all processes have counted, and what they want."""
        with self._lock:
            self._window.estimate(now)
            self._window.merge(totals.bucket, totals.current, totals.previous)
        self._wanted(totals.until, totals.turn, now)

    def _wanted(self, until: Sequence[float], turn: int, now: float) -> None:
        with self._lock:
            released = self._settle(now)
            before = self._level
            if turn > self.turn:
                self.turn, self._level = turn, 0
                self._under = [NEVER] * len(self._above)
                self._forced = [NEVER] * len(self._above)
            # What was wanted before a release by hand does not count.
            for index, end in enumerate(until[: len(self._above)] if turn >= self.turn else ()):
                if end > now:
                    self._forced[index] = end
                    self._level = max(self._level, index + 1)
            changed = bool(self._level) != bool(before)
            if changed:
                self.since = now
            level, rate = self._level, self._window.peek(now)
        if released is not None:
            self._changed(State.CALM, released, rate)
        if changed:
            self._changed(State.ENGAGED if level else State.CALM, now, rate)

    @property
    def total(self) -> int:
        """Submissions counted so far."""
        return self._window.total

    @property
    def unsent(self) -> bool:
        """Whether something was counted that others have not been told of."""
        return bool(self._window.fresh or self._window.late)

    def settle(self, now: float) -> None:
        """Notice now, and not with the next submission, that the meter became calm."""
        with self._lock:
            released = self._settle(now)
            rate = self._window.peek(now)
        if released is not None:
            self._changed(State.CALM, released, rate)

    def level(self, now: float) -> int:
        """The level now, without counting or changing anything."""
        with self._lock:
            return self._current(now)

    def rate(self, now: float) -> float:
        """The submissions in the window now, about."""
        with self._lock:
            return self._window.peek(now)

    def near(self, now: float) -> bool:
        """Whether the rule is engaged, or has passed half of its first threshold."""
        with self._lock:
            return self._current(now) > 0 or self._window.peek(now) > self._above[0] / 2


class ClientMeters:
    """One meter a client, for the ``size`` clients that were seen last.

    :param changed: like that of :class:`Meter`, with the client before the rest.
    """

    def __init__(
        self, above: Sequence[Rate], hold: float, size: int, changed: Callable[[str, State, float, float], None]
    ) -> None:
        self._changed = changed
        self._above = tuple(above)
        self._below = tuple(rate.count / 2 for rate in above)
        self._hold = hold
        self._lock = threading.Lock()
        self._meters: LRUCache[str, Meter] = LRUCache(size)

    def count(self, client: str, now: float) -> int:
        """Count one submission of this client; the level that is demanded of it alone."""
        with self._lock:
            meter = self._meters.get(client)
            if meter is None:
                changed = partial(self._changed, client)
                meter = self._meters[client] = Meter(self._above, self._below, self._hold, changed=changed)
        return meter.count(now)

    def uncount(self, client: str) -> None:
        """Take back the submission of this client that was counted last."""
        with self._lock:
            meter = self._meters.get(client)
        if meter is not None:
            meter.uncount()

    def level(self, client: str, now: float) -> int:
        """The client's level now, without counting."""
        with self._lock:
            meter = self._meters.get(client)
        return 0 if meter is None else meter.level(now)


class Limiter:
    """At most so many events a client in a sliding window; what is refused does not count.

    :param size: clients remembered.
    """

    def __init__(self, rate: Rate, size: int) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._windows: LRUCache[str, Window] = LRUCache(size)

    def wait(self, client: str, now: float, spend: bool, weight: float = 1.0) -> float:
        """Seconds until one more event fits; 0 if it does now, and then it is counted if ``spend``.

        :param weight: for how many it counts, at least one; of more than fit in, it needs all there is room for.
        """
        with self._lock:
            window = self._windows.get(client)
            if window is None:
                if not spend:  # many that only ask must not push out those that have something counted
                    return 0.0
                window = self._windows[client] = Window(self._rate.period)
            room = self._rate.count - min(weight, float(self._rate.count))
            if window.estimate(now) > room:
                return max(window.falls_to(room) - now, 0.001)
            if spend:
                window.add(now, weight)
            return 0.0

    def give_back(self, client: str, now: float) -> None:
        """Take back an event that was counted a moment ago."""
        with self._lock:
            window = self._windows.get(client)
            if window is not None:
                window.estimate(now)  # moves the buckets on
                window.take_back()
