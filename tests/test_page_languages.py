"""The page in the visitor's language: its words, its attributes and fields, and what is asked on it."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from gatepost import Challenge, Headers, Media, Reason, Request
from gatepost.catalogues import Catalogues
from gatepost.challenges import AudioKind, QuestionKind
from gatepost.effects import Refuse, Show
from gatepost.negotiate import VARY, VARY_LANGUAGE
from gatepost.page import Page
from gatepost.testing import KnownChallenge
from gatepost.words import DETAILS, NOTICES, TITLES
from pages import EVIL, PICTURE, QUESTION, SOUND, Form, form, request, verdict
from twins import BROWSER, Reply, Twin, settings

GERMAN = ("accept-language", "de-AT,de;q=0.9,en;q=0.5")
ARABIC = ("accept-language", "ar-EG")
#: What each language calls the button.
SEND = {"en": "Send", "de": "Senden", "fr": "Envoyer", "ar": "إرسال"}
ROOF = {
    "en": [{"question": "Which colour is the roof?", "answers": ["red"]}],
    "de": [{"question": "Welche Farbe hat das Dach?", "answers": ["rot"]}],
    "pt-BR": [{"question": "Qual é a cor do telhado?", "answers": ["vermelho"]}],
}


def lang(page: Reply | Form) -> tuple[str | None, str | None]:
    """Language and direction of the whole page."""
    [attrs] = (page if isinstance(page, Form) else Form(page.body)).all("html")
    return attrs["lang"], attrs["dir"]


# --- what is negotiated, through both twins ---


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (None, "en"),
        ("en-GB,en;q=0.9", "en"),
        ("de-CH", "de"),
        ("eo, fr;q=0.5, de;q=0.2", "fr"),
        ("ar", "ar"),
        ("tlh", "en"),
        ("*", "en"),
        ("de;q=nan", "en"),
        ("\xe9\x00\xff", "en"),
        ("de," * 3400, "en"),
    ],
)
def test_page_speaks_what_is_asked_for(field: str | None, expected: str, twin_of: Callable[..., Twin]) -> None:
    """The page, what it says of itself, and its fields agree on the language; caches are told of it."""
    fields = [*BROWSER, *([("accept-language", field)] if field is not None else [])]
    twin = twin_of()
    for page in (twin.send(body=b"a=b", fields=fields), twin.send(body=b"gatepost_token=x", fields=fields)):
        assert lang(page) == (expected, "rtl" if expected == "ar" else "ltr")
        assert page.get("content-language") == expected
        assert page.get("vary") == VARY_LANGUAGE
    page = twin.send(body=b"a=b", fields=fields)
    assert f">{SEND[expected]}</button>" in page.text


@pytest.mark.parametrize(("locale", "expected"), [("de", "de"), ("de_AT", "de"), ("ar", "ar"), ("eo", "en")])
def test_forced_locale(locale: str, expected: str, twin_of: Callable[..., Twin]) -> None:
    """With a locale set, everyone gets it, whatever they ask for; without a catalogue of it the page is English."""
    twin = twin_of(locale=locale)
    for fields in (BROWSER, (*BROWSER, ("accept-language", "fr"))):
        page = twin.send(body=b"a=b", fields=fields)
        assert lang(page)[0] == page.get("content-language") == expected
        assert page.get("vary") == VARY


def test_problem_document_speaks(twin_of: Callable[..., Twin]) -> None:
    """Programs that ask for a language get label and detail in it; the words that they act on stay the same."""
    twin = twin_of()
    json_fields = [("host", "site.example"), ("accept", "application/json")]
    plain, german = (json.loads(twin.send(fields=[*json_fields, *more]).body) for more in ([], [GERMAN]))
    assert german["challenge"]["label"] == "Ihre Antwort"
    assert german["detail"].startswith("Senden Sie dieselbe Anfrage")
    assert {"'Gatepost-Token'", "„Gatepost-Token“"} & set(german["detail"].replace(",", "").split())
    for name in ("type", "title", "status", "reason"):
        assert german[name] == plain[name]


# --- the words ---

LANGUAGES = Catalogues().languages
VARIETIES: list[dict[str, Any]] = [
    *({"reason": reason} for reason in Reason),
    *({"reason": reason, "retry_after": wait} for reason in (Reason.BUSY, Reason.ISSUE_LIMIT) for wait in (1, 5, 600)),
    {"kept": False},
    {"maybe_sent": True},
    {"lifetime": 60, "remaining": 120},
    {"lifetime": 9000, "remaining": 90_000},
    {"kinds": ("question", "image", "audio", "riddle")},
    *({"length": length} for length in (0, 1, 12_345, 1_234_567)),
]
#: Every state that a page can be in.
STATES: list[Show | Refuse] = [
    *(verdict(challenge, **some) for challenge in (QUESTION, PICTURE, SOUND, None) for some in VARIETIES),
    *(Refuse(reason, 400, 5, cookie) for reason in TITLES for cookie in ("", "gatepost_permit=x")),
]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_state_in_every_language(language: str) -> None:
    """Each state of each page is rendered in each language, whole and without a word of English left."""
    page = Page(settings(contact="Ψ"))
    for state in STATES:
        asked, english = (sentences(page, state, request(accept_language=tag)) for tag in (language, "en"))
        assert not re.search(r"%|\b(None|Undefined|Plural-Forms)\b", " ".join(asked))
        assert language == "en" or not set(asked) & set(english)


def sentences(page: Page, state: Show | Refuse, asked: Request) -> list[str]:
    """Every line of text on the page, but for the style and the question."""
    response = page.show(state, asked) if isinstance(state, Show) else page.refuse(state, asked)
    lines = Form(re.sub(rb"(?s)<style>.*?</style>", b"", response.body)).text.splitlines()
    return [line for line in map(str.strip, lines) if line not in ("", "Wie heißt <das>?")]


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_are_escaped_in_every_language(language: str) -> None:
    """What is put into a translated sentence is text, whatever it looks like."""
    shown = verdict(QUESTION, kinds=("question", EVIL), reason=Reason.WRONG)
    found = form(shown, request(accept_language=language), contact=EVIL)
    assert found.all("script") == []
    assert found.text.count(EVIL) == 2


def test_sizes_have_the_language_s_mark() -> None:
    """Numbers have the decimal mark and the units that the language has."""
    sizes = {"en": "1.3 MB", "de": "1,3\u00a0MB", "fr": "1,3\u00a0Mo", "ar": "1.3\u00a0ميغابايت"}  # noqa: RUF001
    for language, size in sizes.items():
        assert f"({size})" in form(verdict(length=1_300_000), request(accept_language=language)).text


def test_every_reason_is_translated() -> None:
    """The sentences for every reason, which reach the templates as values, are in every catalogue."""
    for language in set(LANGUAGES) - {"en"}:
        words = Catalogues().of(language)
        for text in (*NOTICES.values(), *TITLES.values(), *DETAILS.values()):
            assert words.gettext(text) != text


# --- what is asked ---


@pytest.mark.parametrize(
    ("field", "page_lang", "question_lang"),
    [("de", "de", "de"), ("pt", "pt", "pt-br"), ("fr", "fr", "en"), ("eo", "en", "en"), ("fr, de;q=0.1", "fr", "de")],
)
def test_question_says_its_language(
    field: str, page_lang: str, question_lang: str, twin_of: Callable[..., Twin]
) -> None:
    """The question is asked in the nearest language that it has, and marked with the language that its text has."""
    twin = twin_of(challenge=QuestionKind(ROOF))
    page = twin.send(body=b"a=b", fields=[*BROWSER, ("accept-language", field)])
    if page_lang in LANGUAGES:
        assert lang(page)[0] == page_lang
    [question] = [attrs for attrs in Form(page.body).all("p") if attrs.get("class") == "question"]
    assert question["lang"] == question_lang
    [tag] = [tag for tag in ROOF if tag.lower() == question_lang]
    assert str(ROOF[tag][0]["question"]) in html.unescape(page.text)


def test_unknown_language_is_said_to_be_unknown() -> None:
    """A question of a kind that does not say its language is not said to be of the page's, but of the site's locale."""
    for options, expected in (({}, ""), ({"locale": "de"}, "de")):
        found = form(verdict(QUESTION), request(accept_language="ar"), **options)
        assert [attrs["lang"] for attrs in found.all("p") if attrs.get("class") == "question"] == [expected]


def test_language_is_bound_to_nothing(twin_of: Callable[..., Twin]) -> None:
    """A question asked in one language is answered from a browser that asks for another, or for none."""
    for then in ([], [("accept-language", "en")], [ARABIC]):
        twin = twin_of(challenge=QuestionKind(ROOF))
        page = twin.send(body=b"a=b", fields=[*BROWSER, GERMAN])
        assert "Welche Farbe" in page.text
        assert twin.answer(page, "rot", fields=[*BROWSER, *then]).text == "stored"


class Speaker:
    """A kind that says in which language it was to draw; with languages of its own, or without."""

    name = "speaker"

    def __init__(self, *languages: str) -> None:
        if languages:
            self.languages = languages

    def draw(self, level: int, locale: str) -> Challenge:  # noqa: ARG002 - as the protocol has it
        return Challenge("x", Media("text/plain", f"drawn in {locale}".encode()), language=locale)

    def normalise(self, fields: Any, data: bytes) -> str:  # noqa: ARG002
        return str(fields.get("answer", ""))


HOSTILE = [
    "de",
    "de-AT",
    "fr",
    "ar",
    "eo",
    "x-a",
    "*",
    "\xff",
    "zh-TW",
    "fr-" + "a" * 8,
    "de;q=0.1, fr",
    "qaa",
    "de," * 2000,
]


@pytest.mark.parametrize(
    ("kind", "drawn"),
    [(Speaker(), {"en"}), (Speaker("fr", "de"), {"fr", "de"}), (Speaker("pl"), {"pl"}), (KnownChallenge("x"), {"en"})],
)
def test_i6_languages_do_not_split_the_pool(kind: Any, drawn: set[str], twin_of: Callable[..., Twin]) -> None:
    """Whatever clients ask for, a kind draws in its own languages alone, and one without any in one alone."""
    twin = twin_of(challenge=kind)
    orders: set[str] = set()
    take = twin.gate.pool.take

    def noting(order: Any) -> Any:
        orders.add(order.locale)
        return take(order)

    twin.gate.pool.take = noting  # type: ignore[method-assign]
    for field in HOSTILE:
        assert twin.send(body=b"a=b", fields=[*BROWSER, ("accept-language", field)]).status == 429
    assert orders == drawn


def test_what_is_drawn_ahead_is_what_the_first_visitor_gets(twin_of: Callable[..., Twin]) -> None:
    """The stock that is filled before the first challenge is in the kind's own language, or the one that is forced."""
    for options, expected in (({}, "fr"), ({"locale": "de-AT"}, "de"), ({"locale": "eo"}, "fr")):
        twin = twin_of(challenge=Speaker("fr", "de"), mode="adaptive", above="3/minute", **options)
        started: list[Any] = []
        twin.gate.pool.start = started.append  # type: ignore[assignment,method-assign]
        for _ in range(3):
            twin.send(body=b"a=b")
        assert {key for key in started if key} == {("speaker", 1, expected)}


