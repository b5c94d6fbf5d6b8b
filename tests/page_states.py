"""Every state of the page, rendered without a gate: for what looks at it as people and their programs do."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gatepost import Challenge, Media, Reason, Request
from gatepost.challenges import AudioKind, ImageKind, QuestionKind
from gatepost.effects import Refuse, Show
from gatepost.page import Page, Response
from gatepost.words import NOTICES, TITLES
from pages import request, verdict
from twins import settings

SITE = {"site_name": "The Gardeners of Neustadt", "contact": "office@gardeners.example or +49 30 5550 1234"}
#: Kinds with a button each, one of them not known to the page.
KINDS = ("image", "audio", "question", "pick")
#: What a browser sends that plays recordings itself.
PLAYER = {"sec_fetch_mode": "navigate"}

_QUESTION = "Which colour is the roof of our club house?"
# As long as a question can be, with a word in it that fits on no line.
_LONG_QUESTION = f"Which word is missing? {'Look it up in the statutes of the association. ' * 17}{'Verein' * 28}?"[
    :1000
]
# The refusals that do not have the status of a form which cannot be read.
_STATUS = {
    Reason.CONTENT_TYPE: 415,
    Reason.TOO_SLOW: 408,
    Reason.OVERLOADED: 503,
    Reason.ALREADY_SENT: 409,
    Reason.ENDED: 410,
    Reason.LOST: 410,
    Reason.NOT_KEPT: 413,
}


@functools.cache
def image() -> Challenge:
    """A picture as visitors get it."""
    return ImageKind().draw(1, "en")


@functools.cache
def sound() -> Challenge:
    """A recording as visitors get it."""
    return AudioKind().draw(1, "en")


def question(text: str = _QUESTION) -> Challenge:
    """A question of the operator's."""
    return QuestionKind({"en": [{"question": text, "answers": ["red"]}]}).draw(1, "en")


def _titled() -> Challenge:
    return Challenge("7", Media("image/png", image().media.content, 300, 150), label="How many letters are hollow?")


@dataclass(frozen=True)
class State:
    """One state of the page: what is shown, to which request, with which settings."""

    name: str
    make: Callable[[], Show | Refuse]
    settings: dict[str, str] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=lambda: dict(PLAYER))

    def render(self, language: str = "en") -> Response:
        """The page in this language."""
        asked = request(accept_language=language, **self.fields)
        return _respond(_page(**self.settings), self.make(), asked)


@functools.cache
def _page(**options: str) -> Page:
    return Page(settings(**options))


def _respond(page: Page, made: Show | Refuse, asked: Request) -> Response:
    return page.show(made, asked) if isinstance(made, Show) else page.refuse(made, asked)


def _show(draw: Callable[[], Challenge] | None, **changes: Any) -> Callable[[], Show]:
    def make() -> Show:
        return verdict(draw() if draw else None, **{"kind": "image", "kinds": KINDS, **changes})

    return make


def _refuse(reason: Reason, **changes: Any) -> Callable[[], Refuse]:
    return functools.partial(Refuse, reason, _STATUS.get(reason, 400), **changes)


_BUSY = {"retry_after": 4.2}
_MAYBE = {"reason": Reason.RESTARTED, "maybe_sent": True}
_FORM = "http://site.example/contact?about=roof"
_AT_HOME = {**PLAYER, "host": "site.example"}
_WAITING = (Reason.BUSY, Reason.ISSUE_LIMIT, Reason.FAILURE_LIMIT, Reason.STORE_AWAY)

#: Every state, each once.
STATES = (
    State("image", _show(image)),
    State("image-alone-named", _show(image, kinds=("image",)), SITE),
    State("image-own-label", _show(_titled)),
    State("audio", _show(sound, kind="audio")),
    State("audio-to-download", _show(sound, kind="audio"), fields={}),
    State("question", _show(question, kind="question")),
    State("question-long", _show(functools.partial(question, _LONG_QUESTION), kind="question"), SITE),
    State("image-for-hours", _show(image, lifetime=7200, remaining=86_400)),
    *(State(f"image-{reason}", _show(image, reason=reason)) for reason in NOTICES if reason not in _WAITING),
    State("audio-wrong", _show(sound, kind="audio", reason=Reason.WRONG)),
    State("question-wrong-named", _show(question, kind="question", reason=Reason.WRONG), SITE),
    State("image-not-kept", _show(image, kept=False)),
    State("image-maybe-sent", _show(image, **_MAYBE)),
    State("continue-maybe-sent", _show(None, **_MAYBE)),
    State("continue-not-kept", _show(None, reason=Reason.BUSY, kept=False, **_BUSY), SITE),
    *(State(f"continue-{reason}", _show(None, reason=reason, **_BUSY)) for reason in _WAITING),
    State("continue-in-minutes", _show(None, reason=Reason.FAILURE_LIMIT, retry_after=310), SITE),
    *(State(f"message-{reason}", _refuse(reason)) for reason in TITLES),
    State("message-overloaded-wait", _refuse(Reason.OVERLOADED, retry_after=5), SITE),
    State("message-not-kept-earned", _refuse(Reason.NOT_KEPT, cookie="gatepost_permit=x")),
    State("message-already-sent-onward", _refuse(Reason.ALREADY_SENT, referer=_FORM), SITE, _AT_HOME),
)

#: One of each shape, for what need not be tried with every sentence.
SHAPES = tuple(
    state
    for state in STATES
    if state.name
    in (
        "image-alone-named",
        "image-wrong",
        "audio",
        "audio-to-download",
        "question-long",
        "question-wrong-named",
        "image-maybe-sent",
        "continue-not-kept",
        "message-already-sent-onward",
    )
)
