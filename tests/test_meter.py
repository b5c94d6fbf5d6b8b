"""The meter: when a rule, or one client of it, is engaged and when it is calm again, held against an exact log."""

from __future__ import annotations

import math
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost import Rate, State
from gatepost.meter import ClientMeters, Limiter, Meter
from gatepost.window import NEVER, Window

PERIOD = 60.0
BEGIN = 1_800_000_000.0  # a bucket begins here

#: Times of submissions, rising, over a few periods.
times = st.lists(st.floats(0, 40), min_size=1, max_size=60).map(lambda gaps: [BEGIN + at for at in accumulate(gaps)])


class Log:
    """The exact count, by remembering every submission."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def add(self, now: float) -> None:
        self.times.append(now)

    def count(self, begin: float, end: float) -> int:
        return sum(begin < at <= end for at in self.times)


def meter_of(*above: int, below: float | None = None, hold: float = 0, period: float = PERIOD) -> Meter:
    rates = [Rate(count, period) for count in above]
    return Meter(rates, [count / 2 if below is None else below for count in above], hold)


# --- the window ---


@given(times)
def test_estimate_is_near_the_exact_count(moments: list[float]) -> None:
    """The estimate is never further from the exact count than what the bucket before holds."""
    window, log = Window(PERIOD), Log()
    for now in moments:
        log.add(now)
        estimate = window.add(now)
        bucket = now - now % PERIOD
        before = sum(bucket - PERIOD <= at < bucket for at in log.times)
        running = sum(bucket <= at for at in log.times)
        assert running <= estimate <= running + before
        assert abs(estimate - log.count(now - PERIOD, now)) <= before


@pytest.mark.parametrize("gap", [0.1, 0.5, 1.3, 7.0, 29.0])
def test_estimate_of_steady_traffic_is_exact_to_two(gap: float) -> None:
    """In steady traffic the estimate is within two submissions of the exact count, at every moment."""
    window, log = Window(PERIOD), Log()
    for step in range(int(6 * PERIOD / gap)):
        now = BEGIN + step * gap
        log.add(now)
        estimate = window.add(now)
        if step * gap > 2 * PERIOD:
            assert abs(estimate - log.count(now - PERIOD, now)) <= 2


@given(times, st.floats(0, 200))
def test_looking_does_not_move_the_window(moments: list[float], later: float) -> None:
    """To look at the rate changes nothing, and says what counting would say."""
    window, other = Window(PERIOD), Window(PERIOD)
    for now in moments:
        window.peek(now + later)
        assert window.add(now) == other.add(now)
    now = moments[-1] + later
    assert window.peek(now) == pytest.approx(other.estimate(now), abs=1e-3)


@given(times, st.floats(0, 70))
def test_window_says_when_it_falls(moments: list[float], value: float) -> None:
    """If nothing more comes, the estimate is above a value until the time that the window says, and not after."""
    window = Window(PERIOD)
    for now in moments:
        window.add(now)
    at = window.falls_to(value)
    last = moments[-1]
    if at == NEVER or at <= last:
        assert window.peek(last) <= value + 1e-3
    else:
        assert window.peek(at) <= value + 1e-3
        assert window.peek(max(last, at - 0.01)) >= value - 1e-3
    assert window.peek(last + 2 * PERIOD) == 0.0


@given(times, st.floats(0.1, 100_000))
def test_stepping_back_is_no_way_to_empty_a_window(moments: list[float], back: float) -> None:
    """A clock that goes back loses no count of the running bucket."""
    window = Window(PERIOD)
    for now in moments:
        window.add(now)
    running = window.current
    assert window.estimate(moments[-1] - back) >= running
    assert window.peek(moments[-1] - back) >= running


# --- the meter ---


@pytest.mark.parametrize("above", [1, 2, 5, 20, 100])
@pytest.mark.parametrize("offset", [0.0, 0.5, 59.9])
def test_the_next_submission_is_challenged(above: int, offset: float) -> None:
    """In a fresh window exactly the one after the last allowed is challenged, and all that come with it."""
    meter = meter_of(above, hold=10)
    levels = [meter.count(BEGIN + offset) for _ in range(above + 5)]
    assert levels == [0] * above + [1] * 5
    assert meter.total == above + 5


def test_levels_rise_with_the_thresholds() -> None:
    """Each further threshold that is passed demands a harder level."""
    meter = meter_of(2, 4, 7, hold=10)
    assert [meter.count(BEGIN) for _ in range(9)] == [0, 0, 1, 1, 2, 2, 2, 3, 3]


def test_levels_fall_one_by_one() -> None:
    """Each level ends by itself, once the rate was under its own value for the hold."""
    meter = Meter([Rate(2, PERIOD), Rate(10, PERIOD)], [1.0, 8.0], 5)
    for _ in range(12):
        meter.count(BEGIN)
    # The estimate falls from 12 at one period to 0 at two: to 8 after 20 seconds of it, to 1 after 55.
    table = [(0, 2), (84.9, 2), (85.1, 1), (119.9, 1), (120.1, 0), (1000, 0)]
    assert [(after, meter.level(BEGIN + after)) for after, _ in table] == table


@pytest.mark.parametrize(
    ("hold", "below", "calm_after"),
    [
        (0, 5.0, 90.0),  # ten in the bucket before weigh five after half of the next one
        (60, 5.0, 150.0),
        (0, 1.0, 114.0),
        (30, 9.0, 96.0),
    ],
)
def test_engaged_until_under_below_for_the_hold(hold: float, below: float, calm_after: float) -> None:
    """The rule is engaged until the rate has been under the lower threshold for as long as the hold."""
    meter = meter_of(9, below=below, hold=hold)
    for _ in range(10):
        meter.count(BEGIN)
    assert meter.level(BEGIN + calm_after - 0.01) == 1
    assert meter.level(BEGIN + calm_after + 0.01) == 0


def test_few_submissions_during_the_hold_are_challenged_too() -> None:
    """While the rule is engaged each submission is challenged, however low the rate has become meanwhile."""
    meter = meter_of(10, below=9.0, hold=60)
    for _ in range(11):
        meter.count(BEGIN)
    # From 11 the estimate is down to 9 after 71 seconds.
    table = [(100, 1), (115, 1), (130, 1), (132, 0)]
    assert [(after, meter.count(BEGIN + after)) for after, _ in table] == table


STEP = 0.5
moments_on_a_grid = st.lists(st.integers(0, 40), min_size=5, max_size=60).map(
    lambda gaps: [BEGIN + STEP * at for at in accumulate(gaps)]
)


@settings(max_examples=150, deadline=None)
@given(moments_on_a_grid, st.integers(1, 8), st.floats(0.2, 0.9), st.sampled_from([0.0, 3.0, 20.0]))
def test_engaged_and_calm_as_a_model_that_looks_all_the_time(
    moments: list[float], above: int, share: float, hold: float
) -> None:
    """Computed ahead from submissions alone, the end is where one finds it who looks at the rate at every moment."""
    below = above * share
    meter, window = meter_of(above, below=below, hold=hold), Window(PERIOD)
    engaged, under = False, BEGIN
    pending = list(moments)
    now, end = BEGIN, moments[-1] + 3 * PERIOD + hold
    while now < end:
        # As one who looks: since when is it under, and for long enough?
        under = min(under, now) if window.peek(now) < below else math.inf
        engaged = engaged and now < under + hold
        edge = abs(window.peek(now) - below) < above * STEP / PERIOD * 2 or abs(now - under - hold) <= STEP
        assert bool(meter.level(now)) == engaged or edge
        if bool(meter.level(now)) != engaged:  # the two differ by a moment at the edge; go on as the meter
            engaged = not engaged
        while pending and pending[0] <= now:
            pending.pop(0)
            estimate = window.add(now)
            engaged = engaged or estimate > above
            under = under if estimate < below else math.inf
            assert bool(meter.count(now)) == engaged
        now += STEP


def test_steady_load_above_the_threshold_is_challenged_all_the_time() -> None:
    """A limiter lets half of a steady double load through for ever; the meter, once engaged, none of it."""
    meter = meter_of(20, hold=60)
    levels = [meter.count(BEGIN + 1.5 * number) for number in range(400)]  # 40 a minute
    first = levels.index(1)
    assert first <= 40
    assert set(levels[first:]) == {1}


def test_steady_load_under_the_threshold_is_never_challenged() -> None:
    """Traffic just under the threshold, evenly spread, passes for ever."""
    meter = meter_of(20, hold=60)
    assert not any(meter.count(BEGIN + 3.2 * number) for number in range(1000))  # just under 19 a minute


def test_changes_are_told_once_with_their_time() -> None:
    """Engaged and calm again are told once each, with the moment and the rate, and so they are without a submission."""
    told: list[tuple[State, float, float]] = []
    meter = Meter([Rate(2, PERIOD)], [1.0], 10, changed=lambda *change: told.append(change))
    for _ in range(5):
        meter.count(BEGIN)
    assert told == [(State.ENGAGED, BEGIN, 3.0)]
    assert meter.since == BEGIN
    meter.settle(BEGIN + 60)
    assert len(told) == 1
    meter.settle(BEGIN + 300)
    meter.settle(BEGIN + 301)
    [(state, calm, rate)] = told[1:]
    assert (state, rate) == (State.CALM, 0.0)
    assert calm == meter.since == pytest.approx(BEGIN + 120 - 60 / 5 + 10)


def test_near_is_called_past_half_of_the_threshold() -> None:
    """The pool is told in time: from the first submission past half of the threshold."""
    called: list[int] = []
    meter = Meter([Rate(10, PERIOD)], [5.0], 0, near=lambda: called.append(meter.total))
    for _ in range(8):
        meter.count(BEGIN)
    assert called == [6, 7, 8]
    assert meter.near(BEGIN)
    assert not meter.near(BEGIN + 200)


def test_uncounted_submission_is_taken_back() -> None:
    """A submission that is taken back counts neither for the rate nor in total, and never below zero."""
    meter = meter_of(2)
    meter.count(BEGIN)
    for _ in range(5):
        meter.count(BEGIN)
        meter.uncount()
    assert (meter.total, meter.rate(BEGIN), meter.level(BEGIN)) == (1, 1.0, 0)
    meter.uncount()
    meter.uncount()
    assert meter.rate(BEGIN) == 0


@pytest.mark.parametrize("step", [86400.0, 3600.0, 180.0])
def test_clock_that_leaps_ahead_calms(step: float) -> None:
    """After a leap ahead the rule is calm, and the next submission is the first of a fresh window."""
    meter = meter_of(2, hold=30)
    for _ in range(5):
        meter.count(BEGIN)
    assert meter.level(BEGIN + step) == 0
    assert [meter.count(BEGIN + step) for _ in range(3)] == [0, 0, 1]


@pytest.mark.parametrize("step", [86400.0, 3600.0, 61.0, 4.0])
@pytest.mark.parametrize("counted", [False, True])
def test_clock_that_falls_back_neither_calms_nor_engages_for_long(step: float, counted: bool) -> None:
    """After a step back the rule is still engaged, and calm again after what any rate could last."""
    meter = meter_of(2, hold=30)
    for _ in range(5):
        meter.count(BEGIN)
    meter.settle(BEGIN - step)
    assert meter.level(BEGIN - step) == 1
    assert not counted or meter.count(BEGIN - step) == 1
    assert meter.level(BEGIN - step + 2 * PERIOD + 31) == 0


# --- clients ---


def test_each_client_has_a_meter_of_its_own() -> None:
    """What one client sends does not count for another."""
    told: list[tuple[str, State]] = []
    meters = ClientMeters([Rate(2, PERIOD)], 10, 100, lambda client, state, *_: told.append((client, state)))
    assert [meters.count(client, BEGIN) for client in "aababab"] == [0, 0, 0, 1, 0, 1, 1]
    assert [meters.level(client, BEGIN) for client in "abc"] == [1, 1, 0]
    assert told == [("a", State.ENGAGED), ("b", State.ENGAGED)]


def test_i6_only_so_many_clients_are_remembered() -> None:
    """The clients that were seen last are remembered, and no more of them than the setting says."""
    meters = ClientMeters([Rate(1, PERIOD)], 10, 3, lambda *_: None)
    for client in "abcd":
        meters.count(client, BEGIN)
    assert [meters.count(client, BEGIN) for client in "dcb"] == [1, 1, 1]
    assert meters.count("a", BEGIN) == 0
    assert len(meters._meters) == 3


# --- the limiter ---


@given(times, st.integers(1, 10))
def test_limiter_grants_no_more_than_its_rate(moments: list[float], count: int) -> None:
    """Over any stretch of periods no more is granted than the rate allows, and one window's worth."""
    limiter = Limiter(Rate(count, PERIOD), 10)
    granted = [now for now in moments if limiter.wait("client", now, spend=True) == 0]
    assert len(granted) >= min(count, len(moments))
    for first in granted:
        within = [now - first for now in granted if now >= first]
        assert all(number + 1 <= count * (after / PERIOD + 2) + 1e-6 for number, after in enumerate(within))


@given(times, st.integers(1, 10))
def test_limiter_tells_the_true_wait(moments: list[float], count: int) -> None:
    """After the wait one more fits, and a little before it does not."""
    limiter = Limiter(Rate(count, PERIOD), 10)
    for now in moments:
        limiter.wait("client", now, spend=True)
    wait = limiter.wait("client", moments[-1], spend=False)
    assert wait <= 2 * PERIOD
    if wait > 0.01:
        assert limiter.wait("client", moments[-1] + wait - 0.005, spend=False) > 0
    assert limiter.wait("client", moments[-1] + wait + 0.002, spend=True) == 0


def test_limiter_does_not_count_what_it_refuses() -> None:
    """Who asks all the time gets the rate nevertheless, since what is refused does not count."""
    limiter = Limiter(Rate(10, PERIOD), 10)
    granted = sum(limiter.wait("client", BEGIN + step / 10, spend=True) == 0 for step in range(6000))
    assert 90 <= granted <= 110  # ten minutes
