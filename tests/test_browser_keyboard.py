"""The page by keyboard alone, and as a screen reader is told of it: in a real browser, without JavaScript."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route

from browsers import browser_fixture, new_context, wait_for  # noqa: F401 - fixtures among them
from gatepost.challenges import QuestionKind
from letterbox import OPEN, QUESTIONS, RIGHT, Post, posted
from page_states import SITE, STATES, State

ADDRESS = "http://site.example/contact"
NOTICE = "That was not the right answer. Here is a new question. Nothing that you sent is lost."
CASE = "Capital and small letters make no difference."
TIME = (
    "You have 10 minutes to answer. What you sent is kept for 60 minutes. Until then you can ask for another question."
)
HEARD = "A recording to listen to; type what is said into the field below"


@pytest.fixture(scope="module", name="shared")
def shared_fixture(browser: Browser) -> Iterator[Page]:
    context = new_context(browser)
    yield context.new_page()
    context.close()


@pytest.fixture(name="page")
def page_fixture(shared: Page) -> Iterator[Page]:
    """One page for all tests, on which nothing is left of the one before."""
    shared.goto("about:blank")
    yield shared
    shared.unroute_all()


@pytest.fixture(name="post", params=["asgi", "wsgi"])
def post_fixture(request: pytest.FixtureRequest) -> Iterator[Post]:
    """A letterbox behind a gate that asks questions, or shows pictures to who wants one."""
    with posted(request.param, challenge=[QuestionKind(QUESTIONS), "image"]) as post:
        yield post


def look(page: Page, name: str) -> None:
    """Show the state of this name as it goes out."""
    (state,) = (state for state in STATES if state.name == name)
    response = state.render()

    def answer(route: Route) -> None:
        route.fulfill(status=response.status, headers=dict(response.fields), body=response.body)

    page.route("**/*", answer)
    page.goto(ADDRESS)
    page.unroute("**/*")


def focused(page: Page) -> str:
    """What has the focus: the words on it, or the kind of element; ``body`` if nothing has."""
    named: str = page.evaluate(
        "(({localName, textContent}) => localName === 'button' || localName === 'a' ? textContent : localName)"
        "(document.activeElement)"
    )
    return named


def first_focused(page: Page) -> str:
    """What a page that has come focuses by itself, which it does when it is first painted."""
    wait_for(lambda: focused(page) != "body")
    return focused(page)


def strike(page: Page, *keys: str) -> None:
    """Press keys, one after the other."""
    for key in keys:
        page.keyboard.press(key)


def go(page: Page, key: str) -> int:
    """Press a key that leads to another page; its status."""
    with page.expect_navigation() as navigation:
        page.keyboard.press(key)
    assert navigation.value is not None
    return navigation.value.status


# --- a whole run ---


def write(page: Page, url: str) -> int:
    """Fill in the form and send it; the status of what comes."""
    page.goto(url)
    strike(page, "Tab", *"Ada", "Tab", *"trees", "Tab")
    assert focused(page) == "Post the letter"
    return go(page, "Enter")


def test_i2_letter_without_a_mouse(post: Post, page: Page) -> None:
    """From the form to the delivery no mouse is needed: wrong, another, another kind and back, then right.

    What arrives is what arrives without a gate.
    """
    assert write(page, post.url(OPEN)) == 200
    assert write(page, post.url()) == 429
    assert first_focused(page) == "input"
    strike(page, *"blue")
    assert go(page, "Enter") == 429  # in the field it presses Send
    assert (first_focused(page), page.title()) == ("input", "Please try again")
    for button, key in (("Another question", "Space"), ("A picture instead", "Enter"), ("A question instead", "Space")):
        assert button in _walk(page, "Tab", 4, until=button)
        assert go(page, key) == 429
        assert first_focused(page) == "input"
    strike(page, *RIGHT, "Tab")
    assert focused(page) == "Send"
    assert go(page, "Space") == 200
    assert page.locator("h1").inner_text() == "The letter has arrived"
    plain, gated = post.bodies()
    assert gated == plain
    assert post.reasons == {"always": 1, "wrong": 1, "refreshed": 1, "changed": 2, "solved": 1}


def test_enter_without_an_answer_sends_nothing(post: Post, page: Page) -> None:
    """Send, pressed on an empty field, is held back by the browser, which costs nobody a try; the focus stays."""
    write(page, post.url())
    strike(page, "Enter", "Tab", "Space")
    assert first_focused(page) == "input"
    strike(page, *RIGHT)
    assert go(page, "Enter") == 200
    assert post.reasons == {"always": 1, "solved": 1}


def test_continue_page_needs_one_key(page: Page) -> None:
    """Where there is no question the button that goes on has the focus."""
    look(page, "continue-busy")
    posts: list[str] = []
    page.on("request", lambda request: posts.append(request.post_data or ""))
    page.route("**/*", lambda route: route.fulfill(status=200, body=""))
    assert first_focused(page) == "Continue"
    assert go(page, "Enter") == 200
    assert posts[0] == "gatepost_token=the-token&gatepost_carry=the-carry&gatepost_do=continue"


# --- the order of focus ---

OTHERS = {
    "image": ["Another picture", "A recording instead", "A question instead"],
    "audio": ["Another recording", "A picture instead", "A question instead"],
    "question": ["Another question", "A picture instead", "A recording instead"],
}


@pytest.mark.parametrize("kind", OTHERS)
def test_order_of_focus(kind: str, page: Page) -> None:
    """The focus starts in the field and goes on as the page reads: Send, another one, the other kinds; and back."""
    look(page, kind)
    ahead = ["input", "Send", *OTHERS[kind], "Another kind of question: pick"]
    assert _walk(page, "Tab", len(ahead)) == ahead
    assert _walk(page, "Shift+Tab", len(ahead)) == ahead[::-1]


def _walk(page: Page, key: str, steps: int, until: str = "") -> list[str]:
    """What has the focus now, and after each step; the walk ends early at what is looked for."""
    passed = [first_focused(page)]
    while len(passed) < steps and passed[-1] != until:
        strike(page, key)
        passed.append(focused(page))
    return passed


@pytest.mark.parametrize("name", ["audio", "audio-to-download"])
def test_recording_is_heard_by_keyboard(name: str, page: Page) -> None:
    """Nothing plays by itself; the player lies before the field, the link to download between them if it is there."""
    look(page, name)
    player = page.locator("audio")
    page.wait_for_function("document.querySelector('audio').readyState === 4")
    assert player.evaluate("({paused, currentTime, autoplay}) => [paused, currentTime, autoplay]") == [True, 0, False]
    strike(page, "Shift+Tab")
    if name == "audio-to-download":
        assert focused(page) == "Download the recording"
        strike(page, "Shift+Tab")
    assert focused(page) == "audio"
    before = 0
    while focused(page) == "audio":  # its own controls, and at last the player itself
        strike(page, "Shift+Tab")
        before += 1
        assert before < 12
    strike(page, "Tab", "Space")
    wait_for(lambda: player.evaluate("player => !player.paused && player.currentTime > 0"), page)


def test_link_onward_by_keyboard(page: Page) -> None:
    """The way back to the form is the first thing that Tab finds."""
    look(page, "message-already-sent-onward")
    strike(page, "Tab")
    assert first_focused(page) == "Go to the page with the form"
    page.route("**/*", lambda route: route.fulfill(status=200, body=""))
    assert go(page, "Enter") == 200
    assert page.url == "http://site.example/contact?about=roof"


# --- what a screen reader is told ---


@dataclass(frozen=True)
class Told:
    """What stands in the browser's accessibility tree for one element."""

    role: str
    name: str
    description: str
    properties: dict[str, Any]


