"""The audio challenge: a few spoken digits, to be typed from a recording with other voices and noise in it."""

from __future__ import annotations

import functools
import json
import secrets
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from random import Random

from ..languages import nearest
from ..protocols import Challenge, Media
from ._mixing import record

# Far more than a person types, spaces included, and little work.
_LONGEST_ANSWER = 200

_CROWD = 6  # takes that the babble is made of


class AudioKind:
    """Digits spoken in the visitor's language, each by another voice, mixed anew for every challenge.

    :func:`languages` says in which languages there are recordings; those of one language are read when the first
    challenge in it is drawn. One instance serves every thread.

    :param length: digits in an answer, 4 to 8.
    :param fallback: the language for visitors whose own is not among those that there are.
    :raises ValueError: if an option is none of that.
    """

    name = "audio"

    def __init__(self, *, length: int = 6, fallback: str = "en") -> None:
        if not isinstance(length, int) or isinstance(length, bool) or not 4 <= length <= 8:
            raise ValueError(f"length: got {length!r}, wanted a whole number from 4 to 8.")
        if fallback not in languages():
            raise ValueError(f"fallback: got {fallback!r}, wanted one of {', '.join(languages())}.")
        self._length = length
        #: The languages that it speaks, as tags, the fallback first.
        self.languages = tuple(dict.fromkeys((fallback, *languages())))

    def draw(self, level: int = 1, locale: str = "") -> Challenge:
        """A new recording.

        :param level: each level up to 4 has more babble and noise than the one before.
        :param locale: a language tag such as ``"pt-BR"``, of which only the language matters.
        """
        answer = "".join(secrets.choice("0123456789") for _ in range(self._length))
        chance = Random(secrets.randbits(128))  # noqa: S311 - layout only, and seeded from the system
        language = nearest((locale,), self.languages) or self.languages[0]
        takes = _takes(language)
        digits = [takes.any_of(int(digit), chance) for digit in answer]
        crowd = [takes.any_of(chance.randrange(10), chance) for _ in range(_CROWD)]
        media = Media("audio/wav", record(digits, crowd, level, chance))
        return Challenge(answer, media, language=language, digits=True)

    def normalise(self, fields: Mapping[str, str], data: bytes) -> str:  # noqa: ARG002 - the token holds no data of ours
        """The digits that were typed, in any script and with anything between them; empty if there is a letter.

        :param fields: the answer is in ``answer``.
        :param data: not used.
        """
        typed = fields.get("answer", "")
        if len(typed) > _LONGEST_ANSWER:
            return ""
        # Spaces, hyphens, commas and what is not seen at all are neither letters nor numbers.
        meant = filter(str.isalnum, unicodedata.normalize("NFKC", typed))
        digits = [unicodedata.digit(character, -1) for character in meant]
        return "" if -1 in digits else "".join(map(str, digits))


@dataclass(frozen=True, slots=True)
class _Takes:
    """The sounds of one language: the digits 0 to 9 of one voice after those of another."""

    sound: bytes
    starts: tuple[int, ...]

    def any_of(self, digit: int, chance: Random) -> bytes:
        """The digit, by any of the voices."""
        number = chance.randrange(digit, len(self.starts) - 1, 10)
        return self.sound[self.starts[number] : self.starts[number + 1]]


def languages() -> tuple[str, ...]:
    """The languages that there are recordings in, as tags such as ``"en"``."""
    return tuple(_index())


@functools.cache
def _index() -> dict[str, tuple[int, ...]]:
    """For each language where its takes begin, and at last where they end."""
    found = json.loads(resources.files("gatepost.sounds").joinpath("index.json").read_text("utf-8"))
    return {language: tuple(entry["starts"]) for language, entry in sorted(found.items())}


@functools.cache
def _takes(language: str) -> _Takes:
    content = resources.files("gatepost.sounds").joinpath(f"{language}.wav").read_bytes()
    starts = _index()[language]
    return _Takes(content[-starts[-1] :], starts)
