"""The families of pictures. Each is a function that draws a text in its way; a picture belongs to one of them.

Where letters change sides with the ground, they come in one line, two or three, so that readers of lines do not know
where to begin. Each family has a hand of its own: letters that are filled, outlines, or cut out of plates, in fonts
that the others do not have, and out of the upright in another way. With the ground taken away, that is what is left for
a network to learn. It learns the hands that it is shown, and makes little of others: see the strength benchmark.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageDraw

from ._canvas import Canvas, blends
from ._colours import Paints, given, mixed, one_sided
from ._glyphs import Glyphs
from ._layout import Letter, Look, Pose, Stance, arrange, sizes, split

HARDEST = 4  # the last level that changes anything
INKS = 4  # in a picture on a mid-tone
TALLEST = 55  # of all letters at the default size, in pixels


@dataclass(frozen=True, slots=True)
class Hand:
    """How a family writes.

    :param stance: how letters stand before they are turned.
    :param turn: by how much they are, in degrees; two more at each level.
    :param fonts: which third of the fonts; left out, all of them.
    :param tall: the height of letters where there is room, in pixels at the default size.
    :param hollow: the share of letters that are outlines.
    :param rim: of the plates that letters are cut out of, in pixels at the default size; without it there are none.
    :param lines: the most that there are.
    """

    stance: Stance
    turn: float
    fonts: int | None = None
    tall: float = 44.0
    hollow: float = 0.0
    rim: int = 0
    lines: int = 1


# A network reads letters that stand 10 degrees otherwise than those it has learned, and loses half of them at 30.
HANDS = {
    "patches": Hand(Stance(lean=(8.0, 24.0), rise=(-5.0, 5.0)), turn=7.0, fonts=1, lines=2),
    "rows": Hand(Stance(lean=(-24.0, -8.0), rise=(-15.0, -3.0)), turn=7.0, fonts=0, hollow=1.0, lines=3),
    "waves": Hand(Stance(lean=(-24.0, -10.0), rise=(10.0, 22.0)), turn=7.0, fonts=2, rim=3, lines=2),
    "drift": Hand(Stance(), turn=13.0, tall=27.0, hollow=0.4),
}
"""The hands of the families."""


def _letters(
    chance: random.Random,
    glyphs: Glyphs,
    text: Sequence[str],
    look: Look,
    level: int,
    margin: int,
    parts: Sequence[int],
    hand: Hand,
) -> list[Letter]:
    """The letters of a text, each with its own font, size, turn and filling.

    :param parts: how many of them each line has.
    """
    shares = 1 if hand.fonts is None else min(_THIRDS, len(glyphs))
    faces = range((hand.fonts or 0) % shares, len(glyphs), shares)
    chosen = [glyphs.get(chance.choice(faces), character) for character in text]
    masks = [chance.choice(glyph.hollow if chance.random() < hand.hollow else glyph.solid) for glyph in chosen]
    poses = [Pose.any(chance, hand.stance, hand.turn + 2 * level) for _ in chosen]
    wanted = [hand.tall * look.unit * chance.uniform(1.0, 1.0 + look.size_shift) / glyph.height for glyph in chosen]
    rim = max(2, round(hand.rim * look.unit)) if hand.rim else 0
    scales = sizes(poses, masks, wanted, parts, look, margin, rim)
    letters = [pose.apply(mask, scale) for pose, mask, scale in zip(poses, masks, scales, strict=True)]
    return [_plate(chance, one.mask, rim) for one in letters] if rim else letters


def _plate(chance: random.Random, mask: Image.Image, rim: int) -> Letter:
    """A letter cut out of a plate: with round corners, or an oval one."""
    plate, hole = (Image.new("L", (mask.width + 2 * rim, mask.height + 2 * rim)) for _ in range(2))
    brush, edges = ImageDraw.Draw(plate), (0, 0, plate.width - 1, plate.height - 1)
    brush.rounded_rectangle(edges, chance.choice((2, 5)) * rim, fill=255)
    hole.paste(mask, (rim, rim))
    return Letter(ImageChops.subtract(plate, hole), plate.width, plate.height)


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
    parts = [len(text)]
    letters = _letters(chance, glyphs, text, look, level, margin, parts, HANDS["drift"])
    arrange(chance, letters, look, margin, parts)
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
    """Filled letters that lean to the right, across slanting stripes."""
    return _changing(chance, glyphs, text, look, level, HANDS["patches"], _stripes(chance, look, level))


def rows(chance: random.Random, glyphs: Glyphs, text: Sequence[str], look: Look, level: int) -> Image.Image:
    """Hollow letters that lean to the left and fall, across blots."""
    return _changing(chance, glyphs, text, look, level, HANDS["rows"], _blots(chance, look, level))


def waves(chance: random.Random, glyphs: Glyphs, text: Sequence[str], look: Look, level: int) -> Image.Image:
    """Letters that are turned to the left, cut out of plates, across waves."""
    return _changing(chance, glyphs, text, look, level, HANDS["waves"], _waves(chance, look, level))


def _changing(
    chance: random.Random,
    glyphs: Glyphs,
    text: Sequence[str],
    look: Look,
    level: int,
    hand: Hand,
    ground: Image.Image,
) -> Image.Image:
    """Letters that change sides with the ground: light on dark, dark on light."""
    canvas = Canvas(look.width, look.height)
    sway = (1.5 + 0.7 * level) * look.unit
    margin = math.ceil(sway) + 3
    parts = split(chance, len(text), look, margin, hand.lines)
    letters = _letters(chance, glyphs, text, look, level, margin, parts, hand)
    arrange(chance, letters, look, margin, parts)
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
    canvas, thick = Canvas(look.width, look.height), (64 - 5 * level) * look.unit
    brush = ImageDraw.Draw(canvas.image)
    y = -chance.uniform(0, 2) * thick
    while y < look.height:
        high = chance.uniform(0.8, 1.2) * thick
        brush.rectangle((0, y, look.width, y + high), fill=255)
        y += high + chance.uniform(0.8, 1.2) * thick
    canvas.bend(chance, 16 * look.unit, 85 * look.unit)
    return canvas.image


_THIRDS = 3  # that fonts are dealt out in
_ANYTHING = bytes([0] + 255 * [255])
_SHADES = 4
_FEW = bytes(round(value * (_SHADES - 1) / 255) for value in range(256))

Style = Callable[[random.Random, Glyphs, Sequence[str], Look, int], Image.Image]

STYLES: dict[str, Style] = {"patches": patches, "rows": rows, "waves": waves, "drift": drift}
"""The families by name."""
