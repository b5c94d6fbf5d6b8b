"""Events: everything that happens is told once, with what is known of it, to ``on_event``, the log and watchers."""

from __future__ import annotations

import logging
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from gatepost import Event, Gate, Rule
from gatepost.testing import KnownChallenge
from twins import ANSWER, HOST, Reply, Twin, WsgiTwin, settings

ORIGINAL = b"name=Ada&message=hello"
PEER = "203.0.113.7"
JSON = (("host", HOST), ("accept", "application/json"))
TwinOf = Callable[..., Twin]
#: name, reason, kind, level, seconds
Told = tuple[str, str, str, int, float]


def send(twin: Twin, times: int = 1, **options: Any) -> Reply:
    for _ in range(times):
        reply = twin.send(body=ORIGINAL, **options)
    return reply


def by_header(twin: Twin) -> None:
    headers = send(twin, fields=JSON).answered().headers
    twin.clock.tick(3)
    send(twin, fields=[*JSON, *((name.lower(), value) for name, value in headers.items())])


def with_permit(twin: Twin) -> None:
    cookie = twin.answer(send(twin)).get("set-cookie").partition(";")[0]
    send(twin, cookie=cookie)


def by_hand(twin: Twin) -> None:
    send(twin)
    [rule] = twin.gate.stats()
    twin.gate.engage(rule)
    twin.gate.release(rule)


def when_calm(twin: Twin) -> None:
    page = send(twin, 2)
    twin.clock.tick(500)
    twin.answer(page)


FIRST = ("challenged", "always", "known", 1, 0.0)
ENGAGED = ("engaged", "2 submissions in 60 s, threshold 1", "", 1, 0.0)
HAPPENINGS: dict[str, tuple[dict[str, Any], Callable[[Twin], object], list[Told]]] = {
    "passed": ({"mode": "adaptive"}, send, []),
    "challenged": ({}, send, [FIRST]),
    "solved": ({}, lambda twin: twin.answer(send(twin)), [FIRST, ("delivered", "solved", "known", 1, 2.0)]),
    "wrong, then right": (
        {},
        lambda twin: twin.answer(twin.answer(send(twin), "no")),
        [FIRST, ("challenged", "wrong", "known", 1, 0.0), ("delivered", "solved", "known", 1, 4.0)],
    ),
    "another kind": (
        {"challenge": [KnownChallenge(ANSWER), KnownChallenge(ANSWER, "other")]},
        lambda twin: twin.answer(send(twin), button="kind-other"),
        [FIRST, ("challenged", "changed", "other", 1, 0.0)],
    ),
    "by header": ({}, by_header, [FIRST, ("delivered", "solved", "known", 1, 3.0)]),
    "permit": (
        {"permit_uses": 1},
        with_permit,
        [FIRST, ("delivered", "solved", "known", 1, 2.0), ("permitted", "permit", "", 0, 0.0)],
    ),
    "no challenge now": (
        {"issue_limit": "1/minute"},
        lambda twin: send(twin, 2),
        [FIRST, ("deferred", "issue-limit", "", 0, 0.0)],
    ),
    "refused": ({}, lambda twin: twin.send(body=b"gatepost_token=x"), [("refused", "forged", "", 0, 0.0)]),
    "sent already": (
        {},
        lambda twin: [twin.answer(page := send(twin)), twin.answer(page)],
        [FIRST, ("delivered", "solved", "known", 1, 2.0), ("refused", "already-sent", "", 0, 0.0)],
    ),
    "observed": (
        {"mode": "observe", "above": "1/minute"},
        lambda twin: send(twin, 2),
        [ENGAGED, ("observed", "rule-engaged", "", 1, 0.0)],
    ),
    "calm again": (
        {"mode": "adaptive", "above": "1/minute", "hold": 10},
        when_calm,
        [
            ENGAGED,
            ("challenged", "rule-engaged", "known", 1, 0.0),
            ("released", "under 0.5 for 10 s", "", 0, 0.0),
            ("delivered", "calmed", "", 0, 502.0),
        ],
    ),
    "harder": (
        {"mode": "adaptive", "above": ["1/minute", "2/minute"]},
        lambda twin: send(twin, 3),
        [
            ENGAGED,
            ("challenged", "rule-engaged", "known", 1, 0.0),
            ("challenged", "rule-engaged", "known", 2, 0.0),
        ],
    ),
    "by hand": (
        {"mode": "adaptive"},
        by_hand,
        [
            ("engaged", "by others or by hand; 1 submission in 60 s, threshold 20", "", 1, 0.0),
            ("released", "by hand", "", 0, 0.0),
        ],
    ),
    "one client": (
        {"mode": "adaptive", "above_per_client": "1/minute"},
        lambda twin: send(twin, 2),
        [ENGAGED, ("challenged", "client-engaged", "known", 1, 0.0)],
    ),
}


@pytest.mark.parametrize("name", HAPPENINGS)
def test_each_is_told_once(name: str, twin_of: TwinOf) -> None:
    """What happens is told once, in order, with its reason, kind, level and time; calm traffic is not told of."""
    options, happen, expected = HAPPENINGS[name]
    events: list[Event] = []
    happen(twin_of(**options, on_event=events.append))
    assert [(event.name, event.reason, event.kind, event.level, event.seconds) for event in events] == expected
    assert {event.rule for event in events} <= {"/contact"}


