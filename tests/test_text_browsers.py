"""The page in text browsers: w3m, links and lynx, which show no pictures and do not say where a request came from."""

from __future__ import annotations

import base64
import re
import subprocess
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import pytest

from browsers import PATIENCE, wait_for
from gatepost import Challenge, Media
from gatepost.challenges import AudioKind, QuestionKind
from gatepost.testing import KnownChallenge
from letterbox import GATED, OPEN, QUESTIONS, RIGHT, posted
from page_states import SHAPES, State
from pages import Form
from terminals import Terminal, environment, program, terminal

NAME = "Ada & co"
WISH = "more trees + 100%"
LAST = "can ask for another question"  # the last words of the page: now it is there


@dataclass(frozen=True)
class TextBrowser:
    """One of the browsers, and its keys.

    In a page that has just come, ``first`` leads to what can be pressed or filled, and ``onward`` from there to the
    next. ``into`` and ``out`` lead into a field and out of it, ``prompt`` is shown in between, and ``go`` presses the
    button after it. ``greeting`` comes before anything else. ``picture`` says that a picture can be opened like a link.
    """

    name: str
    dump: tuple[str, ...]
    onward: str
    out: str
    options: tuple[str, ...] = ()
    first: str = ""
    into: str = ""
    go: str = "\r"
    prompt: str = ""
    greeting: str = ""
    picture: bool = False

    def open(self, shown: Terminal) -> None:
        """Wait for the form."""
        if self.greeting:
            shown.wait_for(self.greeting)
            shown.type("\r")
        shown.wait_for("Post the letter")

    def fill(self, shown: Terminal, *texts: str) -> None:
        """Type a text into each of the first fields of a page, and press the button that follows."""
        for text in texts:
            shown.type(self.into)
            shown.wait_for(self.prompt)
            shown.type(text + self.out)
            shown.wait_for(text)
        shown.type(self.go)

    def push(self, shown: Terminal, number: int) -> None:
        """Press what comes so many steps after the first thing that can be pressed or filled."""
        shown.type(f"{self.first}{self.onward * number}\r")


DOWN, CLEARED = "\x1b[B", "\x01\x0b"
W3M = TextBrowser(
    name="w3m",
    dump=("-dump", "-cols", "200", "-T", "text/html"),
    first="\t",
    onward="\t",
    into="\t\r",
    out="\r",
    go="\t\r",
    prompt="TEXT:",
)
LINKS = TextBrowser(
    name="links",
    dump=("-width", "200", "-dump"),
    onward=DOWN,
    out=DOWN,
    greeting="Welcome to links!",
    picture=True,
)
LYNX = TextBrowser(
    name="lynx",
    options=("-cfg=/dev/null", "-nopause"),
    dump=("-dump", "-nolist", "-width=200", "-force_html"),
    onward="\t",
    out="\t",
)
BROWSERS = (W3M, LINKS, LYNX)

each = pytest.mark.parametrize("browser", BROWSERS, ids=lambda browser: browser.name)
kinds = pytest.mark.parametrize("kind", ["asgi", "wsgi"])


@each
@kinds
def test_i2_letter_gets_through(kind: str, browser: TextBrowser, tmp_path: Path) -> None:
    """Who is asked for a picture takes a question instead, answers wrong, then right; the letter comes as it was sent.

    It is what the browser sends without a gate, byte for byte, and came without an origin: the third rule lets it in.
    """
    command = [program(browser.name), *browser.options]
    with posted(kind, challenge=["image", QuestionKind(QUESTIONS)]) as post:
        for path in (OPEN, GATED):
            home = tmp_path / path[1:]
            home.mkdir()
            with terminal([*command, post.url(path)], home) as shown:
                browser.open(shown)
                browser.fill(shown, NAME, WISH)
                if path == GATED:
                    shown.wait_for("Characters in the picture")
                    shown.wait_for(LAST)
                    browser.push(shown, 4 if browser.picture else 3)  # the picture, the field, two other buttons
                    shown.wait_for("of our club house? Your answer")
                    shown.wait_for(LAST)
                    browser.fill(shown, "blue")
                    shown.wait_for("That was not the right answer.")
                    shown.wait_for(LAST)
                    browser.fill(shown, RIGHT)
                shown.wait_for("The letter has arrived")
        assert post.reasons == {"always": 1, "changed": 1, "wrong": 1, "solved": 1}
        (_, plain, body), (_, gated, same) = post.letterbox.letters
    assert b"name=Ada+%26+co&wish=more+trees+%2B+100%25&do=post+it" in body
    assert same == body
    assert {**gated, "referer": ""} == {**plain, "referer": ""}
    assert not [name for name in gated if name == "origin" or name.startswith("sec-fetch")]


