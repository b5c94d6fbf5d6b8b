"""The example guestbook in a real browser without JavaScript, behind both twins."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import io
import random
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Error, Page, Response

from browsers import browser_fixture, context_fixture, press, serving, wait_for  # noqa: F401 - fixtures among them
from gatepost.testing import KnownChallenge, ManualClock

GUESTBOOK = Path(__file__).parent.parent / "examples" / "guestbook"
ANSWER = "open sesame"
NAME = "ليلى 🧡"
MESSAGE = "شكرًا على الضيافة 👩🏽‍🚀\n\n  zwei Leerzeichen, dann Schluß  "
DRAWN = 5  # seconds after which the budget is whole again, however long the first picture took
SENT = MESSAGE.replace("\n", "\r\n")  # as forms send it


@dataclass(frozen=True)
class Book:
    """A guestbook that is being served, and its database."""

    url: str
    database: Path
    clock: ManualClock

    def entries(self) -> list[tuple[str, str, str | None]]:
        """Name, message and the picture's SHA-256 of each entry."""
        with closing(sqlite3.connect(self.database)) as connection:
            rows = connection.execute("SELECT name, message, picture FROM entries ORDER BY id").fetchall()
        return [(name, message, sha256(picture) if picture else None) for name, message, picture in rows]

    def sign(self, page: Page, name: str = NAME, message: str = MESSAGE, picture: Path | None = None) -> Response:
        """Open the book, write into it and send that."""
        page.goto(self.url)
        page.get_by_label("Name").fill(name)
        page.get_by_label("Message").fill(message)
        if picture is not None:
            page.get_by_label("Picture").set_input_files(picture)
        return press(page, "Sign the guestbook")

    def ask(self, page: Page) -> None:
        """Sign, and get the page with the question."""
        assert self.sign(page).status == 429


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(params=["asgi", "wsgi"])
def open_book(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Book]]:
    """Opens a guestbook behind a gate with a known answer; settings of the gate may be given."""
    monkeypatch.syspath_prepend(str(GUESTBOOK))
    for name in ("GUESTBOOK_DB", "GUESTBOOK_DELAY", "GATEPOST_SECRET"):
        monkeypatch.delenv(name, raising=False)
    with ExitStack() as stack:

        def opened(**settings: Any) -> Book:
            clock = ManualClock()
            given = {"challenge": KnownChallenge(ANSWER), "clock": clock, "min_time": 0, "mode": "always", **settings}
            module = importlib.import_module("app" if request.param == "asgi" else "flask_app")
            database = tmp_path / "guestbook.db"
            port = stack.enter_context(serving(module.create_app(database, **given), request.param))
            return Book(f"http://127.0.0.1:{port}/", database, clock)

        yield opened


@pytest.fixture
def book(open_book: Callable[..., Book]) -> Book:
    return open_book()


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PNG of 1.5 MB."""
    noise = random.Random(7).randbytes(720 * 720 * 3)  # noqa: S311 - any bytes will do
    buffer = io.BytesIO()
    Image.frombytes("RGB", (720, 720), noise).save(buffer, "PNG", compress_level=1)
    assert 1_500_000 < len(buffer.getvalue()) < 1_700_000
    path = tmp_path_factory.mktemp("pictures") / "noise.png"
    path.write_bytes(buffer.getvalue())
    return path


def answer(page: Page, text: str = ANSWER) -> Response:
    page.get_by_label("Your answer").fill(text)
    return press(page, "Send")


def heading(page: Page) -> str:
    return page.locator("h1").inner_text()


def test_i2_whole_story(open_book: Callable[..., Book], context: BrowserContext, picture: Path) -> None:
    """Three entries pass; the fourth is asked a question, and a wrong answer or another question lose nothing of it."""
    book = open_book(mode="adaptive")
    page = context.new_page()
    for number in range(3):
        assert book.sign(page, name=f"guest {number}", message="hello").status == 200
        assert heading(page) == "The guestbook"
    assert book.sign(page, picture=picture).status == 429
    assert "What you sent (1.6 MB) is kept" in page.locator("main").inner_text()
    assert len(book.entries()) == 3
    assert answer(page, "wrong").status == 429
    assert "That was not the right answer" in page.get_by_role("alert").inner_text()
    assert press(page, "Another question").status == 429
    assert len(book.entries()) == 3
    delivered = answer(page)
    assert (delivered.status, delivered.url, heading(page)) == (200, book.url, "The guestbook")
    assert book.entries()[3:] == [(NAME, SENT, sha256(picture.read_bytes()))]
    shown = context.request.get(f"{book.url}pictures/4")
    assert sha256(shown.body()) == sha256(picture.read_bytes())


def test_picture_of_the_challenge_is_shown(open_book: Callable[..., Book], context: BrowserContext) -> None:
    """The real image challenge is drawn, shown by the browser under the page's policy, and can be changed."""
    book = open_book(challenge="image")
    page = context.new_page()
    book.ask(page)
    pictures = []
    for _ in range(2):
        image = page.get_by_role("img")
        assert image.is_visible()
        assert image.evaluate("image => image.complete && image.naturalWidth > 50 && image.naturalHeight > 20")
        pictures.append(image.get_attribute("src"))
        book.clock.tick(DRAWN)
        press(page, "Another picture")
    assert pictures[0] != pictures[1]
    page.get_by_label("Characters in the picture").fill("no such answer")
    book.clock.tick(DRAWN)
    assert press(page, "Send").status == 429
    assert book.entries() == []


