"""The catalogues that come with the package: up to date, complete, and safe to fill in."""

# ruff: noqa: RUF001 - Cyrillic letters that look like Latin ones are meant
from __future__ import annotations

import gettext
import re
from collections.abc import Sequence
from gettext import GNUTranslations

import pytest
from babel import Locale
from babel.messages import Catalog, Message
from babel.messages.plurals import get_plural
from babel.messages.pofile import read_po

import messages
from gatepost.catalogues import Catalogues
from gatepost.languages import direction

FILES = messages.languages()
NAMES = [path.parent.parent.name for path in FILES]
each_language = pytest.mark.parametrize("name", NAMES)

PLACE = re.compile(r"%\((\w+)\)s")


def catalogue(name: str) -> Catalog:
    return messages.read(FILES[NAMES.index(name)])


def compiled(name: str) -> GNUTranslations:
    with FILES[NAMES.index(name)].with_suffix(".mo").open("rb") as file:
        return GNUTranslations(file)


def texts(message: Message) -> Sequence[str]:
    return (
        [text or "" for text in message.string] if isinstance(message.string, tuple | list) else [message.string or ""]
    )


def original(message: Message) -> str:
    return message.id if isinstance(message.id, str) else message.id[0]


def translated(name: str) -> list[Message]:
    return [message for message in catalogue(name) if message.id]


def test_template_is_what_the_sources_say() -> None:
    """The .pot is a fresh extraction; ``make messages`` was run after the last change of a word."""
    with messages.TEMPLATE.open("rb") as file:
        template = read_po(file)
    assert messages.rendered(template) == messages.rendered(messages.extract())


def test_words_are_marked() -> None:
    """What is extracted has the words of the templates and those of the reasons, sentences with counts included."""
    found = {original(message) for message in messages.extract() if message.id}
    assert {"Send", "Already sent", "Another picture", "You have %(count)s minute to answer."} <= found
    assert len(found) > 60


@each_language
def test_catalogue_is_up_to_date(name: str) -> None:
    """Each .po has the messages of the .pot and no others, and each .mo is its .po compiled."""
    path = FILES[NAMES.index(name)]
    before, after = catalogue(name), catalogue(name)
    after.update(messages.extract(), no_fuzzy_matching=True, update_header_comment=True)
    assert messages.rendered(before) == messages.rendered(after)
    assert path.with_suffix(".mo").read_bytes() == messages.compiled(catalogue(name))


@each_language
def test_catalogue_is_complete(name: str) -> None:
    """Nothing is left in English, and nothing is a guess."""
    assert list(messages.untranslated(catalogue(name))) == []
    assert len(translated(name)) == len([message for message in messages.extract() if message.id])


@each_language
def test_translations_name_what_the_original_names(name: str) -> None:
    """The names in a translation are those of its original; only the forms for one number may leave the number out."""
    for message in translated(name):
        names = sorted(PLACE.findall(original(message)))
        for form, text in enumerate(texts(message)):
            found = sorted(PLACE.findall(text))
            if names == ["count"] and isinstance(message.id, tuple) and not found:
                assert one_number(name, form), text
            else:
                assert found == names, text
            assert "%" not in PLACE.sub("", text)


def one_number(name: str, form: int) -> bool:
    """Whether this plural form is for one number alone, of those up to 1,000."""
    plural = gettext.c2py(catalogue(name).plural_expr)
    return [plural(number) for number in range(1, 1000)].count(form) == 1


@each_language
def test_translations_are_text(name: str) -> None:
    """No translation has markup, a control character, or blanks around it: what is said in HTML is in the templates."""
    for message in translated(name):
        for text in texts(message):
            assert not set(text) & set('<>&"{}'), text
            assert text == text.strip()
            assert re.search(r"[\x00-\x1f\x7f\u2028-\u202e\u2066-\u2069]|  ", text) is None


@each_language
def test_plural_forms_are_those_of_the_language(name: str) -> None:
    """Each counted message has as many forms as its language, and numbers that it counts alike get the same one."""
    rule = get_plural(name)
    found = catalogue(name)
    assert (found.num_plurals, found.plural_expr) == (rule.num_plurals, rule.plural_expr)
    for message in translated(name):
        assert len(texts(message)) == (rule.num_plurals if isinstance(message.id, tuple) else 1)
    words = compiled(name)
    forms: dict[str, set[str]] = {}
    for number in range(1, 210):
        text = words.ngettext("You have %(count)s minute to answer.", "You have %(count)s minutes to answer.", number)
        forms.setdefault(Locale.parse(name).plural_form(number), set()).add(text)
    assert all(len(found) == 1 for found in forms.values())


