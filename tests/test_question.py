"""The question kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.challenges.question import QuestionKind, fold
from twins import Twin

QUESTIONS: dict[str, Any] = {
    "en": [{"question": "Which colour is the roof?", "answers": ["Red", "dark  red"]}],
    "de": [{"question": "Welche Farbe hat das Dach?", "answers": ["Rot"]}],
    "pt-BR": [{"question": "Qual é a cor do telhado?", "answers": ["vermelho"]}],
}


@pytest.mark.parametrize(
    ("locale", "expected"),
    [
        ("en", "Which colour is the roof?"),
        ("en-GB", "Which colour is the roof?"),
        ("de_AT", "Welche Farbe hat das Dach?"),
        ("pt-br", "Qual é a cor do telhado?"),
        ("fr", "Which colour is the roof?"),
        ("", "Which colour is the roof?"),
    ],
)
def test_questions_come_in_the_visitor_s_language_or_the_first(locale: str, expected: str) -> None:
    """A question is asked in the locale's language, else in the first one of the file."""
    assert QuestionKind(QUESTIONS).draw(1, locale).media.content.decode() == expected


@pytest.mark.parametrize("answer", ["red", " RED ", "Dark Red", "dark\u00a0red.", "\uff52\uff45\uff44", "(red)"])
def test_every_accepted_answer_is_right_in_any_spelling(answer: str) -> None:
    """Case, blanks, width and outer punctuation make no difference, and each accepted answer is right."""
    kind = QuestionKind(QUESTIONS)
    challenge = kind.draw(1, "en")
    assert kind.normalise({"answer": answer}, challenge.data) == challenge.answer


@pytest.mark.parametrize("answer", ["", "  ", "blue", "Rot", "red red", "."])
def test_other_answers_are_never_right(answer: str) -> None:
    """What is no accepted answer of this very question becomes empty, which is never right."""
    kind = QuestionKind(QUESTIONS)
    assert kind.normalise({"answer": answer}, kind.draw(1, "en").data) == ""


def test_the_data_of_an_unknown_question_is_never_right() -> None:
    """A question that was taken out meanwhile cannot be answered; the visitor gets another."""
    assert QuestionKind(QUESTIONS).normalise({"answer": "red"}, b"12345678") == ""


def test_i9_the_token_does_not_hold_the_answer() -> None:
    """The data that travels in the token is no text of the answer."""
    challenge = QuestionKind(QUESTIONS).draw(1, "en")
    assert b"red" not in challenge.data
    assert len(challenge.data) <= 64


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({}, "got none"),
        ({"english": [{"question": "q", "answers": ["a"]}]}, "tag such as"),
        ({"en": []}, "[[en]]"),
        ({"en": "q"}, "[[en]]"),
        ({"en": [{"question": "q"}]}, "'question' and 'answers'"),
        ({"en": [{"question": "q", "answer": ["a"], "answers": ["b"]}]}, "'question' and 'answers'"),
        ({"en": [{"question": " ", "answers": ["a"]}]}, "number 1 of 'en'"),
        ({"en": [{"question": "q", "answers": "a"}]}, "a list of at least one"),
        ({"en": [{"question": "q", "answers": []}]}, "a list of at least one"),
        ({"en": [{"question": "q", "answers": ["?!"]}]}, "got the answer '?!'"),
        ({"en": [{"question": "q", "answers": ["a"]}] * 2}, "twice"),
    ],
)
def test_a_mistake_in_the_questions_is_one_sentence(source: dict[str, Any], words: str) -> None:
    """Each mistake stops the start with a sentence that names it."""
    with pytest.raises(ValueError, match="questions: ") as caught:
        QuestionKind(source)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"), [(None, "can be read"), (b"[[en", "TOML file"), (b"\xff", "TOML file in UTF-8")]
)
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path, content: bytes | None, words: str) -> None:
    """A missing or malformed file stops the start."""
    path = tmp_path / "questions.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=words):
        QuestionKind(path)


@given(st.text(max_size=300))
def test_folding_twice_changes_nothing(text: str) -> None:
    """The compared form is stable, so an answer cannot be right in one place and wrong in another."""
    assert fold(fold(text)) == fold(text)


def test_a_question_is_asked_and_answered_on_the_page(tmp_path: Path, twin_of: Callable[..., Twin]) -> None:
    """Through both twins: the page asks, a wrong answer asks again, an accepted one delivers."""
    path = tmp_path / "questions.toml"
    path.write_text('[[en]]\nquestion = "What is <b> in HTML?"\nanswers = ["bold"]\n', "utf-8")
    twin = twin_of(challenge=QuestionKind(path))
    page = twin.send(body=b"message=hello")
    assert "What is &lt;b&gt; in HTML?" in page.text
    again = twin.answer(page, "italic")
    assert again.reason == "wrong"
    assert twin.answer(again, "Bold!").text == "stored"
    assert twin.received[0].body == b"message=hello"
