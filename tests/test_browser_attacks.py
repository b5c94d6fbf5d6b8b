"""Somebody who solves a challenge of their own making gains nothing by having a visitor's browser send it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from browser_bank import FORM, OPEN, Stage, answer, solved, staged
from browsers import METADATA, PLAIN, browser_fixture, context_fixture, new_context  # noqa: F401 - fixtures among them
from gatepost.testing import Answer, solve
from twins import ANSWER, Fields

BODY = b"to=Mallory&amount=100+%E2%82%AC"  # as a browser writes FORM
COOKIES = ("Cookie", "strict=x; strict=y; lax=x; lax=y; lax=z; plain=x; plain=y")
HOSTS = ("evil", "sub.site")


@pytest.fixture(params=[(PLAIN, "wsgi"), (METADATA, "asgi")], ids=lambda p: f"{p[0].name}-{p[1]}")
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """The bank in two worlds."""
    with staged(*request.param) as made:
        yield made


@pytest.fixture
def victim(stage: Stage, context: BrowserContext) -> Page:
    """The browser of somebody who is logged in at the bank."""
    page = context.new_page()
    stage.log_in(page)
    return page


def made_by_hand(stage: Stage, fields: Fields, content_type: str = "application/x-www-form-urlencoded") -> Answer:
    """The right answer for a carry that an attacker has made, by a first request with these header fields."""
    status, page = stage.send(fields, BODY, content_type)
    assert status == 429
    return solve(page, ANSWER)


def made_by_browser(stage: Stage, browser: Browser) -> Answer:
    """The right answer for a form of the bank's own, in the attacker's own browser and session."""
    context = new_context(browser)
    page = context.new_page()
    stage.log_in(page)
    stage.own_form(page)
    fields = solved(page)
    context.close()
    return fields


def own_looking(stage: Stage) -> list[tuple[str, str]]:
    """What a browser sends with the bank's own form."""
    fields = [("Origin", stage.origin), ("Referer", f"{stage.origin}/form/transfer"), COOKIES]
    return [*fields, ("Sec-Fetch-Site", "same-origin")] if stage.world.fetch_metadata else fields


def honest(stage: Stage, host: str) -> list[tuple[str, str]]:
    """What a browser sends with a form on this host, and more cookies than it would send."""
    fields = [("Origin", stage.foreign(host)), ("Referer", f"{stage.foreign(host)}/"), COOKIES]
    site = {"evil": "cross-site", "sub.site": "same-site"}[host]
    return [*fields, ("Sec-Fetch-Site", site)] if stage.world.fetch_metadata else fields


def assert_refused(stage: Stage, page: Page, fields: Answer, case: str) -> None:
    """Assert that foreign pages get nothing for these fields: neither the bank nor a page of ours is reached."""
    for host in HOSTS:
        assert stage.foreign_form(page, fields=dict(fields), host=host).status == 400, (case, host)
        assert page.locator("h1").inner_text() == "This came from another page", (case, host)
        assert page.locator("form").count() == 0, (case, host)
    assert stage.bank.posts == [], case


def test_i3_answer_of_another_making_is_refused(stage: Stage, victim: Page, browser: Browser) -> None:
    """The right answer for a carry that does not say what the visitor's browser says of its origin is refused."""
    carries: dict[str, Answer] = {
        "own-looking": made_by_hand(stage, own_looking(stage)),
        "origin alone": made_by_hand(stage, [("Origin", stage.origin), COOKIES]),
        "fetch metadata alone": made_by_hand(stage, [("Sec-Fetch-Site", "same-origin"), COOKIES]),
        "typed address": made_by_hand(stage, [("Sec-Fetch-Site", "none"), COOKIES]),
        "silent": made_by_hand(stage, [COOKIES]),
        "no origin": made_by_hand(stage, [("Origin", "null"), COOKIES]),
        "of a browser": made_by_browser(stage, browser),
    }
    for case, fields in carries.items():
        assert_refused(stage, victim, fields, case)