@pytest.mark.parametrize("languages", ["en", ["english please"], [5], [""]])
def test_kind_with_odd_languages_stops_the_start(languages: Any, twin_of: Callable[..., Twin]) -> None:
    """A kind whose languages are none is a mistake that one sentence names."""
    kind = Speaker("en")
    kind.languages = languages
    with pytest.raises(ValueError, match=r"challenge: got the languages .* of the kind 'speaker'"):
        twin_of(challenge=kind)


def test_recording_is_in_the_visitor_s_language(twin_of: Callable[..., Twin]) -> None:
    """The digits are spoken in the language that is asked for, if there are recordings in it."""

    class Listener(AudioKind):
        def __init__(self) -> None:
            super().__init__()
            self.spoken: dict[bytes, str] = {}

        def draw(self, level: int = 1, locale: str = "") -> Challenge:
            challenge = super().draw(level, locale)
            self.spoken[challenge.media.content] = challenge.language
            return challenge

    for field, expected in (("de-CH", "de"), ("ar, fr;q=0.2", "fr"), ("ar", "en")):
        kind = Listener()
        page = twin_of(challenge=kind).send(body=b"a=b", fields=[*BROWSER, ("accept-language", field)])
        [sound] = Form(page.body).all("audio")
        assert kind.spoken[base64.b64decode((sound["src"] or "").partition(",")[2])] == expected


