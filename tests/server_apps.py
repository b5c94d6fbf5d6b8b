"""The applications that the real servers serve in tests: one ASGI, one WSGI, each behind the same gates.

``GATEPOST_TEST_GATES`` holds JSON: for each protected path the settings of a gate of its own. The gates stand inside
each other, so that one process serves them all.

With ``GATEPOST_TEST_WARM`` this path of the WSGI application gets a submission already at import.

Every POST that comes through is recorded before its body is read, so that a body that was cut short shows. The record
is the answer, too. ``GET /alive`` tells which process answers. ``GET /seen?CASE`` tells how many requests whose
``X-Case`` field is CASE have entered and left the gates, and what of them the application got.

A request with ``X-Hold: PORT`` is held by the application, once it has read the body: it connects to that port, sends
its process id, and goes on when the other side has closed the connection.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gatepost.asgi import GatepostMiddleware as AsgiGate
from gatepost.testing import KnownChallenge
from gatepost.wsgi import GatepostMiddleware as WsgiGate

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ANSWER = "open sesame"
SELECTED = ("content-type", "content-length", "content-encoding", "transfer-encoding", "expect", "cookie", "origin")


@dataclass
class Record:
    """One request as the application got it. ``complete`` says that its body came to a regular end."""

    case: str
    method: str
    path: str
    prefix: str
    query: str
    fields: dict[str, str]
    pid: int = field(default_factory=os.getpid)
    length: int = 0
    sha256: str = ""
    complete: bool = False


@dataclass
class Book:
    """What this process has seen."""

    records: list[Record] = field(default_factory=list)
    entered: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def tell(self, case: str) -> dict[str, Any]:
        """What there is to say of one case."""
        records = [asdict(record) for record in self.records if record.case == case]
        return {"entered": self.entered.count(case), "left": self.left.count(case), "records": records}


book = Book()
_name = os.environ.get("GATEPOST_TEST_NAME", "")
_gates: dict[str, dict[str, Any]] = json.loads(os.environ.get("GATEPOST_TEST_GATES", "{}"))


def _settings(path: str, options: dict[str, Any]) -> dict[str, Any]:
    return {"protect": [path], "challenge": KnownChallenge(ANSWER), "store": "memory://"} | options


def _answer(method: str, path: str, query: str, record: Record | None) -> bytes:
    if path == "/alive":
        return json.dumps({"name": _name, "pid": os.getpid()}).encode()
    if path == "/seen":
        return json.dumps(book.tell(query)).encode()
    return json.dumps(asdict(record) if record else {"method": method, "path": path}).encode()


# --- ASGI ---


async def _asgi_app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        return await _lifespan(receive, send)
    fields = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
    query = scope["query_string"].decode("latin-1")
    prefix = scope.get("root_path", "")
    path = scope["path"].removeprefix(prefix)
    record = None
    if scope["method"] != "GET":
        record = _record(scope["method"], path, prefix, query, fields)
        await _read_asgi(record, receive)
        if record.complete and (port := dict(fields).get("x-hold")):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
            writer.write(f"{os.getpid()}\n".encode())
            await reader.read()
            writer.close()
    body = _answer(scope["method"], path, query, record)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
    return None


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _read_asgi(record: Record, receive: Receive) -> None:
    digest = hashlib.sha256()
    while not record.complete:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        digest.update(message.get("body", b""))
        record.length += len(message.get("body", b""))
        record.sha256 = digest.hexdigest()
        record.complete = not message.get("more_body", False)


def _watched_asgi(app: ASGIApp) -> ASGIApp:
    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await app(scope, receive, send)

        async def send_with_pid(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"x-pid", str(os.getpid()).encode())]}
            await send(message)

        case = next((value.decode() for name, value in scope["headers"] if name.lower() == b"x-case"), "")
        book.entered.append(case)
        try:
            return await app(scope, receive, send_with_pid)
        finally:
            book.left.append(case)

    return watched


# --- WSGI ---


def _wsgi_app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    fields = [
        (key.removeprefix("HTTP_").replace("_", "-").lower(), str(value))
        for key, value in environ.items()
        if key.startswith("HTTP_") or (key in ("CONTENT_TYPE", "CONTENT_LENGTH") and value)
    ]
    path = environ["PATH_INFO"].encode("latin-1").decode()
    method = environ["REQUEST_METHOD"]
    record = None
    if method != "GET":
        record = _record(method, path, environ.get("SCRIPT_NAME", ""), environ["QUERY_STRING"], fields)
        _read_wsgi(record, environ)
        if record.complete and (port := dict(fields).get("x-hold")):
            with socket.create_connection(("127.0.0.1", int(port))) as line:
                line.sendall(f"{os.getpid()}\n".encode())
                line.recv(1)
    body = _answer(method, path, environ["QUERY_STRING"], record)
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def _read_wsgi(record: Record, environ: WSGIEnvironment) -> None:
    declared = environ.get("CONTENT_LENGTH") or ""
    left = int(declared) if declared.isdigit() else -1
    if left < 0 and not environ.get("wsgi.input_terminated"):
        left = 0
    digest = hashlib.sha256()
    while left:
        piece = environ["wsgi.input"].read(min(left, 65536) if left > 0 else 65536)
        if not piece:
            break
        digest.update(piece)
        record.length += len(piece)
        left -= len(piece) if left > 0 else 0
    record.sha256 = digest.hexdigest()
    record.complete = left <= 0


def _watched_wsgi(app: WSGIApplication) -> WSGIApplication:
    def watched(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def start_with_pid(status: str, headers: list[tuple[str, str]], *more: Any) -> Callable[[bytes], object]:
            return start_response(status, [*headers, ("X-Pid", str(os.getpid()))], *more)

        case = environ.get("HTTP_X_CASE", "")
        book.entered.append(case)
        try:
            return app(environ, start_with_pid)
        finally:
            book.left.append(case)

    return watched


# --- both ---


def _record(method: str, path: str, prefix: str, query: str, fields: list[tuple[str, str]]) -> Record:
    values = dict(fields)
    chosen = {name: value for name, value in fields if name in SELECTED}
    record = Record(values.get("x-case", ""), method, path, prefix, query, chosen)
    book.records.append(record)
    return record


def make_asgi() -> ASGIApp:
    """The recording ASGI application behind its gates."""
    app: ASGIApp = _asgi_app
    for path, options in _gates.items():
        app = AsgiGate(app, **_settings(path, options))
    return _watched_asgi(app)


def make_wsgi() -> WSGIApplication:
    """The recording WSGI application behind its gates."""
    app: WSGIApplication = _wsgi_app
    for path, options in _gates.items():
        app = WsgiGate(app, **_settings(path, options))
    return _watched_wsgi(app)


def _warm_up(path: str) -> None:
    """Challenge a submission now, in the process that servers fork their workers from."""
    environ: dict[str, Any] = {"REQUEST_METHOD": "POST", "PATH_INFO": path, "REMOTE_ADDR": "127.0.0.1"}
    setup_testing_defaults(environ)
    b"".join(wsgi(environ, lambda *_: io.BytesIO().write))


asgi = make_asgi()
wsgi = make_wsgi()
if os.environ.get("GATEPOST_TEST_WARM"):
    _warm_up(os.environ["GATEPOST_TEST_WARM"])
