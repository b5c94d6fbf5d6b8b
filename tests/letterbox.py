"""A small application with one form, for tests that fill it in as people do who have no mouse, or no pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.requests import Request as AsgiRequest
from starlette.responses import Response as AsgiResponse
from starlette.types import Receive, Scope, Send
from werkzeug.wrappers import Request as WsgiRequest
from werkzeug.wrappers import Response as WsgiResponse

from browsers import serving
from gatepost import Gate
from gatepost.asgi import GatepostMiddleware as AsgiGate
from gatepost.challenges import QuestionKind
from gatepost.wsgi import GatepostMiddleware as WsgiGate
from twins import settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

#: Two questions with one answer, so that any answer but ``red`` is wrong.
QUESTIONS = {
    "en": [
        {"question": "Which colour is the roof of our club house?", "answers": ["red"]},
        {"question": "Which colour is the door of our club house?", "answers": ["red"]},
    ]
}
RIGHT = "red"
#: A path with the same form, without a gate before it.
OPEN = "/open"
GATED = "/letter"

_FORM = """<!doctype html><html lang="en"><title>A letter</title><link rel="icon" href="data:,">
<h1>A letter to the club</h1>
<form method="post">
<input type="hidden" name="about" value="Bäume &amp; Sträucher">
<p><label>Name <input name="name"></label></p>
<p><label>Wish <input name="wish"></label></p>
<p><button name="do" value="post it">Post the letter</button></p>
</form></html>"""
_THANKS = "<!doctype html><html lang=en><title>Thanks</title><h1>The letter has arrived</h1></html>"


@dataclass
class Letterbox:
    """The application: what it got, in order, as path, header fields and body; names in lower case."""

    letters: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def _reply(self, method: str, path: str, fields: Iterable[tuple[str, str]], body: bytes) -> str:
        if method == "POST":
            self.letters.append((path, {name.lower(): value for name, value in fields}, body))
        return _THANKS if method == "POST" else _FORM

    async def asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = AsgiRequest(scope, receive)
        page = self._reply(request.method, request.url.path, request.headers.items(), await request.body())
        await AsgiResponse(page, media_type="text/html")(scope, receive, send)

    def wsgi(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = WsgiRequest(environ)
        page = self._reply(request.method, request.path, request.headers.items(), request.get_data())
        return WsgiResponse(page, content_type="text/html; charset=utf-8")(environ, start_response)


@dataclass(frozen=True)
class Post:
    """A letterbox that is being served behind its gate."""

    letterbox: Letterbox
    gate: Gate
    port: int

    @property
    def reasons(self) -> dict[str, int]:
        """What the gate did, and how often."""
        return dict(self.gate.stats()[GATED].reasons)

    def url(self, path: str = GATED) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def bodies(self) -> list[bytes]:
        return [body for _, _, body in self.letterbox.letters]


@contextmanager
def posted(kind: str, **options: Any) -> Iterator[Post]:
    """Serve a letterbox behind a gate that always asks one of the questions.

    :param kind: ``"asgi"`` or ``"wsgi"``.
    """
    letterbox = Letterbox()
    given = {"protect": [GATED], "challenge": QuestionKind(QUESTIONS), "min_time": 0, **options}
    gate = Gate(settings(**given))
    app: Any = AsgiGate(letterbox.asgi, gate=gate) if kind == "asgi" else WsgiGate(letterbox.wsgi, gate=gate)
    with serving(app, kind) as port:
        yield Post(letterbox, gate, port)
