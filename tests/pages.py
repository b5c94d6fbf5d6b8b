"""Makes pages out of verdicts, and reads them as a browser would."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from gatepost import Challenge, Headers, Media, Reason, Request
from gatepost.effects import Show
from gatepost.page import Page, Response
from twins import settings

QUESTION = Challenge("answer", Media("text/plain", "Wie heißt <das>?".encode()))
PICTURE = Challenge("answer", Media("image/png", b"\x89PNG", 320, 120))
SOUND = Challenge("answer", Media("audio/wav", b"RIFF"))
EVIL = "\"><script>alert('1')</script>&amp;"


def request(
    raw_path: str | None = None, path: str = "/contact", query: str = "", prefix: str = "", **fields: str
) -> Request:
    headers = Headers((name.replace("_", "-"), value) for name, value in fields.items())
    return Request("POST", path, headers, None, {}, query=query, prefix=prefix, raw_path=raw_path)


def verdict(challenge: Challenge | None = QUESTION, **changes: Any) -> Show:
    values: dict[str, Any] = {
        "reason": Reason.RULE_ENGAGED,
        "token": "the-token",
        "carry": "the-carry",
        "status": 429,
        "kind": "question",
        "kinds": ("question",),
        "lifetime": 600,
        "remaining": 3600,
        "length": 1_300_000,
    }
    return Show(challenge=challenge, **(values | changes))


class Form(HTMLParser):
    """What a browser makes of a page: its forms, fields, buttons and everything that would be loaded or run."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def show(shown: Show, asked: Request | None = None, **options: Any) -> Response:
    return Page(settings(**options)).show(shown, asked or request())


def form(shown: Show, asked: Request | None = None, **options: Any) -> Form:
    return Form(show(shown, asked, **options).body)
