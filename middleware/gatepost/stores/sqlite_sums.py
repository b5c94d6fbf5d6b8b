"""What processes tell each other through a SQLite file: sums, states and counts. Each works in a given transaction."""

from __future__ import annotations

import json
import sqlite3

from ..protocols import Sums, Told, Totals
from ..window import estimate
from .terms import read, written

_ADD_SUM = "INSERT INTO sums VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count"
_ADD_COUNT = "INSERT INTO counts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value"
_TERMS = (
    "INSERT INTO terms VALUES (?, ?) ON CONFLICT DO UPDATE SET terms = excluded.terms WHERE terms != excluded.terms"
)
_SUMS = "SELECT bucket, count FROM sums WHERE rule = ? AND bucket >= ?"
_MARGIN = 60_000  # milliseconds that the number of an exchange outlives its sums


def exchange(connection: sqlite3.Connection, mine: Sums, now: float) -> Totals:
    """Add the sums of one process, once, and tell those of all."""
    until = int((mine.bucket + 3) * mine.period * 1000)
    if _first_time(connection, mine, until + _MARGIN):
        for bucket, count in ((mine.bucket, mine.fresh), (mine.bucket - 1, mine.late)):
            if count:
                connection.execute(_ADD_SUM, (mine.rule, bucket, count, until))
        connection.executemany(_ADD_COUNT, [(mine.rule, name, value) for name, value in mine.counts.items()])
    terms = written(mine.terms)
    if terms:
        connection.execute(_TERMS, (mine.rule, terms))
    counts = dict(connection.execute(_SUMS, (mine.rule, mine.bucket - 1)).fetchall())
    ends, turn = _merge(connection, mine, now)
    return Totals(mine.rule, mine.bucket, counts.get(mine.bucket, 0), counts.get(mine.bucket - 1, 0), ends, turn)


def _first_time(connection: sqlite3.Connection, mine: Sums, until: int) -> bool:
    """Whether these sums were not added yet: an exchange that seemed to fail is told again."""
    if not mine.teller or not (mine.fresh or mine.late or mine.counts):
        return True
    changed = connection.execute(
        "INSERT INTO tellers VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE "
        "SET number = excluded.number, until = excluded.until WHERE number < excluded.number",
        (mine.teller, mine.rule, mine.number, until),
    )
    return changed.rowcount > 0


def _merge(connection: sqlite3.Connection, mine: Sums, now: float) -> tuple[tuple[float, ...], int]:
    """The later end of each level; what was engaged before a release by hand does not count."""
    query = "SELECT until, turn, since, cause, period FROM states WHERE rule = ?"
    row = connection.execute(query, (mine.rule,)).fetchone()
    theirs, turn, since, cause = (json.loads(row[0]), *row[1:4]) if row else ([], 0, now, "")
    # A process may know of a release that the store does not: its file is another one, or the command comes later.
    until = list(theirs) if mine.turn <= turn else []
    if mine.turn >= turn:
        turn = mine.turn
        until += [0.0] * (len(mine.until) - len(until))
        until = [max(until[index], end) for index, end in enumerate(mine.until)] + until[len(mine.until) :]
    engaged, was = any(end > now for end in until), any(end > now for end in theirs)
    if engaged != was or not row:
        since, cause = now, mine.cause if engaged else ""
    values = (json.dumps(until), turn, since, cause, mine.period)
    if values != row:  # in calm an exchange has nothing to write, and so nothing for the disk
        connection.execute("INSERT OR REPLACE INTO states VALUES (?, ?, ?, ?, ?, ?)", (mine.rule, *values))
    return tuple(until), turn


def command(connection: sqlite3.Connection, rule: str, until: float | None, cause: str, now: float) -> None:
    """Engage a rule by hand, or release it."""
    row = connection.execute("SELECT turn, period FROM states WHERE rule = ?", (rule,)).fetchone()
    turn, period = row or (0, 60.0)
    ends = [until] if until is not None else []
    values = (rule, json.dumps(ends), turn + (until is None), now, cause, period)
    connection.execute("INSERT OR REPLACE INTO states VALUES (?, ?, ?, ?, ?, ?)", values)


def status(connection: sqlite3.Connection, now: float) -> list[Told]:
    """What is known of each rule."""
    told = []
    query = "SELECT rule, until, since, cause, period, terms FROM states LEFT JOIN terms USING (rule) ORDER BY rule"
    for rule, until, since, cause, period, terms in connection.execute(query).fetchall():
        bucket = int(now // period)
        counts = dict(connection.execute(_SUMS, (rule, bucket - 1)).fetchall())
        rate = estimate(counts.get(bucket, 0), counts.get(bucket - 1, 0), bucket * period, period, now)
        outcomes = connection.execute("SELECT name, value FROM counts WHERE rule = ?", (rule,)).fetchall()
        told.append(Told(rule, period, rate, tuple(json.loads(until)), since, cause, dict(outcomes), read(terms)))
    return told