def test_enter_answers(book: Book, context: BrowserContext) -> None:
    """The field has the focus, and Enter in it presses the button that answers."""
    page = context.new_page()
    book.ask(page)
    field = page.get_by_label("Your answer")
    wait_for(lambda: field.evaluate("field => field === document.activeElement"))  # when it is first painted
    page.keyboard.type(ANSWER)
    with page.expect_navigation() as navigation:
        page.keyboard.press("Enter")
    assert navigation.value is not None
    assert navigation.value.status == 200
    assert len(book.entries()) == 1


def test_i4_reload_stores_once(book: Book, context: BrowserContext) -> None:
    """Reloading what came after the answer stores nothing again."""
    page = context.new_page()
    book.ask(page)
    assert answer(page).status == 200
    page.reload()
    assert len(book.entries()) == 1


def test_i4_going_back_stores_once(book: Book, context: BrowserContext) -> None:
    """Who goes back and has the browser send again is told 'already sent', or asked anew; nothing is stored twice."""
    page = context.new_page()
    book.ask(page)
    assert answer(page, "wrong").status == 429
    assert answer(page).status == 200
    assert len(book.entries()) == 1
    # The pages must not be stored, so the browser has to ask before it sends again what led to them.
    for status, title in ((409, "Already sent"), (429, "One question before this is sent")):
        with pytest.raises(Error, match="ERR_CACHE_MISS"):
            page.go_back()
        page.wait_for_url("chrome-error://**")
        again = page.reload()
        assert again is not None
        assert (again.status, heading(page)) == (status, title)
        assert len(book.entries()) == 1


