"""``gatepost.testing``: what users test their own applications with."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from urllib.parse import parse_qsl, unquote

import pytest

import gatepost.testing
from gatepost import Gate, Kind, Settings
from gatepost.testing import Answer, KnownChallenge, ManualClock, solve
from twins import ANSWER, HOST, SECRET, Twin

FORM = """<!doctype html><title>Question &amp; answer</title><form method="post">
<input type="hidden" name="gatepost_token" value="t&amp;1"><input type=hidden name=gatepost_carry value="">
<input name="gatepost_answer" required><input type="hidden" name="csrf" value="of another form">
<button name="gatepost_do" value="answer">Send</button></form>"""
CONTINUE = FORM.replace('<input name="gatepost_answer" required>', "")
DOCUMENT = json.dumps({"token": "t.1", "challenge": {"kind": "known"}})


@pytest.mark.parametrize("as_bytes", [False, True])
def test_solve_a_page(as_bytes: bool) -> None:
    """The fields of a page come back in the order in which a browser posts them, the answer and the button last."""
    answer = solve(FORM.encode() if as_bytes else FORM, "ö & ?")
    assert list(answer.items()) == [
        ("gatepost_token", "t&1"),
        ("gatepost_carry", ""),
        ("gatepost_answer", "ö & ?"),
        ("gatepost_do", "answer"),
    ]
    assert parse_qsl(answer.body.decode(), keep_blank_values=True) == list(answer.items())
    assert answer.body.startswith(b"gatepost_token=")
    assert answer.content_type == "application/x-www-form-urlencoded"
    assert answer.headers == {}


def test_solve_a_page_without_a_question() -> None:
    """Where nothing is asked, there is no answer, and 'Continue' is pressed."""
    answer = solve(CONTINUE, "unasked")
    assert list(answer) == ["gatepost_token", "gatepost_carry", "gatepost_do"]
    assert answer["gatepost_do"] == "continue"


@pytest.mark.parametrize("as_bytes", [False, True])
@pytest.mark.parametrize("indented", [False, True])
def test_solve_a_document(as_bytes: bool, indented: bool) -> None:
    """Of problem+json there is no form: the answer goes by header, percent-encoded."""
    text = "\n  " + DOCUMENT if indented else DOCUMENT
    answer = solve(text.encode() if as_bytes else text, "ö & %")
    assert dict(answer) == {}
    assert answer.body == b""
    assert answer.headers["Gatepost-Token"] == "t.1"
    assert answer.headers["Gatepost-Answer"].isascii()
    assert unquote(answer.headers["Gatepost-Answer"]) == "ö & %"


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("", "without 'gatepost_token'"),
        ("<h1>Thank you</h1>", "without 'gatepost_token'"),
        ("[]", "without 'gatepost_token'"),
        ("{}", "a JSON document without a token"),
        ('{"token": 5}', "a JSON document without a token"),
        ("{oops", "JSON"),
        (b"\xff\xfe", "utf-8"),
        ('<input type="text" name="gatepost_token" value="x">', "without 'gatepost_token'"),
    ],
)
def test_what_is_no_interstitial(page: str | bytes, words: str) -> None:
    """What is not the gate's is a ``ValueError``: a test that expected a challenge shall fail where it got none."""
    with pytest.raises(ValueError, match=f"(?i){words}|Expecting"):
        solve(page, "x")


@pytest.mark.parametrize("value", ["another", "continue", "kind-audio", "answer"])
def test_other_buttons(value: str) -> None:
    """Another button changes the button alone, and leaves the first answer as it was."""
    first = solve(FORM, "x")
    other = first.with_button(value)
    assert dict(other) == dict(first) | {"gatepost_do": value}
    assert list(other) == list(first)
    assert first["gatepost_do"] == "answer"


def test_answer_is_a_mapping() -> None:
    """An answer is a mapping that can be handed to any client as its form fields."""
    answer = Answer({"a": "1", "b": "2"}, {"X": "y"})
    assert (len(answer), "a" in answer, answer.get("c"), list(answer)) == (2, True, None, ["a", "b"])
    with pytest.raises(TypeError):
        answer["a"] = "3"  # type: ignore[index]


def test_known_challenge_is_a_kind() -> None:
    """The known challenge is a kind like any other: the gate takes it in the same place and checks it the same way."""
    kind = KnownChallenge(answer=" Open Sesame ")
    assert isinstance(kind, Kind)
    assert kind.name == "known"
    drawn = kind.draw(1, "en")
    assert drawn.answer == "open sesame"
    assert drawn.media.type == "text/plain"
    for right in ("open sesame", "OPEN SESAME", " Open sesame\n"):
        assert kind.normalise({"answer": right}, b"") == drawn.answer
    for wrong in ("", "opensesame", "open  sesame"):
        assert kind.normalise({"answer": wrong}, b"") != drawn.answer
    assert kind.normalise({}, b"") == ""
    assert KnownChallenge("ß").normalise({"answer": "SS"}, b"") == "ss"


@pytest.mark.parametrize("answer", ["", " ", "\n\t"])
def test_empty_known_answer(answer: str) -> None:
    """An empty answer would never be right, and stops the test that chose it."""
    with pytest.raises(ValueError, match=r"^answer: got nothing, wanted some text"):
        KnownChallenge(answer=answer)


def test_several_known_challenges() -> None:
    """Known challenges of different names stand beside each other in one rule."""
    kinds = [KnownChallenge("a", name="one"), KnownChallenge("b", name="two")]
    gate = Gate(Settings(secret=SECRET, protect="/a", challenge=kinds))
    assert list(gate.guards[0].kinds) == ["one", "two"]


def test_manual_clock() -> None:
    """The clock stands still, goes on and back as it is told, and begins at a time that tokens can have."""
    clock = ManualClock()
    began = clock()
    assert clock() == began > 1_700_000_000
    clock.tick(2.5)
    assert clock() == began + 2.5
    clock.tick(-10)
    assert clock() == began - 7.5
    assert ManualClock(time.time())() == pytest.approx(time.time(), abs=60)


def test_the_printed_example(twin_of: Callable[..., Twin]) -> None:
    """The steps in the module's own words work: challenge, tick, solve, post."""
    assert gatepost.testing.__doc__ is not None
    assert "solve(page.content" in gatepost.testing.__doc__
    twin = twin_of()
    page = twin.send(body=b"message=hello")
    twin.clock.tick(2)
    answer = solve(page.body, ANSWER)
    assert twin.send(body=answer.body, content_type=answer.content_type).status == 200
    document = twin.send(body=b"message=hello", fields=[("host", HOST), ("accept", "application/json")])
    twin.clock.tick(2)
    headers = [(name.lower(), value) for name, value in solve(document.body.decode(), ANSWER).headers.items()]
    assert twin.send(body=b"message=hello", fields=[("host", HOST), *headers]).status == 200


def test_no_switch_turns_checks_off(twin_of: Callable[..., Twin]) -> None:
    """With a known answer everything is checked as ever: time, text, use and origin."""
    twin = twin_of()
    page = twin.send(body=b"message=hello")
    assert twin.send(body=page.answered().body).reason == "too-fast"
    page = twin.send(body=b"message=hello")
    assert twin.answer(page, "close sesame").reason == "wrong"
    assert twin.answer(page).reason == "used"
    page = twin.send(body=b"message=hello")
    foreign = [("host", HOST), ("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")]
    assert twin.answer(page, fields=foreign).reason == "foreign"
    public = {name for name in vars(gatepost.testing) if not name.startswith("_")}
    assert not {
        name for name in public if "skip" in name.lower() or "disable" in name.lower() or "bypass" in name.lower()
    }
