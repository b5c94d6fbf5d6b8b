"""The image challenge: a short word of letters and digits, to be typed from a picture."""

from __future__ import annotations

import functools
import os
import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..protocols import Challenge, Media
from ._answers import LOOK_ALIKES, folded, plain, taken_for
from ._options import (
    FORMATS,
    bundled_fonts,
    check_characters,
    check_flag,
    check_format,
    check_number,
    check_whole,
    colours,
    named_fonts,
    ratio,
    shares,
    weights,
)

if TYPE_CHECKING:
    from ._drawing import Painter

__all__ = ["CHARACTERS", "LOOK_ALIKES", "STYLES", "ImageKind"]

CHARACTERS = "bdekmswx234BDHLMRTY"
"""The default characters: of each group of :data:`LOOK_ALIKES` one at most, and without ``n`` no two of them read as an
``m``. A capital is another shape of the same answer, where it has a shape of its own; thin letters that are read as one
another, such as ``r``, ``t`` and ``y``, and ``h``, which is read as ``b``, come as capitals only. Where the ground
changes within a letter, readers took ``F`` for ``E``, ``p`` for ``D`` and ``7`` for ``T`` or ``1``: there are none."""

STYLES: Mapping[str, float] = {"patches": 1.0, "rows": 1.0, "waves": 1.0, "drift": 0.0}
"""The families of pictures, and how often each of them comes unless a site says otherwise.

In ``patches`` (filled letters across stripes), ``rows`` (outlines across blots) and ``waves`` (letters cut out of
plates, across waves) letters and ground change places: light on dark, dark on light. Each of them has fonts of its own,
and letters that are out of the upright in a way of its own. Where the picture is high enough, letters come in one line
or two, in ``rows`` also in three, which lean or are bowed. ``drift`` is one line of letters in light and dark inks,
filled or hollow, on a mid-tone: the gentlest to people, and to machines.
"""