def expired(stage: Stage, fields: Answer) -> Answer:
    stage.clock.tick(601)
    return fields


def used(stage: Stage, fields: Answer) -> Answer:
    """One that the attacker has answered wrong."""
    wrong = Answer({**fields, "gatepost_answer": "wrong"}, {})
    assert stage.send(own_looking(stage), wrong.body)[0] == 429
    return fields


def delivered(stage: Stage, fields: Answer) -> Answer:
    """One that the attacker has had delivered for themselves."""
    assert stage.send(own_looking(stage), fields.body)[0] == 200
    stage.bank.posts.clear()
    return fields


def ended(stage: Stage, fields: Answer) -> Answer:
    stage.clock.tick(3601)
    return fields


def restarted(stage: Stage, fields: Answer) -> Answer:
    """One of a store that is no more."""
    stage.gate.reset()
    return fields


POSTED: dict[str, Callable[[Stage, Answer], Answer]] = {
    "wrong": lambda _, fields: Answer({**fields, "gatepost_answer": "wrong"}, {}),
    "without an answer": lambda _, fields: Answer({**fields, "gatepost_answer": ""}, {}),
    "another": lambda _, fields: fields.with_button("another"),
    "continue": lambda _, fields: fields.with_button("continue"),
    "used": used,
    "delivered": delivered,
    "expired": expired,
    "ended": ended,
    "restarted": restarted,
}


def test_i3_no_page_of_ours_for_a_foreign_post(stage: Stage, victim: Page) -> None:
    """Nothing that a foreign page posts for another's carry gets a page that a visitor could solve."""
    for case, prepare in POSTED.items():
        fields = prepare(stage, made_by_hand(stage, own_looking(stage)))
        assert_refused(stage, victim, fields, case)


def test_i3_calm_gate_refuses_as_well(context: BrowserContext) -> None:
    """Where no challenge is demanded any more, a foreign page still cannot send another's carry."""
    with staged(METADATA, "asgi", mode="adaptive", above="1/minute", hold=0) as stage:
        page = context.new_page()
        stage.log_in(page)
        assert stage.send(own_looking(stage), BODY)[0] == 200
        fields = made_by_hand(stage, own_looking(stage))
        stage.bank.posts.clear()
        stage.clock.tick(300)
        assert_refused(stage, page, fields, "calm")


def test_i3_honest_carry_stays_foreign(stage: Stage, victim: Page) -> None:
    """A carry that says the truth is delivered as what it is, whatever cookies it claims to have come with."""
    for host in HOSTS:
        assert stage.foreign_form(victim, OPEN, FORM, host).status == 200
        without = stage.last()
        fields = made_by_hand(stage, honest(stage, host))
        assert stage.foreign_form(victim, fields=dict(fields), host=host).status == 200
        assert stage.last().said == without.said
        # A page of ours in between, which the visitor solves, changes nothing.
        fields = made_by_hand(stage, honest(stage, host)).with_button("another")
        assert stage.foreign_form(victim, fields=dict(fields), host=host).status == 429
        assert answer(victim, "wrong").status == 429
        assert answer(victim).status == 200
        assert stage.last().said == without.said


@pytest.mark.parametrize(
    ("content_type", "encoding"), [("application/json", ""), ("text/plain", "gzip"), ("application/xml", "")]
)
def test_i3_what_no_form_can_send_is_refused(context: BrowserContext, content_type: str, encoding: str) -> None:
    """An honest carry of a content that no form can send does not reach the bank from a foreign page."""
    with staged(METADATA, "asgi") as stage:
        page = context.new_page()
        stage.log_in(page)
        fields = [*honest(stage, "evil"), *([("Content-Encoding", encoding)] if encoding else [])]
        made = made_by_hand(stage, fields, content_type)
        assert stage.foreign_form(page, fields=dict(made)).status == 400
        assert stage.bank.posts == []
