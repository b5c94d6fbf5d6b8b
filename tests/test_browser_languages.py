"""The page of each language in a real browser: it runs the right way, and fits a narrow screen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser
from playwright.sync_api import Page as BrowserPage

from browsers import browser_fixture, new_context
from gatepost import Challenge, Reason
from gatepost.catalogues import Catalogues
from gatepost.challenges import AudioKind, ImageKind
from gatepost.effects import Refuse, Show
from gatepost.languages import direction
from gatepost.page import Page
from pages import QUESTION, request, verdict
from twins import HOST, settings

__all__ = ["browser_fixture"]

KINDS = ("image", "audio", "question")
NARROW = 320  # CSS pixels: what is left of 1280 at 400 % zoom


@pytest.fixture(name="narrow", scope="module")
def narrow_fixture(browser: Browser) -> Iterator[BrowserPage]:
    """A page on a narrow screen."""
    context = new_context(browser, viewport={"width": NARROW, "height": 640})
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def states() -> list[Show | Refuse]:
    """One of each look of the page, with as many words as it can have."""
    drawn: list[tuple[Challenge | None, str]] = [
        (ImageKind().draw(1, "en"), "image"),
        (AudioKind().draw(1, "en"), "audio"),
        (QUESTION, "question"),
        (None, "image"),
    ]
    waiting = {"reason": Reason.BUSY, "retry_after": 30, "maybe_sent": True, "kinds": KINDS}
    return [
        *(verdict(challenge, kind=kind, **(waiting | {"reason": Reason.TOO_FAST})) for challenge, kind in drawn[:3]),
        verdict(None, **waiting, kept=False),
        Refuse(Reason.NOT_KEPT, 413, 5, "gatepost_permit=x", referer=f"http://{HOST}/"),
    ]


@pytest.mark.parametrize("language", Catalogues().languages)
def test_page_fits_in_every_language(language: str, narrow: BrowserPage, states: list[Show | Refuse]) -> None:
    """In each language and state nothing is wider than the narrow screen, and lines begin on the language's side."""
    made, asked = Page(settings(contact="mail@site.example")), request(accept_language=language, host=HOST)
    for state in states:
        response = made.show(state, asked) if isinstance(state, Show) else made.refuse(state, asked)
        narrow.set_content(response.body.decode())
        assert narrow.evaluate("document.documentElement.scrollWidth") <= NARROW
        assert narrow.evaluate("getComputedStyle(document.querySelector('h1')).direction") == direction(language)
        for part in narrow.locator("main > *, form > p, button, input[type=text], a").all():
            box = part.bounding_box()
            assert box is not None
            assert 0 <= box["x"] <= box["x"] + box["width"] <= NARROW
