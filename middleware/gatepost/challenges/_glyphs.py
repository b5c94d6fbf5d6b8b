"""Letters as fonts draw them: prepared once for each font and character, and kept."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageDraw, ImageFont

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable
    from pathlib import Path

# Of a noncharacter a font draws what it draws for all that it lacks.
_LACKING = "\uffff"
_TRIAL = 100  # the size at which a character is measured
# How thick the strokes round letters are, as a share of the height. Even the thinnest letters are somewhat bolder than
# the font has them: thin strokes get lost where the ground changes beside them.
_STROKES = (0.02, 0.03, 0.065, 0.09)


@dataclass(frozen=True, slots=True)
class Glyph:
    """A character in one font, as high as all others: filled and as an outline, each thinner or thicker.

    Each mask is cut to its ink; ``width`` and ``height`` are those of the character without strokes around it.
    """

    solid: tuple[Image.Image, ...]
    hollow: tuple[Image.Image, ...]
    width: int
    height: int


class Glyphs:
    """Draws and keeps glyphs.

    Only finished masks are shared between threads, and they are never changed: a font object lives and ends within
    one call, since FreeType's are not made for several threads.

    :param fonts: font files.
    :param characters: all that will be asked for.
    :param height: of every glyph's ink, in pixels.
    """

    def __init__(self, fonts: Sequence[Path | Traversable], characters: str, height: int) -> None:
        self._fonts = tuple(fonts)
        self._characters = characters
        self._height = height
        # Bounded by what can be asked for.
        self._files = functools.lru_cache(maxsize=len(self._fonts))(self._read)
        self.get = functools.lru_cache(maxsize=len(self._fonts) * len(characters))(self._draw)

    def __len__(self) -> int:
        """How many fonts there are."""
        return len(self._fonts)

    def open(self) -> None:
        """Draw everything now.

        :raises ValueError: if a font cannot be read, or lacks one of the characters.
        """
        for font in range(len(self._fonts)):
            for character in self._characters:
                self.get(font, character)

    def _read(self, font: int) -> bytes:
        return self._fonts[font].read_bytes()

    def _open(self, font: int, size: int) -> ImageFont.FreeTypeFont:
        try:
            return ImageFont.truetype(BytesIO(self._files(font)), size, layout_engine=ImageFont.Layout.BASIC)
        except OSError as error:
            raise ValueError(
                f"fonts: got '{self._fonts[font]}' ({error}), wanted a TrueType or OpenType file."
            ) from error

    def _draw(self, font: int, character: str) -> Glyph:
        trial = self._open(font, _TRIAL)
        ink = _ink(trial, character, 0)
        lacking = _ink(trial, _LACKING, 0)
        if ink is None or (lacking is not None and ink.tobytes() == lacking.tobytes()):
            raise ValueError(
                f"fonts: got '{self._fonts[font].name}' without a glyph for {character!r}, "
                "wanted all of the characters in it."
            )
        # A flat character is as wide as a high one is high.
        size = max(2, round(_TRIAL * min(self._height / ink.height, 1.5 * self._height / ink.width)))
        exact = self._open(font, size)
        # Strokes go round the letter, which leaves its inside as wide as it was.
        wider = [max(1, round(share * self._height)) for share in _STROKES]
        masks = [_ink(exact, character, stroke) for stroke in (0, *wider)]
        inner, *outer = (mask for mask in masks if mask is not None)
        if len(outer) < len(_STROKES):  # pragma: no cover - it had ink when it was measured
            raise ValueError(f"fonts: got '{self._fonts[font].name}', wanted a font that can be drawn at size {size}.")
        thin, bold, fat, fattest = outer
        return Glyph(
            solid=(thin, bold),
            hollow=(
                ImageChops.subtract(fat, _amid(inner, fat.size)),
                ImageChops.subtract(fattest, _amid(thin, fattest.size)),
            ),
            width=inner.width,
            height=inner.height,
        )


def _amid(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A mask in the middle of a larger one."""
    larger = Image.new("L", size)
    larger.paste(mask, ((size[0] - mask.width) // 2, (size[1] - mask.height) // 2))
    return larger


def _ink(font: ImageFont.FreeTypeFont, character: str, stroke: int) -> Image.Image | None:
    """A character cut to its ink; none if there is nothing to see."""
    edges = font.getbbox(character, anchor="ls", stroke_width=stroke)
    left, top, right, bottom = (*map(math.floor, edges[:2]), *map(math.ceil, edges[2:]))
    if right <= left or bottom <= top:
        return None
    mask = Image.new("L", (right - left + 2, bottom - top + 2))
    ImageDraw.Draw(mask).text((1 - left, 1 - top), character, fill=255, font=font, anchor="ls", stroke_width=stroke)
    box = mask.getbbox()
    return mask.crop(box) if box else None