MINUTES = [
    ("en", 1, "You have 1 minute to answer."),
    ("en", 2, "You have 2 minutes to answer."),
    ("de", 1, "Sie haben 1 Minute Zeit zum Antworten."),
    ("de", 21, "Sie haben 21 Minuten Zeit zum Antworten."),
    ("fr", 1, "Vous avez 1 minute pour répondre."),
    ("fr", 2, "Vous avez 2 minutes pour répondre."),
    ("ar", 1, "يمكنك الإجابة خلال دقيقة واحدة."),
    ("ar", 2, "يمكنك الإجابة خلال دقيقتين."),
    ("ar", 5, "يمكنك الإجابة خلال 5 دقائق."),
    ("ar", 21, "يمكنك الإجابة خلال 21 دقيقة."),
    ("ar", 103, "يمكنك الإجابة خلال 103 دقائق."),
    ("es", 1, "Tiene 1 minuto para responder."),
    ("es", 2, "Tiene 2 minutos para responder."),
    ("pt", 1, "O prazo para responder é de 1 minuto."),
    ("pt", 2, "O prazo para responder é de 2 minutos."),
    ("it", 1, "Ha 1 minuto di tempo per rispondere."),
    ("it", 2, "Ha 2 minuti di tempo per rispondere."),
    ("nl", 1, "U hebt 1 minuut de tijd om antwoord te geven."),
    ("nl", 2, "U hebt 2 minuten de tijd om antwoord te geven."),
    ("sv", 1, "Du har 1 minut på dig att svara."),
    ("sv", 2, "Du har 2 minuter på dig att svara."),
    ("pl", 1, "Czas na odpowiedź: 1 minuta."),
    ("pl", 2, "Czas na odpowiedź: 2 minuty."),
    ("pl", 5, "Czas na odpowiedź: 5 minut."),
    ("pl", 12, "Czas na odpowiedź: 12 minut."),
    ("pl", 21, "Czas na odpowiedź: 21 minut."),
    ("pl", 22, "Czas na odpowiedź: 22 minuty."),
    ("ru", 1, "На ответ у\u00a0вас есть 1 минута."),
    ("ru", 2, "На ответ у\u00a0вас есть 2 минуты."),
    ("ru", 5, "На ответ у\u00a0вас есть 5 минут."),
    ("ru", 11, "На ответ у\u00a0вас есть 11 минут."),
    ("ru", 21, "На ответ у\u00a0вас есть 21 минута."),
    ("uk", 1, "На відповідь у\u00a0вас є 1 хвилина."),
    ("uk", 2, "На відповідь у\u00a0вас є 2 хвилини."),
    ("uk", 5, "На відповідь у\u00a0вас є 5 хвилин."),
    ("uk", 11, "На відповідь у\u00a0вас є 11 хвилин."),
    ("uk", 21, "На відповідь у\u00a0вас є 21 хвилина."),
    ("cs", 1, "Na odpověď máte 1 minutu."),
    ("cs", 2, "Na odpověď máte 2 minuty."),
    ("cs", 5, "Na odpověď máte 5 minut."),
    ("cs", 21, "Na odpověď máte 21 minut."),
    ("he", 1, "יש לך דקה אחת לענות."),
    ("he", 2, "יש לך 2 דקות לענות."),
    ("he", 21, "יש לך 21 דקות לענות."),
    ("tr", 1, "Yanıtlamak için 1 dakikanız var."),
    ("tr", 21, "Yanıtlamak için 21 dakikanız var."),
    ("ja", 1, "1分以内に回答してください。"),
    ("ja", 21, "21分以内に回答してください。"),
]


@pytest.mark.parametrize(("language", "count", "expected"), MINUTES)
def test_minutes(language: str, count: int, expected: str) -> None:
    """Numbers take the form that the language has for them."""
    words = Catalogues().of(language)
    text = words.ngettext("You have %(count)s minute to answer.", "You have %(count)s minutes to answer.", count)
    assert text % {"count": count} == expected


@each_language
def test_language_is_one_that_the_page_knows(name: str) -> None:
    """Each folder is a language of the page, and its direction is the one that Unicode's data has for it."""
    tag = name.replace("_", "-")
    assert tag in Catalogues().languages
    expected = "rtl" if Locale.parse(name).character_order == "right-to-left" else "ltr"
    assert direction(tag) == expected
