"""A site's own words: catalogues in the folder of its templates."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from babel.messages import Catalog

import messages
from gatepost.effects import Refuse
from gatepost.page import Page
from gatepost.protocols import Reason
from pages import form, request, verdict
from twins import settings


def write(folder: Path, language: str, texts: Iterable[tuple[str | tuple[str, str], str | tuple[str, ...]]]) -> None:
    """A compiled catalogue in a folder of templates."""
    path = folder / "locale" / language / "LC_MESSAGES" / "gatepost.mo"
    path.parent.mkdir(parents=True)
    catalogue = Catalog(locale=language)
    for original, text in texts:
        catalogue.add(original, text)
    path.write_bytes(messages.compiled(catalogue))


def test_site_s_own_words(tmp_path: Path) -> None:
    """A site replaces single words, in English too, and adds languages and regions; the rest stays ours."""
    write(tmp_path, "en", [("Send", "Submit")])
    write(tmp_path, "de", [("Send", "Abschicken")])
    write(tmp_path, "de_CH", [("Your answer", "Ihre Antwort, bitte")])
    write(tmp_path, "eo", [("Send", "Sendu")])
    for field, expected, words in (
        ("en", "en", ["Submit", "Your answer"]),
        ("de", "de", ["Abschicken", "Ihre Antwort"]),
        ("de-CH", "de-CH", ["Abschicken", "Ihre Antwort, bitte", "Eine andere Frage"]),
        ("de-AT", "de", ["Abschicken", "Ihre Antwort"]),
        ("eo", "eo", ["Sendu", "Your answer"]),
        ("fr", "fr", ["Envoyer", "Votre réponse"]),
    ):
        found = form(verdict(), request(accept_language=field), templates=tmp_path)
        assert [attrs["lang"] for attrs in found.all("html")] == [expected]
        assert all(word in found.text for word in words)


def test_site_s_own_templates_are_translated(tmp_path: Path) -> None:
    """A site's template has sentences of its own, which its catalogue translates, values escaped."""
    (tmp_path / "message.html").write_text(
        "{% trans %}Sorry{% endtrans %}: {% trans who=contact %}ask {{ who }}{% endtrans %}"
    )
    write(tmp_path, "de", [("Sorry", "Pardon"), ("ask %(who)s", "fragen Sie %(who)s")])
    page = Page(settings(templates=tmp_path, contact="<b>"))
    for field, expected in (("de", b"Pardon: fragen Sie &lt;b&gt;"), ("fr", b"Sorry: ask &lt;b&gt;")):
        assert page.refuse(Refuse(Reason.ENDED, 410), request(accept_language=field)).body == expected


@pytest.mark.parametrize(
    ("original", "text"),
    [
        ("Another kind of question: %(name)s", "Alia: %(nomo)s"),
        ("Send", "Sendu 100 %"),
        ("Send", "Sendu %(count"),
        (("Try again in %(count)s second.", "Try again in %(count)s seconds."), ("%(count)s", "%(cuont)s")),
    ],
)
def test_site_s_broken_words_stop_the_start(original: Any, text: Any, tmp_path: Path) -> None:
    """A translation that cannot be filled in stops the start, not the first visitor who speaks that language."""
    write(tmp_path, "eo", [(original, text)])
    with pytest.raises(ValueError, match=r"templates: got .*gatepost\.mo"):
        Page(settings(templates=tmp_path))


@pytest.mark.parametrize(
    ("folder", "content"), [("de", b""), ("de", b"\xde\x12\x04\x95"), ("de", b"text"), ("german", None)]
)
def test_site_s_broken_catalogue_stops_the_start(folder: str, content: bytes | None, tmp_path: Path) -> None:
    """A file that is no catalogue, or one in a folder that is no language, stops the start with a sentence."""
    write(tmp_path, "de", [("Send", "Los")])
    path = tmp_path / "locale" / "de" / "LC_MESSAGES" / "gatepost.mo"
    if content is None:
        path.parent.parent.rename(tmp_path / "locale" / folder)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"templates: got .*gatepost\.mo"):
        Page(settings(templates=tmp_path))
