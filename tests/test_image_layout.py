"""Where the image challenge puts letters: lines that stay apart, letters that are large enough and inside."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from itertools import accumulate, combinations, pairwise, product
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatepost.challenges import _styles
from gatepost.challenges._glyphs import Glyphs
from gatepost.challenges._layout import GAP, STEEPEST, Letter, Look, Pose, Stance, arrange, split
from gatepost.challenges.image import CHARACTERS

FONTS = sorted(Path(str(resources.files("gatepost.fonts"))).glob("*.[to]tf"))
LOOK = Look(
    width=300, height=150, length=6, size_shift=0.25, across=1.0, down=1.0, overlap=False, noise=1.0, ratio=3.0, inks=()
)
GLYPHS = Glyphs(FONTS, CHARACTERS, 110)
MARGIN = 6

texts = st.lists(st.sampled_from(CHARACTERS), min_size=1, max_size=6)
# Where all others are wide, a narrow letter is the lowest.
wide_texts = st.lists(st.sampled_from("mwMws7"), min_size=6, max_size=6)
seeds = st.integers(0, 10**6)
rims = st.sampled_from([0, 3])


def laid_out(seed: int, text: Sequence[str], look: Look, level: int, rim: int, most: int) -> list[list[Letter]]:
    """The letters of a text in their places, line by line."""
    chance = random.Random(seed)  # noqa: S311 - looks only
    parts = split(chance, len(text), look, MARGIN, most)
    hand = _styles.Hand(Stance(lean=(-24.0, 24.0), rise=(-15.0, 22.0)), turn=7.0, hollow=0.4, rim=rim)
    letters = _styles._letters(chance, GLYPHS, text, look, level, MARGIN, parts, hand)
    arrange(chance, letters, look, MARGIN, parts)
    return [letters[end - part : end] for part, end in zip(parts, accumulate(parts), strict=True)]


@given(
    seed=seeds,
    text=texts | wide_texts,
    level=st.integers(1, 4),
    rim=rims,
    most=st.integers(1, 2),
    overlap=st.booleans(),
    shift=st.sampled_from([0, 0.5]),
)
@example(seed=8684, text=[*"mmmmms"], level=3, rim=0, most=1, overlap=False, shift=0)
def test_letters_are_large_enough_and_inside(
    seed: int, text: list[str], level: int, rim: int, most: int, overlap: bool, shift: float
) -> None:
    """No letter is less than 24 pixels high or touches the border, and those of a line come from left to right."""
    look = replace(LOOK, overlap=overlap, size_shift=shift)
    for line in laid_out(seed, text, look, level, rim, most if rim else most + 1):
        for letter in line:
            assert letter.height - 2 * rim >= 24
            assert letter.left >= MARGIN
            assert letter.left + letter.width <= look.width - MARGIN
            assert letter.top >= MARGIN
            assert letter.top + letter.height <= look.height - MARGIN + 1
        middles = [letter.left + letter.width / 2 for letter in line]
        assert middles == sorted(middles)


@given(seed=seeds, text=st.lists(st.sampled_from(CHARACTERS), min_size=4, max_size=6), rim=rims)
def test_lines_stand_apart(seed: int, text: list[str], rim: int) -> None:
    """A letter leaves a gap to those above it, less by what lines lean between the two."""
    for above, below in pairwise(laid_out(seed, text, LOOK, 1, rim, 3)):
        for upper, lower in product(above, below):
            beside = abs(upper.left + upper.width / 2 - lower.left - lower.width / 2)
            lean = beside * math.tan(math.radians(STEEPEST + 1))
            assert lower.top - upper.top - upper.height >= GAP - 2 - lean


@given(seed=seeds, text=st.lists(st.sampled_from(CHARACTERS), min_size=2, max_size=6), rim=rims, across=st.booleans())
def test_letters_of_a_line_stay_together(seed: int, text: list[str], rim: int, across: bool) -> None:
    """Neighbours do not cover each other, and a line has less room between letters than half of what they take."""
    for line in laid_out(seed, text, replace(LOOK, across=float(across)), 1, rim, 3):
        gaps = [other.left - one.left - one.width for one, other in pairwise(line)]
        assert all(gap >= -1 for gap in gaps)
        assert sum(gaps) <= (0.5 + 0.04) * sum(letter.width for letter in line) + len(line)


@pytest.mark.parametrize(
    ("count", "height", "most", "wanted"),
    [
        (1, 150, 3, {(1,)}),
        (3, 150, 3, {(3,), (1, 2), (2, 1)}),
        (4, 150, 3, {(4,), (2, 2)}),
        (6, 150, 3, {(6,), (2, 4), (3, 3), (4, 2), (2, 2, 2)}),
        (6, 150, 2, {(6,), (2, 4), (3, 3), (4, 2)}),
        (6, 150, 1, {(6,)}),
        (6, 100, 3, {(6,), (2, 4), (3, 3), (4, 2)}),
        (6, 99, 3, {(6,)}),
    ],
)
def test_lines_are_as_many_as_there_is_room_for(
    count: int, height: int, most: int, wanted: set[tuple[int, ...]]
) -> None:
    """Letters are split at random, with two in a line at least where there are enough, and no line is too low."""
    look = replace(LOOK, height=height)
    chance = random.Random(1)  # noqa: S311 - looks only
    assert {tuple(split(chance, count, look, MARGIN, most)) for _ in range(200)} == wanted


@given(
    seed=seeds,
    size=st.sampled_from([(300, 100), (204, 500), (1000, 100), (408, 150), (750, 250)]),
    length=st.integers(3, 12),
    level=st.integers(1, 4),
    across=st.sampled_from([0.0, 1.0]),
    down=st.sampled_from([0.0, 1.0]),
)
def test_letters_are_inside_whatever_the_options(
    seed: int, size: tuple[int, int], length: int, level: int, across: float, down: float
) -> None:
    """In no size and with no displacement a letter leaves the picture, and without displacement lines are level."""
    length = min(length, size[0] // 34)
    look = replace(LOOK, width=size[0], height=size[1], length=length, across=across, down=down)
    text = (CHARACTERS * 2)[seed % len(CHARACTERS) :][:length]
    for line in laid_out(seed, text, look, level, 0, 3):
        assert all(letter.left >= 0 and letter.left + letter.width <= look.width for letter in line)
        assert all(letter.top >= 0 and letter.top + letter.height <= look.height for letter in line)
        middles = [letter.top + letter.height / 2 for letter in line]
        assert down or max(middles) - min(middles) <= 1


@pytest.mark.parametrize("turn", [0.0, 9.0])
@pytest.mark.parametrize(
    "stance",
    [
        Stance(lean=(0, 0)),
        Stance(lean=(20, 20)),
        Stance(lean=(-24, -24), rise=(22, 22)),
        *(hand.stance for hand in _styles.HANDS.values()),
    ],
)
@given(seed=seeds)
def test_letters_stand_as_their_family_has_them(stance: Stance, turn: float, seed: int) -> None:
    """Upright strokes lean to the right and level ones rise as far as the stance says, and the turn besides."""
    pose = Pose.any(random.Random(seed), stance, turn)  # noqa: S311 - looks only
    lean = math.degrees(math.atan2(-pose.xy, pose.yy))
    rise = math.degrees(math.atan2(-pose.yx, pose.xx))
    assert stance.lean[0] - turn - 1e-6 <= lean <= stance.lean[1] + turn + 1e-6
    assert stance.rise[0] - turn - 1e-6 <= rise <= stance.rise[1] + turn + 1e-6
    if not turn and stance.lean[0] == stance.lean[1]:
        assert (lean, rise) == pytest.approx((stance.lean[0], stance.rise[0]))


def test_families_stand_apart() -> None:
    """Of two families whose letters change sides with the ground one stands otherwise, in one angle at least."""
    stances = [_styles.HANDS[style].stance for style in ("patches", "rows", "waves")]
    for one, other in combinations(stances, 2):
        assert _apart(one.lean, other.lean) or _apart(one.rise, other.rise)


def _apart(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] > other[1] + 10 or other[0] > one[1] + 10
