"""What the pictures of the image challenge are like: size, contrast, families, formats, alphabets."""

from __future__ import annotations

import math
import random
import time
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops

from gatepost.challenges import _canvas, _styles
from gatepost.challenges._glyphs import Glyph, Glyphs
from gatepost.challenges._layout import Look
from gatepost.challenges.image import CHARACTERS, STYLES, ImageKind

Colour = tuple[int, int, int]
FONTS = sorted(Path(str(resources.files("gatepost.fonts"))).glob("*.[to]tf"))
NOTO = Path("/usr/share/fonts/truetype/noto")
DEJAVU = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf")


def one(style: str, **options: Any) -> ImageKind:
    """A kind that draws one family only."""
    return ImageKind(styles={style: 1}, **options)


def opened(content: bytes) -> Image.Image:
    image = Image.open(BytesIO(content))
    image.load()
    return image


def luminance(colour: Colour) -> float:
    parts = [part / 255 for part in colour]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def ratio(first: Colour, second: Colour) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def plain_colours(image: Image.Image) -> dict[Colour, int]:
    """The colours that fill squares of 2 by 2 pixels, which blends at edges hardly do, and how often."""
    width, height = image.size
    parts = [image.crop((x, y, width - 1 + x, height - 1 + y)) for x in (0, 1) for y in (0, 1)]
    same = Image.new("L", parts[0].size, 255)
    for part in parts[1:]:
        for band in ImageChops.difference(parts[0], part).split():
            same = ImageChops.multiply(same, band.point([255] + 255 * [0]))
    found: dict[Colour, int] = {}
    pixels, kept = parts[0].tobytes(), same.tobytes()
    for number, keep in enumerate(kept):
        if keep:
            colour = (pixels[3 * number], pixels[3 * number + 1], pixels[3 * number + 2])
            found[colour] = found.get(colour, 0) + 1
    return {colour: count for colour, count in found.items() if count > 0.0008 * width * height}


def lowest_contrast(content: bytes) -> float:
    """Of all inks with the ground: what is on the border is ground, and where all is, each side is the other's ink."""
    image = opened(content).convert("RGB")
    plain = plain_colours(image)
    width, height = image.size
    border = {image.getpixel((x, y)) for x in range(width) for y in (0, height - 1)}
    border |= {image.getpixel((x, y)) for x in (0, width - 1) for y in range(height)}
    grounds = [colour for colour in plain if colour in border]
    inks = [colour for colour in plain if colour not in border]
    if not inks:
        return max(ratio(first, second) for first in grounds for second in grounds)
    return min(ratio(ink, ground) for ink in inks for ground in grounds)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("options", "wanted"), [({}, 3.0), ({"contrast": "enhanced"}, 4.5), ({"contrast": 7}, 7.0)])
def test_every_ink_stands_out_from_the_ground(style: str, options: dict[str, Any], wanted: float) -> None:
    """Measured on finished pictures of every family and level, no ink is below the contrast that was asked for."""
    kind = one(style, **options)
    for number in range(12):
        assert lowest_contrast(kind.draw(1 + number % 4, "en").media.content) >= wanted


@pytest.mark.parametrize("style", STYLES)
def test_the_inks_of_a_site_are_used(style: str) -> None:
    """Inks that are given are the ones in the picture, on a ground that they stand out from."""
    kind = one(style, inks=["#101010", "#302000"])
    for _ in range(6):
        content = kind.draw(1, "en").media.content
        assert lowest_contrast(content) >= 3.0
        assert {(16, 16, 16), (48, 32, 0)} & set(plain_colours(opened(content).convert("RGB")))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("size", [(300, 150), (300, 100), (204, 500), (1000, 100), (750, 250)])
@pytest.mark.parametrize("level", [-1, 1, 4, 99])
def test_the_picture_is_a_palette_png_of_the_size_that_is_declared(
    style: str, size: tuple[int, int], level: int
) -> None:
    """The bytes decode as a PNG of 16 colours at most, whose size is that of the media and of the options."""
    challenge = one(style, width=size[0], height=size[1]).draw(level, "en")
    image = opened(challenge.media.content)
    assert (image.format, image.mode, image.size) == ("PNG", "P", size)
    assert len(image.getcolors() or []) <= 16
    assert (challenge.media.type, challenge.media.width, challenge.media.height) == ("image/png", *size)
    assert challenge.data == b""