def told(page: Page) -> list[Told]:
    """The accessibility tree, in its order."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    return [
        Told(
            node["role"]["value"],
            node.get("name", {}).get("value", ""),
            node.get("description", {}).get("value", ""),
            {one["name"]: one["value"].get("value") for one in node.get("properties", [])},
        )
        for node in nodes
        if not node["ignored"]
    ]


def one(page: Page, role: str) -> Told:
    (found,) = (node for node in told(page) if node.role == role)
    return found


ASKED = "Which colour is the roof of our club house?"
LETTERS = "Characters in the picture, line by line"
DIGITS = "The digits that you hear"
TWICE = (
    "This site was restarted in the meantime. What you sent is still here. "
    "What you sent may have arrived already. If you go on, it is sent once more."
)
UNKEPT = (
    "What you sent (1.3 MB) is too large to be kept. "
    "Answer first, then go back and send the form again: it will be let through."
)


@pytest.mark.parametrize(
    ("state", "name", "description"),
    [
        ("image", LETTERS, f"{CASE} {TIME}"),
        ("image-wrong", LETTERS, f"{NOTICE} {CASE} {TIME}"),
        ("image-maybe-sent", LETTERS, f"{TWICE} {CASE} {TIME}"),
        ("image-not-kept", LETTERS, f"{UNKEPT} {CASE} You have 10 minutes to answer."),
        ("image-own-label", "How many letters are hollow?", TIME),
        ("audio", DIGITS, TIME),
        ("audio-wrong", DIGITS, f"{NOTICE} {TIME}"),
        ("question", f"{ASKED} Your answer", TIME),
        ("question-wrong-named", f"{ASKED} Your answer", f"{NOTICE} {TIME}"),
    ],
)
def test_field_says_what_is_wanted(state: str, name: str, description: str, page: Page) -> None:
    """Who is set down in the field hears what to type, what was wrong, what to beware of and how long there is."""
    look(page, state)
    assert first_focused(page) == "input"
    field = one(page, "textbox")
    assert (field.name, field.description) == (name, description)
    assert field.properties["focused"] is True
    assert field.properties["required"] is True
    assert field.properties["invalid"] == ("true" if "wrong" in state else "false")


@pytest.mark.parametrize(
    ("state", "title", "notice"),
    [
        ("image", "One question before this is sent", None),
        ("image-wrong", "Please try again", NOTICE),
        ("question-wrong-named", f"Please try again – {SITE['site_name']}", NOTICE),  # noqa: RUF001
        ("image-restarted", "One question before this is sent", None),
        ("continue-busy", "Please wait a moment", None),
    ],
)
def test_trouble_is_announced(state: str, title: str, notice: str | None, page: Page) -> None:
    """The title, which is heard first, says whether to try again or to wait; a notice is an alert; one heading."""
    look(page, state)
    assert page.title() == title
    assert title.startswith(one(page, "heading").name)
    alerts = page.get_by_role("alert").all_inner_texts()
    assert alerts == [notice] if notice else len(alerts) == (state != "image")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("continue-busy", ["no questions left", "Wait for 5 seconds"]),
        ("continue-in-minutes", ["too many wrong answers", "Wait for 5 minutes"]),
        ("continue-not-kept", ["no questions left", "too large to be kept", "Wait for 5 seconds"]),
        ("continue-maybe-sent", ["was restarted", "it is sent once more"]),
    ],
)
def test_continue_says_what_for(state: str, words: list[str], page: Page) -> None:
    """Who is set down on the button hears why to wait, how long, and what to beware of."""
    look(page, state)
    assert first_focused(page) == "Continue"
    button = one(page, "button")
    assert (button.name, button.properties["focused"]) == ("Continue", True)
    places = [button.description.find(word) for word in words]
    assert places == sorted(places)
    assert -1 not in places


def test_pictures_and_recordings_have_names(page: Page) -> None:
    """What stands for the picture says what to do with it, and so does the player."""
    look(page, "image")
    assert one(page, "image").name == "A picture of distorted letters and digits, to be typed into the field below"
    look(page, "audio")
    assert one(page, "Audio").name == HEARD


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_everything_has_a_name(state: State, page: Page) -> None:
    """On every page there is one main part and one heading, and nothing to press, fill or hear lacks a name."""
    look(page, state.name)
    nodes = told(page)
    assert [node.role for node in nodes if node.role in ("main", "heading")] == ["main", "heading"]
    named = [node for node in nodes if node.role in ("button", "textbox", "link", "image", "Audio", "heading")]
    assert all(node.name for node in named)
