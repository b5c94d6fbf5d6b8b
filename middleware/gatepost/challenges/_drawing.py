"""Drawing for the image challenge. What imports this module imports Pillow, so it is imported when first needed."""

from __future__ import annotations

import random
import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ._canvas import encode
from ._glyphs import Glyphs
from ._layout import Look
from ._styles import HARDEST, STYLES, TALLEST

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable
    from pathlib import Path


class Painter:
    """Draws words in one family or another.

    :param fonts: font files.
    :param characters: all that will be drawn.
    :param look: what the site decided about its pictures.
    :param styles: families by name, and how often each comes.
    :param form: ``png``, ``webp``, ``jpeg`` or ``gif``.
    """

    def __init__(
        self,
        fonts: Sequence[Path | Traversable],
        characters: str,
        look: Look,
        styles: Mapping[str, float],
        form: str,
    ) -> None:
        self._look = look
        self._names = [name for name, weight in styles.items() if weight]
        self._weights = [styles[name] for name in self._names]
        self._form = form
        # Twice as high as they are shown, so that letters stay smooth when they are sized and turned.
        self._glyphs = Glyphs(fonts, characters, round(2 * TALLEST * look.unit))

    def open(self) -> None:
        """Open every font and draw every character now.

        :raises ValueError: if a font cannot be read, or lacks one of the characters.
        """
        self._glyphs.open()

    def paint(self, choices: Sequence[str], level: int) -> bytes:
        """The file of a picture.

        :param choices: for each letter the characters that it may be drawn as.
        :param level: as for :meth:`Kind.draw`.
        :raises ValueError: as :meth:`open` does.
        """
        chance = random.Random(secrets.randbits(128))  # noqa: S311 - looks only, and seeded from the system
        name = chance.choices(self._names, self._weights)[0]
        shapes = [chance.choice(choice) for choice in choices]
        image = STYLES[name](chance, self._glyphs, shapes, self._look, min(max(level, 1), HARDEST))
        return encode(image, self._form)
