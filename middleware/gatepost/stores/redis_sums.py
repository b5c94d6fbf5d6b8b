"""What processes tell each other through Redis: sums, states and counts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from ..protocols import Sums, Told, Totals
from ..window import estimate
from .redis_scripts import EXCHANGE
from .terms import read, written

_MARGIN = 60_000  # milliseconds that counts outlive their use

Key = Callable[..., bytes]
"""Makes a key of this store."""


def exchange(client: Any, key: Key, sums: Sequence[Sums], now: float) -> list[Totals]:
    """Add the sums of one process, each rule's once, and tell those of all: one round trip."""
    pipeline = client.pipeline(transaction=False)
    for mine in sums:
        keys = [
            key("s", mine.rule, str(mine.bucket)),
            key("s", mine.rule, str(mine.bucket - 1)),
            key("state", mine.rule),
            key("counts", mine.rule),
            key("rules"),
            key("t", mine.rule, mine.teller),
        ]
        # By its name, since the method of a cluster's pipeline takes nothing.
        pipeline.execute_command("EVAL", EXCHANGE, len(keys), *keys, _values(mine, now), repr(now))
    return [
        Totals(mine.rule, mine.bucket, int(current), int(previous), tuple(json.loads(until)), int(turn))
        for mine, (current, previous, until, turn) in zip(sums, pipeline.execute(), strict=True)
    ]


def _values(mine: Sums, now: float) -> str:
    values = {
        "rule": mine.rule,
        "fresh": mine.fresh,
        "late": mine.late,
        "expire": int(3 * mine.period * 1000) + _MARGIN,
        "counts": dict(mine.counts),
        "ends": mine.until,
        "turn": mine.turn,
        "period": mine.period,
        "cause": mine.cause,
        "terms": written(mine.terms),
        "now": now,
        "number": mine.number,
        "told": bool(mine.teller and (mine.fresh or mine.late or mine.counts)),
    }
    return json.dumps(values)


def command(client: Any, key: Key, rule: str, until: float | None, cause: str, now: float) -> None:
    """Engage a rule by hand, or release it."""
    state = key("state", rule)
    ends = [until] if until is not None else []
    client.sadd(key("rules"), rule)
    client.hset(state, mapping={"until": json.dumps(ends), "since": repr(now), "cause": cause})
    client.hincrby(state, "turn", int(until is None))


def status(client: Any, key: Key, now: float) -> list[Told]:
    """What is known of each rule."""
    told = []
    for rule in sorted(name.decode() for name in client.smembers(key("rules"))):
        state = {name.decode(): value.decode() for name, value in client.hgetall(key("state", rule)).items()}
        counts = {name.decode(): int(value) for name, value in client.hgetall(key("counts", rule)).items()}
        period = float(state.get("period", 60))
        bucket = int(now // period)
        current, previous = (int(client.get(key("s", rule, str(bucket - age))) or 0) for age in (0, 1))
        told.append(
            Told(
                rule,
                period,
                estimate(current, previous, bucket * period, period, now),
                tuple(json.loads(state.get("until", "[]"))),
                float(state.get("since", 0)),
                state.get("cause", ""),
                counts,
                read(state.get("terms")),
            )
        )
    return told
