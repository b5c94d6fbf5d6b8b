"""Raw ASGI and WSGI, as a server speaks them: what goes in, what comes back, and clocks that need no waiting."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from trio.testing import MockClock

from gatepost.testing import Answer, solve
from twins import ANSWER, HOST, URLENCODED

BACKENDS = ("asyncio", "trio")
BROWSER = [
    (b"host", HOST.encode()),
    (b"accept", b"text/html"),
    (b"sec-fetch-site", b"same-origin"),
    (b"sec-fetch-mode", b"navigate"),
]


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer when there is nothing else to do. Not for worker threads."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        timers = [timer.when() for timer in self._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        if timers and not self._ready:  # type: ignore[attr-defined]
            self.now = max(self.now, min(timers))
        super()._run_once()  # type: ignore[misc]


def run(backend: str, function: Callable[..., Awaitable[Any]], *args: Any, jump: bool = False) -> Any:
    """Run an async function; with ``jump`` waiting takes no time."""
    options: dict[str, Any] = {}
    if jump and backend == "trio":
        options = {"clock": MockClock(autojump_threshold=0)}
    elif jump:
        options = {"loop_factory": JumpingLoop}
    return anyio.run(function, *args, backend=backend, backend_options=options)


def scope_of(*without: str, content_type: Any = URLENCODED, **changes: Any) -> Scope:
    """The scope of a protected POST.

    :param without: keys to be left out.
    :param changes: other values, or more keys.
    """
    headers = [*BROWSER] if content_type is None else [*BROWSER, (b"content-type", content_type.encode("latin-1"))]
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/contact",
        "raw_path": b"/contact",
        "root_path": "",
        "query_string": b"",
        "headers": headers,
        "client": ("203.0.113.7", 1234),
        "server": ("127.0.0.1", 80),
        "extensions": {},
        "state": {},
    }
    return {key: value for key, value in (scope | changes).items() if key not in without}


def pieces(*bodies: bytes, more: bool = False) -> list[Message]:
    """A body in these pieces; with ``more`` the last one does not end it."""
    last = len(bodies) - 1
    return [
        {"type": "http.request", "body": body, "more_body": more or index < last} for index, body in enumerate(bodies)
    ]


async def never() -> Message:
    """A client that sends nothing more, and stays."""
    await anyio.sleep_forever()
    raise AssertionError("that was more than forever")


@dataclass
class Line:
    """The server's end of one ASGI request: gives messages, then what :attr:`then` does, and records what is sent.

    With :attr:`stays` the client leaves when it has the answer.
    """

    messages: list[Message] = field(default_factory=list)
    then: Receive | None = None
    stays: bool = False
    sent: list[Message] = field(default_factory=list)
    taken: int = 0
    answered_whole: anyio.Event = field(default_factory=anyio.Event)

    async def receive(self) -> Message:
        self.taken += 1
        if self.messages:
            return self.messages.pop(0)
        if self.then is not None:
            return await self.then()
        if self.stays:
            await self.answered_whole.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.answered_whole.set()

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"]) if self.sent else 0

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self.sent[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent[1:])

    @property
    def reason(self) -> str:
        return self.headers.get("gatepost", "").partition("reason=")[2]

    def answered(self, answer: str = ANSWER) -> Answer:
        return solve(self.body, answer)


def call(
    app: ASGIApp, scope: Scope | None = None, messages: Sequence[Message] = (), backend: str = "asyncio", **options: Any
) -> Line:
    """One request to its end.

    :param options: ``jump`` of :func:`run`, ``then`` and ``stays`` of :class:`Line`.
    """
    jump = options.pop("jump", False)
    line = Line([*messages], **options)
    run(backend, app, scope_of() if scope is None else scope, line.receive, line.send, jump=jump)
    return line


@dataclass
class Probe:
    """An ASGI application that keeps what it was called with, reads the body, and answers 200."""

    calls: list[tuple[Scope, Receive, Send]] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls.append((scope, receive, send))
        if scope["type"] != "http":
            return
        while True:
            message = await receive()
            self.messages.append(message)
            if message["type"] == "http.disconnect":
                return
            if message["type"] == "http.request" and not message.get("more_body", False):
                break
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"stored"})

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)

    @property
    def scope(self) -> Scope:
        return self.calls[-1][0]


def environ_of(
    body: bytes = b"",
    *without: str,
    content_type: Any = URLENCODED,
    stream: Any = None,
    terminated: Any = None,
    **changes: Any,
) -> dict[str, Any]:
    """The environ of a protected POST with this body.

    :param without: keys to be left out.
    :param stream: the ``wsgi.input``, if it is not just the body.
    :param terminated: what ``wsgi.input_terminated`` says, if it is there.
    :param changes: other values, or more keys.
    """
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/contact",
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "203.0.113.7",
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_HOST": HOST,
        "HTTP_ACCEPT": "text/html",
        "HTTP_SEC_FETCH_SITE": "same-origin",
        "HTTP_SEC_FETCH_MODE": "navigate",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body) if stream is None else stream,
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if content_type is not None:
        environ["CONTENT_TYPE"] = content_type
    if terminated is not None:
        environ["wsgi.input_terminated"] = terminated
    return {key: value for key, value in (environ | changes).items() if key not in without}


@dataclass
class Call:
    """What a WSGI application answered."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def code(self) -> int:
        return int(self.status.split()[0])

    def get(self, name: str) -> str:
        return ",".join(value for key, value in self.headers if key.lower() == name)

    @property
    def reason(self) -> str:
        return self.get("gatepost").partition("reason=")[2]

    def answered(self, answer: str = ANSWER) -> Answer:
        return solve(self.body, answer)


def call_wsgi(app: Callable[..., Iterable[bytes]], environ: dict[str, Any]) -> Call:
    """One WSGI request to its end, with ``close()``."""
    started: list[Any] = []
    written: list[bytes] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        assert not started or exc_info, "start_response is called once, or again with exc_info"
        started[:] = [status, headers]
        return written.append

    result = app(environ, start_response)
    try:
        written.extend(result)
    finally:
        close = getattr(result, "close", None)
        if close is not None:
            close()
    return Call(started[0], started[1], b"".join(written))
