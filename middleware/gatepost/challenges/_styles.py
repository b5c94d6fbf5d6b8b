"""The families of pictures. Each is a function that draws a text in its way; a picture belongs to one of them.

Several families stop readers that are made for one layout. Where letters change sides with the ground, each family
draws them in its own way: filled, as outlines, or cut out of plates, and in other fonts. With the ground taken away,
that is what is left for a network to learn. It does learn it: see the strength benchmark for how well.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from PIL import Image, ImageChops, ImageDraw

from ._canvas import Canvas, blends
from ._colours import Colour, Paints, given, mixed, one_sided
from ._glyphs import Glyph, Glyphs

HARDEST = 4  # the last level that changes anything
INKS = 4  # in a picture on a mid-tone
TALLEST = 50  # of all letters at the default size, in pixels
LOWEST = 25  # that a line of wide letters is sized down to
RIM = 3  # of a plate, around its letter


@dataclass(frozen=True, slots=True)
class Look:
    """What a site decides about its pictures; see :class:`ImageKind`."""

    width: int
    height: int
    length: int
    size_shift: float
    across: float  # the share of the free room that letters wander in
    down: float
    overlap: bool
    noise: float
    ratio: float
    inks: tuple[Colour, ...]

    @property
    def unit(self) -> float:
        """How much larger than the default everything is."""
        return min(self.height / 150, self.width / 300 * min(1.0, 6.6 / self.length))


@dataclass(slots=True)
class Letter:
    """A glyph on its way into the picture."""

    mask: Image.Image
    width: int
    height: int
    left: int = 0
    top: int = 0


def letter(chance: random.Random, glyph: Glyph, mask: Image.Image, height: float, turn: float) -> Letter:
    """A glyph sized, turned and slanted."""
    size = height / glyph.height
    angle = math.radians(chance.uniform(-turn, turn))
    slant, wide = chance.uniform(-0.18, 0.18), size * chance.uniform(0.85, 1.15)
    sine, cosine = math.sin(angle), math.cos(angle)
    # Where each corner goes: slanted first, then turned.
    xx, xy = wide * cosine, size * (slant * cosine - sine)
    yx, yy = wide * sine, size * (slant * sine + cosine)
    across, down = mask.size
    width = math.ceil(abs(xx) * across + abs(xy) * down) + 2
    high = math.ceil(abs(yx) * across + abs(yy) * down) + 2
    # Pillow wants to know where each pixel comes from, so this is the way back.
    area = xx * yy - xy * yx
    a, b, d, e = yy / area, -xy / area, -yx / area, xx / area
    matrix = (
        *(a, b, across / 2 - a * width / 2 - b * high / 2),
        *(d, e, down / 2 - d * width / 2 - e * high / 2),
    )
    shape = mask.transform((width, high), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    box = shape.getbbox() or (0, 0, width, high)
    shape = shape.crop(box)
    return Letter(shape, shape.width, shape.height)


def _letters(
    chance: random.Random,
    glyphs: Glyphs,
    text: Sequence[str],
    look: Look,
    level: int,
    *,
    tall: float,
    hollow: float,
    lines: int = 1,
    fonts: int | None = None,
    rim: int = 0,
) -> list[Letter]:
    """The letters of a text, each with its own font, size, turn and filling.

    :param fonts: 0 for every other font, 1 for the rest; left out, all of them.
    :param rim: of the plates that letters are cut out of, in pixels; without it there are none.
    """
    faces = range(len(glyphs)) if fonts is None or len(glyphs) < 2 else range(fonts, len(glyphs), 2)
    chosen = [glyphs.get(chance.choice(faces), character) for character in text]
    heights = [tall * look.unit * chance.uniform(1.0, 1.0 + look.size_shift) for _ in chosen]
    # As if all were as slanted and as wide as can be; a line of wide letters gets smaller ones.
    widths = [1.3 * height * glyph.width / glyph.height for glyph, height in zip(chosen, heights, strict=True)]
    half = (len(chosen) + lines - 1) // lines
    room = 0.9 * look.width - (2 * rim * half)
    fit = min(1.0, room / max(sum(widths[:half]), sum(widths[half:]), 1.0))
    least = LOWEST * look.unit if rim else 0.0
    letters = [
        letter(
            chance,
            glyph,
            glyph.hollow if chance.random() < hollow else glyph.solid,
            max(least, fit * height),
            7 + 4 * level,
        )
        for glyph, height in zip(chosen, heights, strict=True)
    ]
    return [_plate(one.mask, rim) for one in letters] if rim else letters


def _plate(mask: Image.Image, rim: int) -> Letter:
    """A letter cut out of a plate with round corners."""
    plate, hole = (Image.new("L", (mask.width + 2 * rim, mask.height + 2 * rim)) for _ in range(2))
    ImageDraw.Draw(plate).rounded_rectangle((0, 0, plate.width - 1, plate.height - 1), 2 * rim, fill=255)
    hole.paste(mask, (rim, rim))
    return Letter(ImageChops.subtract(plate, hole), plate.width, plate.height)


def _spread(chance: random.Random, letters: Sequence[Letter], look: Look, margin: int, top: int, bottom: int) -> None:
    """Give the letters of a line their places between two heights."""
    room = look.width - 2 * margin
    total = sum(one.width for one in letters)
    gap = -0.12 if look.overlap else 0.03
    least = [gap * min(one.width, other.width) for one, other in pairwise(letters)]
    free = room - total - sum(least)
    if free < 0:
        # Rounding, or a margin that takes much of a small picture.
        least = [more + free / max(1, len(least)) for more in least]
        free = 0.0
    cuts = sorted(chance.random() for _ in range(len(letters)))
    cuts = [cut * look.across for cut in cuts]
    at, before = float(margin) + free * (1 - look.across) / 2, 0.0
    for number, one in enumerate(letters):
        at += free * (cuts[number] - before)
        before = cuts[number]
        one.left = round(at)
        at += one.width + (least[number] if number < len(least) else 0)
        low, high = top, max(top, bottom - one.height)
        middle = (low + high) / 2
        one.top = round(middle + (chance.uniform(low, high) - middle) * look.down)


def _arc(chance: random.Random, left: float, top: float, right: float, bottom: float) -> list[tuple[float, float]]:
    """A curve from one side to the other."""
    heights = [chance.uniform(top, bottom) for _ in range(4)]
    points = []
    for step in range(21):
        t = step / 20
        s = 1 - t
        y = s**3 * heights[0] + 3 * s * s * t * heights[1] + 3 * s * t * t * heights[2] + t**3 * heights[3]
        points.append((left + (right - left) * t, y))
    return points


def _noise(chance: random.Random, canvas: Canvas, look: Look, margin: int, count: int) -> None:
    """Thin arcs, in inks that letters have."""
    for _ in range(count):
        begin, end = sorted(chance.uniform(margin, look.width - margin) for _ in range(2))
        if end - begin < 0.3 * look.width:
            begin, end = max(margin, begin - 0.2 * look.width), min(look.width - margin, end + 0.2 * look.width)
        curve = _arc(chance, begin, margin, end, look.height - margin)
        canvas.line(curve, chance.randrange(INKS), max(2, round(2 * look.unit)))


def _paints(chance: random.Random, look: Look) -> Paints:
    return given(chance, look.ratio, look.inks, INKS) if look.inks else mixed(chance, look.ratio, 1, INKS)


def drift(chance: random.Random, glyphs: Glyphs, text: Sequence[str], look: Look, level: int) -> Image.Image:
    """One line of letters that wander in height, in several inks, light and dark, on a mid-tone."""
    canvas = Canvas(look.width, look.height)
    sway = (2.0 + 0.7 * level) * look.unit
    margin = math.ceil(sway) + 3
    letters = _letters(chance, glyphs, text, look, level, tall=27.0, hollow=0.4)
    _arrange(chance, letters, look, margin, 1)
    # Every ink is on two letters where there are letters enough, and on arcs.
    order = [number % INKS for number in range(len(letters))]
    chance.shuffle(order)
    arcs = round((2 + level) * look.noise)
    _noise(chance, canvas, look, margin, arcs // 2)
    for one, ink in zip(letters, order, strict=True):
        canvas.paste(one.mask, ink, one.left, one.top)
    _noise(chance, canvas, look, margin, arcs - arcs // 2)
    canvas.bend(chance, sway, 60 * look.unit)
    return canvas.finish(_paints(chance, look))


def patches(chance: random.Random, glyphs: Glyphs, text: Sequence[str], look: Look, level: int) -> Image.Image:
    """One line of filled letters across slanting stripes."""
    return _changing(chance, glyphs, text, look, level, _stripes(chance, look, level), fonts=0)


def rows(chance: random.Random, glyphs: Glyphs, text: Sequence[str], look: Look, level: int) -> Image.Image:
    """Two lines of hollow letters across blots."""
    return _changing(chance, glyphs, text, look, level, _blots(chance, look, level), lines=2, hollow=1.0, fonts=1)


def waves(chance: random.Random, glyphs: Glyphs, text: Sequence[str], look: Look, level: int) -> Image.Image:
    """One line of letters cut out of plates, across waves."""
    rim = max(2, round(RIM * look.unit))
    return _changing(chance, glyphs, text, look, level, _waves(chance, look, level), rim=rim)


def _changing(
    chance: random.Random,
    glyphs: Glyphs,
    text: Sequence[str],
    look: Look,
    level: int,
    ground: Image.Image,
    *,
    lines: int = 1,
    hollow: float = 0.0,
    fonts: int | None = None,
    rim: int = 0,
) -> Image.Image:
    """Letters that change sides with the ground: light on dark, dark on light."""
    canvas = Canvas(look.width, look.height)
    sway = (1.5 + 0.7 * level) * look.unit
    margin = math.ceil(sway) + 3
    letters = _letters(chance, glyphs, text, look, level, tall=39.0, hollow=hollow, lines=lines, fonts=fonts, rim=rim)
    _arrange(chance, letters, look, margin, lines)
    for one in letters:
        canvas.image.paste(255, (one.left, one.top), one.mask)
    # None at the first level, unless a site asks for more.
    for _ in range(round(look.noise * (1 + level)) - 2):
        arc = Canvas(look.width, look.height)
        _noise(chance, arc, look, margin, 1)
        ground = ImageChops.difference(ground, arc.image.point(_ANYTHING))
    canvas.image = ImageChops.difference(canvas.image, ground)
    canvas.bend(chance, sway, 60 * look.unit)
    paints = given(chance, look.ratio, look.inks, 1) if look.inks else one_sided(chance, look.ratio + 0.5, 1, 1)
    image = canvas.image.point(_FEW)
    image.putpalette(blends(paints.grounds[0], paints.inks[0], _SHADES))
    return image


def _arrange(chance: random.Random, letters: Sequence[Letter], look: Look, margin: int, lines: int) -> None:
    """Put the letters into one line or two."""
    half = (len(letters) + lines - 1) // lines
    band = (look.height - 2 * margin) / lines
    for line in range(lines):
        top = margin + line * band
        _spread(chance, letters[line * half : (line + 1) * half], look, margin, round(top), round(top + band))


def _stripes(chance: random.Random, look: Look, level: int) -> Image.Image:
    """Stripes that lean: upright ones would swallow the stems of letters."""
    ground, thick = Image.new("L", (look.width, look.height)), (60 - 6 * level) * look.unit
    brush = ImageDraw.Draw(ground)
    lean = chance.choice((-1, 1)) * chance.uniform(0.6, 1.4) * look.height
    x = -abs(lean) - chance.uniform(0, 2) * thick
    while x < look.width + abs(lean):
        wide = chance.uniform(0.7, 1.3) * thick
        brush.polygon([(x, 0), (x + wide, 0), (x + wide + lean, look.height), (x + lean, look.height)], fill=255)
        x += wide + chance.uniform(0.7, 1.3) * thick
    return ground


def _blots(chance: random.Random, look: Look, level: int) -> Image.Image:
    """Discs, scattered as evenly as can be done cheaply."""
    ground, edge = Image.new("L", (look.width, look.height)), (84 - 7 * level) * look.unit
    brush = ImageDraw.Draw(ground)
    across, down = math.ceil(look.width / edge), math.ceil(look.height / edge)
    for row in range(down + 1):
        for column in range(across + 1):
            x = (column + chance.uniform(-0.3, 0.3) - 0.5 * (row % 2)) * edge
            y = (row + chance.uniform(-0.3, 0.3)) * edge
            wide, high = (chance.uniform(0.26, 0.46) * edge for _ in range(2))
            brush.ellipse((x - wide, y - high, x + wide, y + high), fill=255)
    return ground


def _waves(chance: random.Random, look: Look, level: int) -> Image.Image:
    """Level bands, bent."""
    canvas, thick = Canvas(look.width, look.height), (54 - 5 * level) * look.unit
    brush = ImageDraw.Draw(canvas.image)
    y = -chance.uniform(0, 2) * thick
    while y < look.height:
        high = chance.uniform(0.8, 1.2) * thick
        brush.rectangle((0, y, look.width, y + high), fill=255)
        y += high + chance.uniform(0.8, 1.2) * thick
    canvas.bend(chance, 16 * look.unit, 85 * look.unit)
    return canvas.image


_ANYTHING = bytes([0] + 255 * [255])
_SHADES = 4
_FEW = bytes(round(value * (_SHADES - 1) / 255) for value in range(256))

Style = Callable[[random.Random, Glyphs, Sequence[str], Look, int], Image.Image]

STYLES: dict[str, Style] = {"patches": patches, "rows": rows, "waves": waves, "drift": drift}
"""The families by name."""
