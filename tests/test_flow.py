"""The flow of submissions: which effects it asks for and in which order, and what it ends in."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from driven import DEMAND, HERE, ORIGINAL, QUESTION, Site, body_of, drive, kinds, request
from gatepost import Headers, Reason, Request
from gatepost.effects import (
    Body,
    Busy,
    Claiming,
    Delivered,
    Draw,
    Effect,
    GiveBack,
    Gone,
    Keep,
    Limit,
    Pass,
    PutBack,
    Read,
    ReadBody,
    Refuse,
    Show,
    Verdict,
)
from gatepost.form import BODY_LIMIT
from gatepost.protocols import Claim
from twins import ANSWER


def test_first_challenge() -> None:
    """A submission is read up to the larger limit, a challenge drawn, and that counted against the client's limit."""
    effects, shown = Site().submit(body_of(ORIGINAL), QUESTION, 0.0)
    assert isinstance(effects[1], Draw)
    assert len(effects[1].submission) == 16
    assert effects == [
        ReadBody(8 * 1024 * 1024),
        Draw("known", 1, "en", "<203.0.113.7>", 0.0, effects[1].submission),
        Limit("issue", "<203.0.113.7>"),
    ]
    assert isinstance(shown, Show)
    assert (shown.reason, shown.status, shown.kept, shown.json) == (Reason.RULE_ENGAGED, 429, True, False)
    assert (shown.challenge, shown.length, shown.lifetime, shown.remaining) == (QUESTION, len(ORIGINAL), 600, 3600)


def test_client_without_an_address_has_no_limits() -> None:
    """Behind a socket without addresses nothing is counted for a client, and nobody is taken for another."""
    effects, _ = Site().submit(body_of(ORIGINAL), QUESTION, peer=None)
    assert kinds(effects) == [ReadBody, Draw]


@pytest.mark.parametrize(
    ("ended", "verdict"),
    [
        (Read.GONE, Gone()),
        (Read.SLOW, Refuse(Reason.TOO_SLOW, 408, closing=True)),
        (Read.OVERLOADED, Refuse(Reason.OVERLOADED, 503, retry_after=5)),
    ],
)
def test_body_that_does_not_arrive(ended: Read, verdict: Verdict) -> None:
    """A body that does not arrive ends the flow at once, for a form as for an answer."""
    site = Site()
    assert site.submit(Body(ended)) == ([ReadBody(8 * 1024 * 1024)], verdict)
    assert drive(site.flow.answer(site.guard, request()), Body(ended)) == ([ReadBody(BODY_LIMIT)], verdict)


@pytest.mark.parametrize("kept", [True, False])
def test_large_body_is_kept_before_the_page(kept: bool) -> None:
    """A body over ``carry_limit`` is given to the store, until the submission ends; if that fails, it is said."""
    site = Site({"carry_limit": 5})
    effects, shown = site.submit(body_of(ORIGINAL), kept, QUESTION, 0.0)
    assert kinds(effects) == [ReadBody, Keep, Draw, Limit]
    (keep,) = [effect for effect in effects if isinstance(effect, Keep)]
    assert (keep.body, keep.client) == (ORIGINAL, "<203.0.113.7>")
    assert keep.until == int(site.clock.now * 1000) + 3_600_000
    assert isinstance(shown, Show)
    assert shown.kept is kept


def test_body_that_is_too_large() -> None:
    """A body beyond the cap is not given to the store, and the page says so."""
    effects, shown = Site().submit(Body(Read.OVER, length=9_000_000, closing=True), QUESTION, 0.0)
    assert kinds(effects) == [ReadBody, Draw, Limit]
    assert isinstance(shown, Show)
    assert (shown.kept, shown.length, shown.closing) == (False, 9_000_000, True)


def test_issue_limit_leads_to_continue() -> None:
    """Past the client's limit no picture is shown, nor lost: 'Continue', with the limit's own time to wait."""
    effects, shown = Site().submit(body_of(ORIGINAL), QUESTION, 12.5, None)
    assert kinds(effects) == [ReadBody, Draw, Limit, PutBack]
    assert isinstance(effects[1], Draw)
    assert effects[-1] == PutBack(effects[1], QUESTION)
    assert isinstance(shown, Show)
    assert (shown.reason, shown.challenge, shown.retry_after) == (Reason.ISSUE_LIMIT, None, 12.5)
    assert shown.carry


def test_spent_budget_leads_to_continue() -> None:
    """Without a drawing the page goes out with its carry, does not count for the client, and no store is asked."""
    effects, shown = Site().submit(body_of(ORIGINAL), Busy(3.5))
    assert kinds(effects) == [ReadBody, Draw]
    assert isinstance(shown, Show)
    assert (shown.reason, shown.challenge, shown.retry_after) == (Reason.BUSY, None, 3.5)
    assert shown.carry


def test_json_reads_nothing() -> None:
    """For problem+json the body is drained and not kept, and there is no carry."""
    site = Site()
    effects, shown = drive(site.flow.submit(site.guard, program(), DEMAND), Body(Read.OVER), QUESTION)
    assert effects[0] == ReadBody(0)
    assert isinstance(shown, Show)
    assert (shown.json, shown.carry, shown.kept) == (True, "", True)


