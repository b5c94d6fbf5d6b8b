"""Both twins behind one interface, without a server: a test sends a request and sees the answer and what the
application got.

The application records what it received and answers 200; a test may hand in its own.
"""

from __future__ import annotations

import hashlib
import io
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gatepost import Gate, Settings
from gatepost.asgi import GatepostMiddleware as AsgiGate
from gatepost.testing import Answer, KnownChallenge, ManualClock, solve
from gatepost.wsgi import GatepostMiddleware as WsgiGate

SECRET = secrets.token_urlsafe(32)
ANSWER = "open sesame"
HOST = "site.example"
#: What a browser sends with a form of the site's own.
BROWSER = (
    ("host", HOST),
    ("accept", "text/html,application/xhtml+xml,*/*;q=0.8"),
    ("origin", f"http://{HOST}"),
    ("sec-fetch-site", "same-origin"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "document"),
)
URLENCODED = "application/x-www-form-urlencoded"

Fields = Sequence[tuple[str, str]]


@dataclass
class Received:
    """One request as the application got it: names of header fields in lower case."""

    method: str
    path: str
    query: str
    fields: list[tuple[str, str]]
    body: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()

    def get(self, name: str) -> str | None:
        """The value of a header field, repeated ones joined, or ``None``."""
        values = [value for key, value in self.fields if key == name]
        return ",".join(values) if values else None


@dataclass
class Reply:
    """What the client got. ``status`` 0 means that nothing was sent."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes

    def get(self, name: str) -> str:
        return ",".join(value for key, value in self.fields if key == name)

    @property
    def reason(self) -> str:
        """The reason in the ``Gatepost`` field; empty if the application answered."""
        return self.get("gatepost").partition("reason=")[2]

    @property
    def text(self) -> str:
        return self.body.decode()

    def answered(self, answer: str = ANSWER) -> Answer:
        """What to post back."""
        return solve(self.body, answer)


def settings(**options: Any) -> Settings:
    """Settings for tests: a known answer, always demanded, a clock that stands still."""
    defaults: dict[str, Any] = {
        "secret": SECRET,
        "protect": ["/contact"],
        "mode": "always",
        "challenge": KnownChallenge(ANSWER),
        "clock": ManualClock(),
        "render_rate": 100_000,
        "issue_limit": "1000000/minute",
        "failure_limit": "1000000/minute",
        "store_timeout": 20,  # that a machine is busy is not to look as if a store were; who means it says so
    }
    return Settings(**(defaults | options))


@dataclass
class Twin:
    """One of the two drivers around a recording application."""

    gate: Gate
    received: list[Received] = field(default_factory=list)

    @property
    def clock(self) -> ManualClock:
        clock = self.gate.settings.clock
        assert isinstance(clock, ManualClock)
        return clock

    def send(
        self,
        method: str = "POST",
        path: str = "/contact",
        *,
        fields: Fields = BROWSER,
        body: bytes | Sequence[bytes] = b"",
        content_type: str | None = URLENCODED,
        query: str = "",
        prefix: str = "",
        scheme: str = "http",
        peer: str | None = "203.0.113.7",
        length: str | None = "true",
        cookie: str | None = None,
    ) -> Reply:
        """Send one request.

        :param fields: header fields apart from Content-Type, Content-Length and Cookie.
        :param body: one piece, or the pieces in which it arrives.
        :param length: ``"true"`` for the real Content-Length, ``None`` for none, else its text.
        """
        pieces = [body] if isinstance(body, bytes) else list(body)
        everything = [*fields]
        if content_type is not None:
            everything.append(("content-type", content_type))
        if length is not None:
            everything.append(("content-length", str(sum(map(len, pieces))) if length == "true" else length))
        if cookie is not None:
            everything.append(("cookie", cookie))
        return self.exchange(method, path, everything, pieces, query, prefix, scheme, peer)

    def exchange(
        self,
        method: str,
        path: str,
        fields: Fields,
        pieces: list[bytes],
        query: str,
        prefix: str,
        scheme: str,
        peer: str | None,
    ) -> Reply:
        raise NotImplementedError

    def answer(self, reply: Reply, answer: str = ANSWER, *, button: str = "", **options: Any) -> Reply:
        """Answer an interstitial as the browser would, two seconds later."""
        self.clock.tick(2)
        solved = reply.answered(answer)
        if button:
            solved = solved.with_button(button)
        return self.send(body=solved.body, content_type=solved.content_type, **options)


@dataclass
class AsgiTwin(Twin):
    """The ASGI driver, on the backend of this name."""

    backend: str = "asyncio"
    app: ASGIApp | None = None

    def __post_init__(self) -> None:
        self.middleware = AsgiGate(self.app or self._record, gate=self.gate)

    async def _record(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        fields = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        query = scope["query_string"].decode("latin-1")
        self.received.append(Received(scope["method"], scope["path"], query, fields, body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"stored"})

    def exchange(
        self,
        method: str,
        path: str,
        fields: Fields,
        pieces: list[bytes],
        query: str,
        prefix: str,
        scheme: str,
        peer: str | None,
    ) -> Reply:
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": scheme,
            "path": prefix + path,
            "raw_path": (prefix + path).encode(),
            "root_path": prefix,
            "query_string": query.encode("latin-1"),
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields],
            "client": (peer, 1234) if peer else None,
            "server": ("127.0.0.1", 80),
        }
        messages: list[Message] = [
            {"type": "http.request", "body": piece, "more_body": index < len(pieces) - 1}
            for index, piece in enumerate(pieces or [b""])
        ]
        sent: list[Message] = []

        async def receive() -> Message:
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        anyio.run(self.middleware, scope, receive, send, backend=self.backend)
        if not sent:
            return Reply(0, [], b"")
        headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in sent[0]["headers"]]
        return Reply(sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:]))


class PiecewiseInput(io.RawIOBase):
    """A ``wsgi.input`` that gives its pieces one a read, as sockets do, and checks how it is read."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = [piece for piece in pieces if piece]

    def read(self, size: int = -1, /) -> bytes:
        assert size >= 0, "read() without a size blocks on real servers"
        if not self._pieces or size == 0:
            return b""
        piece = self._pieces.pop(0)
        if len(piece) > size:
            self._pieces.insert(0, piece[size:])
        return piece[:size]


