"""The kinds that come with the gate, side by side on one page."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable

import pytest

from gatepost import Challenge
from gatepost.challenges import AudioKind, ImageKind, QuestionKind
from twins import Reply, Twin

QUESTIONS = {"en": [{"question": "Which colour is the roof?", "answers": ["red"]}]}


class Listener(AudioKind):
    """The audio kind, of which the test knows the answers."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[bytes, str] = {}

    def draw(self, level: int = 1, locale: str = "") -> Challenge:
        challenge = super().draw(level, locale)
        self.answers[challenge.media.content] = challenge.answer
        return challenge


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def twin(twin_of: Callable[..., Twin], listener: Listener) -> Twin:
    return twin_of(challenge=["image", listener, QuestionKind(QUESTIONS)], pool_size=2)


def shows(page: Reply) -> str:
    """Which kind the page shows."""
    kinds = {"data:image/png;base64,": "image", "data:audio/": "audio", 'class="question"': "question"}
    return ",".join(kind for mark, kind in kinds.items() if mark in page.text)


def test_kinds_are_changed_by_button(twin: Twin) -> None:
    """The first kind is shown first, the others by buttons, and what was sent is delivered after any of them."""
    page = twin.send(body=b"message=hello")
    assert shows(page) == "image"
    for kind, button in (("audio", "A recording instead"), ("question", "A question instead")):
        assert button in page.text
        page = twin.answer(page, "", button=f"kind-{kind}")
        assert (shows(page), page.reason) == (kind, "changed")
    assert "A picture instead" in page.text
    page = twin.answer(page, "blue")
    assert (shows(page), page.reason) == ("question", "wrong")
    assert twin.answer(page, "Red").text == "stored"
    assert twin.received[0].body == b"message=hello"


def test_recording_is_answered_by_digits(twin: Twin, listener: Listener) -> None:
    """The page has a player and no autoplay, and the digits that were spoken deliver."""
    page = twin.answer(twin.send(body=b"message=hello"), "", button="kind-audio")
    assert "<audio controls" in page.text
    assert "autoplay" not in page.text
    assert "media-src data:" in page.get("content-security-policy")
    shown = re.search(r"data:audio/[^;]+;base64,([^\"]+)", page.text)
    assert shown is not None
    answer = listener.answers[base64.b64decode(shown[1])]
    assert twin.answer(page, " ".join(answer)).text == "stored"


def test_question_needs_its_questions(twin_of: Callable[..., Twin]) -> None:
    """Naming the question kind without questions is a mistake that stops the start."""
    with pytest.raises(ValueError, match="which needs the questions"):
        twin_of(challenge=["image", "question"])


def test_kinds_by_name_are_those_of_the_package(twin_of: Callable[..., Twin]) -> None:
    """Each name stands for the kind of that name."""
    twin = twin_of(challenge=["image", "audio"])
    [guard] = twin.gate.guards
    assert [type(kind) for kind in guard.kinds.values()] == [ImageKind, AudioKind]
