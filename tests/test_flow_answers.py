"""The flow of answers: which effects it asks for and in which order, what it ends in, and what it never does."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from driven import ELSEWHERE, HERE, ORIGINAL, QUESTION, Site, body_of, drive, kinds, request
from gatepost import Headers, Reason, Request
from gatepost.effects import (
    Body,
    Busy,
    Claiming,
    Deliver,
    Delivered,
    Draw,
    Drop,
    Fetch,
    GiveBack,
    Gone,
    Holds,
    Keep,
    Limit,
    Pass,
    PutBack,
    Read,
    ReadBody,
    Refuse,
    Show,
)
from gatepost.protocols import Claim
from gatepost.testing import Answer
from twins import ANSWER, BROWSER, URLENCODED

NEW, SPENT, SENT, FORGOTTEN, RESTARTED = Claim.NEW, Claim.SPENT, Claim.DELIVERED, Claim.FORGOTTEN, Claim.RESTARTED
AGAIN = [Draw, Limit]  # a fresh challenge


def test_right_answer() -> None:
    """A right answer claims its nonce and its submission in one step, the last before the delivery."""
    site = Site()
    fields = site.page()
    effects, verdict = site.answer(fields, NEW, 0.0, None, NEW)
    assert kinds(effects) == [ReadBody, Delivered, Limit, GiveBack, Claiming]
    token = site.gate.tokens.read("form", fields["gatepost_token"])
    assert token is not None
    assert effects[-1] == Claiming(token.nonce, token.expires, token.store, token.submission, token.end)
    assert isinstance(verdict, Deliver)
    assert (verdict.body, verdict.cookie) == (ORIGINAL, "")


@dataclass
class Row:
    """One way of an answer: what is answered, what the effects give, which they are, and what it ends in."""

    results: list[Any]
    effects: list[type]
    reason: Reason
    status: int
    change: dict[str, str] = field(default_factory=dict)
    after: float = 0
    asked: dict[str, str] = field(default_factory=dict)
    store: bytes = HERE


ANSWERS: dict[str, Row] = {
    "forged": Row([], [], Reason.FORGED, 400, {"gatepost_token": "x"}),
    "no carry": Row([], [], Reason.FORGED, 400, {"gatepost_carry": ""}),
    "two types": Row([], [], Reason.FORGED, 400, asked={"content_type": f"{URLENCODED}, x/y"}),
    "foreign": Row([], [], Reason.FOREIGN, 400, asked={"sec_fetch_site": "cross-site"}),
    "sent": Row([SENT], [Delivered], Reason.ALREADY_SENT, 409),
    "forgotten": Row([FORGOTTEN], [Delivered], Reason.ENDED, 410),
    "ended": Row([NEW], [Delivered], Reason.ENDED, 410, after=3600),
    "restarted": Row([NEW, QUESTION, 0.0], [Delivered, *AGAIN], Reason.RESTARTED, 429, store=ELSEWHERE),
    "failing": Row([NEW, 30.0], [Delivered, Limit], Reason.FAILURE_LIMIT, 429),
    "expired": Row(
        [NEW, 0.0, None, QUESTION, 0.0], [Delivered, Limit, GiveBack, *AGAIN], Reason.EXPIRED, 429, after=600
    ),
    "wrong": Row(
        [NEW, 0.0, NEW, QUESTION, 0.0],
        [Delivered, Limit, Claiming, *AGAIN],
        Reason.WRONG,
        429,
        {"gatepost_answer": "no"},
    ),
    "too fast": Row(
        [NEW, 0.0, NEW, QUESTION, 0.0],
        [Delivered, Limit, Claiming, *AGAIN],
        Reason.TOO_FAST,
        429,
        after=-1.5,
    ),
    "wrong and used": Row(
        [NEW, 0.0, SPENT, None, QUESTION, 0.0],
        [Delivered, Limit, Claiming, GiveBack, *AGAIN],
        Reason.USED,
        429,
        {"gatepost_answer": "no"},
    ),
    "another": Row(
        [NEW, NEW, QUESTION, 0.0],
        [Delivered, Claiming, *AGAIN],
        Reason.REFRESHED,
        429,
        {"gatepost_do": "another"},
    ),
    "right and used": Row(
        [NEW, 0.0, None, SPENT, QUESTION, 0.0], [Delivered, Limit, GiveBack, Claiming, *AGAIN], Reason.USED, 429
    ),
    "right and lost": Row(
        [NEW, 0.0, None, RESTARTED, QUESTION, 0.0],
        [Delivered, Limit, GiveBack, Claiming, *AGAIN],
        Reason.RESTARTED,
        429,
    ),
    "wrong and lost": Row(
        [NEW, 0.0, RESTARTED, None, QUESTION, 0.0],
        [Delivered, Limit, Claiming, GiveBack, *AGAIN],
        Reason.RESTARTED,
        429,
        {"gatepost_answer": "no"},
    ),
    "right and sent": Row([NEW, 0.0, None, SENT], [Delivered, Limit, GiveBack, Claiming], Reason.ALREADY_SENT, 409),
    "right and forgotten": Row([NEW, 0.0, None, FORGOTTEN], [Delivered, Limit, GiveBack, Claiming], Reason.ENDED, 410),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers(name: str) -> None:
    """Each way of an answer asks for these effects in this order; nothing is claimed where nothing is used."""
    row = ANSWERS[name]
    site = Site()
    fields = site.page()
    site.clock.tick(row.after)
    site.store = row.store
    asked = dict(row.asked)
    if "sec_fetch_site" in asked:  # the first value counts, so the browser's own has to go
        foreign = [item for item in BROWSER if item[0] != "sec-fetch-site"]
        headers = Headers([*foreign, ("sec-fetch-site", "cross-site"), ("content-type", URLENCODED)])
        steps = site.flow.answer(site.guard, Request("POST", "/contact", headers, "203.0.113.7", {}))
        effects, verdict = drive(steps, body_of(Answer(dict(fields) | row.change, {}).body), *row.results)
    else:
        effects, verdict = site.answer(Answer(dict(fields) | row.change, {}), *row.results, **asked)
    assert kinds(effects) == [ReadBody, *row.effects]
    assert isinstance(verdict, Show | Refuse)
    assert (verdict.reason, verdict.status) == (row.reason, row.status)
    assert isinstance(verdict, Refuse) or verdict.maybe_sent is (row.reason is Reason.RESTARTED)
    assert not [effect for effect in effects if isinstance(effect, Claiming) and effect.submission] or "right" in name


def test_failure_limit_is_true() -> None:
    """Past the limit of failures there is no question, and the time to wait is the limit's own."""
    site = Site()
    _, shown = site.answer(site.page(), NEW, 30.0)
    assert isinstance(shown, Show)
    assert (shown.challenge, shown.retry_after, shown.kind) == (None, 30.0, "known")


