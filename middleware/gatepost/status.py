"""What ``gatepost status`` prints of a rule."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from .protocols import Mode, Told

_TOTALS = ("submissions", "held", "challenged", "delivered")
_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))
_MODES = {
    Mode.ALWAYS: "always: each submission is challenged, whatever the rate is",
    Mode.OFF: "off: nothing is counted or challenged",
    Mode.OBSERVE: "observe: nothing is challenged",
}


def describe(told: Told, now: float) -> str:
    """State, since when and why, rate, thresholds and counts of one rule, in some lines.

    :param now: seconds since the epoch.
    """
    facts = [*_state(told, now), *_thresholds(told)]
    if told.terms.mode in _MODES:
        facts.insert(0, ("mode", _MODES[Mode(told.terms.mode)]))
    width = max(len(name) for name, _ in facts)
    lines = [told.rule, *(f"  {name:<{width}}  {text}" for name, text in facts)]
    totals = {name: told.counts[name] for name in _TOTALS if name in told.counts}
    reasons = {name: value for name, value in told.counts.items() if name not in totals}
    tables = {"counts": totals, "by reason": dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))}
    return "\n".join([*lines, *_tables(tables)])


def _state(told: Told, now: float) -> Iterator[tuple[str, str]]:
    since, cause, end = told.since, told.cause, max(told.until, default=0.0)
    level = level_of(told, now)
    if level:
        which = f", level {level} of {len(told.terms.above)}" if len(told.terms.above) > 1 else ""
        yield "state", f"engaged{which}, until {moment(end)} at least (in {lasting(end - now)})"
    else:
        yield "state", "calm"
        if end > since:  # it ended by itself, and nobody has told the store since
            since, cause = end, ""
    if since:
        yield "since", f"{moment(since)} ({lasting(now - since)} ago){f': {cause}' if cause else ''}"
    yield "rate", f"{told.rate:.1f} in {lasting(told.period)}"


def _thresholds(told: Told) -> Iterator[tuple[str, str]]:
    terms = told.terms
    for level, (above, below) in enumerate(zip(terms.above, terms.below, strict=False), 1):
        name = "threshold" if len(terms.above) == 1 else f"level {level}"
        hold = f" for {lasting(terms.hold)}" if terms.hold else ""
        yield name, f"above {above:g} in {lasting(told.period)}, until under {below:g}{hold}"


def _tables(tables: dict[str, dict[str, int]]) -> Iterator[str]:
    """The tables that are not empty, their numbers one under the other."""
    everything = [item for counts in tables.values() for item in counts.items()]
    names = max((len(name) for name, _ in everything), default=0)
    numbers = max((len(f"{value:,}") for _, value in everything), default=0)
    for title, counts in tables.items():
        if counts:
            yield f"  {title}"
        for name, value in counts.items():
            yield f"    {name:<{names}}  {value:>{numbers},}"


def level_of(told: Told, now: float) -> int:
    """The level that the store knows of; 0 is calm."""
    return sum(end > now for end in told.until)


def moment(at: float) -> str:
    """A time here, as ISO 8601 has it: ``2026-11-21 04:47:19+01:00``.

    :param at: seconds since the epoch.
    """
    return datetime.fromtimestamp(at).astimezone().isoformat(" ", "seconds")


def lasting(seconds: float) -> str:
    """A duration in words, its two largest units: ``1 minute 20 seconds``."""
    rest = max(0, round(seconds))
    parts: list[str] = []
    for name, size in _UNITS:
        count, rest = divmod(rest, size)
        if count or (size == 1 and not parts):
            parts.append(f"{count} {name}{'' if count == 1 else 's'}")
    return " ".join(parts[:2])
