"""The pages: what they say, and the templates that say it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jinja2 import TemplateError

from gatepost import Kind, Reason
from gatepost.asgi import GatepostMiddleware as AsgiGate
from gatepost.challenges import AudioKind, ImageKind, QuestionKind
from gatepost.effects import Refuse
from gatepost.page import Page
from gatepost.templating import TEMPLATES
from gatepost.testing import KnownChallenge
from gatepost.words import DETAILS, NOTICES, TITLES
from gatepost.wsgi import GatepostMiddleware as WsgiGate
from pages import PICTURE, QUESTION, SOUND, Form, form, request, show, verdict
from twins import settings

# --- templates ---


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_are_replaced_one_by_one(name: str, tmp_path: Path) -> None:
    """A site's own file takes the place of ours, and the others stay."""
    (tmp_path / name).write_text("/* of the site's own */")
    page = Page(settings(templates=str(tmp_path)))
    shown = page.show(verdict(), request()).body
    refused = page.refuse(Refuse(Reason.ENDED, 410), request()).body
    assert (b"of the site's own" in shown) is (name != "message.html")
    assert (b"of the site's own" in refused) is (name != "challenge.html")
    assert (b"</html>" in shown) is (name in ("message.html", "style.css"))


def test_template_may_build_on_ours(tmp_path: Path) -> None:
    """A site's template can extend ours and use what ours use, escaped."""
    (tmp_path / "challenge.html").write_text(
        '{% extends "base.html" %}{% block content %}{{ site_name }}|{{ size(show.length) }}|'
        "{{ minutes(show.lifetime) }}|{{ challenge.media.data_uri if challenge }}{% endblock %}"
    )
    body = show(verdict(PICTURE), templates=tmp_path, site_name="<b>").body
    assert b"&lt;b&gt;|1.3 MB|10|data:image/png;base64," in body


@pytest.mark.parametrize(
    "text",
    ["{% if %}", "{{ unclosed", "{% extends 'nowhere.html' %}", "{{ nonsense }}", "{{ show.nonsense }}", "{{ 1 / 0 }}"],
)
@pytest.mark.parametrize("name", ["challenge.html", "base.html"])
@pytest.mark.parametrize("middleware", [AsgiGate, WsgiGate])
def test_broken_template_stops_the_start(middleware: Any, name: str, text: str, tmp_path: Path) -> None:
    """A template that cannot be compiled or rendered stops the start, not the first visitor in a flood."""
    (tmp_path / name).write_text(text)
    with pytest.raises((TemplateError, ZeroDivisionError)):
        middleware(None, settings=settings(templates=tmp_path))


# --- words ---


@pytest.mark.parametrize("reason", list(TITLES))
def test_refusals_say_what_to_do(reason: Reason) -> None:
    """Each page without a challenge has its title and says what to do, without a form."""
    response = Page(settings()).refuse(Refuse(reason, 400), request())
    found = Form(response.body)
    assert found.all("form") == []
    assert TITLES[reason] in found.text
    assert DETAILS[reason] in found.text
    assert TITLES.keys() == DETAILS.keys()


def test_every_reason_has_words() -> None:
    """Each reason that can be shown has words of its own, or those of a first challenge."""
    first = {
        Reason.RULE_ENGAGED,
        Reason.CLIENT_ENGAGED,
        Reason.ALWAYS,
        Reason.REFRESHED,
        Reason.CHANGED,
        Reason.CONTINUED,
    }
    passing = {Reason.SOLVED, Reason.CALMED, Reason.PERMIT, Reason.WOULD_CHALLENGE}
    assert set(Reason) - first - passing == NOTICES.keys() | TITLES.keys() | {Reason.FORGED}
    for reason in NOTICES:
        assert NOTICES[reason] in form(verdict(reason=reason)).text


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (49_152, "49 kB"),
        (1_300_000, "1.3 MB"),
        (8 << 20, "8.4 MB"),
    ],
)
def test_size_in_words(count: int, words: str) -> None:
    """What is kept is told in the units that file managers show."""
    assert f"What you sent ({words}) is kept with this page" in form(verdict(length=count)).text


