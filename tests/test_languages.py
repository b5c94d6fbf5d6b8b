"""Which language is spoken to whom."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost import Headers
from gatepost.challenges import AudioKind, ImageKind, QuestionKind
from gatepost.languages import TAG, asked, direction, nearest, spoken
from gatepost.testing import KnownChallenge

AVAILABLE = (
    *("en", "ar", "cs", "de", "es", "fa", "fr", "he", "it", "ja", "ko", "nl", "pl", "pt", "ru", "sv", "tr", "uk"),
    *("zh-Hans", "zh-Hant"),
)

TABLE: list[tuple[str, str]] = [
    # Accept-Language, the language of the page; empty if there is none of those
    ("", ""),
    ("de", "de"),
    ("DE", "de"),
    ("de-AT", "de"),
    ("de-AT,de;q=0.9,en-US;q=0.8,en;q=0.7", "de"),
    ("de-Latn-DE-1996", "de"),
    ("de_CH", "de"),
    ("en-GB", "en"),
    ("en;q=0.5, fr", "fr"),
    ("fr;q=0.2,it;q=0.8,de;q=0.4", "it"),
    ("pt-BR", "pt"),
    ("pt-PT,pt;q=0.5", "pt"),
    ("zh", "zh-Hans"),
    ("zh-CN", "zh-Hans"),
    ("zh-SG", "zh-Hans"),
    ("zh-TW", "zh-Hant"),
    ("zh-HK,zh;q=0.9", "zh-Hant"),
    ("zh-MO", "zh-Hant"),
    ("zh-Hant", "zh-Hant"),
    ("zh-Hant-CN", "zh-Hant"),
    ("zh-Hans-TW", "zh-Hans"),
    ("yue-HK", "zh-Hant"),
    ("cmn-TW", "zh-Hant"),
    ("iw", "he"),
    ("fa-AF", "fa"),
    ("da, sv;q=0.9", "sv"),
    ("eo, ru;q=0.1", "ru"),
    ("eo", ""),
    ("*", ""),
    ("*, de;q=0.5", "de"),
    ("de;q=0", ""),
    ("de;q=0, fr;q=0.1", "fr"),
    ("de;q=nan", ""),
    ("de;q=inf, fr;q=0.1", "fr"),
    ("de;q=-1, fr;q=2, it;q=0.1", "it"),
    ("de;q=1e3", ""),
    ("de;q=", "de"),
    ("x-klingon, i-default, de", "de"),
    ("x-de", ""),
    ("de-x-private", "de"),
    ("d, dede, de1, -de, de-, 1", ""),
    ('"de"', "de"),
    ('"de', ""),
    (",,, ;;, de", "de"),
    ("\xc3\xa9, d\xe9, \x00, de\r\n, fr", "fr"),
    (", ".join(["eo"] * 19 + ["de"]), "de"),
    (", ".join(["eo"] * 20 + ["de"]), ""),
    ("de, " * 125, "de"),
    ("de, " * 126, ""),
    ("de, " * 2500, ""),
]


def chosen(field: str, available: tuple[str, ...] = AVAILABLE) -> str:
    return nearest(asked(Headers([("Accept-Language", field)])), available)


@pytest.mark.parametrize(("field", "expected"), TABLE)
def test_negotiation(field: str, expected: str) -> None:
    """The dearest language that there is is chosen, or one so near that its readers read it."""
    assert chosen(field) == expected


@pytest.mark.parametrize(
    ("field", "available", "expected"),
    [
        ("pt", ("en", "pt-BR"), "pt-BR"),
        ("pt-PT", ("en", "pt-BR"), "pt-BR"),
        ("pt-BR", ("pt", "pt-BR"), "pt-BR"),
        ("pt-PT", ("pt", "pt-BR"), "pt"),
        ("zh-TW", ("en", "zh"), ""),
        ("zh-TW,zh;q=0.9", ("en", "zh"), "zh"),
        ("zh-CN", ("en", "zh_TW"), ""),
        ("zh-Hant", ("en", "zh_TW"), "zh_TW"),
        ("sr-Latn", ("sr-Cyrl",), ""),
        ("sr-Latn", ("sr",), "sr"),
        ("sr", ("sr-Cyrl",), "sr-Cyrl"),
        ("no", ("nb",), "nb"),
        ("nn-NO", ("nb",), "nb"),
        ("nb", ("no",), "no"),
        ("nn", ("nb", "nn"), "nn"),
        ("id", ("in",), "in"),
        ("de", (), ""),
    ],
)
def test_region_and_script_fall_back(field: str, available: tuple[str, ...], expected: str) -> None:
    """A region that is missing falls back to the language or to a sister; a script never to another script."""
    assert chosen(field, available) == expected


def test_fields_are_one_list() -> None:
    """Several fields count as one, and a locale that the site forces goes before all of them."""
    headers = Headers([("accept-language", "eo"), ("accept-language", "fr;q=0.5"), ("accept-language", "de")])
    assert asked(headers) == ("eo", "de", "fr")
    assert asked(headers, "pt-BR") == ("pt-BR",)
    assert asked(Headers()) == ()


@given(
    st.text(st.sampled_from("de-*;q=0.19,\"\\ \t\x00\xe9_'%"), max_size=60)
    | st.binary().map(lambda b: b.decode("latin-1"))
)
def test_any_field_is_understood_or_not(field: str) -> None:
    """Whatever is sent: there is no error, what is asked for are tags, few of them, and what is chosen exists."""
    wanted = asked(Headers([("accept-language", field)]))
    assert len(wanted) <= 20
    assert all(TAG.fullmatch(tag) for tag in wanted)
    assert nearest(wanted, AVAILABLE) in ("", *AVAILABLE)


def test_i6_what_is_remembered_of_visitors_is_small() -> None:
    """Fields of any length, as many as one likes, leave little in memory: what is too long to be read is not kept."""
    asked(Headers([("accept-language", "de")]))  # what is imported for it is no memory of a visitor
    tracemalloc.start()
    try:
        for number in range(300):
            asked(Headers([("accept-language", f"{number:03}" + "x" * 50_000)]))
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()


QUESTION = [{"question": "Which?", "answers": ["that"]}]


@pytest.mark.parametrize(
    ("kind", "wanted", "otherwise", "expected"),
    [
        (ImageKind(), ("de",), "en", "en"),
        (KnownChallenge("x"), ("de",), "fr", "fr"),
        (AudioKind(), ("de-AT",), "en", "de"),
        (AudioKind(), ("ja",), "de", "en"),
        (AudioKind(), (), "en", "en"),
        (AudioKind(fallback="fr"), ("ja",), "en", "fr"),
        (QuestionKind({"fr": QUESTION, "pt-BR": QUESTION}), ("pt",), "en", "pt-br"),
        (QuestionKind({"fr": QUESTION, "pt-BR": QUESTION}), ("de", "pt"), "en", "pt-br"),
        (QuestionKind({"fr": QUESTION, "pt-BR": QUESTION}), ("de",), "en", "fr"),
    ],
)
def test_kinds_are_asked_for_what_they_speak(kind: Any, wanted: tuple[str, ...], otherwise: str, expected: str) -> None:
    """A kind that speaks draws in one of its languages, its own if the visitor's is not among them."""
    assert spoken(kind, wanted, otherwise) == expected


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("en", "ltr"),
        ("ar", "rtl"),
        ("ar-EG", "rtl"),
        ("he", "rtl"),
        ("iw", "rtl"),
        ("fa", "rtl"),
        ("ur-PK", "rtl"),
        ("yi", "rtl"),
        ("ar-Latn", "ltr"),
        ("az-Arab", "rtl"),
        ("az", "ltr"),
        ("zh-Hant", "ltr"),
    ],
)
def test_direction(tag: str, expected: str) -> None:
    """Languages and scripts that run from right to left are known."""
    assert direction(tag) == expected


PROGRAM = """
import sys
import gatepost, gatepost.asgi, gatepost.wsgi, gatepost.challenges
assert "werkzeug" not in sys.modules
gatepost.wsgi.GatepostMiddleware(None, secret="0123456789abcdefghijklmnopqrstuv", protect="/contact")
assert "werkzeug.http" in sys.modules
"""


def test_parser_is_not_imported_with_the_package() -> None:
    """Importing the package and both middlewares imports no parser; making a middleware does, before any visitor."""
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=60)  # noqa: S603 - our own words
