"""A detour over our page makes no foreign form into an own one: a real browser, and a bank with session cookies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext

from browser_bank import OPEN, Stage, answer, certificate_for, staged
from browsers import (  # noqa: F401 - fixtures among them
    HTTPS,
    METADATA,
    PLAIN,
    browser_fixture,
    certificate_fixture,
    context_fixture,
)

SETTINGS = [(PLAIN, "asgi"), (PLAIN, "wsgi"), (METADATA, "asgi"), (HTTPS, "wsgi")]
# A host below is of the same site: SameSite cookies are sent with its forms.
FOREIGN = {"evil": ["plain"], "sub.site": ["strict", "lax", "plain"]}


@pytest.fixture(params=SETTINGS, ids=lambda param: f"{param[0].name}-{param[1]}")
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """The bank in each world, behind each twin."""
    world, kind = request.param
    with staged(world, kind, certificate_for(world, request)) as made:
        yield made


def test_i3_foreign_form_stays_foreign(stage: Stage, context: BrowserContext) -> None:
    """A foreign form that the visitor answers for reaches the bank with the very header fields it would have had."""
    page = context.new_page()
    stage.log_in(page)
    for host, cookies in FOREIGN.items():
        assert stage.foreign_form(page, OPEN, host=host).status == 200
        without = stage.last()
        assert stage.foreign_form(page, host=host).status == 429
        assert answer(page, "wrong").status == 429
        assert stage.bank.posts == []
        assert answer(page).status == 200
        assert stage.last().said == without.said
        assert (without.get("origin"), without.cookies) == (stage.foreign(host), cookies)
        assert (without.get("sec-fetch-site") is not None) == stage.world.fetch_metadata


def test_i3_own_form_stays_own(stage: Stage, context: BrowserContext) -> None:
    """The bank's own form, answered for, reaches it with the very header fields it would have had."""
    page = context.new_page()
    stage.log_in(page)
    for kind in ("form", "private"):
        assert stage.own_form(page, OPEN, kind).status == 200
        without = stage.last()
        assert stage.own_form(page, kind=kind).status == 429
        assert answer(page, "wrong").status == 429
        assert answer(page).status == 200
        referer = {"form": {"referer": f"{stage.origin}/form/transfer"}, "private": {}}[kind]
        assert stage.last().said == without.said | referer
        assert without.get("origin") == {"form": stage.origin, "private": "null"}[kind]
        assert without.cookies == ["strict", "lax", "plain"]


def test_i3_second_cookie_of_a_name_gains_nothing(stage: Stage, context: BrowserContext) -> None:
    """Where a foreign form came with a weak cookie of a name, the visitor's own one of that name does not follow."""
    page = context.new_page()
    stage.log_in(page)
    page.goto(f"{stage.origin}/shadow")
    assert stage.foreign_form(page, OPEN).status == 200
    assert stage.last().get("cookie") == "strict=weak; plain=of-the-visitor"
    assert stage.foreign_form(page).status == 429
    assert answer(page).status == 200
    assert stage.last().get("cookie") == "plain=of-the-visitor"


def test_who_logs_in_meanwhile_stays_logged_in(stage: Stage, context: BrowserContext) -> None:
    """An own form that was sent by nobody yet is delivered for who has logged in before the answer, in another tab."""
    page = context.new_page()
    assert stage.own_form(page).status == 429
    stage.log_in(context.new_page())
    assert answer(page).status == 200
    delivered = stage.last()
    assert delivered.cookies == ["strict", "lax", "plain"]
    assert delivered.get("origin") == stage.origin
