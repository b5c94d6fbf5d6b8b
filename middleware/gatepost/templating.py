"""The templates made ready: ours compiled once a process, a site's own once for each gate."""

from __future__ import annotations

import base64
import functools
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from gettext import NullTranslations
from importlib.resources import files
from typing import Any

from jinja2 import BaseLoader, ChoiceLoader, DictLoader, Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from .languages import direction
from .words import BYTES, KILOBYTES, MEGABYTES

TEMPLATES = ("base.html", "challenge.html", "message.html", "style.css")


@dataclass(frozen=True, slots=True)
class Templates:
    """Compiled templates by name, the style, and its hash as a policy wants it."""

    compiled: Mapping[str, Template]
    style: str
    style_hash: str


def load(folder: str | os.PathLike[str] | None) -> Templates:
    """The templates of this folder, and ours for those that it does not have.

    :raises jinja2.TemplateError: for a template that cannot be compiled.
    """
    return _ours() if folder is None else _compile(FileSystemLoader(folder))


@functools.cache
def _ours() -> Templates:
    return _compile()


def _compile(*loaders: BaseLoader) -> Templates:
    own = {name: files("gatepost.templates").joinpath(name).read_text("utf-8") for name in TEMPLATES}
    environment = Environment(
        loader=ChoiceLoader([*loaders, DictLoader(own)]),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.install_null_translations(newstyle=True)  # type: ignore[attr-defined]
    environment.globals |= {"minutes": _minutes, "hours": _hours}
    compiled = {name: environment.get_template(name) for name in TEMPLATES if name.endswith(".html")}
    source, _, _ = environment.loader.get_source(environment, "style.css")  # type: ignore[union-attr]
    style = source.replace("</", "<\\/")  # must not end the style element
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return Templates(compiled, style, f"'sha256-{digest}'")


def speaking(language: str, catalogue: NullTranslations) -> dict[str, Any]:
    """What a template is rendered with to speak a language.

    It belongs to one rendering and not to the environment, so that all languages share what is compiled.
    """

    def gettext(message: str, /, **values: object) -> Markup:
        # A catalogue keeps its head under the empty message.
        return _filled(catalogue.gettext(message) if message else "", values)

    def ngettext(singular: str, plural: str, num: int, /, **values: object) -> Markup:
        return _filled(catalogue.ngettext(singular, plural, num), {"num": num, **values})

    def size(count: int) -> str:
        """A number of bytes for people, in the units that file managers show."""
        if count < 1000:
            return catalogue.gettext(BYTES) % {"count": count}
        if count < 1_000_000:
            return catalogue.gettext(KILOBYTES) % {"count": round(count / 1000)}
        whole, tenth = divmod(round(count / 100_000), 10)
        return catalogue.gettext(MEGABYTES) % {"whole": whole, "tenth": tenth}

    return {
        "lang": language,
        "dir": direction(language),
        "_": gettext,
        "gettext": gettext,
        "ngettext": ngettext,
        "size": size,
    }


def _filled(text: str, values: dict[str, object]) -> Markup:
    """A translated text with its values, which are escaped."""
    return Markup(text) % values if "%" in text else Markup(text)  # noqa: S704 - catalogues are trusted like templates


def _minutes(seconds: float) -> int:
    return max(1, round(seconds / 60))


def _hours(seconds: float) -> int:
    return max(1, int(seconds // 3600))  # not rounded up: there must be as much time as is said