def test_compiled_templates_are_shared() -> None:
    """Pages without templates of the site's own share what is compiled, whatever else they are told."""
    first, second = Page(settings(site_name="one")), Page(settings(site_name="two", locale="de"))
    assert first._templates is second._templates
    asked = request(accept_language="fr")
    assert b"one" in first.show(verdict(), asked).body
    assert b"two" in second.show(verdict(), asked).body
    assert lang(Form(second.show(verdict(), asked).body))[0] == "de"
    assert lang(Form(first.show(verdict(), asked).body))[0] == "fr"


def test_i6_no_field_is_remembered_for_ever() -> None:
    """What is remembered of languages that were asked for is bounded."""
    from gatepost import languages

    for number in range(2000):
        field = f"de-{number},fr"
        languages.nearest(languages.asked(Headers([("accept-language", field)])), LANGUAGES)
    for remembered in (languages._listed, languages._subtags, languages.nearest):
        assert remembered.cache_info().currsize <= 512


def test_recording_is_a_data_uri_twice_only_where_it_cannot_be_played() -> None:
    """Whoever may have no player gets a link that holds the recording, with a name for the file."""
    data = f"data:audio/wav;base64,{base64.b64encode(SOUND.media.content).decode()}"
    [link] = form(verdict(SOUND)).all("a")
    assert (link["href"], link["download"]) == (data, "recording.wav")
    assert form(verdict(SOUND), request(sec_fetch_mode="navigate")).all("a") == []
    for challenge in (PICTURE, QUESTION, None):
        assert form(verdict(challenge)).all("a") == []
    odd = Challenge("x", Media(f"audio/{EVIL}", b"RIFF"))
    assert [link["download"] for link in form(verdict(odd)).all("a")] == ["recording"]


def test_empty_words_stay_empty() -> None:
    """Where there is nothing to say, nothing is said, not what a catalogue says of itself."""
    odd = Challenge("x", Media("model/odd", b"?"))
    for language in LANGUAGES:
        [image] = form(verdict(odd), request(accept_language=language)).all("img")
        assert image["alt"] == ""