@dataclass
class WsgiTwin(Twin):
    """The WSGI driver."""

    app: Callable[..., Iterable[bytes]] | None = None

    def __post_init__(self) -> None:
        self.middleware = WsgiGate(self.app or self._record, gate=self.gate)

    def _record(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        left = int(environ.get("CONTENT_LENGTH") or 0)
        body = b""
        while left > 0 or environ.get("wsgi.input_terminated"):
            piece = environ["wsgi.input"].read(left if left > 0 else 65536)
            if not piece:
                break
            body += piece
            left -= len(piece)
        fields = [
            (key.removeprefix("HTTP_").replace("_", "-").lower(), value)
            for key, value in environ.items()
            if key.startswith("HTTP_") or (key in ("CONTENT_TYPE", "CONTENT_LENGTH") and value)
        ]
        path = environ["PATH_INFO"].encode("latin-1").decode()
        self.received.append(Received(environ["REQUEST_METHOD"], path, environ["QUERY_STRING"], fields, body))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"stored"]

    def exchange(
        self,
        method: str,
        path: str,
        fields: Fields,
        pieces: list[bytes],
        query: str,
        prefix: str,
        scheme: str,
        peer: str | None,
    ) -> Reply:
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": prefix,
            "PATH_INFO": path.encode().decode("latin-1"),
            "QUERY_STRING": query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": peer or "",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": scheme,
            "wsgi.input": PiecewiseInput(pieces),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in fields:
            key = name.upper().replace("-", "_")
            key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
            environ[key] = f"{environ[key]},{value}" if key in environ else value
        if "CONTENT_LENGTH" not in environ:
            environ["wsgi.input_terminated"] = True
        started: list[Any] = []

        def start_response(status: str, headers: Any, _exc_info: Any = None) -> Callable[[bytes], object]:
            started[:] = [status, headers]
            return started.append

        result = self.middleware(environ, start_response)
        body = b"".join(result)
        headers = [(name.lower(), value) for name, value in started[1]]
        return Reply(int(started[0].split()[0]), headers, body)


def make_twin(name: str, **options: Any) -> Twin:
    """A twin by name (``asgi-asyncio``, ``asgi-trio`` or ``wsgi``) with these settings."""
    gate = Gate(settings(**options))
    if name == "wsgi":
        return WsgiTwin(gate)
    return AsgiTwin(gate, backend=name.removeprefix("asgi-"))


TWINS = ("asgi-asyncio", "asgi-trio", "wsgi")
