"""The image challenge: a short word of letters and digits, distorted, to be typed from a picture."""

from __future__ import annotations

import functools
import os
import secrets
import unicodedata
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from ..protocols import Challenge, Media

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from ._drawing import Painter

CHARACTERS = "bdefhjkmprstvwxy2347"
"""The default characters: one at most of each of :data:`LOOK_ALIKES`. Without ``n`` no two of them read as an ``m``."""

LOOK_ALIKES = ("0o", "1lij", "2z", "38", "5s", "6b", "9gq", "ad", "ce", "hn", "uv")
"""What people mix up, some of it only where an arc closes a letter. If the characters have just one of a group, then
the others of that group are taken for it: nobody fails over them, and for a machine there is nothing to gain."""

# Far more than a person types, spaces included, and little work.
_LONGEST_ANSWER = 200

# Categories of what nobody means to type: controls and formats, spaces, and marks that belong to no letter.
_NOT_MEANT = "CZM"

# Nothing to see, although Unicode counts them as letters: the Hangul fillers.
_INVISIBLE = "\u115f\u1160"


class ImageKind:
    """Distorted text, drawn in dark ink on a light ground. One instance serves every thread.

    Pillow is imported and the fonts are opened when the first picture is drawn, unless ``characters`` or ``fonts`` are
    given: then at once, so that a font that lacks a character stops the start and not the first picture.

    :param characters: what answers are made of: at least 10 different characters that are written from left to right
        and that folding case and Unicode compatibility leave as they are (lower case letters and digits).
    :param length: characters in an answer, 4 to 10, of which no two in a row are the same.
    :param width: of the picture in pixels, 28 per character at least and 600 at most.
    :param height: of the picture in pixels, 50 to 200.
    :param fonts: paths of TrueType or OpenType files, 16 at most, which need a glyph for each of the characters; left
        out, the fonts that come with the package.
    :raises ValueError: if an option is none of that.
    """

    def __init__(
        self,
        *,
        characters: str = CHARACTERS,
        length: int = 6,
        width: int = 300,
        height: int = 100,
        fonts: Sequence[str | os.PathLike[str]] | None = None,
    ) -> None:
        _check_characters(characters)
        _check_number("length", length, 4, 10)
        _check_number("width", width, 28 * length, 600)
        _check_number("height", height, 50, 200)
        self._characters = characters
        self._length = length
        self._width = width
        self._height = height
        self._taken_for = _taken_for(characters)
        self._fonts = _bundled_fonts() if fonts is None else _named_fonts(fonts)
        if characters != CHARACTERS or fonts is not None:
            self._painter.open()

    @property
    def name(self) -> str:
        """``image``."""
        return "image"

    def draw(self, level: int, locale: str) -> Challenge:  # noqa: ARG002 - a picture of letters has no language
        """Make a new picture of a new answer.

        :param level: 1 for the gentlest; up to 4 each is somewhat harder, beyond that they are alike.
        :param locale: not used.
        """
        answer = ""
        while len(answer) < self._length:
            # Twins that touch read as something else, vv as w and rr as m, and people lose count of them.
            answer += secrets.choice(self._characters.replace(answer[-1:] or "\0", ""))
        content = self._painter.paint(answer, level)
        return Challenge(answer, Media("image/png", content, self._width, self._height))

    def normalise(self, fields: Mapping[str, str], data: bytes) -> str:  # noqa: ARG002 - the token holds no data of ours
        """What was typed, without regard to case, spaces and look-alikes; empty if it is far too long.

        :param fields: the answer is in ``answer``.
        :param data: not used.
        """
        return _plain(fields.get("answer", "")).translate(self._taken_for)

    @functools.cached_property
    def _painter(self) -> Painter:
        # Here and not at the top, so that a gate in calm traffic never loads Pillow.
        from ._drawing import Painter

        return Painter(self._fonts, self._characters, self._width, self._height, self._length)


def _plain(text: str) -> str:
    """The form in which answers are compared: what it returns it leaves as it is."""
    # Folding can make something that composes anew, and taking out what is not meant can bring two together that do.
    for _ in range(4):
        if len(text) > _LONGEST_ANSWER:
            break
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
        meant = "".join(c for c in folded if unicodedata.category(c)[0] not in _NOT_MEANT and c not in _INVISIBLE)
        if meant == text:
            return meant
        text = meant
    return ""


def _taken_for(characters: str) -> dict[int, str]:
    """For each character that is not in use and has only one look-alike that is: that one."""
    table: dict[int, str] = {}
    for group in LOOK_ALIKES:
        used = [character for character in group if character in characters]
        if len(used) == 1:
            table |= {ord(character): used[0] for character in group}
    return table


def _check_characters(characters: object) -> None:
    if not isinstance(characters, str):
        raise ValueError(f"characters: got {characters!r}, wanted a string such as {CHARACTERS!r}.")
    if not 10 <= len(set(characters)) == len(characters) <= 100:
        raise ValueError(f"characters: got {characters!r}, wanted 10 to 100 characters, each once.")
    for character in characters:
        # Whoever types from right to left would type the answer from its other end.
        one_way = unicodedata.bidirectional(character) in ("L", "EN")
        if not one_way or not character.isalnum() or _plain(character) != character:
            raise ValueError(
                f"characters: got {character!r} among them, wanted lower case letters and digits of a script that runs "
                "from left to right."
            )
    if any(_plain(first + second) != first + second for first in characters for second in characters):
        raise ValueError(f"characters: got {characters!r}, wanted characters that do not melt into one side by side.")


def _check_number(option: str, value: object, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{option}: got {value!r}, wanted a whole number from {least} to {most}.")


def _bundled_fonts() -> tuple[Traversable, ...]:
    folder = resources.files("gatepost.fonts")
    fonts = [file for file in folder.iterdir() if file.name.endswith((".ttf", ".otf"))]
    return tuple(sorted(fonts, key=lambda file: file.name))


def _named_fonts(fonts: object) -> tuple[Path, ...]:
    if isinstance(fonts, (str, bytes)) or not isinstance(fonts, Sequence) or not 1 <= len(fonts) <= 16:
        raise ValueError(f"fonts: got {fonts!r}, wanted a list of 1 to 16 paths of font files.")
    for font in fonts:
        if not isinstance(font, (str, os.PathLike)) or not Path(font).is_file():
            raise ValueError(f"fonts: got {font!r} in the list, wanted the path of a file that exists.")
    return tuple(Path(font) for font in fonts)