def test_only_failures_count_as_failures() -> None:
    """A wrong and a too fast answer count, once claimed; another picture, an expired and a used one do not."""
    counting, taken_back = Limit("failure", "<203.0.113.7>"), GiveBack("failure", "<203.0.113.7>")
    for name, row in ANSWERS.items():
        if row.asked:
            continue
        site = Site()
        fields = Answer(dict(site.page()) | row.change, {})
        site.clock.tick(row.after)
        site.store = row.store
        effects, _ = site.answer(fields, *row.results)
        counted = effects.count(counting) - effects.count(taken_back)
        assert counted == (name in ("wrong", "too fast", "failing")), name


def test_restarted() -> None:
    """A token of another store is told to whoever watches for that, and its page says that it may have been sent."""
    site = Site()
    fields = site.page()
    site.store = ELSEWHERE
    _, shown = site.answer(fields, NEW, QUESTION, 0.0)
    assert isinstance(shown, Show)
    assert (shown.maybe_sent, shown.reason) == (True, Reason.RESTARTED)
    assert [token.store for token in site.strangers] == [HERE]
    again = site.gate.tokens.read("form", shown.token)
    assert again is not None
    assert again.store == ELSEWHERE


def test_restarted_in_calm_asks_nothing() -> None:
    """Where nothing is demanded, a token of another store gets 'Continue', without a claim or a drawing."""
    site = Site({"mode": "adaptive"})
    fields = site.page()
    site.store = ELSEWHERE
    effects, shown = site.answer(fields, NEW)
    assert kinds(effects) == [ReadBody, Delivered]
    assert isinstance(shown, Show)
    assert (shown.challenge, shown.maybe_sent, shown.retry_after) == (None, True, 0)