@pytest.fixture
def storing(
    open_book: Callable[..., Book],  # noqa: ARG001 - which has put both of them on the path
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[threading.Event]:
    """The guestbook, whichever it is, stores nothing until this is set."""
    let_go = threading.Event()

    async def wait(_: float) -> None:
        while not let_go.is_set():
            await asyncio.sleep(0.01)

    monkeypatch.setattr("app.asyncio", SimpleNamespace(sleep=wait))
    monkeypatch.setattr("flask_app.time", SimpleNamespace(sleep=lambda _: let_go.wait()))
    yield let_go
    let_go.set()  # or the server would never end


def test_i4_two_clicks_store_once(book: Book, context: BrowserContext, storing: threading.Event) -> None:
    """Clicking twice stores once, however long the application takes; the second click is told so."""
    page = context.new_page()
    book.ask(page)
    page.get_by_label("Your answer").fill(ANSWER)
    posts: list[str] = []
    page.on("request", lambda request: posts.append(request.method))
    button = page.get_by_role("button", name="Send").bounding_box()
    assert button is not None
    # Clicks of the bare mouse: those of a locator wait until the page stands still.
    page.mouse.click(button["x"] + 5, button["y"] + 5)
    wait_for(lambda: posts, page)
    page.wait_for_timeout(300)  # the browser itself makes one of clicks that follow at once
    assert book.entries() == []
    page.mouse.click(button["x"] + 5, button["y"] + 5)
    page.get_by_role("heading", name="Already sent").wait_for()
    assert posts == ["POST", "POST"]
    assert "it was not sent twice" in page.locator("main").inner_text()
    assert book.entries() == []
    storing.set()
    wait_for(book.entries)
    page.wait_for_timeout(300)
    assert len(book.entries()) == 1


def test_i4_two_tabs_store_once(book: Book, context: BrowserContext) -> None:
    """Of two tabs with the same page one delivers, and the other says that it has been sent."""
    page = context.new_page()
    book.ask(page)
    page.get_by_label("Your answer").fill(ANSWER)
    with context.expect_page() as opened:
        page.get_by_role("button", name="Send").click(modifiers=["Control"])
    assert heading(opened.value) == "The guestbook"
    assert len(book.entries()) == 1
    assert press(page, "Send").status == 409
    assert heading(page) == "Already sent"
    assert "it was not sent twice" in page.locator("main").inner_text()
    assert len(book.entries()) == 1


def test_i12_page_asks_nobody_and_runs_nothing(open_book: Callable[..., Book], context: BrowserContext) -> None:
    """Neither the page nor what follows asks another host for anything, sets a cookie, or has a script."""
    book = open_book(challenge=["image", KnownChallenge(ANSWER)])
    page = context.new_page()
    urls: list[str] = []
    context.on("request", lambda request: urls.append(request.url))
    responses: list[Response] = []
    page.on("response", lambda response: responses.append(response))
    book.ask(page)
    here = page.url
    asked = len(urls)
    page.wait_for_load_state("networkidle")
    assert urls[asked:] == []  # one response, no second request
    for button in ("Send", "Another picture", "Another kind of question: known"):
        book.clock.tick(DRAWN)
        if button == "Send":
            page.get_by_label("Characters in the picture").fill("wrong")
        shown = press(page, button)
        assert (shown.status, shown.url) == (429, here)
        assert_harmless(shown, page)
    answer(page)
    assert len(book.entries()) == 1
    assert {urlsplit(url).netloc for url in urls if not url.startswith("data:")} == {urlsplit(book.url).netloc}
    assert not [response for response in responses if "set-cookie" in response.all_headers()]
    assert context.cookies() == []


def assert_harmless(shown: Response, page: Page) -> None:
    """Assert that an interstitial has no script, and a policy that would let none run."""
    policy = dict(part.strip().split(" ", 1) for part in shown.headers["content-security-policy"].split(";"))
    assert re.fullmatch("'sha256-[^']+'", policy.pop("style-src"))
    assert policy == {
        "default-src": "'none'",
        "img-src": "data:",
        "media-src": "data:",
        "base-uri": "'none'",
        "frame-ancestors": "'self'",
    }
    assert shown.headers["cache-control"] == "no-store"
    assert page.locator("script, iframe, object, embed, [style]").count() == 0
    attributes = page.evaluate("[...document.querySelectorAll('*')].flatMap(e => [...e.attributes].map(a => a.name))")
    assert not [name for name in attributes if name.startswith("on")]
    # The policy lets the page's own style through: a browser that refused it would show the default.
    assert page.locator("h1").evaluate("title => getComputedStyle(title).fontSize") == "24px"


def test_i12_permit_is_the_only_cookie(open_book: Callable[..., Book], context: BrowserContext) -> None:
    """Where permits are on, a right answer sets one cookie, out of scripts' reach, and the next entry passes."""
    book = open_book(permit_uses=1)
    page = context.new_page()
    book.ask(page)
    assert context.cookies() == []
    assert answer(page).status == 200
    (cookie,) = context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"], cookie["secure"]) == (True, "Lax", "/", False)
    assert book.sign(page).status == 200
    assert book.sign(page).status == 429
    assert len(book.entries()) == 2


def test_too_large_to_keep_is_said_before(
    open_book: Callable[..., Book], context: BrowserContext, picture: Path
) -> None:
    """Above ``keep_limit`` the page says first that the form has to be sent again; the answer then lets it through."""
    book = open_book(keep_limit=1_000_000)
    page = context.new_page()
    assert book.sign(page, picture=picture).status == 429
    said = page.locator("main").inner_text()
    assert "What you sent (1.6 MB) is too large to be kept." in said
    assert "can be kept" not in said
    assert answer(page).status == 413
    assert heading(page) == "Please send the form again"
    assert book.sign(page, picture=picture).status == 200
    assert book.entries() == [(NAME, SENT, sha256(picture.read_bytes()))]
