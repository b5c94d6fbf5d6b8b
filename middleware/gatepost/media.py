"""What a challenge shows or plays, and what can be done with it outside a page. This module imports no sibling."""

from __future__ import annotations

import base64
import mimetypes
import os
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast

TYPES = {
    "bmp": "image/bmp",
    "gif": "image/gif",
    "ico": "image/vnd.microsoft.icon",
    "jpeg": "image/jpeg",
    "pdf": "application/pdf",
    "png": "image/png",
    "tiff": "image/tiff",
    "webp": "image/webp",
}
"""Formats that a picture can be converted to, and their MIME types."""

_SUFFIXES = {"jpg": "jpeg", "tif": "tiff"}

_LARGEST_ICON = 256  # pixels, as the format has it
_DOTS_PER_INCH = 96.0  # so that a picture is as large on paper as CSS pixels make it


@dataclass(frozen=True, slots=True)
class Media:
    """What is shown or played: its MIME type, its bytes, and the size in CSS pixels where it has one.

    ``image/*`` is shown, ``audio/*`` gets a player, ``text/plain`` (UTF-8) is printed as the question.
    """

    type: str
    content: bytes = field(repr=False)
    width: int = 0
    height: int = 0

    @property
    def data_uri(self) -> str:
        """The content as a ``data:`` URI."""
        return f"data:{self.type};base64,{base64.b64encode(self.content).decode('ascii')}"

    def convert(self, format: str) -> Media:  # noqa: A002 - the word that everyone uses
        """The same picture in another format, of which browsers show ``gif``, ``jpeg``, ``png`` and ``webp``.

        :param format: one of :data:`TYPES`. An ``ico`` is made smaller to fit 256 pixels.
        :raises ValueError: for another format, or if this is no picture.
        """
        if format not in TYPES:
            raise ValueError(f"format: got {format!r}, wanted one of {', '.join(TYPES)}.")
        if self.type == TYPES[format]:
            return self
        if not self._is_picture:
            raise ValueError(f"format: got {format!r} for {self.type}, wanted none, since that is no picture.")
        content, (width, height) = _converted(self.content, format)
        return Media(TYPES[format], content, width, height)

    def save(self, target: str | os.PathLike[str] | BinaryIO, format: str = "") -> None:  # noqa: A002
        """Write the content to a file, over what it holds.

        :param target: a path, or a file that is open for bytes.
        :param format: as for :meth:`convert`; left out, a picture is converted to what the path's suffix says. An open
            file, and a path without a suffix, get it as it is.
        :raises ValueError: for a format or a suffix that is not to be had.
        :raises OSError: if the file cannot be written.
        """
        path = Path(target) if isinstance(target, (str, os.PathLike)) else None
        form = format or (self._format_for(path) if path else "")
        content = self.convert(form).content if form else self.content
        if path:
            path.write_bytes(content)
        else:
            cast(BinaryIO, target).write(content)

    def _format_for(self, path: Path) -> str:
        """The format that a suffix says; empty if the content goes there as it is."""
        suffix = path.suffix[1:].lower()
        form = _SUFFIXES.get(suffix, suffix)
        # What the suffix of a sound says is not for us to judge, unless it is that of a picture.
        fitting = not self._is_picture or mimetypes.guess_type(path.name)[0] == self.type
        return "" if fitting and form not in TYPES else form

    @property
    def _is_picture(self) -> bool:
        return self.type.startswith("image/")


def _converted(content: bytes, form: str) -> tuple[bytes, tuple[int, int]]:
    """The file of a picture in another format, and its size."""
    # Here and not at the top, so that a gate in calm traffic never loads Pillow.
    from PIL import Image

    with Image.open(BytesIO(content)) as image:
        size, file = image.size, BytesIO()
        if form == "ico":
            shrink = min(1.0, _LARGEST_ICON / max(size))
            size = (max(1, round(shrink * size[0])), max(1, round(shrink * size[1])))
            image.convert("RGBA").resize(size, Image.Resampling.LANCZOS).save(file, "ICO", sizes=[size])
        elif form == "jpeg":
            image.convert("RGB").save(file, "JPEG", quality=85)
        elif form == "webp":
            image.convert("RGB").save(file, "WEBP", lossless=True)
        elif form == "pdf":
            image.convert("RGB").save(file, "PDF", resolution=_DOTS_PER_INCH)
        else:
            image.save(file, form.upper())
    return file.getvalue(), size
