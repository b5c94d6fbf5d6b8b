"""The question challenge: the operator's own questions, for small communities, text browsers and braille."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..languages import TAG, nearest
from ..protocols import Challenge, Media

_BLANKS = re.compile(r"\s+")
_LONGEST = 256  # characters of an answer: as many as a visitor may send
_LONGEST_QUESTION = 1000


def fold(text: str) -> str:
    """The form in which answers are compared: without case, accents kept, blanks and outer punctuation evened out."""
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return _BLANKS.sub(" ", plain).strip(" .,;:!?\"'()")


@dataclass(frozen=True, slots=True)
class _Question:
    id: bytes
    text: str
    answers: frozenset[str]
    right: str


class QuestionKind:
    """Asks one of the operator's questions. Guessing is cheap where they are few, so change them when they get known.

    :param source: a TOML file, or its content as a mapping: for each language a list of tables with ``question`` and
        ``answers``, of which any is right::

            [[en]]
            question = "Which colour is the roof of our club house?"
            answers = ["red", "dark red"]

        Visitors get the nearest of these languages that they ask for, or else the first one of the file.
    :raises ValueError: for a file that cannot be read, or a table that is not of that form.
    """

    name = "question"

    def __init__(self, source: str | os.PathLike[str] | Mapping[str, Any]) -> None:
        tables = source if isinstance(source, Mapping) else _load(Path(source))
        self._questions = {_tag(language): _read(language, items) for language, items in tables.items()}
        if not self._questions:
            raise ValueError("questions: got none, wanted at least one table such as [[en]].")
        #: The languages that there are questions in, as tags.
        self.languages = tuple(self._questions)
        self._by_id = {question.id: question for questions in self._questions.values() for question in questions}

    def draw(self, level: int = 1, locale: str = "") -> Challenge:  # noqa: ARG002 - questions have no levels
        """See :meth:`gatepost.Kind.draw`."""
        language = nearest((locale,), self.languages) or self.languages[0]
        question = secrets.choice(self._questions[language])
        # The token says which question it was, and nobody can tell the answer by that.
        return Challenge(question.right, Media("text/plain", question.text.encode()), question.id, language=language)

    def normalise(self, fields: Mapping[str, str], data: bytes) -> str:
        """See :meth:`gatepost.Kind.normalise`: any of the accepted answers becomes the first one."""
        question = self._by_id.get(data)
        answer = fold(fields.get("answer", "")[:_LONGEST])
        return question.right if question is not None and answer in question.answers else ""


def _tag(language: str) -> str:
    return language.replace("_", "-").lower()


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ValueError(f"questions: got '{path}', wanted a TOML file that can be read ({error.strerror}).") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"questions: got '{path}', wanted a TOML file in UTF-8 ({error}).") from error


def _read(language: object, items: object) -> tuple[_Question, ...]:
    if not isinstance(language, str) or not TAG.fullmatch(language):
        raise ValueError(f"questions: got the language {language!r}, wanted a tag such as 'en' or 'pt-BR'.")
    if not isinstance(items, Sequence) or isinstance(items, str) or not items:
        raise ValueError(f"questions: got {items!r} for {language!r}, wanted tables such as [[{language}]].")
    questions = tuple(_question(language, number, item) for number, item in enumerate(items, 1))
    texts = [question.text for question in questions]
    for text in texts:
        if texts.count(text) > 1:
            raise ValueError(f"questions: got {text!r} twice in {language!r}, wanted each question once.")
    return questions


def _question(language: str, number: int, item: object) -> _Question:
    where = f"questions: number {number} of {language!r}"
    if not isinstance(item, Mapping) or set(item) != {"question", "answers"}:
        raise ValueError(f"{where}: got {item!r}, wanted a table with 'question' and 'answers'.")
    text, answers = item["question"], item["answers"]
    if not isinstance(text, str) or not text.strip() or len(text) > _LONGEST_QUESTION:
        raise ValueError(f"{where}: got the question {text!r}, wanted 1 to {_LONGEST_QUESTION} characters.")
    if not isinstance(answers, Sequence) or isinstance(answers, str) or not answers:
        raise ValueError(f"{where}: got the answers {answers!r}, wanted a list of at least one.")
    for answer in answers:
        if not isinstance(answer, str) or not fold(answer) or len(answer) > _LONGEST:
            raise ValueError(f"{where}: got the answer {answer!r}, wanted a text of 1 to {_LONGEST} characters.")
    folded = [fold(answer) for answer in answers]
    identity = hashlib.sha256(f"{_tag(language)}:{text}".encode()).digest()[:8]
    return _Question(identity, text.strip(), frozenset(folded), folded[0])