ACTIONS: dict[str, Callable[[Twin, Reply], Reply | None]] = {
    "send": lambda twin, _: send(twin),
    "answer": lambda twin, page: twin.answer(page),
    "wrong": lambda twin, page: twin.answer(page, "no"),
    "another": lambda twin, page: twin.answer(page, button="another"),
    "forge": lambda twin, _: twin.send(body=b"gatepost_token=x"),
    "wait": lambda twin, _: twin.clock.tick(200),
}


@profile(deadline=None, max_examples=60)  # a drawing takes as long as the machine lets it
@given(st.lists(st.sampled_from(sorted(ACTIONS)), max_size=12))
def test_events_agree_with_counts(actions: list[str]) -> None:
    """Whatever happens, as many things are told as are counted, with the same reasons."""
    events: list[Event] = []
    options = {"mode": "adaptive", "above": "2/minute", "issue_limit": "3/minute", "on_event": events.append}
    twin = WsgiTwin(Gate(settings(**options)))
    page = send(twin, 3)
    for action in actions:
        reply = ACTIONS[action](twin, page)
        page = reply if reply is not None and b"gatepost_token" in reply.body else page
    stats = twin.gate.stats()["/contact"]
    names = Counter(event.name for event in events)
    reasons = Counter(event.reason for event in events if event.name not in ("engaged", "released"))
    assert names["challenged"] + names["deferred"] == stats.challenged
    assert names["delivered"] == stats.delivered
    assert reasons == stats.reasons
    twin.clock.tick(10**7)


# --- the log ---


def level_of(event: Event) -> int:
    """How loud an event is: what each request can bring about is for those who look for something."""
    if event.name in ("engaged", "released"):
        return logging.INFO if event.client else logging.WARNING
    return logging.INFO if event.name == "observed" else logging.DEBUG


@pytest.mark.parametrize("name", sorted(set(HAPPENINGS) - {"passed"}))
def test_log_bears_the_same_facts(name: str, twin_of: TwinOf, caplog: pytest.LogCaptureFixture) -> None:
    """Each event is logged once with its facts, at the level that it deserves."""
    caplog.set_level(logging.DEBUG, "gatepost")
    options, happen, _ = HAPPENINGS[name]
    events: list[Event] = []
    rule = Rule("/contact", name=secrets.token_hex(8))  # the threads of other tests may still log
    twin = twin_of(**options, protect=rule, on_event=events.append)
    happen(twin)
    records = [vars(record) for record in caplog.records if vars(record).get("gatepost_rule") == rule.name]
    assert [record["gatepost_event"] for record in records] == [event.name for event in events]
    for record, event in zip(records, events, strict=True):
        for key in ("rule", "reason", "client", "level", "kind", "seconds"):
            assert record.get(f"gatepost_{key}", getattr(Event("", "", 0), key)) == getattr(event, key)
        assert record["levelno"] == level_of(event)


def test_i9_nothing_secret_is_told(twin_of: TwinOf, caplog: pytest.LogCaptureFixture) -> None:
    """No answer, token, body or clear address stands in an event or a log record, its extra fields included."""
    caplog.set_level(logging.DEBUG, "gatepost")
    events: list[Event] = []
    twin = twin_of(above_per_client="1/minute", on_event=events.append)
    page = send(twin, 2)
    wrong = twin.answer(page, "my password")
    twin.answer(wrong)
    told = repr(events) + "".join(repr(vars(record)) for record in caplog.records)
    tokens = [reply.answered()["gatepost_token"][:40] for reply in (page, wrong)]
    for secret in (ANSWER, "my password", "hello", PEER, *tokens):
        assert secret not in told
    assert len(events) >= 5


class Numbers(KnownChallenge):
    """A kind that takes it for granted that people type numbers."""

    def normalise(self, fields: Mapping[str, str], data: bytes) -> str:  # noqa: ARG002
        return str(int(fields["answer"]))


def test_i9_kind_that_fails_tells_no_answer(twin_of: TwinOf, caplog: pytest.LogCaptureFixture) -> None:
    """The log says where a site's own kind failed at an answer, and not at which; the answer is wrong, no more."""
    twin = twin_of(challenge=Numbers("42"))
    page = twin.answer(send(twin), "my password")
    assert page.reason == "wrong"
    assert "could not normalise an answer: ValueError" in caplog.text
    assert 'return str(int(fields["answer"]))' in caplog.text
    assert "my password" not in caplog.text
    assert twin.answer(page, "42").status == 200


# --- watchers ---


class Clumsy:
    """A watcher that always fails."""

    ticking = False

    def __getattr__(self, name: str) -> Any:
        raise LookupError(name)


def test_watcher_that_fails_does_no_harm(twin_of: TwinOf, caplog: pytest.LogCaptureFixture) -> None:
    """A watcher's mistake is logged, and changes nothing for any request or drawing."""
    twin = twin_of()
    twin.gate.watch(Clumsy())
    assert twin.answer(twin.answer(send(twin), "no")).status == 200
    assert "A watcher failed at 'happened'" in caplog.text
    assert "could not draw" not in caplog.text
