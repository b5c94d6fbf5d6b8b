"""Where letters go: in one line, two or three, which lean or bow, each letter sized and turned by itself.

A line is a corridor as high as the highest of its letters. The corridors of a picture follow one curve, one beneath
the other with a gap between them, so that lines stay apart as lines however much they lean. In its corridor each letter
wanders as much as there is room.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from PIL import Image

from ._colours import Colour

LINES = (1, 2, 2, 3)  # as often as they come
CORRIDOR = 44  # pixels that a line needs at least, where there are several
GAP = 4.0  # between two lines, at the default size
STEEPEST = 12.0  # degrees that lines lean
LOWEST = 25.0  # that letters are drawn, at the default size, to make room for the others of their line
APART = 0.5  # of a letter's width: the most between two of a line on average


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


@dataclass(frozen=True, slots=True)
class Stance:
    """How far letters are out of the upright before they are turned, in degrees: the least and the most.

    ``lean`` is how far upright strokes lean to the right, ``rise`` how far level ones rise to the right.
    """

    lean: tuple[float, float] = (-10.0, 10.0)
    rise: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Pose:
    """How a letter stands: where a step to the right and one down lead to."""

    xx: float
    xy: float
    yx: float
    yy: float

    @classmethod
    def any(cls, chance: random.Random, stance: Stance, turn: float) -> Pose:
        """One at random, turned by at most so many degrees."""
        lean, rise = (math.tan(math.radians(chance.uniform(*part))) for part in (stance.lean, stance.rise))
        wide, turned = chance.uniform(0.85, 1.15), math.radians(chance.uniform(-turn, turn))
        sine, cosine = math.sin(turned), math.cos(turned)
        across = wide * (cosine - rise * sine), -wide * (sine + rise * cosine)
        down = sine - lean * cosine, cosine + lean * sine
        return cls(across[0], down[0], across[1], down[1])

    def box(self, width: float, height: float) -> tuple[float, float]:
        """The width and height of what has these when it stands upright."""
        return abs(self.xx) * width + abs(self.xy) * height, abs(self.yx) * width + abs(self.yy) * height

    def apply(self, mask: Image.Image, size: float) -> Letter:
        """A mask in this pose, so many times as large, cut to its ink."""
        xx, xy, yx, yy = (size * part for part in (self.xx, self.xy, self.yx, self.yy))
        across, down = mask.size
        wide, high = (math.ceil(size * part) + 2 for part in self.box(across, down))
        # Pillow wants to know where each pixel comes from, so this is the way back.
        area = xx * yy - xy * yx
        a, b, d, e = yy / area, -xy / area, -yx / area, xx / area
        matrix = (
            *(a, b, across / 2 - a * wide / 2 - b * high / 2),
            *(d, e, down / 2 - d * wide / 2 - e * high / 2),
        )
        shape = mask.transform((wide, high), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        shape = shape.crop(shape.getbbox() or (0, 0, wide, high))
        return Letter(shape, shape.width, shape.height)


def split(chance: random.Random, count: int, look: Look, margin: int, most: int) -> list[int]:
    """How many letters each line has: of one line, or of more where the height has room for them.

    :param most: lines.
    """
    room = int((look.height - 2 * margin) / (CORRIDOR * max(1.0, look.unit)))
    lines = max(1, min(chance.choice(LINES), most, room, count // 2 if count > 3 else count - 1))
    least = 2 if count >= 2 * lines else 1
    free = count - least * lines
    cuts = sorted(chance.randint(0, free) for _ in range(lines - 1))
    return [least + after - before for before, after in pairwise([0, *cuts, free])]


def sizes(
    poses: Sequence[Pose],
    masks: Sequence[Image.Image],
    wanted: Sequence[float],
    parts: Sequence[int],
    look: Look,
    margin: int,
    rim: int = 0,
) -> list[float]:
    """How much larger or smaller each mask is drawn: as it is wanted, or so that its line has room for it.

    :param rim: what is added on every side of a letter, in pixels.
    """
    # Each letter has two pixels more, for what rounding adds.
    high = (look.height - 2 * margin - (len(parts) - 1) * GAP * look.unit) / len(parts) - 2 * rim - 2
    found: list[float] = []
    for part in parts:
        here = range(len(found), len(found) + part)
        boxes = [poses[n].box(*masks[n].size) for n in here]
        wide = 0.94 * (look.width - 2 * margin) - part * (2 * rim + 2)
        fit = min(1.0, wide / sum(wanted[n] * box[0] for n, box in zip(here, boxes, strict=True)))
        # Somewhat less room between wide letters is better than letters that are too small to be read.
        # A stem that leans and is turned the same way is that much lower than it is long.
        least = [LOWEST * look.unit / (masks[n].height * min(1.0, poses[n].yy)) for n in here]
        found += [min(max(fit * wanted[n], low), high / box[1]) for n, low, box in zip(here, least, boxes, strict=True)]
    return found


def arrange(chance: random.Random, letters: Sequence[Letter], look: Look, margin: int, parts: Sequence[int]) -> None:
    """Put letters into lines, so many into each."""
    ends = list(accumulate(parts))
    lines = [letters[end - part : end] for part, end in zip(parts, ends, strict=True)]
    corridors = [max(one.height for one in line) for line in lines]
    gap = GAP * look.unit
    free = max(0.0, look.height - 2 * margin - sum(corridors) - (len(lines) - 1) * gap)
    # What is left is for the curve, for letters to wander, and for the room above, between and below.
    rise = look.down * min(math.tan(math.radians(STEEPEST)) * look.width, free * chance.uniform(0.2, 0.9))
    # A line with others beside it must not be torn apart.
    sway = look.down * min(0.5 * (free - rise) / len(lines), (36 if len(lines) == 1 else 8) * look.unit)
    free -= rise + len(lines) * sway
    shares = [1 + look.down * (2 * chance.random() - 1) for _ in range(len(lines) + 1)]
    curve, at = _curve(chance, rise), float(margin)
    for line, corridor, share in zip(lines, corridors, shares, strict=False):
        at += free * share / sum(shares)
        spread(chance, line, look, margin)
        for one in line:
            room = corridor - one.height
            high = curve((one.left + one.width / 2) / look.width) + sway * chance.random()
            one.top = round(at + high + room * (0.5 + look.down * chance.uniform(-0.3, 0.3)))
        at += corridor + sway + gap


def _curve(chance: random.Random, rise: float) -> Callable[[float], float]:
    """How far down lines are at each place from 0 to 1: they lean, or are bowed, by ``rise`` pixels at most."""
    falls = chance.random() < 0.5
    if chance.random() < 0.65:
        return lambda place: rise * (place if falls else 1 - place)
    middle, bow = chance.uniform(0.3, 0.7), 0.6 * rise
    reach = max(middle, 1 - middle) ** 2

    def bowed(place: float) -> float:
        deep = (place - middle) ** 2 / reach
        return bow * (deep if falls else 1 - deep)

    return bowed


def spread(chance: random.Random, letters: Sequence[Letter], look: Look, margin: int) -> None:
    """Give the letters of a line their places from left to right."""
    room = look.width - 2 * margin
    total = sum(one.width for one in letters)
    gap = -0.12 if look.overlap else 0.03
    least = [gap * min(one.width, other.width) for one, other in pairwise(letters)]
    free = room - total - sum(least)
    if free < 0:
        # Rounding, or a margin that takes much of a small picture.
        least = [more + free / max(1, len(least)) for more in least]
        free = 0.0
    # Letters stay close enough to be seen as a line; where it begins is open.
    between = look.across * min(
        free * (len(letters) - 1) / (len(letters) + 1), APART * total / len(letters) * (len(letters) - 1)
    )
    weights = [1 + look.across * (2 * chance.random() - 1) for _ in least]
    outside = free - between
    at = margin + outside * (0.5 + look.across * (chance.random() - 0.5))
    for number, one in enumerate(letters):
        one.left = round(at)
        at += one.width
        if number < len(least):
            at += least[number] + between * weights[number] / sum(weights)
