"""A verdict becomes status, header fields and body."""

from __future__ import annotations

import json
import math
import secrets
from dataclasses import dataclass, field, replace
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from markupsafe import escape

from . import languages
from .catalogues import ENGLISH, Catalogues
from .effects import Refuse, Show
from .negotiate import VARY, VARY_LANGUAGE, in_frame, needs_action
from .origin import address_here
from .protocols import Challenge, Headers, Media, Reason, Request
from .routes import strip_prefix
from .settings import Settings
from .templating import load, speaking
from .words import (
    ANSWER_BY_HEADER,
    CONTINUE_BY_HEADER,
    DETAILS,
    DIGITS_HEARD,
    KIND_WORDS,
    NOTICES,
    TITLES,
    WORDS_BY_MEDIA,
)

_MOULDS = 512  # pages that are kept without what is each one's own: some 5 kB each

# They stand for token and carry where a page is kept without them. Nobody knows them, so nothing else can contain them.
_TOKEN, _CARRY = secrets.token_hex(16), secrets.token_hex(16)


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
    """Renders verdicts with the site's templates and words, or our own.

    :raises jinja2.TemplateError: for a template that cannot be compiled or rendered.
    :raises ValueError: for a catalogue that cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._locale = settings.locale
        templates = load(settings.templates)
        self._templates = templates.compiled
        self._catalogues = Catalogues(Path(settings.templates) if settings.templates is not None else None)
        self._policy = (
            f"default-src 'none'; img-src data:; media-src data:; style-src {templates.style_hash}; base-uri 'none'"
        )
        self._vary = VARY if settings.locale else VARY_LANGUAGE
        self._common = {
            "style": templates.style,
            "site_name": settings.site_name,
            "contact": settings.contact,
            "kind_words": KIND_WORDS,
        }
        self._mould = lru_cache(_MOULDS)(self._cast) if settings.templates is None else None
        if not settings.locale:
            languages.prepare()
        # Read now, so that no visitor waits for the first catalogue of a language.
        self._speaking = {tag: speaking(tag, self._catalogues.of(tag)) for tag in self._catalogues.languages}
        if settings.templates is not None:
            for language in (ENGLISH, *self._catalogues.own):
                self._rehearse(language)

    def _rehearse(self, language: str) -> None:
        """Render every page once, so that a name which a site's template has wrong stops the start, too."""
        request = Request("POST", "/", Headers([("host", "a")]), None, {})
        media = [Media(name, b"?") for name in ("text/plain", "image/png", "audio/wav")]
        challenges = (None, *(Challenge("?", one, caseless=True) for one in media))
        for challenge in challenges:
            for kept, seconds in ((True, 1), (False, 1), (True, 7200)):
                busy = Show(Reason.BUSY, "", "", 429, "a", ("a", "b"), seconds, seconds, challenge, seconds, kept=kept)
                self._interstitial(busy, language, None, "recording.wav")
        self._message(Refuse(Reason.OVERLOADED, 503, 1, "a=b", referer="http://a/"), request, language)

    def _language(self, request: Request) -> str:
        """The language of the page: the nearest to what the visitor, or the site, asks for."""
        wanted = languages.asked(request.headers, self._locale)
        return languages.nearest(wanted, self._catalogues.languages) or ENGLISH

    def show(self, verdict: Show, request: Request) -> Response:
        """The interstitial: a page, or JSON."""
        language = self._language(request)
        fields = self._fields("challenge", verdict.reason, verdict.retry_after, language)
        if verdict.json:
            body = self._document(verdict, language)
            fields.append(("content-type", "application/problem+json"))
            fields.append(("content-length", str(len(body))))
            return Response(verdict.status, fields, body, verdict.closing)
        action = target(request) if needs_action(request) else None
        if verdict.challenge is None and action is None and self._mould is not None:
            body = self._filled(verdict, language)
        else:
            body = self._interstitial(verdict, language, action, _file_name(verdict.challenge, request))
        fields += self._html_fields(body, in_frame(request))
        return Response(verdict.status, fields, body, verdict.closing)

    def _filled(self, verdict: Show, language: str) -> bytes:
        """A 'Continue' page. A flood gets thousands of them a second that differ in token and carry alone.

        A site's own templates may do with a token what they like, so each page of theirs is rendered.
        """
        assert self._mould is not None
        shown = replace(
            verdict,
            token=_TOKEN,
            carry=_CARRY,
            lifetime=int(verdict.lifetime),
            remaining=int(verdict.remaining),
            retry_after=math.ceil(verdict.retry_after),
            length=_as_shown(verdict.length),
        )
        before, between, after = self._mould(shown, language)
        # Escaped as the template does it: what is put in here no template has seen.
        return b"".join((before, escape(verdict.token).encode(), between, escape(verdict.carry).encode(), after))

    def _cast(self, shown: Show, language: str) -> tuple[bytes, bytes, bytes]:
        """What stands before the token, between it and the carry, and behind."""
        before, _, rest = self._interstitial(shown, language, None, "").partition(_TOKEN.encode())
        between, _, after = rest.partition(_CARRY.encode())
        return before, between, after

    def refuse(self, verdict: Refuse, request: Request) -> Response:
        """The page that says why there is no way on from here, and what to do instead."""
        language = self._language(request)
        body = self._message(verdict, request, language)
        fields = self._fields("refused", verdict.reason, verdict.retry_after, language)
        if verdict.cookie:
            fields.append(("set-cookie", verdict.cookie))
        fields += self._html_fields(body, in_frame(request))
        return Response(verdict.status, fields, body, verdict.closing)

    def _interstitial(self, verdict: Show, language: str, action: str | None, download: str) -> bytes:
        challenge = verdict.challenge
        return self._render(
            "challenge.html",
            language,
            show=verdict,
            challenge=challenge,
            locale=challenge.language or self._locale if challenge else "",
            notice=NOTICES.get(verdict.reason, ""),
            trouble=verdict.reason in _TROUBLE,
            retry_after=math.ceil(verdict.retry_after),
            action=action,
            texts=_texts(challenge),
            download=download,
        )

    def _message(self, verdict: Refuse, request: Request, language: str) -> bytes:
        return self._render(
            "message.html",
            language,
            title=TITLES[verdict.reason],
            detail=DETAILS[verdict.reason],
            earned=bool(verdict.cookie),
            retry_after=math.ceil(verdict.retry_after),
            onward=onward(verdict.referer, request),
        )

    def _render(self, name: str, language: str, **values: Any) -> bytes:
        text = self._templates[name].render(
            **self._common,
            **self._speaking[language],
            **values,
        )
        return text.encode("utf-8", "replace")

    def _fields(self, what: str, reason: Reason, retry_after: float, language: str) -> list[tuple[str, str]]:
        fields = [
            ("gatepost", f"{what}; reason={reason.value}"),
            ("cache-control", "no-store"),
            ("vary", self._vary),
            ("content-language", language),
            ("x-robots-tag", "noindex"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
        ]
        if retry_after:
            fields.append(("retry-after", str(math.ceil(retry_after))))
        return fields

    def _html_fields(self, body: bytes, framed: bool) -> list[tuple[str, str]]:
        return [
            ("content-type", "text/html; charset=utf-8"),
            ("content-security-policy", self._policy if framed else f"{self._policy}; frame-ancestors 'self'"),
            ("content-length", str(len(body))),
        ]

    def _document(self, verdict: Show, language: str) -> bytes:
        """The interstitial as a problem document (RFC 9457)."""
        words = self._catalogues.of(language)
        document: dict[str, Any] = {
            "type": "about:blank",
            "title": _phrase(verdict.status),
            "status": verdict.status,
            "detail": words.gettext(ANSWER_BY_HEADER if verdict.challenge else CONTINUE_BY_HEADER),
            "reason": verdict.reason.value,
            "token": verdict.token,
            "expires_in": int(verdict.lifetime),
        }
        if verdict.challenge is not None:
            media = verdict.challenge.media
            document["challenge"] = {
                "kind": verdict.kind,
                "type": media.type,
                "data": media.data_uri,
                "label": verdict.challenge.label or words.gettext(_texts(verdict.challenge)["label"]),
            }
        if verdict.retry_after:
            document["retry_after"] = math.ceil(verdict.retry_after)
        return json.dumps(document).encode()


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
    return _on_this_host(f"{path}?{request.query}" if request.query else path)


def onward(referer: str, request: Request) -> str:
    """The address of the page with the form: a path on this host, or the empty string.

    :param referer: of the submission, if its own headers say that it came from this site.
    """
    address = address_here(referer, request) if referer else ""
    return _on_this_host(address) if address else ""


def _on_this_host(address: str) -> str:
    address = "/" + address.lstrip("/\\")  # two slashes would be another host
    return "".join(_printable(character) for character in address)


def _printable(character: str) -> str:
    return character if "!" <= character <= "~" and character != "\\" else quote(character, safe="")


def _texts(challenge: Challenge | None) -> dict[str, str]:
    """The words that hang on what is shown: how the field is called, what stands for the picture, the other button."""
    if challenge is None:
        return {"label": "", "alternative": "", "another": "", "question": ""}
    family = challenge.media.type.partition("/")[0]
    found = dict(WORDS_BY_MEDIA.get(family, WORDS_BY_MEDIA["text"]))
    if family == "text":
        found["question"] = challenge.media.content.decode("utf-8", "replace")
    if family == "audio" and challenge.digits:
        found["label"] = DIGITS_HEARD
    return found


def _file_name(challenge: Challenge | None, request: Request) -> str:
    """What a recording is to be called when it is downloaded; empty where there is a player, or no recording.

    The link holds the recording once more. Browsers that play it say ``Sec-Fetch-Mode``, at least over https.
    """
    family, _, form = challenge.media.type.partition("/") if challenge else ("", "", "")
    if family != "audio" or "sec-fetch-mode" in request.headers:
        return ""
    return f"recording.{form.removeprefix('x-')}" if form.removeprefix("x-").isalnum() else "recording"


def _as_shown(count: int) -> int:
    """A number of bytes that looks the same to people."""
    return min(round(count, -3), 999_999) if 1000 <= count < 1_000_000 else count
