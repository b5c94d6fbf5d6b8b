"""A verdict becomes status, header fields and body."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.resources import files
from typing import Any
from urllib.parse import quote, unquote

from jinja2 import ChoiceLoader, DictLoader, Environment, FileSystemLoader, StrictUndefined

from .effects import Refuse, Show
from .negotiate import VARY, in_frame, needs_action
from .protocols import Challenge, Headers, Media, Reason, Request
from .routes import strip_prefix
from .settings import Settings
from .words import DETAILS, KIND_WORDS, NOTICES, TITLES, WORDS_BY_MEDIA

TEMPLATES = ("base.html", "challenge.html", "message.html", "style.css")


@dataclass(frozen=True, slots=True)
class Response:
    """An answer of the gate's own. ``closing`` says that the request's body was not read to its end."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes = field(repr=False)
    closing: bool = False

    @property
    def status_line(self) -> str:
        """Code and phrase, as WSGI wants them."""
        return f"{self.status} {_phrase(self.status)}"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


class Page:
    """Renders verdicts with the site's templates, or our own.

    :raises jinja2.TemplateError: for a template that cannot be compiled or rendered.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        own = {name: files("gatepost.templates").joinpath(name).read_text("utf-8") for name in TEMPLATES}
        loaders = [DictLoader(own)]
        if settings.templates is not None:
            loaders.insert(0, FileSystemLoader(settings.templates))  # type: ignore[arg-type]
        environment = Environment(
            loader=ChoiceLoader(loaders),
            autoescape=True,
            undefined=StrictUndefined,
            extensions=["jinja2.ext.i18n"],
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.install_null_translations(newstyle=True)  # type: ignore[attr-defined]
        # Compiled now, so that a mistake in a template stops the start.
        self._templates = {name: environment.get_template(name) for name in TEMPLATES if name.endswith(".html")}
        source, _, _ = environment.loader.get_source(environment, "style.css")  # type: ignore[union-attr]
        self._style = source.replace("</", "<\\/")  # must not end the style element
        style_hash = base64.b64encode(hashlib.sha256(self._style.encode()).digest()).decode()
        self._policy = (
            f"default-src 'none'; img-src data:; media-src data:; style-src 'sha256-{style_hash}'; base-uri 'none'"
        )
        self._common = {
            "style": self._style,
            "site_name": settings.site_name,
            "contact": settings.contact,
            "lang": "en",  # of our own words, whatever language the questions have
            "locale": settings.locale or "en",
            "dir": "ltr",
            "minutes": _minutes,
            "size": _size,
            "data_uri": _data_uri,
            "kind_words": KIND_WORDS,
        }
        self._rehearse()

    def _rehearse(self) -> None:
        """Render every page once, so that a name which a site's template has wrong stops the start, too."""
        request = Request("POST", "/", Headers(), None, {})
        media = [Media(name, b"?") for name in ("text/plain", "image/png", "audio/wav")]
        for challenge in (None, *(Challenge("?", one) for one in media)):
            for kept in (True, False):
                self.show(Show(Reason.BUSY, "", "", 429, "a", ("a", "b"), 1, 1, challenge, 1, kept=kept), request)
        self.refuse(Refuse(Reason.OVERLOADED, 503, 1), request)

    def show(self, verdict: Show, request: Request) -> Response:
        """The interstitial: a page, or JSON."""
        if verdict.json:
            return self._document(verdict)
        body = self._render(
            "challenge.html",
            show=verdict,
            challenge=verdict.challenge,
            notice=NOTICES.get(verdict.reason, ""),
            trouble=verdict.reason in _TROUBLE,
            retry_after=math.ceil(verdict.retry_after),
            action=target(request) if needs_action(request) else None,
            texts=_texts(verdict.challenge),
        )
        fields = self._fields("challenge", verdict.reason, verdict.retry_after)
        return Response(verdict.status, self._with_html(fields, body, in_frame(request)), body, verdict.closing)

    def refuse(self, verdict: Refuse, request: Request) -> Response:
        """The page that says why there is no way on from here, and what to do instead."""
        body = self._render(
            "message.html",
            title=TITLES[verdict.reason],
            detail=DETAILS[verdict.reason],
            earned=bool(verdict.cookie),
            retry_after=math.ceil(verdict.retry_after),
        )
        fields = self._fields("refused", verdict.reason, verdict.retry_after)
        if verdict.cookie:
            fields.append(("set-cookie", verdict.cookie))
        return Response(verdict.status, self._with_html(fields, body, in_frame(request)), body, verdict.closing)

    def _render(self, name: str, **values: Any) -> bytes:
        return self._templates[name].render(**self._common, **values).encode("utf-8", "replace")

    def _fields(self, what: str, reason: Reason, retry_after: float) -> list[tuple[str, str]]:
        fields = [
            ("gatepost", f"{what}; reason={reason.value}"),
            ("cache-control", "no-store"),
            ("vary", VARY),
            ("x-robots-tag", "noindex"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
        ]
        if retry_after:
            fields.append(("retry-after", str(math.ceil(retry_after))))
        return fields

    def _with_html(self, fields: list[tuple[str, str]], body: bytes, framed: bool) -> list[tuple[str, str]]:
        return [
            *fields,
            ("content-type", "text/html; charset=utf-8"),
            ("content-security-policy", self._policy if framed else f"{self._policy}; frame-ancestors 'self'"),
            ("content-length", str(len(body))),
        ]

    def _document(self, verdict: Show) -> Response:
        """The interstitial as a problem document (RFC 9457)."""
        document: dict[str, Any] = {
            "type": "about:blank",
            "title": _phrase(verdict.status),
            "status": verdict.status,
            "detail": (
                "Send the same request again with the token in 'Gatepost-Token' and the answer, percent-encoded as "
                "UTF-8, in 'Gatepost-Answer'."
                if verdict.challenge
                else "There is no challenge to be had now. Send the same request again after 'retry_after' seconds, "
                "with the token in 'Gatepost-Token'."
            ),
            "reason": verdict.reason.value,
            "token": verdict.token,
            "expires_in": int(verdict.lifetime),
        }
        if verdict.challenge is not None:
            media = verdict.challenge.media
            document["challenge"] = {
                "kind": verdict.kind,
                "type": media.type,
                "data": _data_uri(media),
                "label": verdict.challenge.label or _texts(verdict.challenge)["label"],
            }
        if verdict.retry_after:
            document["retry_after"] = math.ceil(verdict.retry_after)
        body = json.dumps(document).encode()
        fields = [
            *self._fields("challenge", verdict.reason, verdict.retry_after),
            ("content-type", "application/problem+json"),
            ("content-length", str(len(body))),
        ]
        return Response(verdict.status, fields, body, verdict.closing)


# Reasons for a new challenge that are the answer's fault: the page's title says so, and the sentence goes to the field.
_TROUBLE = (Reason.WRONG, Reason.TOO_FAST, Reason.EXPIRED, Reason.USED)


_SAFE = "/!$&'()*+,;=:@~"  # what may stand in a path as it is


def target(request: Request) -> str:
    """The address of the form for a page that is put in place by a script: a path on this host, and nothing else."""
    path = request.raw_path
    if path is None:
        path = quote(request.prefix + request.path, safe=_SAFE)
    elif strip_prefix(unquote(path), request.prefix) == unquote(path):
        path = quote(request.prefix, safe=_SAFE) + path
    path = "/" + path.lstrip("/\\")  # two slashes would be another host
    address = f"{path}?{request.query}" if request.query else path
    return "".join(_printable(character) for character in address)


def _printable(character: str) -> str:
    return character if "!" <= character <= "~" and character != "\\" else quote(character, safe="")


def _data_uri(media: Media) -> str:
    return f"data:{media.type};base64,{base64.b64encode(media.content).decode('ascii')}"


def _texts(challenge: Challenge | None) -> dict[str, str]:
    """The words that hang on what is shown: how the field is called, what stands for the picture, the other button."""
    if challenge is None:
        return {"label": "", "alternative": "", "another": "", "question": ""}
    family = challenge.media.type.partition("/")[0]
    found = dict(WORDS_BY_MEDIA.get(family, WORDS_BY_MEDIA["text"]))
    if family == "text":
        found["question"] = challenge.media.content.decode("utf-8", "replace")
    return found


def _minutes(seconds: float) -> int:
    return max(1, round(seconds / 60))


def _size(count: int) -> str:
    """A number of bytes for people, in the units that file managers show."""
    if count < 1000:
        return f"{count} B"
    if count < 1_000_000:
        return f"{count / 1000:.0f} kB"
    return f"{count / 1_000_000:.1f} MB"