@pytest.mark.parametrize(
    ("lifetime", "remaining", "words"),
    [
        (600, 3600, ("You have 10 minutes to answer.", "kept for 60 minutes")),
        (60, 89, ("You have 1 minute to answer.", "kept for 1 minute.")),
        (1, 150, ("You have 1 minute to answer.", "kept for 2 minutes.")),
        (7199, 7200, ("You have 120 minutes to answer.", "kept for 2 hours.")),
        (7200, 14_399, ("You have 2 hours to answer.", "kept for 3 hours.")),
    ],
)
def test_time_in_words(lifetime: float, remaining: float, words: tuple[str, str]) -> None:
    """How long the person has, and how long the submission is kept, is told in whole minutes or hours."""
    text = form(verdict(lifetime=lifetime, remaining=remaining)).text
    assert all(word in text for word in words)


def test_what_is_not_kept_is_said_first() -> None:
    """What was too large to keep is said before the question, and nothing says that it is kept."""
    text = form(verdict(kept=False)).text
    assert "What you sent (1.3 MB) is too large to be kept." in text
    assert text.index("too large to be kept") < text.index("Your answer")
    assert "go back and send the form again" in text
    assert "is kept with this page" not in text


def test_what_may_have_arrived_is_said_first() -> None:
    """After a restart the page says that the submission may have arrived, with a question and without."""
    for challenge in (QUESTION, None):
        text = form(verdict(challenge, maybe_sent=True, reason=Reason.RESTARTED)).text
        assert "What you sent may have arrived already. If you go on, it is sent once more." in text
        assert NOTICES[Reason.RESTARTED] in text


def test_continue_page() -> None:
    """Without a challenge the page has a button to go on, and says how long to wait if that is known."""
    found = form(verdict(None, reason=Reason.BUSY, retry_after=4.2))
    assert "Wait for 5 seconds, then go on." in found.text
    assert [attrs["value"] for attrs in found.all("button")] == ["continue"]
    assert "Wait for" not in form(verdict(None, reason=Reason.RESTARTED)).text
    assert "Wait for 1 second, then" in form(verdict(None, retry_after=1)).text


@pytest.mark.parametrize(
    ("kind", "caseless", "digits"),
    [
        (ImageKind(), True, False),
        (ImageKind(case_sensitive=True), False, False),
        (ImageKind(characters="0123456789"), False, True),
        (AudioKind(), False, True),
        (QuestionKind({"en": [{"question": "Which?", "answers": ["5"]}]}), False, False),
        (KnownChallenge("5"), False, False),
    ],
)
def test_what_may_be_typed_is_said(kind: Kind, caseless: bool, digits: bool) -> None:
    """Where case makes no difference a hint says so, tied to the field; only digits get a keyboard of digits."""
    found = form(verdict(kind.draw(1, "en")))
    [field] = [attrs for attrs in found.all("input") if attrs.get("name") == "gatepost_answer"]
    assert ("Capital and small letters make no difference." in found.text) is caseless
    assert ("hint" in (field["aria-describedby"] or "").split()) is caseless
    assert field.get("inputmode") == ("numeric" if digits else None)


def test_recordings_of_other_things_than_digits() -> None:
    """The label of a recording speaks of digits only where there are nothing but digits in it."""
    assert "What you hear" in form(verdict(SOUND)).text
    assert "The digits that you hear" in form(verdict(replace(SOUND, digits=True))).text


def test_earned_permit_is_said() -> None:
    """Who has answered right for nothing is told that the form is let through now, and gets the cookie."""
    response = Page(settings()).refuse(Refuse(Reason.NOT_KEPT, 413, cookie="gatepost_permit=x"), request())
    assert "Your answer was right" in Form(response.body).text
    assert dict(response.fields)["set-cookie"] == "gatepost_permit=x"
    assert "Your answer was right" not in Form(Page(settings()).refuse(Refuse(Reason.LOST, 410), request()).body).text


@pytest.mark.parametrize("condition", ["earned", "onward", "retry_after"])
def test_every_part_of_the_page_without_a_form_is_tried(condition: str, tmp_path: Path) -> None:
    """A mistake in a part of the page that is seldom shown stops the start, too."""
    (tmp_path / "message.html").write_text(f"{{% if {condition} %}}{{{{ nonsense }}}}{{% endif %}}")
    with pytest.raises(TemplateError):
        Page(settings(templates=tmp_path))