@pytest.mark.parametrize("format", ["png", "webp", "jpeg", "gif"])
@pytest.mark.parametrize("style", STYLES)
def test_other_formats_on_request(style: str, format: str) -> None:  # noqa: A002 - the option's name
    """The type that is declared is the type of the bytes."""
    media = one(style, format=format).draw(1, "en").media
    assert media.type == f"image/{format}"
    assert (opened(media.content).format or "").lower() == format


@pytest.mark.parametrize("style", STYLES)
def test_pictures_differ_in_colour(style: str) -> None:
    """Grounds and inks vary from picture to picture."""
    kind = one(style)
    seen = [frozenset(plain_colours(opened(kind.draw(1, "en").media.content).convert("RGB"))) for _ in range(12)]
    assert len(set(seen)) == 12


def test_pictures_are_small_and_quick() -> None:
    """A picture has 4 kB at most on average, 6 kB in the worst of them, and takes at most 6 ms of one core."""
    kind = ImageKind()
    kind.draw(1, "en")
    quickest, sizes = 1.0, []
    for number in range(60):
        start = time.thread_time()
        challenge = kind.draw(1 + number % 4, "en")
        quickest = min(quickest, time.thread_time() - start)
        sizes.append(len(challenge.media.content))
    assert sum(sizes) / len(sizes) < 4000
    assert max(sizes) < 6000
    assert quickest <= 0.006


def test_only_families_with_a_weight_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights choose the family of each picture, and a weight of 0 rules one out."""
    drawn: list[str] = []
    for name, style in list(_styles.STYLES.items()):

        def counting(*arguments: Any, name: str = name, style: Any = style) -> Image.Image:
            drawn.append(name)
            image: Image.Image = style(*arguments)
            return image

        monkeypatch.setitem(_styles.STYLES, name, counting)
    kind = ImageKind(styles={"rows": 3, "waves": 1, "drift": 0})
    for _ in range(60):
        kind.draw(1, "en")
    assert set(drawn) == {"rows", "waves"}
    assert drawn.count("rows") > drawn.count("waves")
    assert set(STYLES) == set(_styles.STYLES)


@pytest.mark.parametrize("style", STYLES)
def test_noise_is_as_much_as_is_asked_for(style: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are no arcs at 0, more at 5 than at 1, and more at the hardest level than at the gentlest."""
    arcs: list[int] = []
    arc = _styles._arc

    def counting(*arguments: Any) -> list[tuple[float, float]]:
        arcs.append(1)
        return arc(*arguments)

    monkeypatch.setattr(_styles, "_arc", counting)
    drawn = []
    for noise, level in ((0, 1), (0, 4), (1, 1), (5, 1), (1, 4), (5, 4)):
        arcs.clear()
        one(style, noise=noise).draw(level, "en")
        drawn.append(len(arcs))
    assert drawn[:2] == [0, 0]
    assert drawn[2] < min(drawn[3:5])
    assert max(drawn[3:5]) < drawn[5] <= 30


def test_a_given_text_can_be_drawn() -> None:
    """Whoever keeps answers themselves gets a picture of theirs, and a sentence if it cannot be drawn."""
    kind = ImageKind()
    assert opened(kind.picture("bdH2").content).size == (300, 150)
    for text in ("", "bdef!", "bbbbbbb", "v"):
        with pytest.raises(ValueError, match=r"(?s)\Atext: got .*, wanted .*\.\Z"):
            kind.picture(text)


LOOK = Look(
    width=300, height=150, length=6, size_shift=0.3, across=1.0, down=1.0, overlap=True, noise=1.0, ratio=3.0, inks=()
)


class Seen:
    """Glyphs that remember which fonts they were asked for."""

    def __init__(self, fonts: list[Path]) -> None:
        self._glyphs = Glyphs(fonts, CHARACTERS, 110)
        self.count = len(fonts)
        self.fonts: set[int] = set()

    def __len__(self) -> int:
        return self.count

    def get(self, font: int, character: str) -> Glyph:
        self.fonts.add(font)
        return self._glyphs.get(font, character)


