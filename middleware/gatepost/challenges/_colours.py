"""Colours that can be told apart by brightness alone, as WCAG measures it; hue is for looks."""

from __future__ import annotations

import colorsys
import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass

Colour = tuple[int, int, int]

HUES = 24
STEPS = 200  # of luminance between black and white

RATIOS = {"standard": 3.0, "enhanced": 4.5}
"""The lowest contrast between ink and ground, by the name of the option."""

# Rounding to whole channels moves a ratio a little, so what is asked for is a little more.
_SPARE = 1.06


@dataclass(frozen=True, slots=True)
class Paints:
    """The colours of one picture: every ink stands out from every ground."""

    grounds: tuple[Colour, ...]
    inks: tuple[Colour, ...]


def luminance(colour: Sequence[int]) -> float:
    """The relative luminance of an sRGB colour, as WCAG defines it."""
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (c / 255 for c in colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: Sequence[int], other: Sequence[int]) -> float:
    """The contrast of two colours, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@functools.lru_cache(maxsize=HUES * 4 * (STEPS + 1))
def shade(hue: int, strength: int, step: int) -> Colour:
    """The colour of a hue (of :data:`HUES`), a strength (0 to 3) and a luminance (in :data:`STEPS`)."""
    low, high = 0.0, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        if luminance(_rgb(hue, middle, strength)) < step / STEPS:
            low = middle
        else:
            high = middle
    return _rgb(hue, (low + high) / 2, strength)


def _rgb(hue: int, lightness: float, strength: int) -> Colour:
    red, green, blue = colorsys.hls_to_rgb(hue / HUES, lightness, 0.25 + 0.2 * strength)
    return round(255 * red), round(255 * green), round(255 * blue)


def _any_hue(chance: random.Random, luminance: float) -> Colour:
    return shade(chance.randrange(HUES), chance.randrange(4), max(0, min(STEPS, round(luminance * STEPS))))


def mixed(chance: random.Random, ratio: float, grounds: int, inks: int) -> Paints:
    """Light and dark inks on mid-tones; above 4:1 there is no room for both, so all inks are of one side."""
    ratio *= _SPARE
    # The brightest ground that white stands out from, and the darkest that black does.
    highest, lowest = 1.05 / ratio - 0.05, 0.05 * ratio - 0.05
    if lowest > highest - 0.06:
        return one_sided(chance, ratio / _SPARE, grounds, inks)
    middle = chance.uniform(lowest + 0.022, highest - 0.035)
    tones = tuple(_any_hue(chance, middle + chance.uniform(-0.008, 0.008)) for _ in range(grounds))
    levels = [luminance(tone) for tone in tones]
    dark, light = (min(levels) + 0.05) / ratio - 0.05, (max(levels) + 0.05) * ratio - 0.05
    sides = [number % 2 for number in range(inks)]
    return Paints(
        tones,
        tuple(
            _any_hue(chance, chance.uniform(light + 0.01, 1.0) if side else chance.uniform(0.0, dark)) for side in sides
        ),
    )


def one_sided(chance: random.Random, ratio: float, grounds: int, inks: int) -> Paints:
    """Dark inks on a light ground, or light ones on a dark ground."""
    ratio *= _SPARE
    if chance.random() < 0.5:
        level = chance.uniform(0.55, 0.85)
        tones = tuple(_any_hue(chance, level + chance.uniform(-0.02, 0.02)) for _ in range(grounds))
        limit = (min(map(luminance, tones)) + 0.05) / ratio - 0.05
        return Paints(tones, tuple(_any_hue(chance, chance.uniform(0.0, limit - 0.006)) for _ in range(inks)))
    level = chance.uniform(0.02, 0.07)
    tones = tuple(_any_hue(chance, level + chance.uniform(-0.01, 0.01)) for _ in range(grounds))
    limit = (max(map(luminance, tones)) + 0.05) * ratio - 0.05
    return Paints(tones, tuple(_any_hue(chance, chance.uniform(min(1.0, limit + 0.01), 1.0)) for _ in range(inks)))


def grounds_for(inks: Sequence[Colour], ratio: float) -> list[int]:
    """The luminances, in :data:`STEPS`, of grounds that all of these inks stand out from."""
    levels = [luminance(ink) + 0.05 for ink in inks]
    found = []
    for step in range(STEPS + 1):
        ground = step / STEPS + 0.05
        if all(max(ground, level) / min(ground, level) >= ratio * _SPARE for level in levels):
            found.append(step)
    return found


def given(chance: random.Random, ratio: float, inks: Sequence[Colour], count: int) -> Paints:
    """Some of the inks that a site wants, on a ground that suits them all."""
    ground = shade(chance.randrange(HUES), chance.randrange(4), chance.choice(grounds_for(inks, ratio)))
    chosen = chance.sample(list(inks), min(count, len(inks)))
    return Paints((ground,), tuple(chosen[number % len(chosen)] for number in range(count)))