class Numbered(KnownChallenge):
    """Each question is another one, so that it can be seen when the next one is there."""

    def __init__(self, answer: str) -> None:
        super().__init__(answer)
        self._numbers = count(1)

    def draw(self, level: int, locale: str) -> Challenge:
        question = f"Question {next(self._numbers)} of many"
        return replace(super().draw(level, locale), media=Media("text/plain", question.encode()))


@each
def test_another_question_keeps_the_letter(browser: TextBrowser, tmp_path: Path) -> None:
    """The button for another question is found by its keys, and nothing is lost by it."""
    with posted("wsgi", challenge=Numbered(RIGHT)) as post:
        with terminal([program(browser.name), *browser.options, post.url()], tmp_path) as shown:
            browser.open(shown)
            browser.fill(shown, NAME, WISH)
            shown.wait_for(LAST)
            (first,) = re.findall(r"Question \d+ of many", shown.text)
            browser.push(shown, 2)
            shown.wait_while(first)
            shown.wait_for("of many")
            shown.wait_for(LAST)
            browser.fill(shown, RIGHT)
            shown.wait_for("The letter has arrived")
        assert b"wish=more+trees+%2B+100%25" in post.bodies()[0]


# --- a recording ---


@pytest.mark.parametrize(
    ("browser", "keys", "asked"),
    [(W3M, ("\t", "a"), "Save file to"), (LINKS, ("", "d"), "Save to file")],
    ids=["w3m", "links"],
)
def test_recording_is_saved(browser: TextBrowser, keys: tuple[str, str], asked: str, tmp_path: Path) -> None:
    """The recording is a link, and what is saved from it is the whole of it; w3m leaves it in base64.

    Lynx follows no such link: there a question is what helps, and it is one button away.
    """
    kind = _Repeated()
    with (
        posted("wsgi", challenge=[kind, QuestionKind(QUESTIONS)]) as post,
        terminal([program(browser.name), *browser.options, post.url()], tmp_path) as shown,
    ):
        browser.open(shown)
        browser.fill(shown, NAME, WISH)
        shown.wait_for("Download the recording")
        shown.wait_for(LAST)
        first, save = keys
        shown.type(first + save)
        shown.wait_for(asked)
        shown.type(f"{CLEARED}saved.wav\r")
        saved = tmp_path / "saved.wav"
        expected = base64.b64encode(kind.recording) if browser is W3M else kind.recording
        wait_for(lambda: saved.exists() and saved.read_bytes() == expected)


class _Repeated(AudioKind):
    """Always the same recording."""

    def __init__(self) -> None:
        super().__init__()
        self._drawn = super().draw(1, "en")
        self.recording = self._drawn.media.content

    def draw(self, level: int = 1, locale: str = "") -> Challenge:  # noqa: ARG002 - as the base class has it
        return self._drawn


# --- reading ---


@each
@pytest.mark.parametrize("state", SHAPES, ids=lambda state: state.name)
def test_page_reads_well(state: State, browser: TextBrowser, tmp_path: Path) -> None:
    """All words of a page are there in their order, what stands for a picture among them, and nothing but words."""
    state = State(state.name, state.make, state.settings, {**state.fields, "sec_fetch_mode": ""})
    body = state.render().body
    file = tmp_path / "page.html"
    file.write_bytes(body)
    said = _run([program(browser.name), *browser.dump, str(file)], tmp_path)
    style = re.compile(rb"(?s)<(style|title|audio).*?</\1>")
    words = Form(style.sub(b"", body)).text.split()
    assert _after_each_other(words, said)
    for alternative in (attrs.get("alt") for attrs in Form(body).all("img")):
        assert alternative
        assert alternative in said
    assert not re.search("gatepost_|the-token|the-carry|base64|font|color", said)


def _run(command: list[str], home: Path) -> str:
    done = subprocess.run(  # noqa: S603 - our own words
        command, env=environment(home), capture_output=True, check=True, timeout=PATIENCE, stdin=subprocess.DEVNULL
    )
    return " ".join(done.stdout.decode().split())


def _after_each_other(words: list[str], text: str) -> bool:
    """Whether the words stand in the text in this order, whatever is between them."""
    place = 0
    for word in words:
        place = text.find(word, place)
        if place < 0:
            return False
        place += len(word)
    return True