class ImageKind:
    """Distorted text. One instance serves every thread.

    Pillow is imported and the fonts are opened when the first picture is drawn, unless ``characters`` or ``fonts`` are
    given: then at once, so that a font that lacks a character stops the start and not the first picture.

    A reader that someone trains with this source reads most of these pictures, as it would those of any open generator.
    Fonts and characters of a site's own at least mean that it has to be trained for that site.

    :param characters: what is drawn: letters and digits of scripts that run from left to right, 10 different answers
        at least and 100 characters at most. Without ``case_sensitive`` a letter and its capital are two shapes of one
        answer.
    :param length: letters in an answer, 3 to 12, of which no two in a row are the same.
    :param width: of the picture in pixels, 34 for each letter at least and 1000 at most.
    :param height: of the picture in pixels, 100 to 500.
    :param fonts: paths of TrueType or OpenType files, 16 at most, which need a glyph for each of the characters; left
        out, the fonts that come with the package. Of three or more, ``rows`` has the first, fourth and so on,
        ``patches`` the second, and ``waves`` the third: a reader has more to learn if they differ much.
    :param case_sensitive: whether ``k`` and ``K`` are two answers.
    :param size_shift: how much larger than the smallest a letter can be, 0 to 0.5.
    :param displacement: the share of the free room that letters wander and lines lean in, 0 to 1, or two: sideways, and
        up and down.
    :param overlap: whether letters may touch their neighbours.
    :param noise: how many arcs there are, 0 (none) to 5, where 1 is what the level says.
    :param contrast: the lowest contrast of ink and ground: ``standard`` (3:1), ``enhanced`` (4.5:1), or a ratio to 7.
    :param inks: colours as ``#rrggbb``, 16 at most, which need a ground that all of them stand out from; left out,
        others in every picture.
    :param styles: families of pictures and how often each comes; left out, :data:`STYLES`.
    :param format: ``png``, ``webp``, ``jpeg`` or ``gif``.
    :raises ValueError: if an option is none of that.
    """

    def __init__(
        self,
        *,
        characters: str = CHARACTERS,
        length: int = 6,
        width: int = 300,
        height: int = 150,
        fonts: Sequence[str | os.PathLike[str]] | None = None,
        case_sensitive: bool = False,
        size_shift: float = 0.25,
        displacement: float | Sequence[float] = 1.0,
        overlap: bool = False,
        noise: float = 1.0,
        contrast: str | float = "standard",
        inks: Sequence[str] | None = None,
        styles: Mapping[str, float] | None = None,
        format: str = "png",  # noqa: A002 - the word that everyone uses
    ) -> None:
        check_flag("case_sensitive", case_sensitive)
        check_characters(characters, case_sensitive)
        check_whole("length", length, 3, 12)
        check_whole("width", width, 34 * length, 1000)
        check_whole("height", height, 100, 500)
        check_number("size_shift", size_shift, 0, 0.5)
        check_flag("overlap", overlap)
        check_number("noise", noise, 0, 5)
        check_format(format)
        self._ratio = ratio(contrast)
        self._inks = colours(inks, self._ratio)
        self._styles = weights(styles, STYLES)
        self._fonts = bundled_fonts() if fonts is None else named_fonts(fonts)
        self._characters, self._length, self._sensitive = characters, length, case_sensitive
        self._width, self._height, self._format = width, height, format
        across, down = shares("displacement", displacement)
        self._free = {"size_shift": size_shift, "across": across, "down": down, "noise": noise}
        self._overlap = overlap
        self._shapes: dict[str, str] = {}
        for character in characters:
            answer = folded(character, case_sensitive)
            self._shapes[answer] = self._shapes.get(answer, "") + character
        self._answers = list(self._shapes)
        self._taken_for = taken_for(self._answers, case_sensitive)
        self._caseless = not case_sensitive and characters.lower() != characters.upper()
        self._digits = characters.isascii() and characters.isdigit()
        if characters != CHARACTERS or fonts is not None:
            self._painter.open()

    @property
    def name(self) -> str:
        """``image``."""
        return "image"

    def draw(self, level: int = 1, locale: str = "") -> Challenge:  # noqa: ARG002 - a picture of letters has no language
        """Make a new picture of a new answer.

        :param level: 1 for the gentlest; up to 4 each is somewhat harder, beyond that they are alike.
        :param locale: not used.
        """
        letters: list[str] = []
        while len(letters) < self._length:
            # Twins that touch read as something else, vv as w and rr as m, and people lose count of them.
            letters.append(secrets.choice([answer for answer in self._answers if answer not in letters[-1:]]))
        shapes = [self._shapes[letter] for letter in letters]
        return Challenge("".join(letters), self._media(shapes, level), digits=self._digits, caseless=self._caseless)

    def picture(self, text: str, level: int = 1) -> Media:
        """A picture of a given text, for those who keep answers themselves.

        :param text: of the characters, at most as many as ``length``.
        :param level: as for :meth:`draw`.
        :raises ValueError: if the text is something else.
        """
        if not 0 < len(text) <= self._length or not set(text) <= set(self._characters):
            raise ValueError(f"text: got {text!r}, wanted 1 to {self._length} of the characters {self._characters!r}.")
        return self._media(list(text), level)

    def normalise(self, fields: Mapping[str, str], data: bytes) -> str:  # noqa: ARG002 - the token holds no data of ours
        """What was typed, without regard to case, spaces and look-alikes; empty if it is far too long.

        :param fields: the answer is in ``answer``.
        :param data: not used.
        """
        return plain(fields.get("answer", ""), self._sensitive).translate(self._taken_for)

    def _media(self, choices: Sequence[str], level: int) -> Media:
        content = self._painter.paint(choices, level)
        return Media(FORMATS[self._format], content, self._width, self._height)

    @functools.cached_property
    def _painter(self) -> Painter:
        # Here and not at the top, so that a gate in calm traffic never loads Pillow.
        from ._drawing import Painter
        from ._layout import Look

        look = Look(
            **self._free,
            width=self._width,
            height=self._height,
            length=self._length,
            overlap=self._overlap,
            ratio=self._ratio,
            inks=self._inks,
        )
        return Painter(self._fonts, self._characters, look, self._styles, self._format)
