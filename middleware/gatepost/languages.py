"""Which language a visitor is spoken to in: what was asked for, and the nearest of those that there are.

Sources: RFC 9110, section 12.5.4 (``Accept-Language``), RFC 4647, section 3.4 (lookup by shortening a tag), RFC 5646
(tags). The field itself is taken apart by Werkzeug.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable

from .protocols import Headers, Kind

#: A language tag, as far as its form goes; ``_`` is taken for ``-``.
TAG = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{1,8})*")

_LONGEST = 500  # characters of the field; browsers send less than half of that, and what is longer is not looked at
_MOST = 20  # languages of it

# Codes that were replaced, but are still sent. Spoken Chinese has codes of its own, and one way of writing each.
_REPLACED: dict[str, tuple[str, ...]] = {
    "iw": ("he",),
    "ji": ("yi",),
    "in": ("id",),
    "tl": ("fil",),
    "cmn": ("zh",),
    "yue": ("zh", "hant"),
}
_FAMILIES = {"nb": "no", "nn": "no"}  # whoever reads one of them reads the others
_TRADITIONAL = ("tw", "hk", "mo")
_RIGHT_TO_LEFT = ("ar", "arc", "ckb", "dv", "fa", "he", "ps", "sd", "syr", "ug", "ur", "yi")
_RIGHT_TO_LEFT_SCRIPTS = ("adlm", "arab", "hebr", "nkoo", "syrc", "thaa")


@functools.cache
def _parser() -> Callable[[str], Iterable[tuple[str, float]]]:
    from werkzeug.datastructures import LanguageAccept
    from werkzeug.http import parse_accept_header

    return lambda field: parse_accept_header(field, LanguageAccept)


def prepare() -> None:
    """Import what parses, so that the first visitor does not wait for it."""
    _parser()


def asked(headers: Headers, forced: str = "") -> tuple[str, ...]:
    """The languages that a visitor asks for, the dearest first; of those that the site forces, that one.

    :param forced: the ``locale`` setting.
    """
    if forced:
        return (forced,)
    field = ",".join(headers.all("accept-language"))
    # Looked at before, since what is remembered is as long as what was sent.
    return _listed(field) if len(field) <= _LONGEST else ()


@functools.lru_cache(maxsize=256)
def _listed(field: str) -> tuple[str, ...]:
    return tuple(tag for tag, quality in _parser()(field) if quality > 0 and TAG.fullmatch(tag))[:_MOST]


@functools.lru_cache(maxsize=512)
def _subtags(tag: str) -> tuple[str, ...]:
    """The parts of a tag in lower case, with what Chinese leaves unsaid: the script."""
    first, *rest = tag.replace("_", "-").lower().split("-")
    parts = (*_REPLACED.get(first, (first,)), *rest)
    if parts[0] == "zh" and not _script(parts):
        traditional = any(part in _TRADITIONAL for part in parts)
        return ("zh", "hant" if traditional else "hans", *parts[1:])
    return parts


def _script(parts: tuple[str, ...]) -> str:
    return parts[1] if len(parts) > 1 and len(parts[1]) == 4 and parts[1].isalpha() else ""


@functools.lru_cache(maxsize=256)
def nearest(wanted: tuple[str, ...], available: tuple[str, ...]) -> str:
    """The first of the wanted languages that there is, or one so near that its readers read it; empty if there is none.

    Each is looked for as it is, then without its last parts (``de-AT``, ``de``), and then for a sister of the same
    script (``pt``, ``pt-BR``).

    :param wanted: tags, the dearest first.
    :param available: tags of which one is returned as it is.
    """
    by_parts: dict[tuple[str, ...], str] = {}
    for tag in available:
        by_parts.setdefault(_subtags(tag), tag)
    for parts in map(_subtags, wanted):
        for length in range(len(parts), 0, -1):
            if parts[:length] in by_parts:
                return by_parts[parts[:length]]
        for others, tag in by_parts.items():
            if _family(others) == _family(parts) and _script(parts) in ("", _script(others)):
                return tag
    return ""


def _family(parts: tuple[str, ...]) -> str:
    return _FAMILIES.get(parts[0], parts[0])


def spoken(kind: Kind, wanted: tuple[str, ...], otherwise: str) -> str:
    """The language in which a kind is to draw: one of its own, so that a client can ask for no more than it has.

    :param otherwise: for kinds that do not say which languages they have.
    """
    languages = tuple(getattr(kind, "languages", ()))
    return nearest(wanted, languages) or languages[0] if languages else otherwise


def direction(tag: str) -> str:
    """``rtl`` or ``ltr``, as HTML's ``dir`` wants it."""
    parts = _subtags(tag)
    script = _script(parts)
    turned = script in _RIGHT_TO_LEFT_SCRIPTS if script else parts[0] in _RIGHT_TO_LEFT
    return "rtl" if turned else "ltr"
