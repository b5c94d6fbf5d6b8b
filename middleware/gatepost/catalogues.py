"""The words of the pages in each language: gettext catalogues, ours and a site's own.

A catalogue lies in ``<language>/LC_MESSAGES/gatepost.mo``. What a site's own does not have, its own of the language
without the region has, then ours; what no catalogue has stays English.
"""

from __future__ import annotations

import functools
import re
from gettext import GNUTranslations, NullTranslations
from importlib.resources import files
from pathlib import Path
from typing import Any

from .languages import TAG, nearest

ENGLISH = "en"

_PLACE = re.compile(r"%\((\w+)\)s")
_GIVEN = {"count": 1, "num": 1}  # what every message that counts is given


@functools.cache
def _ours() -> dict[str, Any]:
    """The catalogues that come with the package, by language tag."""
    folder = files("gatepost.templates").joinpath("locale")
    return _found(folder) if folder.is_dir() else {}


def _found(folder: Any) -> dict[str, Any]:
    found = {}
    for entry in sorted(folder.iterdir(), key=lambda entry: str(entry.name)):
        file = entry.joinpath("LC_MESSAGES", "gatepost.mo")
        if file.is_file():
            found[entry.name.replace("_", "-")] = file
    return found


def _read(file: Any) -> GNUTranslations:
    with file.open("rb") as opened:
        return GNUTranslations(opened)


@functools.cache
def _our_own(language: str) -> NullTranslations:
    file = _ours().get(language)
    return NullTranslations() if file is None else _read(file)


def _checked(file: Any) -> GNUTranslations:
    """A catalogue of a site's own, of which every message can be filled in.

    :raises ValueError: for a message that names what its original does not have, or a file that is no catalogue.
    """
    try:
        catalogue = _read(file)
    except Exception as error:  # struct.error and others, for a file that is broken or something else
        raise ValueError(f"templates: got {str(file)!r}, wanted a compiled catalogue ({error}).") from error
    messages: dict[Any, str] = getattr(catalogue, "_catalog", {})
    for key, text in messages.items():
        original = key[0] if isinstance(key, tuple) else key
        values: dict[str, object] = _GIVEN | dict.fromkeys(_PLACE.findall(original), "")
        try:
            _ = original and text % values
        except (KeyError, ValueError, TypeError) as error:
            raise ValueError(
                f"templates: got {text!r} for {original!r} in {str(file)!r}, wanted the same names in it, and every % "
                f"that is only a sign doubled."
            ) from error
    return catalogue


class Catalogues:
    """The words in every language that there are catalogues for.

    :param folder: the site's own templates, whose ``locale`` is looked at first.
    :raises ValueError: for a catalogue of the site's own that cannot be used.
    """

    def __init__(self, folder: Path | None = None) -> None:
        own = folder / "locale" if folder is not None else None
        found = _found(own) if own is not None and own.is_dir() else {}
        self._own: dict[str, NullTranslations] = {}
        # de before de-CH, which builds on it
        for language, file in sorted(found.items(), key=lambda item: len(item[0])):
            if not TAG.fullmatch(language):
                raise ValueError(f"templates: got the catalogue {str(file)!r}, wanted it in a folder such as 'de'.")
            catalogue = _checked(file)
            catalogue.add_fallback(self.of(nearest((language,), (*_ours(), *self._own))))
            self._own[language] = catalogue
        #: The languages that the page can be in, as tags; English first.
        self.languages = tuple(dict.fromkeys((ENGLISH, *_ours(), *self._own)))
        #: Those of which the site has a catalogue of its own.
        self.own = tuple(self._own)

    def of(self, language: str) -> NullTranslations:
        """The catalogue of a language; an empty one where there is none. Read once a process."""
        return self._own.get(language) or _our_own(language)