@pytest.mark.parametrize(
    ("style", "count", "wanted"),
    [
        *(("patches", 7, {1, 4}), ("rows", 7, {0, 3, 6}), ("waves", 7, {2, 5}), ("drift", 7, set(range(7)))),
        *(("patches", 2, {1}), ("rows", 2, {0}), ("waves", 2, {0}), ("drift", 2, {0, 1})),
        *((style, 1, {0}) for style in _styles.STYLES),
    ],
)
def test_families_have_fonts_of_their_own(style: str, count: int, wanted: set[int]) -> None:
    """A network that has learned the letters of one family has not seen those of another, if there are fonts enough."""
    glyphs = Seen(FONTS[:count])
    for seed in range(30):
        chance = random.Random(seed)  # noqa: S311 - looks only
        _styles.STYLES[style](chance, glyphs, "bdekmp", LOOK, 1)  # type: ignore[arg-type]
    assert glyphs.fonts == wanted


@given(
    size=st.tuples(st.integers(20, 90), st.integers(1, 60)),
    sway=st.floats(1, 9),
    wave=st.floats(10, 150),
    seed=st.integers(0, 10**6),
)
def test_bending_moves_whole_rows(size: tuple[int, int], sway: float, wave: float, seed: int) -> None:
    """Each row is where a wave has it, and no pixel is lost: what leaves a row comes in on the other side of one."""
    width, height = size
    image = Image.effect_noise(size, 60)
    bent = _canvas._pushed(image, random.Random(seed), sway, wave)  # noqa: S311 - looks only
    chance = random.Random(seed)  # noqa: S311 - looks only
    period = round(wave * chance.uniform(0.8, 1.5))
    start = chance.randrange(period)
    before, expected = image.tobytes(), b""
    for row in range(height):
        moved = math.floor(sway * math.sin(math.tau * (start + row) / period) + 0.5)
        expected += bytes(before[(width * row + moved + column) % len(before)] for column in range(width))
    assert bent.size == size
    assert bent.tobytes() == expected


@pytest.mark.parametrize("corners", [0, 1, 2])
def test_a_plate_is_a_letter_turned_inside_out(corners: int) -> None:
    """Around a letter there is a rim of ink, the letter itself is a hole, and corners are round."""
    mask = Image.new("L", (20, 30), 0)
    mask.paste(255, (8, 8, 12, 22))
    plate = _styles._plate(random.Random(corners), mask, 3)  # noqa: S311 - looks only
    assert (plate.width, plate.height) == plate.mask.size == (26, 36)
    assert plate.mask.getpixel((13, 1)) == plate.mask.getpixel((1, 18)) == 255
    assert plate.mask.getpixel((13, 18)) == plate.mask.getpixel((0, 0)) == 0
    inside = (9, 9, 17, 27)
    assert ImageChops.invert(plate.mask.crop(inside)).tobytes() == mask.crop((6, 6, 14, 24)).tobytes()


ALPHABETS = {
    "Cyrillic": ("абвгджклмнрстуфя", DEJAVU),
    "Greek": ("αβγδεζηθκλμνπρφψω", DEJAVU),
    "Devanagari": ("कखगचजतदनपबमरलवसह", NOTO / "NotoSansDevanagari-Bold.ttf"),
}


@pytest.mark.parametrize("script", ALPHABETS)
def test_other_scripts_are_drawn_with_their_fonts(script: str) -> None:
    """Alphabets beyond Latin work with fonts that have them, and their answers are compared without case."""
    characters, font = ALPHABETS[script]
    if not font.is_file():
        pytest.skip(f"{font.name} is not installed")
    kind = ImageKind(characters=characters, fonts=[font])
    for level in range(1, 5):
        answer = kind.draw(level, "en").answer
        assert set(answer) <= set(characters)
        assert kind.normalise({"answer": answer.upper()}, b"") == answer


def test_no_picture_is_blank() -> None:
    """For every family and level, a picture of a text differs from one of another text by the letters."""
    for style in STYLES:
        for level in (1, 4):
            image = opened(one(style, noise=0).draw(level, "en").media.content).convert("L")
            low, high = image.getextrema()
            assert isinstance(low, int)
            assert isinstance(high, int)
            assert high - low > 40