@pytest.mark.parametrize("change", [{}, {"gatepost_answer": "no"}, {"gatepost_do": "another"}])
@pytest.mark.parametrize("after", [0, 700])
def test_calm_delivers_whatever_was_answered(change: dict[str, str], after: float) -> None:
    """Where nothing is demanded any more, the submission alone is claimed, whatever the button, the text or the age."""
    site = Site({"mode": "adaptive"})
    fields = Answer(dict(site.page()) | change, {})
    site.clock.tick(after)
    effects, verdict = site.answer(fields, NEW, NEW)
    token = site.gate.tokens.read("form", fields["gatepost_token"])
    assert token is not None
    assert kinds(effects) == [ReadBody, Delivered, Claiming]
    assert effects[-1] == Claiming(None, token.expires, token.store, token.submission, token.end)
    assert isinstance(verdict, Deliver)
    assert verdict.body == ORIGINAL


def test_calm_answer_that_engages_is_asked_again() -> None:
    """An answer in calm counts like a submission; if that engages the rule, it is asked again instead."""
    site = Site({"mode": "adaptive", "above": "2/minute"})
    fields = site.page()
    for _ in range(2):
        assert site.guard.admit(request(), site.clock.now) is None
    effects, shown = site.answer(fields, NEW, QUESTION, 0.0)
    assert kinds(effects) == [ReadBody, Delivered, *AGAIN]
    assert isinstance(shown, Show)
    assert shown.reason is Reason.RULE_ENGAGED


# --- bodies that are kept, or not ---


def test_kept_body_is_read_before_the_claim_and_removed_after() -> None:
    """A kept body is fetched and checked, then claimed, then dropped."""
    site = Site({"carry_limit": 5})
    fields = site.page(None, True)  # noqa: FBT003 - the store's answer
    effects, verdict = site.answer(fields, NEW, 0.0, None, ORIGINAL, NEW, None)
    assert kinds(effects) == [ReadBody, Delivered, Limit, GiveBack, Fetch, Claiming, Drop]
    assert isinstance(verdict, Deliver)
    assert verdict.body == ORIGINAL
    token = site.gate.tokens.read("form", fields["gatepost_token"])
    assert token is not None
    assert effects[4] == Fetch(token.submission, hashlib.sha256(ORIGINAL).digest())


def test_kept_body_stays_where_the_claim_fails() -> None:
    """Where the claim says no, nothing is dropped."""
    site = Site({"carry_limit": 5})
    fields = site.page(None, True)  # noqa: FBT003 - the store's answer
    effects, verdict = site.answer(fields, NEW, 0.0, None, ORIGINAL, SENT)
    assert kinds(effects) == [ReadBody, Delivered, Limit, GiveBack, Fetch, Claiming]
    assert verdict == Refuse(Reason.ALREADY_SENT, 409)


@pytest.mark.parametrize(("found", "reason", "status"), [(NEW, Reason.LOST, 410), (SENT, Reason.ALREADY_SENT, 409)])
def test_lost_body(found: Claim, reason: Reason, status: int) -> None:
    """If the body is gone, the submission is not claimed; a right answer earns a permit, unless it was sent."""
    site = Site({"carry_limit": 5})
    fields = site.page(None, True)  # noqa: FBT003 - the store's answer
    effects, verdict = site.answer(fields, NEW, 0.0, None, None, NEW, found)
    assert kinds(effects) == [ReadBody, Delivered, Limit, GiveBack, Fetch, Claiming, Delivered]
    assert [effect.submission for effect in effects if isinstance(effect, Claiming)] == [None]
    assert isinstance(verdict, Refuse)
    assert (verdict.reason, verdict.status, bool(verdict.cookie)) == (reason, status, reason is Reason.LOST)


def test_lost_body_of_a_wrong_answer_earns_nothing() -> None:
    """A wrong answer whose body is gone is told so at once, without a question and without a permit."""
    site = Site({"carry_limit": 5})
    fields = Answer(dict(site.page(None, True)) | {"gatepost_answer": "no"}, {})  # noqa: FBT003
    effects, verdict = site.answer(fields, NEW, 0.0, NEW, False, NEW)  # noqa: FBT003
    assert kinds(effects) == [ReadBody, Delivered, Limit, Claiming, Holds, Delivered]
    assert verdict == Refuse(Reason.LOST, 410)


