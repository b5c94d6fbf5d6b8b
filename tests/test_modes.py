"""Modes, exemptions, clients, events and counts: what decides whether a challenge is demanded, and what is told."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import pytest

from gatepost import Event, Gate, Request, Rule, State
from twins import BROWSER, HOST, Reply, Twin, settings

ORIGINAL = b"name=Ada&message=hello"
JSON = (("host", HOST), ("accept", "application/json"))
TwinOf = Callable[..., Twin]


def statuses(twin: Twin, count: int, **options: Any) -> list[int]:
    return [twin.send(body=ORIGINAL, **options).status for _ in range(count)]


# --- modes ---


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("adaptive", [200, 200, 429]), ("always", [429] * 3), ("off", [200] * 3), ("observe", [200] * 3)],
)
def test_modes(mode: str, expected: list[int], twin_of: TwinOf) -> None:
    """Each mode decides as it is called: by the threshold, always, never, and never but counting what it would do."""
    twin = twin_of(mode=mode, above="2/minute")
    assert statuses(twin, 3) == expected
    assert len(twin.received) == expected.count(200)
    stats = twin.gate.stats()["/contact"]
    assert stats.submissions == (0 if mode == "off" else 3)
    assert stats.reasons.get("would-challenge", 0) == (1 if mode == "observe" else 0)
    assert twin.gate.state("/contact") == ("calm" if mode == "off" else "engaged")


def test_each_rule_has_its_own_mode_and_meter(twin_of: TwinOf) -> None:
    """What is sent to one rule counts for no other, and each has its own mode."""
    rules = [Rule("/a", mode="always"), Rule("/b", mode="adaptive", above="1/minute"), Rule("/c", mode="off")]
    twin = twin_of(protect=rules)
    assert statuses(twin, 2, path="/a") == [429, 429]
    assert statuses(twin, 2, path="/b") == [200, 429]
    assert statuses(twin, 2, path="/c") == [200, 200]
    assert statuses(twin, 2, path="/d") == [200, 200]
    assert {name: stats.submissions for name, stats in twin.gate.stats().items()} == {"/a": 2, "/b": 2, "/c": 0}


def test_one_noisy_client_is_alone(twin_of: TwinOf) -> None:
    """A client that exceeds its own limit is challenged alone; what it sends unsolved does not engage the rule."""
    twin = twin_of(mode="adaptive", above="5/minute", above_per_client="2/minute")
    assert statuses(twin, 20) == [200, 200] + [429] * 18
    assert twin.gate.state("/contact") is State.CALM
    assert statuses(twin, 2, peer="198.51.100.1") == [200, 200]
    assert twin.send(body=ORIGINAL).reason == "client-engaged"
    # What it has solved counts for the rule like anybody's.
    for _ in range(2):
        assert twin.answer(twin.send(body=ORIGINAL)).status == 200
    assert twin.gate.state("/contact") is State.ENGAGED
    assert twin.send(body=ORIGINAL, peer="198.51.100.2").reason == "rule-engaged"


# --- who is who ---


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("203.0.113.7", "203.0.113.7", True),
        ("203.0.113.7", "203.0.113.8", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:203.0.113.7", "203.0.113.7", True),
        ("::ffff:203.0.113.7", "::ffff:203.0.113.8", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        (None, None, False),
        ("unix:", "unix:", True),
    ],
)
def test_client_is_an_address_or_a_network(one: str | None, other: str | None, same: bool, twin_of: TwinOf) -> None:
    """A client is its address, of IPv6 the /64; without an address nobody is taken for anybody."""
    twin = twin_of(mode="adaptive", above_per_client="1/minute")
    assert statuses(twin, 1, peer=one) == [200]
    assert statuses(twin, 1, peer=other) == [429 if same else 200]


def test_client_callable(twin_of: TwinOf) -> None:
    """The ``client`` callable says who sent a request, in whatever it likes; ``None`` is nobody."""
    seen: list[Request] = []

    def client(request: Request) -> Any:
        seen.append(request)
        return {"ada": 5, "eve": "eve"}.get(request.headers.get("x-user"))

    twin = twin_of(mode="adaptive", above_per_client="1/minute", client=client)
    for user, expected in (("ada", [200, 429, 429]), ("eve", [200, 429, 429]), ("", [200, 200, 200])):
        assert statuses(twin, 3, fields=[*BROWSER, ("x-user", user)]) == expected
    request = seen[0]
    assert (request.method, request.path, request.peer) == ("POST", "/contact", "203.0.113.7")
    assert request.headers.get("host") == HOST
    assert "POST" in (request.raw.get("method"), request.raw.get("REQUEST_METHOD"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        request.path = "/elsewhere"  # type: ignore[misc]


SAID = "198.51.100.200 is not what I expected"


def failing(_request: Request) -> Any:
    raise LookupError(SAID)


def test_client_callable_that_fails(twin_of: TwinOf, caplog: pytest.LogCaptureFixture) -> None:
    """If the ``client`` callable raises, the address counts; the log says where, not what: it may be an address."""
    twin = twin_of(mode="adaptive", above_per_client="1/minute", client=failing)
    assert statuses(twin, 2) == [200, 429]
    assert statuses(twin, 1, peer="198.51.100.1") == [200]
    assert "The 'client' callable failed" in caplog.text
    assert "LookupError" in caplog.text
    assert "in failing" in caplog.text
    assert SAID not in caplog.text


EXEMPT: list[tuple[Any, str | None, bool]] = [
    ("203.0.113.0/24", "203.0.113.7", True),
    ("203.0.113.0/24", "203.0.114.7", False),
    ("203.0.113.7", "203.0.113.7", True),
    ("203.0.113.0/24", "::ffff:203.0.113.7", True),
    ("::ffff:203.0.113.0/120", "::ffff:203.0.113.7", True),
    ("0.0.0.0/0", "2001:db8::1", False),
    ("2001:db8::/32", "2001:db8::1", True),
    ("::/0", "203.0.113.7", False),
    ("fe80::/10", "fe80::1%eth0", True),
    ("0.0.0.0/0", None, False),
    ("0.0.0.0/0", "unix:", False),
    (["10.0.0.0/8", "203.0.113.0/24"], "203.0.113.7", True),
    (lambda request: request.headers.get("x-hook") == "1", "203.0.113.7", True),
    (lambda request: request.path == "/elsewhere", "203.0.113.7", False),
    (["10.0.0.0/8", lambda request: request.peer == "203.0.113.7"], "203.0.113.7", True),
    (failing, "203.0.113.7", False),
    ([failing, lambda _request: True], "203.0.113.7", True),
]


@pytest.mark.parametrize(("exempt", "peer", "passes"), EXEMPT)
def test_exempt(exempt: Any, peer: str | None, passes: bool, twin_of: TwinOf) -> None:
    """Exempt requests pass while others are challenged; they count all the same; a failing callable exempts none."""
    twin = twin_of(exempt=exempt)
    reply = twin.send(body=ORIGINAL, peer=peer, fields=[*BROWSER, ("x-hook", "1")])
    assert reply.status == (200 if passes else 429)
    assert twin.gate.stats()["/contact"].submissions == 1


def test_exempt_of_a_rule_alone(twin_of: TwinOf) -> None:
    """A rule's own exemptions go before the setting's, and hold for it alone."""
    twin = twin_of(protect=[Rule("/a", exempt=()), "/b"], exempt="203.0.113.0/24")
    assert statuses(twin, 1, path="/a") == [429]
    assert statuses(twin, 1, path="/b") == [200]


# --- events ---


def test_events(twin_of: TwinOf) -> None:
    """Each change, challenge, delivery and refusal is told once, in order, with its rule, its time and its reason."""
    events: list[Event] = []
    twin = twin_of(mode="adaptive", above="1/minute", on_event=events.append)
    twin.send(body=ORIGINAL)
    began = twin.clock.now
    page = twin.send(body=ORIGINAL)
    page = twin.answer(page, "wrong")
    twin.answer(page)
    twin.send(body=b"gatepost_token=x")
    twin.clock.tick(600)
    twin.send(body=ORIGINAL)
    told = [(event.name, event.reason) for event in events]
    assert told[:5] == [
        ("engaged", "2 submissions in 60 s, threshold 1"),
        ("challenged", "rule-engaged"),
        ("challenged", "wrong"),
        ("delivered", "solved"),
        ("refused", "forged"),
    ]
    assert told[5][0] == "released"
    assert [event.at for event in events[:5]] == [began, began, began + 2, began + 4, began + 4]
    assert {event.rule for event in events} == {"/contact"}


def test_i9_events_have_no_clear_address(twin_of: TwinOf, caplog: pytest.LogCaptureFixture) -> None:
    """A client is a keyed hash in events and logs, the same within a day, another one the day after."""
    caplog.set_level(logging.DEBUG, "gatepost")
    events: list[Event] = []
    twin = twin_of(mode="adaptive", above_per_client="1/minute", on_event=events.append)
    for _ in range(3):
        twin.send(body=ORIGINAL)
    clients = {event.client for event in events}
    assert len(clients) == 1
    twin.clock.tick(86400)
    for _ in range(3):
        twin.send(body=ORIGINAL)
    assert len({event.client for event in events if event.name == "challenged"}) == 2
    assert "203.0.113.7" not in repr(events)
    assert "203.0.113.7" not in caplog.text


@pytest.mark.parametrize("mode", ["adaptive", "observe"])
def test_callable_for_events_that_fails_does_no_harm(
    mode: str, twin_of: TwinOf, caplog: pytest.LogCaptureFixture
) -> None:
    """An ``on_event`` that raises is logged, and changes nothing for any request."""

    def on_event(_event: Event) -> None:
        raise LookupError("of the site's own")

    twin = twin_of(mode=mode, above="1/minute", above_per_client="3/minute", on_event=on_event)
    assert statuses(twin, 1) == [200]
    if mode == "adaptive":
        page = twin.send(body=ORIGINAL)
        assert twin.answer(twin.answer(page, "wrong")).status == 200
        assert twin.send(body=b"gatepost_token=x").status == 400
    else:
        assert statuses(twin, 5) == [200] * 5
    assert "The 'on_event' callable failed" in caplog.text


# --- counts ---


def solved(twin: Twin, **options: Any) -> Reply:
    return twin.answer(twin.send(body=ORIGINAL, **options), **options)


COUNTS: dict[str, tuple[dict[str, Any], Callable[[Twin], object], tuple[int, int, int, int], dict[str, int]]] = {
    # (settings, what happens, (submissions, passed, challenged, delivered), reasons)
    "nothing": ({}, lambda _: None, (0, 0, 0, 0), {}),
    "passed": ({"mode": "adaptive"}, lambda twin: statuses(twin, 2), (2, 2, 0, 0), {}),
    "unprotected": ({}, lambda twin: statuses(twin, 2, path="/x"), (0, 0, 0, 0), {}),
    "challenged": ({}, lambda twin: statuses(twin, 2), (2, 0, 2, 0), {"always": 2}),
    "solved": ({}, solved, (1, 0, 1, 1), {"always": 1, "solved": 1}),
    "wrong": (
        {},
        lambda twin: twin.answer(twin.answer(twin.send(body=ORIGINAL), "no")),
        (1, 0, 2, 1),
        {"always": 1, "wrong": 1, "solved": 1},
    ),
    "exempt": ({"exempt": "0.0.0.0/0"}, lambda twin: statuses(twin, 2), (2, 2, 0, 0), {}),
    "observed": (
        {"mode": "observe", "above": "1/minute"},
        lambda twin: statuses(twin, 3),
        (3, 3, 0, 0),
        {"would-challenge": 2},
    ),
    "forged": ({}, lambda twin: twin.send(body=b"gatepost_token="), (0, 0, 0, 0), {"forged": 1}),
    "one client": (
        {"mode": "adaptive", "above_per_client": "1/minute"},
        lambda twin: statuses(twin, 3),
        (3, 1, 2, 0),
        {"client-engaged": 2},
    ),
    "one client solved": (
        {"mode": "adaptive", "above_per_client": "1/minute"},
        lambda twin: [twin.send(body=ORIGINAL), solved(twin)],
        (2, 1, 1, 1),
        {"client-engaged": 1, "solved": 1},
    ),
    "permit": (
        {"permit_uses": 1},
        lambda twin: twin.send(body=ORIGINAL, cookie=solved(twin).get("set-cookie").partition(";")[0]),
        (2, 0, 1, 1),
        {"always": 1, "solved": 1, "permit": 1},
    ),
    "calmed": (
        {"mode": "adaptive", "above": "1/minute"},
        lambda twin: [twin.send(body=ORIGINAL), later(twin, twin.send(body=ORIGINAL))],
        (3, 2, 1, 1),
        {"rule-engaged": 1, "calmed": 1},
    ),
    "by header": ({}, lambda twin: by_header(twin), (1, 0, 1, 1), {"always": 1, "solved": 1}),
}


def later(twin: Twin, page: Reply) -> Reply:
    twin.clock.tick(500)
    return twin.answer(page)


def by_header(twin: Twin) -> Reply:
    headers = twin.send(body=ORIGINAL, fields=JSON).answered().headers
    twin.clock.tick(2)
    return twin.send(body=ORIGINAL, fields=[*JSON, *((name.lower(), value) for name, value in headers.items())])


@pytest.mark.parametrize("name", COUNTS)
def test_stats(name: str, twin_of: TwinOf) -> None:
    """What has happened is counted once each, by outcome and by reason."""
    options, happen, counts, reasons = COUNTS[name]
    twin = twin_of(**options)
    happen(twin)
    stats = twin.gate.stats()["/contact"]
    assert dict(stats.reasons) == reasons
    assert (stats.submissions, stats.passed, stats.challenged, stats.delivered) == counts


def test_looking_changes_nothing() -> None:
    """``stats()`` and ``state()`` are read only, in what they give and in what they do."""
    gate = Gate(settings(protect=["/a", Rule("/b", name="b")]))
    first = gate.stats()
    assert list(first) == ["/a", "b"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        first["b"].submissions = 5  # type: ignore[misc]
    with pytest.raises(TypeError):
        first["b"].reasons["x"] = 5  # type: ignore[index]
    assert (first["b"].state, first["b"].since, first["b"].rate) == (State.CALM, None, 0)
    assert gate.state("b") is State.CALM
    with pytest.raises(KeyError, match="there is no rule '/b'; the rules are"):
        gate.state("/b")
    assert gate.stats() == first


def test_stats_tell_since_when(twin_of: TwinOf) -> None:
    """State, rate and the time of the last change are those of now."""
    twin = twin_of(mode="adaptive", above="2/minute", hold=10)
    began = twin.clock.now
    statuses(twin, 3)
    stats = twin.gate.stats()["/contact"]
    assert (stats.state, stats.since, stats.rate) == (State.ENGAGED, began, 3)
    twin.clock.tick(300)
    stats = twin.gate.stats()["/contact"]
    assert (stats.state, stats.rate) == (State.CALM, 0)
