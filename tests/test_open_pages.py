"""Open pages: what becomes of them when they are answered twice, or when the site changes while they are open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gatepost import Gate, Rule
from gatepost.testing import KnownChallenge
from twins import ANSWER, SECRET, AsgiTwin, Reply, Twin, WsgiTwin, settings

ORIGINAL = b"name=Ada&message=hello"
TwinOf = Callable[..., Twin]


def changed(twin: Twin, **options: Any) -> Twin:
    """The same site with other settings: another process, which shares the clock and the store."""
    gate = Gate(settings(clock=twin.clock, store=twin.gate.store.local, **options))
    if isinstance(twin, AsgiTwin):
        return AsgiTwin(gate, twin.received, backend=twin.backend)
    return WsgiTwin(gate, twin.received)


def bodies(twin: Twin) -> list[bytes]:
    return [got.body for got in twin.received]


def test_i4_double_click_and_reload(twin_of: TwinOf) -> None:
    """The same right answer again is told that it was sent, without a challenge or a carry, as often as it comes."""
    twin = twin_of()
    page = twin.send(body=ORIGINAL)
    assert twin.answer(page).status == 200
    for _ in range(3):
        again = twin.answer(page)
        assert (again.status, again.reason) == (409, "already-sent")
        assert "Already sent" in again.text
        assert "gatepost_" not in again.text
        assert "<form" not in again.text
    assert bodies(twin) == [ORIGINAL]


@pytest.mark.parametrize("button", ["", "another", "continue"])
def test_i4_back_after_success(button: str, twin_of: TwinOf) -> None:
    """Going back to any page of a submission that was delivered, and pressing any button, delivers nothing."""
    twin = twin_of()
    first = twin.send(body=ORIGINAL)
    second = twin.answer(first, button="another")
    third = twin.answer(second, "wrong")
    assert twin.answer(third).status == 200
    for page in (first, second, third):
        reply = twin.answer(page, button=button)
        assert (reply.status, reply.reason) == (409, "already-sent")
    assert bodies(twin) == [ORIGINAL]


def test_two_tabs_are_two_submissions(twin_of: TwinOf) -> None:
    """Two forms that are open at once are answered in any order, and each is delivered once."""
    twin = twin_of()
    one, other = twin.send(body=b"tab=1"), twin.send(body=b"tab=2")
    assert twin.answer(other).status == 200
    assert twin.answer(one, "wrong").reason == "wrong"
    assert twin.answer(one).reason == "used"
    assert twin.answer(twin.answer(one, "wrong")).status == 200
    assert bodies(twin) == [b"tab=2", b"tab=1"]


def test_i4_two_tabs_of_one_submission(twin_of: TwinOf) -> None:
    """Two challenges of one submission: either may be answered, and only one of them delivers."""
    twin = twin_of()
    first = twin.send(body=ORIGINAL)
    fresh = twin.answer(first, button="another")
    other = twin.answer(first)
    assert (other.status, other.reason) == (429, "used")
    assert twin.answer(other).status == 200
    assert twin.answer(fresh).reason == "already-sent"
    assert bodies(twin) == [ORIGINAL]


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "renamed": ({"protect": Rule("/contact", name="contact form")}, "outdated"),
    "another pattern": ({"protect": Rule("/{page}")}, "outdated"),
    "another kind": ({"challenge": KnownChallenge(ANSWER, name="other")}, "outdated"),
    "a kind more": ({"challenge": [KnownChallenge(ANSWER, name="other"), KnownChallenge(ANSWER)]}, ""),
    "a secret more": ({"secret": [SECRET, SECRET[::-1]]}, ""),
    "a secret less": ({"secret": SECRET[::-1]}, "forged"),
    "another site": ({"site": "shop"}, "forged"),
    "a shorter life": ({"lifetime": 10, "carry_lifetime": 10}, "expired"),
    "a longer life": ({"lifetime": 3600}, ""),
    "a higher min_time": ({"min_time": 60}, "too-fast"),
    "a lower carry_limit": ({"carry_limit": 1, "keep_limit": 1}, ""),
    "switched off": ({"mode": "off"}, ""),
    "only observed": ({"mode": "observe"}, ""),
    "exempt": ({"exempt": "203.0.113.7"}, ""),
    "calm": ({"mode": "adaptive"}, ""),
}


@pytest.mark.parametrize("change", CHANGES)
def test_i13_settings_change_while_a_page_is_open(change: str, twin_of: TwinOf) -> None:
    """What is authentic is delivered, or gets a fresh challenge for the same submission; nothing of it is lost."""
    options, reason = CHANGES[change]
    twin = twin_of()
    page = twin.send(body=ORIGINAL)
    later = changed(twin, **options)
    reply = later.answer(page)
    assert reply.reason == reason
    if reason == "forged":
        assert (reply.status, bodies(twin)) == (400, [])
        return
    if reason:
        assert reply.status == 429
        assert bodies(twin) == []
        twin.clock.tick(options.get("min_time", 0))
        assert later.answer(reply).status == 200
    assert bodies(twin) == [ORIGINAL]


def test_i13_level_that_is_no_more(twin_of: TwinOf) -> None:
    """A level that was shown is accepted though a harder one is demanded by now; one that is no more is asked again."""
    twin = twin_of(mode="adaptive", above=["1/minute", "2/minute"])
    twin.send(body=b"")
    gentle = twin.send(body=ORIGINAL)
    hard = twin.send(body=b"hard=1")
    assert twin.gate.guards[0].meter.level(twin.clock.now) == 2
    later = changed(twin)
    assert later.answer(hard).reason == "outdated"
    assert twin.answer(gentle).status == 200


def test_i13_restart(twin_of: TwinOf) -> None:
    """After a restart a page gets a fresh one that says the submission may have arrived, and its answer delivers."""
    twin = twin_of()
    page = twin.send(body=ORIGINAL)
    twin.gate.reset()
    fresh = twin.answer(page)
    assert (fresh.status, fresh.reason) == (429, "restarted")
    assert "What you sent may have arrived already." in fresh.text
    assert 'name="gatepost_answer"' in fresh.text
    assert twin.answer(fresh).status == 200
    assert bodies(twin) == [ORIGINAL]


def test_i13_restart_in_calm(twin_of: TwinOf) -> None:
    """After a restart in calm there is nothing to answer: 'Continue' alone delivers."""
    twin = twin_of(mode="adaptive", above="1/minute")
    twin.send(body=b"")
    page = twin.send(body=ORIGINAL)
    twin.gate.reset()
    fresh = twin.answer(page)
    assert (fresh.status, fresh.reason) == (429, "restarted")
    assert "What you sent may have arrived already." in fresh.text
    assert 'name="gatepost_answer"' not in fresh.text
    assert fresh.get("retry-after") == ""
    assert twin.answer(fresh).status == 200
    assert bodies(twin) == [b"", ORIGINAL]


def test_i4_restart_after_delivery(twin_of: TwinOf) -> None:
    """A store that has forgotten a delivery delivers again only by a page that said so."""
    twin = twin_of()
    page = twin.send(body=ORIGINAL)
    assert twin.answer(page).status == 200
    twin.gate.reset()
    for button in ("", "another", "continue"):
        reply = twin.answer(page, button=button)
        assert (reply.status, reply.reason) == (429, "restarted")
        assert "may have arrived already" in reply.text
    assert bodies(twin) == [ORIGINAL]


def test_restart_with_a_kept_body(twin_of: TwinOf) -> None:
    """A body that was kept in a store that is no more has to be sent again, and the page says so."""
    twin = twin_of(carry_limit=1)
    page = twin.send(body=ORIGINAL)
    twin.gate.reset()
    reply = twin.answer(page)
    assert (reply.status, reply.reason) == (410, "lost")
    assert "send it again" in reply.text
    assert bodies(twin) == []


@pytest.mark.parametrize("damage", ["gone", "altered", "of another"])
def test_i2_lost_body_with_a_right_answer_earns_a_permit(damage: str, twin_of: TwinOf) -> None:
    """A kept body that is gone or another when the answer is right is not delivered or claimed; a permit is given."""
    twin = twin_of(carry_limit=1)
    page = twin.send(body=ORIGINAL)
    kept: dict[bytes, Any] = twin.gate.store.local._kept
    ((submission, entry),) = kept.items()
    if damage == "gone":
        twin.gate.store.drop(submission)
    else:
        other = ORIGINAL[:-1] + b"!" if damage == "altered" else b"name=Eve&message=bye"
        kept[submission] = replace(entry, body=other)
    reply = twin.answer(page)
    assert (reply.status, reply.reason) == (410, "lost")
    assert "Your answer was right" in reply.text
    permit = reply.get("set-cookie").partition(";")[0]
    assert twin.send(body=ORIGINAL, cookie=permit).status == 200
    assert twin.send(body=ORIGINAL, cookie=permit).status == 429
    assert bodies(twin) == [ORIGINAL]


def continue_page(twin: Twin) -> Reply:
    """A page without a challenge, since the client has had too many."""
    twin.send(body=b"x=1")
    page = twin.send(body=ORIGINAL)
    assert (page.status, page.reason) == (429, "issue-limit")
    assert 'value="continue"' in page.text
    return page


def test_continue_with_an_answer_is_never_right(twin_of: TwinOf) -> None:
    """An answer to a page that asked nothing is not right, whatever it is; in time there is a question, and no loss."""
    twin = twin_of(issue_limit="1/minute")
    page = continue_page(twin)
    assert 0 < int(page.get("retry-after")) <= 120
    for answer in (ANSWER, "", "\0", "None"):
        fields = dict(page.answered()) | {"gatepost_answer": answer, "gatepost_do": "answer"}
        body = "&".join(f"{name}={value}" for name, value in fields.items()).encode()
        reply = twin.send(body=body.replace(b" ", b"+"))
        assert (reply.status, reply.reason) == (429, "issue-limit")
    twin.clock.tick(120)
    reply = twin.answer(page, button="answer")
    assert (reply.status, reply.reason) == (429, "continued")
    assert twin.answer(reply).status == 200
    assert bodies(twin) == [ORIGINAL]


def test_retry_after_is_true(twin_of: TwinOf) -> None:
    """Whoever waits for as long as 'Continue' says gets a question, and whoever comes before that does not."""
    twin = twin_of(issue_limit="2/minute")
    twin.send(body=b"x=0")
    page = continue_page(twin)
    wait = int(page.get("retry-after"))
    assert f"Wait for {wait} seconds" in page.text
    twin.clock.tick(wait - 4)
    assert twin.answer(page).reason == "issue-limit"
    twin.clock.tick(1)  # three seconds with the answer's own two
    assert twin.answer(page).reason == "continued"


def test_failures_are_limited(twin_of: TwinOf) -> None:
    """Past the limit of wrong answers none is compared and no nonce is claimed, until the stated time is over."""
    twin = twin_of(failure_limit="2/minute")
    page = twin.send(body=ORIGINAL)
    for _ in range(2):
        page = twin.answer(page, "wrong")
        assert page.reason == "wrong"
    stopped = twin.answer(page)
    assert (stopped.status, stopped.reason) == (429, "failure-limit")
    assert 'name="gatepost_answer"' not in stopped.text
    wait = int(stopped.get("retry-after"))
    assert 0 < wait <= 120
    assert twin.answer(page, button="another").reason == "refreshed"
    twin.clock.tick(wait)
    fresh = twin.answer(stopped)
    assert fresh.reason == "continued"
    assert twin.answer(fresh).status == 200
    assert bodies(twin) == [ORIGINAL]


def test_submission_ends(twin_of: TwinOf) -> None:
    """No re-issue prolongs a submission: past its end it has to be sent again, whatever is pressed."""
    twin = twin_of(lifetime=600, carry_lifetime=900)
    page = twin.send(body=ORIGINAL)
    twin.clock.tick(598)
    page = twin.answer(page, button="another")
    assert "You have 5 minutes to answer." in page.text
    twin.clock.tick(298)
    for button in ("", "another", "continue"):
        reply = twin.answer(page, button=button)
        assert (reply.status, reply.reason) == (410, "ended")
        assert "<form" not in reply.text
    assert bodies(twin) == []