def test_body_that_was_not_kept() -> None:
    """A right answer to a page that said 'too large' claims its nonce alone and earns a permit for one submission."""
    site = Site()
    fields = site.page(Body(Read.OVER, length=9_000_000))
    effects, verdict = site.answer(fields, NEW, 0.0, None, NEW)
    assert kinds(effects) == [ReadBody, Delivered, Limit, GiveBack, Claiming]
    assert [effect.submission for effect in effects if isinstance(effect, Claiming)] == [None]
    assert isinstance(verdict, Refuse)
    assert (verdict.reason, verdict.status) == (Reason.NOT_KEPT, 413)
    assert verdict.cookie.startswith("gatepost_permit=")
    _, verdict = site.answer(fields, NEW, 0.0, None, SPENT, QUESTION, 0.0)
    assert isinstance(verdict, Show)
    assert verdict.reason is Reason.USED


def test_reissue_keeps_the_submission() -> None:
    """A fresh challenge is of the same submission, first time and end; only nonce, times and answer are new."""
    site = Site()
    fields = site.page()
    tokens = site.gate.tokens
    first = tokens.read("form", fields["gatepost_token"])
    site.clock.tick(500)
    fields = Answer(dict(fields) | {"gatepost_do": "another"}, {})
    _, shown = site.answer(fields, NEW, NEW, QUESTION, 0.0)
    assert isinstance(shown, Show)
    assert shown.carry == fields["gatepost_carry"]
    second = tokens.read("form", shown.token)
    assert first is not None
    assert second is not None
    assert second.nonce != first.nonce
    changed: dict[str, Any] = {"nonce": b"", "mac": b"", "issued": 0, "expires": 0, "since": 0}
    assert replace(second, **changed) == replace(first, **changed)
    assert second.expires <= second.end


# --- whatever the effects give ---


RESULTS: dict[type, st.SearchStrategy[Any]] = {
    Delivered: st.sampled_from(Claim),
    Claiming: st.sampled_from(Claim),
    Keep: st.booleans(),
    Holds: st.booleans(),
    Fetch: st.none() | st.just(ORIGINAL),
    Drop: st.none(),
    GiveBack: st.none(),
    PutBack: st.none(),
    Limit: st.sampled_from([0.0, 0.0, 5.0]),
    Draw: st.sampled_from([QUESTION, QUESTION, Busy(2.0)]),
}
SITES = [Site(), Site({"carry_limit": 5}), Site({"carry_limit": 5, "keep_limit": 5}), Site({"permit_uses": 2})]


@hypothesis_settings(max_examples=300, deadline=None)
@given(data=st.data(), site=st.sampled_from(SITES), button=st.sampled_from(["", "another", "continue"]))
def test_i4_nothing_is_delivered_without_its_claim(data: st.DataObject, site: Site, button: str) -> None:
    """Whatever the store says, the limits and the pool: a delivery is the result of a new claim of its submission."""
    text = data.draw(st.sampled_from([ANSWER, "no"]))
    keeping = [True] if site.options.get("carry_limit") and "keep_limit" not in site.options else []
    whole = len(ORIGINAL) <= site.options.get("keep_limit", 99)
    first = site.page(body_of(ORIGINAL) if whole else Body(Read.OVER, length=len(ORIGINAL)), *keeping)
    fields = Answer(dict(first) | {"gatepost_answer": text, "gatepost_do": button}, {})
    steps = site.flow.answer(site.guard, request())
    result: Any = None
    claims: list[tuple[Claiming, Claim]] = []
    try:
        effect = next(steps)
        while True:
            result = body_of(fields.body) if isinstance(effect, ReadBody) else data.draw(RESULTS[type(effect)])
            if isinstance(effect, Claiming):
                claims.append((effect, result))
            effect = steps.send(result)
    except StopIteration as stop:
        verdict = stop.value
    assert len(claims) <= 1
    delivering = [claim for claim, said in claims if said is NEW and claim.submission is not None]
    assert bool(delivering) is isinstance(verdict, Deliver)
    if isinstance(verdict, Deliver):
        assert (verdict.body, text, button) == (ORIGINAL, ANSWER, button if button != "another" else "")
    assert not isinstance(verdict, Pass | Gone)
