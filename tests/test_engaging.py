"""Engaged and calm as visitors see it: who is asked, who is not, and what old pages are worth."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gatepost import State
from twins import HOST, Twin

TwinOf = Callable[..., Twin]

BEGIN = 1_800_000_000.0  # a bucket of the meter begins here


def statuses(twin: Twin, count: int, peer: str | None = "203.0.113.7") -> list[int]:
    return [twin.send(body=b"x", peer=peer).status for _ in range(count)]


def test_submission_after_the_last_allowed_is_challenged(twin_of: TwinOf) -> None:
    """With ``above="20/minute"`` 20 pass in a fresh minute, and the 21st is asked."""
    twin = twin_of(mode="adaptive")
    assert statuses(twin, 22) == [200] * 20 + [429] * 2
    assert twin.send(body=b"x").reason == "rule-engaged"
    assert twin.gate.state("/contact") is State.ENGAGED


def test_calm_again_after_the_hold(twin_of: TwinOf) -> None:
    """When the rate was under half of the threshold for the hold, submissions pass again."""
    twin = twin_of(mode="adaptive", above="4/minute", hold=30)
    twin.clock.now = BEGIN
    assert statuses(twin, 6) == [200] * 4 + [429] * 2
    twin.clock.now = BEGIN + 60 + 40 + 29
    assert twin.gate.state("/contact") is State.ENGAGED
    twin.clock.now = BEGIN + 60 + 40 + 31
    assert twin.gate.state("/contact") is State.CALM
    assert statuses(twin, 2) == [200, 200]


def test_noisy_client_is_challenged_alone(twin_of: TwinOf) -> None:
    """One that sends too much is asked, and nobody else is; the rule stays calm however long it goes on."""
    twin = twin_of(mode="adaptive", above="20/minute", above_per_client="5/minute")
    noisy = [twin.send(body=b"x", peer="192.0.2.1") for _ in range(60)]
    assert [reply.status for reply in noisy] == [200] * 5 + [429] * 55
    assert {reply.reason for reply in noisy[5:]} == {"client-engaged"}
    for number in range(10):
        twin.clock.tick(30)
        assert statuses(twin, 20, "192.0.2.1") == [429] * 20
        assert statuses(twin, 1, f"198.51.100.{number}") == [200]
    assert twin.gate.state("/contact") is State.CALM
    assert twin.gate.stats()["/contact"].submissions == 60 + 210


def test_many_clients_engage_the_rule(twin_of: TwinOf) -> None:
    """Many that send a little each turn the challenge on for all."""
    twin = twin_of(mode="adaptive", above="20/minute", above_per_client="5/minute")
    found = [twin.send(body=b"x", peer=f"192.0.2.{number}") for number in range(25)]
    assert [reply.status for reply in found] == [200] * 20 + [429] * 5
    assert {reply.reason for reply in found[20:]} == {"rule-engaged"}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("unix", "unix", True),
    ],
)
def test_who_one_client_is(twin_of: TwinOf, one: str, other: str, same: bool) -> None:
    """A client is an address; of IPv6 the /64, since one household has all of that."""
    twin = twin_of(mode="adaptive", above="20/minute", above_per_client="2/minute")
    assert statuses(twin, 2, one) == [200, 200]
    assert statuses(twin, 1, other) == [429 if same else 200]


def test_without_an_address_only_the_rule_counts(twin_of: TwinOf) -> None:
    """Behind a Unix socket there is no client to be asked alone, and nothing breaks."""
    twin = twin_of(mode="adaptive", above="20/minute", above_per_client="2/minute")
    assert statuses(twin, 21, None) == [200] * 20 + [429]


@pytest.mark.parametrize("button", ["", "another", "continue"])
def test_collected_pages_count_when_they_are_posted_in_calm(twin_of: TwinOf, button: str) -> None:
    """Pages that were collected and are posted once it is calm count like submissions, and engage the rule again."""
    twin = twin_of(mode="adaptive", above="3/minute", hold=0)
    pages = [twin.send(body=b"number=%d" % number) for number in range(13)][3:]
    twin.received.clear()
    twin.clock.tick(150)
    assert twin.gate.state("/contact") is State.CALM
    answers = [page.answered("wrong") for page in pages]
    bodies = [(answer.with_button(button) if button else answer).body for answer in answers]
    replies = [twin.send(body=body) for body in bodies]
    assert [reply.status for reply in replies] == [200] * 3 + [429] * 7
    assert {reply.reason for reply in replies[3:4]} == {"rule-engaged"}
    assert [received.body for received in twin.received] == [b"number=%d" % number for number in range(3, 6)]
    assert twin.answer(replies[3]).status == 200  # nothing is lost


def test_collected_pages_count_for_their_client_too(twin_of: TwinOf) -> None:
    """Pages posted in calm by one client alone engage that client alone."""
    twin = twin_of(mode="adaptive", above="50/minute", above_per_client="3/minute", hold=0)
    pages = [twin.send(body=b"x", peer="192.0.2.1") for _ in range(13)][3:]
    twin.clock.tick(150)
    replies = [twin.send(body=page.answered("").body, peer="192.0.2.1") for page in pages]
    assert [reply.status for reply in replies] == [200] * 3 + [429] * 7
    assert statuses(twin, 2, "192.0.2.2") == [200, 200]


def test_level_of_a_page_follows_the_thresholds(twin_of: TwinOf) -> None:
    """With two thresholds the harder level is drawn past the second, and the gentler one that was shown is accepted."""
    twin = twin_of(mode="adaptive", above=["2/minute", "4/minute"])
    program = (("host", HOST), ("accept", "text/html"), ("origin", f"http://{HOST}"))
    pages = [twin.send(body=b"x", fields=program) for _ in range(6)]
    levels = []
    for page in pages[2:]:
        token = twin.gate.tokens.read("form", page.answered()["gatepost_token"])
        assert token is not None
        levels.append(token.level)
    assert levels == [1, 1, 2, 2]
    assert twin.answer(pages[2], fields=program).status == 200
