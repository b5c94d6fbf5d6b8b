"""Many pictures on one. This module draws with Pillow; it is imported when a sheet is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from ..media import TYPES, Media
from ._options import bundled_fonts

_GAP = 10  # pixels between pictures, and round them
_LINE = 28  # for an answer
_LETTERS = 20  # size of its letters
_INK, _PAPER = "#202020", "#ffffff"


def contact_sheet(
    pictures: Sequence[bytes], columns: int, labels: Sequence[str] = (), font: str | None = None
) -> Media:
    """Pictures in rows, in order of reading, as a PNG.

    :param pictures: the files of one picture or more.
    :param columns: pictures in a row.
    :param labels: what to write beneath each of them, if anything.
    :param font: path of the font to write it in; left out, one of the package's.
    :raises ValueError: if one of the pictures or the font cannot be read.
    """
    images = [_opened(picture) for picture in pictures]
    columns = min(columns, len(images))
    rows = (len(images) + columns - 1) // columns
    wide = max(image.width for image in images) + _GAP
    high = max(image.height for image in images) + _GAP + (_LINE if labels else 0)
    sheet = Image.new("RGB", (columns * wide + _GAP, rows * high + _GAP), _PAPER)
    for number, image in enumerate(images):
        sheet.paste(image, _place(number, columns, wide, high))
    if labels:
        brush, letters = ImageDraw.Draw(sheet), _font(font)
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            left, top = _place(number, columns, wide, high)
            spot = (left + image.width // 2, top + image.height + _LINE // 2)
            brush.text(spot, label, fill=_INK, font=letters, anchor="mm")
    file = BytesIO()
    # Where there are more colours than a palette holds, this way of choosing some stays closest to them.
    sheet.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return Media(TYPES["png"], file.getvalue(), *sheet.size)


def _opened(picture: bytes) -> Image.Image:
    try:
        return Image.open(BytesIO(picture)).convert("RGB")
    except UnidentifiedImageError as error:
        raise ValueError("kind: got pictures of a format that no sheet can hold, wanted a folder as output.") from error


def _place(number: int, columns: int, wide: int, high: int) -> tuple[int, int]:
    return _GAP + number % columns * wide, _GAP + number // columns * high


def _font(path: str | None) -> ImageFont.FreeTypeFont:
    content = Path(path).read_bytes() if path else bundled_fonts()[0].read_bytes()
    try:
        return ImageFont.truetype(BytesIO(content), _LETTERS, layout_engine=ImageFont.Layout.BASIC)
    except OSError as error:
        raise ValueError(f"fonts: got '{path}' ({error}), wanted a TrueType or OpenType file.") from error
