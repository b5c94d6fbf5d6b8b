"""The templates made ready: ours compiled once a process, a site's own once for each gate."""

from __future__ import annotations

import base64
import functools
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    DictLoader,
    Environment,
    FileSystemLoader,
    StrictUndefined,
    Template,
    pass_context,
)
from jinja2.runtime import Context

from .protocols import Media
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
    environment.install_gettext_callables(_gettext, _ngettext, newstyle=True)  # type: ignore[attr-defined]
    environment.globals |= {"minutes": _minutes, "hours": _hours, "size": _size, "data_uri": data_uri}
    compiled = {name: environment.get_template(name) for name in TEMPLATES if name.endswith(".html")}
    source, _, _ = environment.loader.get_source(environment, "style.css")  # type: ignore[union-attr]
    style = source.replace("</", "<\\/")  # must not end the style element
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return Templates(compiled, style, f"'sha256-{digest}'")


# The language belongs to one rendering and not to the environment, so that all languages share what is compiled.


@pass_context
def _gettext(context: Context, message: str) -> str:
    # A catalogue keeps its head under the empty message.
    translated: str = context["catalogue"].gettext(message) if message else ""
    return translated


@pass_context
def _ngettext(context: Context, singular: str, plural: str, count: int) -> str:
    translated: str = context["catalogue"].ngettext(singular, plural, count)
    return translated


@pass_context
def _size(context: Context, count: int) -> str:
    """A number of bytes for people, in the units that file managers show."""
    values: dict[str, Any] = {"count": count}
    form = BYTES
    if count >= 1_000_000:
        form, (values["whole"], values["tenth"]) = MEGABYTES, divmod(round(count / 100_000), 10)
    elif count >= 1000:
        form, values["count"] = KILOBYTES, round(count / 1000)
    return _gettext(context, form) % values


def _minutes(seconds: float) -> int:
    return max(1, round(seconds / 60))


def _hours(seconds: float) -> int:
    return max(1, int(seconds // 3600))  # not rounded up: there must be as much time as is said


def data_uri(media: Media) -> str:
    """What is shown or played, for a ``src`` or ``href``."""
    return f"data:{media.type};base64,{base64.b64encode(media.content).decode('ascii')}"
