"""Drawing for the image challenge, and the only module that imports Pillow.

Everything is drawn as one mask at twice the size of the picture. A warp then brings it to size, which smooths the edges
as well, and the mask becomes a palette of blends between ground and ink. So letters and arcs have exactly one ink.
"""

from __future__ import annotations

import colorsys
import functools
import math
import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable
    from pathlib import Path

FINE = 2  # the mask has so many pixels for one of the picture, each way
SHADES = 8  # from ground to ink
HARDEST = 4  # the last level that changes anything

# Sizing and warping leave soft edges; this makes them as steep as those of fresh letters.
_STEEPER = [round((SHADES - 1) * min(1.0, max(0.0, 1.5 * (value / 255 - 0.5) + 0.5))) for value in range(256)]

Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]
Quad = tuple[float, float, float, float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class Glyph:
    """A letter as a font draws it, cut to its ink; ``drop`` is how far its middle is below the middle of an ``x``."""

    mask: Image.Image
    drop: float


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter as it goes into the picture; ``rows`` gives the first and the last inked column of each row."""

    mask: Image.Image
    top: int
    rows: tuple[tuple[int, int], ...]


class Painter:
    """Draws words, and keeps the glyphs of each font once they are drawn.

    Only finished masks are shared between threads, and they are never changed: a font object lives and ends within
    one call, since FreeType's are not made for several threads.

    :param fonts: font files.
    :param characters: all that will be drawn.
    :param width: of the pictures, in pixels.
    :param height: of the pictures, in pixels.
    :param length: of the longest text.
    """

    def __init__(
        self, fonts: Sequence[Path | Traversable], characters: str, width: int, height: int, length: int
    ) -> None:
        self._fonts = tuple(fonts)
        self._characters = characters
        self._width = width
        self._height = height
        # The height that the letters could fill: in a narrow picture they stay small, and so must all that bends them.
        self._line = min(height, 2.2 * width / length)
        self._glyphs = functools.lru_cache(maxsize=len(self._fonts))(self._load)

    def open(self) -> None:
        """Open every font now.

        :raises ValueError: if one cannot be read, or lacks one of the characters.
        """
        for number in range(len(self._fonts)):
            self._glyphs(number)

    def paint(self, text: str, level: int) -> bytes:
        """A PNG file with ``text`` on it; ``level`` is as for :meth:`Kind.draw`.

        :raises ValueError: as :meth:`open` does.
        """
        chance = random.Random(secrets.randbits(128))  # noqa: S311 - looks only, and seeded from the system
        extra = min(max(level, 1), HARDEST) - 1
        sway = (0.034 + 0.007 * extra) * self._line  # the warp moves nothing further than this
        margin = round(FINE * (sway + 2 + self._line / 50))
        mask = Image.new("L", (FINE * self._width, FINE * self._height))
        area = self._write(mask, text, chance, margin, 14 + 2 * extra)
        _draw_arcs(mask, area, chance, 2 + extra, self._line / 100)
        mask = _warp(mask.reduce(FINE), chance, sway, self._line)
        return _encode(mask, *_colours(chance))

    def _load(self, number: int) -> dict[str, Glyph]:
        """Every character's glyph in one of the fonts."""
        file, em = self._fonts[number], round(0.76 * FINE * self._line)
        try:
            font = ImageFont.truetype(BytesIO(file.read_bytes()), em, layout_engine=ImageFont.Layout.BASIC)
        except OSError as error:
            raise ValueError(f"fonts: got '{file}' ({error}), wanted a TrueType or OpenType file.") from error
        # Of a noncharacter a font draws what it draws for all that it lacks.
        lacking = _ink(font, "\uffff")
        _, top, _, bottom = font.getbbox("x", anchor="ls")
        glyphs = {}
        for character in self._characters:
            ink = _ink(font, character)
            if ink is None or (lacking is not None and ink[0].tobytes() == lacking[0].tobytes()):
                raise ValueError(
                    f"fonts: got '{file.name}' without a glyph for {character!r}, wanted all of the characters in it."
                )
            glyphs[character] = Glyph(ink[0], ink[1] - (top + bottom) / 2)
        return glyphs

    def _write(self, mask: Image.Image, text: str, chance: random.Random, margin: int, turn: float) -> Box:
        """Write the text somewhere within the margin; gives the box that it fills."""
        glyphs = [self._glyphs(chance.randrange(len(self._fonts)))[character] for character in text]
        sizes = [chance.uniform(0.85, 1.0) for _ in text]
        turns = [math.radians(chance.uniform(-turn, turn)) for _ in text]
        spreads = [_spread(*drawn) for drawn in zip(glyphs, sizes, turns, strict=True)]
        # Rounding and gaps can take up to 5 pixels for each letter.
        room, headroom = (edge - 2 * margin for edge in mask.size)
        fit = min(
            1.0,
            (room - 5 * len(text)) / sum(wide for wide, _ in spreads),
            (headroom - 5) / max(high for _, high in spreads),
        )
        wander, letters = 0.07 * FINE * self._line, []
        for glyph, size, angle in zip(glyphs, sizes, turns, strict=True):
            shape, middle = _shape(glyph, size * fit, angle)
            middle += mask.height / 2 + chance.uniform(-wander, wander)
            letters.append(_settle(shape, middle, margin, mask.height - margin))
        lefts = _line_up(letters, [chance.uniform(-2.0, 3.0) for _ in text[1:]])
        length = lefts[-1] + letters[-1].mask.width
        start = margin + round(chance.uniform(0.2, 0.8) * (room - length))
        for left, letter in zip(lefts, letters, strict=True):
            mask.paste(255, (start + left, letter.top), letter.mask)
        highest = min(letter.top for letter in letters)
        lowest = max(letter.top + letter.mask.height for letter in letters)
        return start, highest, start + length, lowest


def _ink(font: ImageFont.FreeTypeFont, character: str) -> tuple[Image.Image, float] | None:
    """A character cut to its ink, and how far below the base line its middle is; none if there is nothing to see."""
    edges = font.getbbox(character, anchor="ls")
    left, top, right, bottom = (*map(math.floor, edges[:2]), *map(math.ceil, edges[2:]))
    if right <= left or bottom <= top:
        return None
    mask = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(mask).text((-left, -top), character, fill=255, font=font, anchor="ls")
    box = mask.getbbox()
    if box is None:
        return None
    return mask.crop(box), top + (box[1] + box[3]) / 2


def _spread(glyph: Glyph, size: float, turn: float) -> tuple[float, float]:
    """Width and height of a glyph once it is sized and turned."""
    across, along = abs(math.sin(turn)) * size, math.cos(turn) * size
    wide, high = glyph.mask.size
    return wide * along + high * across, wide * across + high * along


def _shape(glyph: Glyph, size: float, turn: float) -> tuple[Image.Image, float]:
    """A glyph sized and turned, and how far its middle is below the middle of the line."""
    width, height = (math.ceil(edge) + 2 for edge in _spread(glyph, size, turn))
    # Pillow wants to know where each pixel comes from, so this is the way back.
    sine, cosine = math.sin(turn) / size, math.cos(turn) / size
    from_x = glyph.mask.width / 2 - cosine * width / 2 - sine * height / 2
    from_y = glyph.mask.height / 2 + sine * width / 2 - cosine * height / 2
    matrix = (cosine, sine, from_x, -sine, cosine, from_y)
    shape = glyph.mask.transform((width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return shape, glyph.drop * size * math.cos(turn)


def _settle(shape: Image.Image, middle: float, highest: int, lowest: int) -> Letter:
    """Put a letter at its height, moved if need be so that it stays between two rows of the mask."""
    top = round(middle - shape.height / 2)
    top = max(highest, min(top, lowest - shape.height))
    pixels, width = shape.tobytes(), shape.width
    rows = []
    for begin in range(0, len(pixels), width):
        row = pixels[begin : begin + width]
        rows.append((width - len(row.lstrip(b"\0")), len(row.rstrip(b"\0"))))
    return Letter(shape, top, tuple(rows))


def _line_up(letters: Sequence[Letter], gaps: Sequence[float]) -> list[int]:
    """The left edge of each letter, such that the nearest inks of neighbours are a given gap apart."""
    lefts = [0]
    for before, letter, gap in zip(letters[:-1], letters[1:], gaps, strict=True):
        reach = 0
        first = max(before.top, letter.top)
        last = min(before.top + len(before.rows), letter.top + len(letter.rows))
        for y in range(first, last):
            begin, end = letter.rows[y - letter.top][0], before.rows[y - before.top][1]
            reach = max(reach, end - begin)
        # A letter that slips under its neighbour would be read out of turn.
        reach = max(reach, round(0.75 * before.mask.width), before.mask.width - round(0.6 * letter.mask.width))
        lefts.append(lefts[-1] + reach + round(gap))
    return lefts


def _draw_arcs(mask: Image.Image, area: Box, chance: random.Random, count: int, scale: float) -> None:
    """Draw arcs through a box of the mask, in the ink of what stands in it."""
    left, top, right, bottom = area
    brush = ImageDraw.Draw(mask)
    for number in range(count):
        # The first goes through the whole word, so that no two letters can be told apart by what touches them.
        share = 1.0 if number == 0 else chance.uniform(0.35, 0.7)
        begin = left + chance.uniform(0.0, 1.0 - share) * (right - left)
        end = begin + share * (right - left)
        # The two in the middle pull to opposite sides; the curve itself stays within the box.
        pulls = [chance.uniform(-0.3, 0.3), chance.uniform(0.7, 1.3)]
        chance.shuffle(pulls)
        heights = [top + part * (bottom - top) for part in (chance.uniform(0.2, 0.8), *pulls, chance.uniform(0.2, 0.8))]
        points = [(begin + (end - begin) * step / 24, _bezier(heights, step / 24)) for step in range(25)]
        width = max(2, round(FINE * scale * chance.uniform(2.0, 2.8)))
        brush.line(points, fill=255, width=width, joint="curve")


def _bezier(heights: Sequence[float], t: float) -> float:
    s = 1 - t
    return s**3 * heights[0] + 3 * s * s * t * heights[1] + 3 * s * t * t * heights[2] + t**3 * heights[3]


def _warp(mask: Image.Image, chance: random.Random, sway: float, line: float) -> Image.Image:
    """The mask pulled about by two crossing waves of at most ``sway`` pixels, somewhat longer than a line is high."""
    width, height = mask.size
    down, along = (chance.uniform(0.9, 1.6) * line for _ in range(2))
    phases = [chance.uniform(0, math.tau) for _ in range(2)]
    # Enough pieces for curves to look round: five for each line height.
    across, down_to = (min(60, math.ceil(5 * edge / line)) for edge in mask.size)
    columns = [round(width * n / across) for n in range(across + 1)]
    rows = [round(height * n / down_to) for n in range(down_to + 1)]

    def source(x: int, y: int) -> tuple[float, float]:
        return (
            x + 0.7 * sway * math.sin(math.tau * y / down + phases[0]),
            y + sway * math.sin(math.tau * x / along + phases[1]),
        )

    nodes = {(x, y): source(x, y) for x in columns for y in rows}
    mesh: list[tuple[Box, Quad]] = []
    for left, right in pairwise(columns):
        for top, bottom in pairwise(rows):
            corners = (*nodes[left, top], *nodes[left, bottom], *nodes[right, bottom], *nodes[right, top])
            mesh.append(((left, top, right, bottom), corners))
    return mask.transform(mask.size, Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)


def _colours(chance: random.Random) -> tuple[Colour, Colour]:
    """A light ground and a dark ink that stands out from it by more than 4.5 to 1, the ratio of WCAG's level AA."""
    ground = _rgb(chance.random(), chance.uniform(0.86, 0.95), chance.uniform(0.3, 0.9))
    wanted = chance.uniform(5.0, 9.0)
    hue, strength, lightness = chance.random(), chance.uniform(0.4, 0.9), 0.45
    ink = _rgb(hue, lightness, strength)
    while (_luminance(ground) + 0.05) / (_luminance(ink) + 0.05) < wanted and lightness > 0:
        lightness -= 0.02
        ink = _rgb(hue, max(0.0, lightness), strength)
    return ground, ink


def _rgb(hue: float, lightness: float, strength: float) -> Colour:
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, strength)
    return round(255 * red), round(255 * green), round(255 * blue)


def _luminance(colour: Colour) -> float:
    """The relative luminance of an sRGB colour, as WCAG defines it."""
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (c / 255 for c in colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _encode(mask: Image.Image, ground: Colour, ink: Colour) -> bytes:
    """A PNG file with the mask as blends from ground to ink."""
    last = SHADES - 1
    picture = mask.point(_STEEPER)
    palette: list[int] = []
    for shade in range(SHADES):
        palette += (round(g + (i - g) * shade / last) for g, i in zip(ground, ink, strict=True))
    picture.putpalette(palette)
    file = BytesIO()
    picture.save(file, "PNG", compress_level=6)
    return file.getvalue()