def program(peer: str | None = None, **fields: str) -> Request:
    """A request of a client that wants problem+json."""
    headers = [("accept", "application/json"), *((name.replace("_", "-"), value) for name, value in fields.items())]
    return Request("POST", "/contact", Headers(headers), peer, {})


def header_answer(site: Site, answer: str, *results: object, after: float = 2) -> tuple[list[Effect], Verdict]:
    """Answer by header, so many seconds after the question."""
    _, shown = drive(site.flow.submit(site.guard, program(), DEMAND), Body(Read.OVER), QUESTION)
    assert isinstance(shown, Show)
    site.clock.tick(after)
    asked = program("203.0.113.7", gatepost_token=shown.token, gatepost_answer=quote(answer))
    return drive(site.flow.submit(site.guard, asked, DEMAND), *results)


def test_right_answer_by_header_passes_unread() -> None:
    """A right answer by header claims nonce and submission at once; the body is not read, and the request passes."""
    effects, verdict = header_answer(Site(), ANSWER, 0.0, Claim.NEW, Claim.NEW, None)
    assert kinds(effects) == [Limit, Delivered, Claiming, GiveBack]
    assert isinstance(effects[2], Claiming)
    assert effects[2].submission
    assert verdict == Pass(Reason.SOLVED)


HEADER_ROWS: dict[str, tuple[str, float, list[object], list[type], Reason]] = {
    "failing": (ANSWER, 2, [9.0], [Limit], Reason.FAILURE_LIMIT),
    "sent": (ANSWER, 2, [0.0, Claim.DELIVERED, None], [Limit, Delivered, GiveBack], Reason.ALREADY_SENT),
    "ended": (ANSWER, 4000, [0.0, Claim.NEW, None], [Limit, Delivered, GiveBack], Reason.ENDED),
    "used": (ANSWER, 2, [0.0, Claim.NEW, Claim.SPENT, None], [Limit, Delivered, Claiming, GiveBack], Reason.USED),
    "wrong": ("no", 2, [0.0, Claim.NEW, Claim.NEW], [Limit, Delivered, Claiming], Reason.WRONG),
    "too fast": (ANSWER, 0, [0.0, Claim.NEW, Claim.NEW], [Limit, Delivered, Claiming], Reason.TOO_FAST),
    "expired": (ANSWER, 700, [0.0, Claim.NEW, None], [Limit, Delivered, GiveBack], Reason.EXPIRED),
}


@pytest.mark.parametrize("name", HEADER_ROWS)
def test_answer_by_header_that_is_not_right(name: str) -> None:
    """Any other answer by header gets a new document: its body is drained, never kept, and no submission is claimed."""
    answer, after, results, expected, reason = HEADER_ROWS[name]
    again = [Body(Read.OVER), *([] if reason is Reason.FAILURE_LIMIT else [QUESTION, 0.0])]
    effects, shown = header_answer(Site(), answer, *results, *again, after=after)
    assert kinds(effects)[: len(expected) + 1] == [*expected, ReadBody]
    assert effects[len(expected)] == ReadBody(0)
    assert isinstance(shown, Show)
    assert (shown.reason, shown.json, shown.carry) == (reason, True, "")
    claims = [effect for effect in effects if isinstance(effect, Claiming) and effect.submission is not None]
    assert bool(claims) is (name == "used")


def test_two_content_types_are_refused() -> None:
    """What could not be delivered is refused, and its body drained, so that the page arrives."""
    effects, refused = Site().submit(Body(Read.OVER), content_type="text/plain, text/html")
    assert effects == [ReadBody(0)]
    assert refused == Refuse(Reason.CONTENT_TYPE, 400)
    _, closing = Site().submit(Body(Read.OVER, closing=True), content_type="text/plain, text/html")
    assert closing == Refuse(Reason.CONTENT_TYPE, 400, closing=True)
    _, gone = Site().submit(Body(Read.GONE), content_type="text/plain, text/html")
    assert gone == Gone()


def permit(site: Site, uses: int) -> str:
    now = int(site.clock.now * 1000)
    cookie = site.gate.permits.issue("/contact", uses, HERE, now, 300_000, False)  # noqa: FBT003
    return cookie.partition(";")[0]


def test_permit_is_claimed_before_it_passes() -> None:
    """A permit's uses are claimed one after another until one is new; nothing of the body is read."""
    site = Site()
    effects, verdict = site.submit(Claim.SPENT, Claim.NEW, cookie=permit(site, 3))
    assert verdict == Pass(Reason.PERMIT)
    assert kinds(effects) == [Claiming, Claiming]
    nonces = [effect.nonce for effect in effects if isinstance(effect, Claiming)]
    assert len(set(nonces)) == 2
    assert all(effect.submission is None for effect in effects if isinstance(effect, Claiming))


def test_permit_that_is_used_up_is_none() -> None:
    """When all its uses are spent, a permit is nothing, and the submission is challenged."""
    site = Site()
    results = (Claim.SPENT, Claim.SPENT, body_of(ORIGINAL), QUESTION, 0.0)
    effects, shown = site.submit(*results, cookie=permit(site, 2))
    assert kinds(effects) == [Claiming, Claiming, ReadBody, Draw, Limit]
    assert isinstance(shown, Show)
