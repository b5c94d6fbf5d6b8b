"""The sliding window: how many events the last seconds hold.

Facts
    The window is weighted over two buckets: all of the running bucket, and of the one before it the share that the
    window still covers. That is within a few per cent of an exact log, takes three numbers, and works as well for
    counts that several processes add to, since all of them mean the same buckets.
"""

from __future__ import annotations

NEVER = float("-inf")


def estimate(current: float, previous: float, start: float, period: float, now: float) -> float:
    """How many events the last ``period`` seconds hold, about.

    :param current: events of the running bucket, which began at ``start``.
    :param previous: events of the bucket before.
    """
    return current + previous * (1.0 - min(1.0, max(0.0, (now - start) / period)))


def falls_to(value: float, current: float, previous: float, start: float, period: float) -> float:
    """When the estimate comes down to ``value`` if nothing more is counted; :data:`NEVER` if it is there."""
    if current + previous <= value:
        return NEVER
    if current <= value:
        return start + period * (1.0 - (value - current) / previous)
    return start + period * (2.0 - value / current)


def wait_for(most: int, current: float, previous: float, start: float, period: float, now: float) -> float:
    """Seconds until one more event makes no more than ``most``; 0 if it does now."""
    if estimate(current, previous, start, period, now) + 1.0 <= most:
        return 0.0
    return max(falls_to(most - 1.0, current, previous, start, period) - now, 0.001)


class Window:
    """Counts events in a sliding window of ``period`` seconds. Not locked."""

    __slots__ = ("_earlier", "_own", "_own_before", "_told", "_told_before", "current", "period", "previous", "start")

    def __init__(self, period: float) -> None:
        # Floats all of them, the counts too: mixed arithmetic takes longer, and the calm path does it.
        self.period = float(period)
        self.start = NEVER  # when the running bucket began
        self.current = 0.0
        self.previous = 0.0
        # Of these, what this process has counted itself, and what others have been told of that.
        self._own = self._told = 0.0
        self._own_before = self._told_before = 0.0
        self._earlier = 0.0

    def _roll(self, now: float) -> None:
        elapsed = now - self.start
        if elapsed < 0:  # the clock went back: keep the counts, so that this is no way to calm a rule
            self.start = now - now % self.period
            return
        within = elapsed < 2 * self.period
        self._earlier += self._own
        self.previous = self.current if within else 0.0
        self._own_before, self._told_before = (self._own, self._told) if within else (0.0, 0.0)
        self.current = self._own = self._told = 0.0
        self.start = now - now % self.period

    def estimate(self, now: float) -> float:
        """How many events the last ``period`` seconds hold, about."""
        elapsed = now - self.start
        if not 0.0 <= elapsed < self.period:
            self._roll(now)
            elapsed = now - self.start
        return self.current + self.previous * (1.0 - elapsed / self.period)

    def add(self, now: float, weight: float = 1.0) -> float:
        """Count one event, or something that counts for more; the estimate with it."""
        elapsed = now - self.start
        if not 0.0 <= elapsed < self.period:
            self._roll(now)
            elapsed = now - self.start
        self.current += weight
        self._own += weight
        return self.current + self.previous * (1.0 - elapsed / self.period)

    def peek(self, now: float) -> float:
        """Like :meth:`estimate`, without moving the buckets on."""
        elapsed = now - self.start
        if elapsed < self.period:
            return self.current + self.previous * (1.0 - max(elapsed, 0.0) / self.period)
        if elapsed < 2 * self.period:
            return self.current * (2.0 - elapsed / self.period)
        return 0.0

    def falls_to(self, value: float) -> float:
        """When the estimate comes down to ``value`` if nothing more is counted; :data:`NEVER` if it is there."""
        return falls_to(value, self.current, self.previous, self.start, self.period)

    def take_back(self) -> None:
        """Take back the event that was counted last."""
        self.current = max(0.0, self.current - 1.0)
        self._own -= 1.0

    @property
    def bucket(self) -> int:
        """The number of the running bucket, which is the same in every process."""
        return int(self.start // self.period)

    @property
    def total(self) -> int:
        """All that this process has ever counted."""
        return int(self._earlier + self._own)

    @property
    def fresh(self) -> int:
        """What this process counted in the running bucket, and others have not been told of."""
        return int(self._own - self._told)

    @property
    def late(self) -> int:
        """The same for the bucket before."""
        return int(self._own_before - self._told_before)

    def tell(self) -> tuple[int, int]:
        """:attr:`fresh` and :attr:`late`, of which others are told now."""
        untold = self.fresh, self.late
        self._told, self._told_before = self._own, self._own_before
        return untold

    def merge(self, bucket: int, current: float, previous: float) -> None:
        """Take in the sums of all processes, this one's up to its last exchange among them."""
        if bucket == self.bucket:
            self.current = current + self.fresh
            self.previous = previous + self.late
        elif bucket == self.bucket - 1:
            self.previous = current + self.late
