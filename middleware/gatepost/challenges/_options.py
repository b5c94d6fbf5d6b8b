"""The options of the image challenge: what is wrong with one is said in one sentence that begins with its name."""

from __future__ import annotations

import math
import os
import unicodedata
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from ._answers import folded, plain
from ._colours import RATIOS, Colour, grounds_for

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

FORMATS = {"png": "image/png", "webp": "image/webp", "jpeg": "image/jpeg", "gif": "image/gif"}

# Pairs that differ in size alone: whoever has to tell them apart can only guess.
_ALIKE = "ckopsuvwxz"


def check_characters(characters: object, sensitive: bool) -> None:
    """Refuse an alphabet that people could not type, or could not tell apart."""
    if not isinstance(characters, str):
        raise ValueError(f"characters: got {characters!r}, wanted a string such as 'bdefhjkm2347'.")
    if len(set(characters)) != len(characters) or len(characters) > 100:
        raise ValueError(f"characters: got {characters!r}, wanted at most 100 characters, each once.")
    answers = {folded(character, sensitive) for character in characters}
    if len(answers) < 10:
        raise ValueError(f"characters: got {characters!r}, wanted 10 or more that are different answers.")
    for character in characters:
        # Whoever types from right to left would type the answer from its other end.
        one_way = unicodedata.bidirectional(character) in ("L", "EN")
        steady = folded(character, sensitive=True) == character and plain(character, sensitive) == folded(
            character, sensitive
        )
        if not one_way or not character.isalnum() or not steady:
            raise ValueError(
                f"characters: got {character!r} among them, wanted letters and digits of a script that runs from left "
                "to right."
            )
        if sensitive and character in _ALIKE and character.upper() in characters:
            raise ValueError(
                f"characters: got {character!r} and {character.upper()!r} with case_sensitive, "
                "wanted one of them, since they look the same."
            )
    if any(plain(first + second, sensitive) != first + second for first in answers for second in answers):
        raise ValueError(f"characters: got {characters!r}, wanted characters that do not melt into one side by side.")


def check_whole(option: str, value: object, least: int, most: int) -> None:
    """Refuse what is not a whole number between two others."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{option}: got {value!r}, wanted a whole number from {least} to {most}.")


def check_number(option: str, value: object, least: float, most: float) -> None:
    """Refuse what is not a number between two others."""
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not real or not least <= value <= most:  # type: ignore[operator]
        raise ValueError(f"{option}: got {value!r}, wanted a number from {least:g} to {most:g}.")


def shares(option: str, value: object) -> tuple[float, float]:
    """A share, or one for each direction: sideways, and up and down."""
    pair = value if isinstance(value, (list, tuple)) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{option}: got {value!r}, wanted a number from 0 to 1, or two of them.")
    for share in pair:
        check_number(option, share, 0, 1)
    return pair[0], pair[1]


def check_flag(option: str, value: object) -> None:
    """Refuse what is neither true nor false."""
    if not isinstance(value, bool):
        raise ValueError(f"{option}: got {value!r}, wanted true or false.")


def ratio(contrast: object) -> float:
    """The lowest contrast that an option asks for."""
    if isinstance(contrast, str) and contrast in RATIOS:
        return RATIOS[contrast]
    real = isinstance(contrast, (int, float)) and not isinstance(contrast, bool)
    if not real or not 3 <= contrast <= 7:  # type: ignore[operator]
        raise ValueError(f"contrast: got {contrast!r}, wanted 'standard', 'enhanced' or a ratio from 3 to 7.")
    return float(contrast)  # type: ignore[arg-type]


def colours(inks: object, lowest: float) -> tuple[Colour, ...]:
    """The inks that a site wants, which some ground must suit."""
    if inks is None:
        return ()
    if isinstance(inks, (str, bytes)) or not isinstance(inks, Sequence) or not 1 <= len(inks) <= 16:
        raise ValueError(f"inks: got {inks!r}, wanted a list of 1 to 16 colours such as '#1a2b3c'.")
    found = tuple(_colour(ink) for ink in inks)
    if not grounds_for(found, lowest):
        raise ValueError(f"inks: got {inks!r}, wanted colours that one ground has a contrast of {lowest:g}:1 with.")
    return found


def _colour(ink: object) -> Colour:
    try:
        if isinstance(ink, str) and len(ink) == 7 and ink[0] == "#":
            red, green, blue = bytes.fromhex(ink[1:])
            return red, green, blue
    except ValueError:
        pass
    raise ValueError(f"inks: got {ink!r} among them, wanted a colour such as '#1a2b3c'.")


def check_format(form: object) -> None:
    """Refuse a format that a page cannot show."""
    if not isinstance(form, str) or form not in FORMATS:
        raise ValueError(f"format: got {form!r}, wanted one of {', '.join(FORMATS)}.")


def weights(styles: object, known: Mapping[str, float]) -> Mapping[str, float]:
    """How often each family comes."""
    if styles is None:
        return known
    if not isinstance(styles, Mapping) or not set(styles) <= set(known):
        raise ValueError(f"styles: got {styles!r}, wanted weights of {', '.join(known)}.")
    for weight in styles.values():
        real = isinstance(weight, (int, float)) and not isinstance(weight, bool)
        if not real or not 0 <= weight <= 1_000_000 or not math.isfinite(weight):
            raise ValueError(f"styles: got {styles!r}, wanted weights of 0 or more.")
    if not any(styles.values()):
        raise ValueError(f"styles: got {styles!r}, wanted one weight above 0 at least.")
    return {name: float(weight) for name, weight in styles.items()}


# Families take every third of them: those without serifs, those with serifs, and those with slabs.
_BUNDLED = (
    *("Cabin-Bold.otf", "Caladea-Bold.ttf", "CourierPrime-Bold.otf"),
    *("Karla-Bold.otf", "AveriaSerif-Bold.ttf", "RobotoSlab-Bold.otf"),
    "ComicNeue-Bold.otf",
)


def bundled_fonts() -> tuple[Traversable, ...]:
    """The fonts that come with the package."""
    folder = resources.files("gatepost.fonts")
    return tuple(folder / name for name in _BUNDLED)


def named_fonts(fonts: object) -> tuple[Path, ...]:
    """The fonts that a site wants."""
    if isinstance(fonts, (str, bytes)) or not isinstance(fonts, Sequence) or not 1 <= len(fonts) <= 16:
        raise ValueError(f"fonts: got {fonts!r}, wanted a list of 1 to 16 paths of font files.")
    for font in fonts:
        if not isinstance(font, (str, os.PathLike)) or not Path(font).is_file():
            raise ValueError(f"fonts: got {font!r} in the list, wanted the path of a file that exists.")
    return tuple(Path(font) for font in fonts)
