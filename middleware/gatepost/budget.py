"""What may be drawn, what it counts for, and when those who went without are served. Nothing here is locked."""

from __future__ import annotations

from collections import deque

from .protocols import Clock

#: Seconds of processor time that one drawing of the budget stands for: 50 of them are a quarter of a core.
DRAWING = 0.005
SHORTEST_WAIT = 2.0
LONGEST_WAIT = 60.0

_REMEMBERED = 16  # drawings that the time of one is averaged over, about
_TURNS_APART = 0.25  # turns closer than this are kept as one, so that there are few of them


class Budget:
    """A bucket of drawings that refills at ``rate`` a second and holds one second's worth."""

    def __init__(self, rate: float, clock: Clock) -> None:
        self._rate = rate
        self._most = max(1.0, rate)
        self._clock = clock
        self._left = self._most
        self._at = clock()

    def _refill(self) -> None:
        now = self._clock()
        self._left = min(self._most, self._left + max(0.0, now - self._at) * self._rate)
        self._at = now

    def has(self, price: float) -> bool:
        """Whether there is a drawing that counts for so many. Of more than fit in, it takes all and a debt."""
        self._refill()
        return self._left >= min(price, self._most)

    def take(self, price: float) -> bool:
        """Take it, if there is."""
        if not self.has(price):
            return False
        self._left -= price
        return True

    def settle(self, paid: float, price: float) -> None:
        """Make up for what a drawing turned out to cost, which may leave a debt, of so many seconds at most.

        Where few are drawn, one that took long would else end drawing for many times what anybody is told to wait.
        """
        self._left = max(self._left + paid - price, -LONGEST_WAIT * self._rate)

    def wait(self, price: float) -> float:
        """Seconds until there is, if nothing is taken meanwhile."""
        self._refill()
        return max(0.0, min(price, self._most) - self._left) / self._rate


def price_of(seconds: float) -> float:
    """For how many drawings one counts: as many as fit in its processor time, and one at least."""
    return max(1.0, seconds / DRAWING)


class Prices:
    """For how many drawings the next one of each kind is likely to count."""

    def __init__(self) -> None:
        self._times: dict[str, float] = {}

    def note(self, kind: str, seconds: float) -> None:
        """One has taken so long. The first takes longer than all the rest, so each counts for little."""
        before = self._times.get(kind, DRAWING)
        self._times[kind] = before + (seconds - before) / _REMEMBERED

    def __getitem__(self, kind: str) -> float:
        return price_of(self._times.get(kind, DRAWING))


class Turns:
    """When those who went without a picture are served, in the order in which they came.

    Each is told a turn of its own, as far after the one before as the reserve needs for a drawing. So whoever comes
    back then finds one, and not only the latest few.
    """

    def __init__(self, gap: float) -> None:
        self._gap = gap
        self._last = 0.0
        self._ahead: deque[tuple[float, float]] = deque()  # until when somebody came, and from when on it is due
        self._due = 0.0  # who came no later than this is due

    def give(self, now: float, price: float) -> float:
        """Seconds until the turn of one more, whose drawing counts for so many."""
        if self._last > now + LONGEST_WAIT:  # the clock went back
            self._last = self._due = 0.0
            self._ahead.clear()
        self._last = min(max(self._last + self._gap * price, now + SHORTEST_WAIT), now + LONGEST_WAIT)
        if self._ahead and self._last - self._ahead[-1][1] < _TURNS_APART:
            self._ahead[-1] = (now, self._ahead[-1][1])
        else:
            self._ahead.append((now, self._last))
        return self._last - now

    def come(self, now: float, waited: float) -> bool:
        """Whether it is the turn of one that has waited for so long."""
        while self._ahead and self._ahead[0][1] <= now:
            self._due, _ = self._ahead.popleft()
        return waited > LONGEST_WAIT or (waited > 0 and now - waited <= self._due)
