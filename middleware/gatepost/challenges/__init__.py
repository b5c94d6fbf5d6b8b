"""Kinds of challenge."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..languages import TAG
from ..protocols import Kind
from .audio import AudioKind
from .image import ImageKind
from .question import QuestionKind

__all__ = ["AudioKind", "ImageKind", "QuestionKind", "make_kinds"]

_KINDS: dict[str, Callable[[], Kind]] = {"audio": AudioKind, "image": ImageKind}


def make_kinds(challenges: Iterable[str | Kind], made: dict[str, Kind]) -> dict[str, Kind]:
    """The kinds of one rule by name, in order.

    :param made: the kinds of the gate so far, which rules share; new ones are added.
    :raises ValueError: for a name that is no kind, or one that two different kinds bear, or languages that are none.
    """
    kinds = {}
    for item in challenges:
        if isinstance(item, str):
            if item == QuestionKind.name:
                raise ValueError(
                    "challenge: got 'question', which needs the questions; wanted "
                    "gatepost.challenges.QuestionKind('questions.toml')."
                )
            if item not in _KINDS:
                raise ValueError(
                    f"challenge: got {item!r}, wanted one of {', '.join(sorted(_KINDS))}, or an object with the "
                    f"methods of a kind."
                )
            if item not in made:
                made[item] = _KINDS[item]()
            kinds[item] = made[item]
        else:
            if made.setdefault(item.name, item) is not item:
                raise ValueError(f"challenge: got two kinds named {item.name!r}, wanted a name of its own for each.")
            _check_languages(item)
            kinds[item.name] = item
    return kinds


def _check_languages(kind: Kind) -> None:
    languages = getattr(kind, "languages", ())
    given = () if isinstance(languages, str) else tuple(languages)
    if (languages and not given) or not all(isinstance(tag, str) and TAG.fullmatch(tag) for tag in given):
        raise ValueError(
            f"challenge: got the languages {languages!r} of the kind {kind.name!r}, wanted a list of tags such as 'en'."
        )
