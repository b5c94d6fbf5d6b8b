"""Interleaved timing.

Facts
    A shared machine changes its speed from one second to the next, by more than what is measured here.

Strategy
    All contenders do short rounds in turn, in a new random order each time, so that a slow second is slow for all of
    them. What a contender adds is taken against its floor's round of the same turn, and the median of those
    differences is reported. The garbage collector is off during a round; what had been made before is frozen, so that
    collecting between the turns takes next to no time.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Round = Callable[[int], float]
"""Does it so many times; the seconds that took. What has to be prepared for that is done before the clock starts."""

_MOST = 5000  # times a round


@dataclass(frozen=True)
class Plan:
    """How long to measure.

    :param turns: rounds of each contender.
    :param seconds: that one round should take.
    """

    turns: int = 1500
    seconds: float = 0.0003  # much less than the slice of time after which another process has its turn

    def of(self, turns: float, seconds: float) -> Plan:
        """Fewer and longer rounds, for what takes longer; at least three of them."""
        return Plan(max(3, round(self.turns * turns)), seconds)


@dataclass(frozen=True)
class Contender:
    """One thing to time.

    :param floor: the name of the contender that it is compared with; empty if its own time is what counts.
    :param target: what its median should not exceed, in microseconds.
    """

    name: str
    round: Round = field(repr=False)
    floor: str = ""
    target: float | None = None


@dataclass(frozen=True)
class Result:
    """Microseconds each time: the median, and the quartiles on both sides of it."""

    name: str
    low: float
    median: float
    high: float
    target: float | None = None

    @classmethod
    def of(cls, contender: Contender, values: Sequence[float]) -> Result:
        """The quartiles of some values."""
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(contender.name, low, median, high, contender.target)


def measure(contenders: Sequence[Contender], plan: Plan) -> dict[str, Result]:
    """Time the contenders in turn; what each of them takes, or adds to its floor, by name."""
    order = list(contenders)
    counts = {contender.name: _count(contender.round, plan.seconds) for contender in order}
    times: dict[str, list[float]] = {contender.name: [] for contender in order}
    shuffle = random.Random().shuffle  # noqa: S311 - the order of rounds is no secret
    gc.collect()
    gc.freeze()
    try:
        for _ in range(plan.turns):
            shuffle(order)
            for contender in order:
                count = counts[contender.name]
                times[contender.name].append(_timed(contender.round, count) / count * 1e6)
    finally:
        gc.unfreeze()
    return {contender.name: Result.of(contender, _added(contender, times)) for contender in contenders}


def loop(function: Callable[[], object]) -> Round:
    """A round of calling a function."""

    def run(count: int) -> float:
        turns = range(count)
        started = time.perf_counter()
        for _ in turns:
            function()
        return time.perf_counter() - started

    return run


def _timed(run: Round, count: int) -> float:
    gc.collect(0)
    gc.disable()
    try:
        return run(count)
    finally:
        gc.enable()


def _count(run: Round, seconds: float) -> int:
    """How many times make a round of about that length. Warms up, too."""
    count = 1
    while True:
        taken = min(_timed(run, count) for _ in range(3))
        if taken >= seconds / 2 or count >= _MOST:
            return max(1, min(_MOST, round(count * seconds / taken)))
        count = min(_MOST, count * 4)


def _added(contender: Contender, times: dict[str, list[float]]) -> list[float]:
    own = times[contender.name]
    if not contender.floor:
        return own
    return [mine - floor for mine, floor in zip(own, times[contender.floor], strict=True)]
