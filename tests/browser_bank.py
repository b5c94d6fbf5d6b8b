"""A bank for tests in a browser: it logs in by cookies, and remembers what each POST said of where it came from."""

from __future__ import annotations

import http.client
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Frame, Page, Response
from starlette.requests import Request as AsgiRequest
from starlette.responses import Response as AsgiResponse
from starlette.types import Receive, Scope, Send
from werkzeug.wrappers import Request as WsgiRequest
from werkzeug.wrappers import Response as WsgiResponse

from browsers import PATIENCE, Certificate, Pages, World, form, press, serving
from gatepost import Gate
from gatepost.asgi import GatepostMiddleware as AsgiGate
from gatepost.testing import Answer, ManualClock, solve
from gatepost.wsgi import GatepostMiddleware as WsgiGate
from twins import ANSWER, URLENCODED, Fields, settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

# What the log-in sets. Chromium sends a cookie without SameSite with foreign forms too, for its first two minutes.
COOKIES = {
    "strict": "SameSite=Strict; HttpOnly",
    "lax": "SameSite=Lax; HttpOnly",
    "plain": "HttpOnly",
}
PROTECTED = ["/transfer", "/pay"]
WELCOME = b'<h1>Welcome</h1><p><a href="/form/transfer">Send money</a></p>'
FORM = {"to": "Mallory", "amount": "100 €"}
OPEN = "/transfer/open"  # like /transfer, without a gate


@dataclass(frozen=True)
class Post:
    """One POST as the bank got it; names of header fields in lower case."""

    path: str
    fields: tuple[tuple[str, str], ...]
    body: bytes

    def get(self, name: str) -> str | None:
        """The value of a header field, or ``None``."""
        values = [value for key, value in self.fields if key == name]
        assert len(values) <= 1
        return values[0] if values else None

    @property
    def cookies(self) -> list[str]:
        """The names of the cookies, in order."""
        return [pair.partition("=")[0] for pair in (self.get("cookie") or "").split("; ") if pair]

    @property
    def said(self) -> dict[str, str]:
        """All header fields, and the body: two that are equal were the same to the bank."""
        return {**dict(sorted(self.fields)), "body": self.body.decode("latin-1")}


@dataclass(frozen=True)
class Reply:
    """What the bank answers."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes


class Bank:
    """The bank, apart from what a framework does."""

    def __init__(self) -> None:
        self.posts: list[Post] = []
        #: Where ``/pay`` sends its visitor.
        self.elsewhere = ""

    def reply(self, method: str, path: str, fields: Iterable[tuple[str, str]], body: bytes) -> Reply:
        if method == "POST":
            self.posts.append(Post(path, tuple((name.lower(), value) for name, value in fields), body))
            if path == "/pay":
                return Reply(303, [("Location", self.elsewhere)], b"")
            return _page("<h1>Done</h1>")
        if path == "/login":
            cookies = [("Set-Cookie", f"{name}=of-the-visitor; Path=/; {more}") for name, more in COOKIES.items()]
            return Reply(200, [*cookies, ("Content-Type", "text/html")], WELCOME)
        if path == "/shadow":
            # A second cookie of one name, which comes with foreign forms.
            return Reply(200, [("Set-Cookie", "strict=weak; Path=/transfer"), ("Content-Type", "text/html")], b"")
        if path.startswith("/form/"):
            return _page(form(path.removeprefix("/form"), FORM))
        if path.startswith("/private/"):  # a page that wants its address told to nobody
            return _page(form(path.removeprefix("/private"), FORM), ("Referrer-Policy", "no-referrer"))
        return Reply(404, [], b"")

    async def asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = AsgiRequest(scope, receive)
        reply = self.reply(request.method, request.url.path, request.headers.items(), await request.body())
        response = AsgiResponse(reply.body, reply.status)
        for name, value in reply.fields:
            response.headers.append(name, value)
        await response(scope, receive, send)

    def wsgi(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = WsgiRequest(environ)
        reply = self.reply(request.method, request.path, request.headers.items(), request.get_data())
        return WsgiResponse(reply.body, reply.status, reply.fields)(environ, start_response)


def _page(html: str, *fields: tuple[str, str]) -> Reply:
    return Reply(200, [*fields, ("Content-Type", "text/html; charset=utf-8")], html.encode())


@dataclass
class Stage:
    """The bank behind its gate, pages of others on the same machine, and the world of hosts they are in."""

    world: World
    bank: Bank
    gate: Gate
    pages: Pages
    port: int
    elsewhere: int  # the port of the pages

    @property
    def clock(self) -> ManualClock:
        clock = self.gate.settings.clock
        assert isinstance(clock, ManualClock)
        return clock

    @property
    def origin(self) -> str:
        """The bank's."""
        return self.world.origin("site", self.port)

    def foreign(self, host: str = "evil") -> str:
        """The origin of other pages, on this host."""
        return self.world.origin(host, self.elsewhere)

    def log_in(self, page: Page) -> None:
        page.goto(f"{self.origin}/login")

    def own_form(self, page: Page, path: str = "/transfer", kind: str = "form") -> Response:
        """Send the bank's own form; its page is at /form/..., or /private/..."""
        page.goto(f"{self.origin}/{kind}{path}")
        return press(page, "Go")

    def show(self, page: Page, html: str, host: str = "evil") -> None:
        """Show a page of somebody else's."""
        self.pages.html["/"] = html
        page.goto(f"{self.foreign(host)}/")

    def foreign_form(
        self, page: Page, path: str = "/transfer", fields: dict[str, str] | None = None, host: str = "evil"
    ) -> Response:
        """Send a form that somebody else's page has."""
        self.show(page, form(f"{self.origin}{path}", FORM if fields is None else fields), host)
        return press(page, "Go")

    def last(self) -> Post:
        """What the bank got last, which it forgets."""
        return self.bank.posts.pop()

    def send(self, fields: Fields, body: bytes, content_type: str = URLENCODED) -> tuple[int, str]:
        """Send a POST that is written by hand, over http; status and page."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with closing(connection):
            connection.putrequest("POST", "/transfer", skip_host=True, skip_accept_encoding=True)
            host = urlsplit(self.origin).netloc
            for name, value in (("Host", host), ("Accept", "text/html"), ("Content-Type", content_type), *fields):
                connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            return response.status, response.read().decode()


def answer(place: Page | Frame, text: str = ANSWER) -> Response:
    """Answer the question on the page."""
    place.get_by_label("Your answer").fill(text)
    return press(place, "Send")


def solved(page: Page | Frame) -> Answer:
    """The fields that would be sent with the right answer."""
    return solve(page.content(), ANSWER)


@contextmanager
def staged(world: World, kind: str, certificate: Certificate | None = None, **options: Any) -> Iterator[Stage]:
    """Serve the bank behind a gate of this kind, always engaged, and the pages of others.

    :param certificate: needed in a world of https.
    """
    bank, pages = Bank(), Pages()
    gate = Gate(settings(**{"protect": PROTECTED, "min_time": 0, **options}))
    app: Any = AsgiGate(bank.asgi, gate=gate) if kind == "asgi" else WsgiGate(bank.wsgi, gate=gate)
    with ExitStack() as stack:
        port = stack.enter_context(serving(app, kind, certificate))
        elsewhere = stack.enter_context(serving(pages, "wsgi", certificate))
        yield Stage(world, bank, gate, pages, port, elsewhere)


def certificate_for(world: World, request: pytest.FixtureRequest) -> Certificate | None:
    """The certificate, where this world needs one."""
    if world.scheme != "https":
        return None
    certificate: Certificate = request.getfixturevalue("certificate")
    return certificate
