"""How what was typed from a picture is compared with what is on it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

LOOK_ALIKES = ("0o", "1lij", "2z", "38", "5s", "6b", "9gq", "ad", "ce", "dp", "ef", "hn", "t7", "uv", "vy")
"""What people mix up, some of it only where an arc closes a letter. If the characters have just one of a group, then
the others of that group are taken for it: nobody fails over them, and for a machine there is nothing to gain."""

# Far more than a person types, spaces included, and little work.
_LONGEST_ANSWER = 200

# Categories of what nobody means to type: controls and formats, spaces, and marks that belong to no letter.
_NOT_MEANT = "CZM"

# Nothing to see, although Unicode counts them as letters: the Hangul fillers.
_INVISIBLE = "\u115f\u1160"


def folded(text: str, sensitive: bool) -> str:
    """The text without regard to width and, unless it matters, case."""
    composed = unicodedata.normalize("NFKC", text)
    return composed if sensitive else unicodedata.normalize("NFKC", composed.casefold())


def plain(text: str, sensitive: bool = False) -> str:
    """The form in which answers are compared: what it returns it leaves as it is."""
    # Folding can make something that composes anew, and taking out what is not meant can bring two together that do.
    for _ in range(4):
        if len(text) > _LONGEST_ANSWER:
            break
        changed = folded(text, sensitive)
        meant = "".join(c for c in changed if unicodedata.category(c)[0] not in _NOT_MEANT and c not in _INVISIBLE)
        if meant == text:
            return meant
        text = meant
    return ""


def taken_for(answers: Iterable[str], sensitive: bool) -> dict[int, str]:
    """For each character that is not in use and has only one look-alike that is: that one."""
    table: dict[int, str] = {}
    used_all = set(answers)
    if sensitive:
        return table
    for group in LOOK_ALIKES:
        used = [character for character in group if character in used_all]
        if len(used) == 1:
            table |= {ord(character): used[0] for character in group}
    return table
