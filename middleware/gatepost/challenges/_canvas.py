"""A picture in the making: one byte for each pixel, which is a number in a palette.

Blends of an ink and the ground have numbers of their own, so edges are soft and the palette stays small. Bending moves
whole rows and columns, which costs a third of what a mesh does.
"""

from __future__ import annotations

import bisect
import functools
import math
import random
import zlib
from collections.abc import Sequence
from io import BytesIO

from PIL import Image, ImageDraw

from ._colours import Colour, Paints

SHADES = 3  # of every ink, the full one included
_STEPS = (72, 128, 184)  # from which value of a mask on each of them begins
GROUNDS = 4  # at most

_KEEP = bytes(255 if value >= _STEPS[0] else 0 for value in range(256))


def first(ink: int) -> int:
    """The number of an ink's faintest shade."""
    return GROUNDS + ink * SHADES


@functools.lru_cache(maxsize=16)
def _numbers(ink: int) -> bytes:
    """For each value of a mask: which shade of the ink."""
    return bytes(first(ink) + max(0, sum(value >= step for step in _STEPS) - 1) for value in range(256))


class Canvas:
    """A ground that inks go on."""

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self.image = Image.new("L", (width, height))

    def paste(self, mask: Image.Image, ink: int, left: int, top: int) -> None:
        """Put a mask's shape on the picture."""
        self.image.paste(mask.point(_numbers(ink)), (left, top), mask.point(_KEEP))

    def line(self, points: Sequence[tuple[float, float]], ink: int, width: int) -> None:
        """Draw a line of full ink."""
        ImageDraw.Draw(self.image).line(points, fill=first(ink) + SHADES - 1, width=width)

    def bend(self, chance: random.Random, sway: float, wave: float) -> None:
        """Push rows and columns about by at most ``sway`` pixels, in waves some ``wave`` pixels long."""
        if sway < 1:
            return
        self.image = _pushed(self.image, chance, 0.7 * sway, wave).transpose(Image.Transpose.TRANSPOSE)
        self.image = _pushed(self.image, chance, sway, wave).transpose(Image.Transpose.TRANSPOSE)

    def finish(self, paints: Paints) -> Image.Image:
        """The picture in its colours."""
        middle = tuple(sum(parts) // len(parts) for parts in zip(*paints.grounds, strict=True))
        palette = [part for tone in paints.grounds for part in tone]
        palette += (GROUNDS - len(paints.grounds)) * [*middle]
        for ink in paints.inks:
            for step in range(1, SHADES + 1):
                palette += (round(g + (i - g) * step / SHADES) for g, i in zip(middle, ink, strict=True))
        self.image.putpalette(palette)
        return self.image


@functools.lru_cache(maxsize=1024)
def _runs(period: int, count: int, sway: float) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A wave of so many rows, as runs of rows that are moved alike.

    :return: where each run begins, and the end of the last; by how many pixels each is moved to the left.
    """
    moves = [math.floor(sway * math.sin(math.tau * row / period) + 0.5) for row in range(count)]
    begins = [row for row in range(count) if not row or moves[row] != moves[row - 1]]
    return (*begins, count), tuple(moves[begin] for begin in begins)


def _pushed(image: Image.Image, chance: random.Random, sway: float, wave: float) -> Image.Image:
    """Each row moved sideways; what leaves on one side comes in on the other, a row on: both are margin."""
    width, height = image.size
    pixels = memoryview(image.tobytes())
    period = round(wave * chance.uniform(0.8, 1.5))
    start = chance.randrange(period)
    begins, moves = _runs(period, period + height, sway)
    pieces, row, run = [], start, bisect.bisect_right(begins, start) - 1
    while row < start + height:
        # Rows that are moved alike are one piece of the bytes.
        end = min(begins[run + 1], start + height)
        first, last = (width * (edge - start) + moves[run] for edge in (row, end))
        if first < 0:
            pieces += [pixels[first:], pixels[:last]]
        else:
            pieces += [pixels[first:last], pixels[: max(0, last - len(pixels))]]
        row, run = end, run + 1
    return Image.frombuffer("L", (width, height), b"".join(pieces), "raw", "L", 0, 1)


def encode(image: Image.Image, form: str) -> bytes:
    """The file of a picture."""
    file = BytesIO()
    if form == "png":
        # Runs of one colour, in two or four bits for a pixel: a third of the time of level 6, for 4 % more bytes.
        image.save(file, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    elif form == "webp":
        image.convert("RGB").save(file, "WEBP", lossless=True, method=0, quality=20)
    elif form == "gif":
        image.save(file, "GIF")
    else:
        image.convert("RGB").save(file, "JPEG", quality=70)
    return file.getvalue()


def blends(dark: Colour, light: Colour, shades: int) -> list[int]:
    """A palette from one colour to another."""
    return [
        round(a + (b - a) * step / (shades - 1)) for step in range(shades) for a, b in zip(dark, light, strict=True)
    ]
