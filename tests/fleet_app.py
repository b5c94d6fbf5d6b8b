"""The application that several worker processes serve in tests of a shared store, behind gates of its own.

``GATEPOST_FLEET`` holds JSON: ``gates`` has for each protected path the settings of a gate, ``diary`` names a file to
which all workers write, ``offset`` is how many seconds their clock is ahead, and ``deaths`` is a folder. What the
application got and what the gates report are lines in the diary, with the process's id.

A worker kills itself where a file in ``deaths`` says so, for a path whose store begins with ``mortal:``: ``before`` it
claims a submission, ``after`` that, or ``inside`` the application. The file is gone then, so that one worker dies.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gatepost import Event, Settings
from gatepost.asgi import GatepostMiddleware as AsgiGate
from gatepost.protocols import Claim
from gatepost.stores.sqlite import SqliteStore
from gatepost.testing import KnownChallenge
from gatepost.wsgi import GatepostMiddleware as WsgiGate

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ANSWER = "open sesame"
_config: dict[str, Any] = json.loads(os.environ.get("GATEPOST_FLEET", "{}"))
_diary = os.open(_config["diary"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if _config else -1


def _write(what: str, path: str = "", about: str = "") -> None:
    line = json.dumps({"pid": os.getpid(), "at": time.time(), "what": what, "path": path, "about": about})
    os.write(_diary, f"{line}\n".encode())  # in one piece, so that lines do not mix


def _die(where: str) -> None:
    """End like a worker that was killed, if somebody has asked for that here."""
    try:
        os.unlink(Path(_config["deaths"]) / where)
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


class _Mortal(SqliteStore):
    """A store whose process can die at the moment of a claim."""

    def claim(self, *claim: Any) -> Claim:
        # Of what is claimed the submission comes third.
        if claim[2] is not None:
            _die("before")
        told = super().claim(*claim)
        if claim[2] is not None:
            _die("after")
        return told


def _settings(path: str, options: dict[str, Any]) -> Settings:
    def report(event: Event) -> None:
        if event.name in ("store-lost", "store-back", "engaged", "released"):
            _write(event.name, path, event.reason)

    offset = float(_config["offset"])
    values: dict[str, Any] = {"protect": [path], "challenge": KnownChallenge(ANSWER), "on_event": report}
    if offset:
        values["clock"] = lambda: time.time() + offset
    values |= options
    scheme, _, file = values.get("store", "").partition(":")
    if scheme == "mortal":
        values["store"] = _Mortal(Path(file), Settings(**(values | {"store": "memory://"})))
    return Settings(**values)


def _got(path: str, body: bytes) -> None:
    _write("delivered", path, body.partition(b"&")[0].decode())
    if _config["gates"][path].get("store", "").startswith("mortal:"):
        _die("inside")


# --- ASGI ---


async def _asgi_app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        _write("started")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    _got(scope["path"], body)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]})
    await send({"type": "http.response.body", "body": b"stored"})


def make_asgi() -> ASGIApp:
    """The ASGI application behind its gates."""
    app: ASGIApp = _asgi_app
    for path, options in _config["gates"].items():
        app = AsgiGate(app, settings=_settings(path, options))

    async def with_pid(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_pid(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"x-pid", str(os.getpid()).encode())]}
            await send(message)

        await app(scope, receive, send_with_pid)

    return with_pid


# --- WSGI ---


def _wsgi_app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    _got(environ["PATH_INFO"], environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
    start_response("200 OK", [("Content-Length", "6")])
    return [b"stored"]


def make_wsgi() -> WSGIApplication:
    """The WSGI application behind its gates, for a server that makes it once and forks after that."""
    app: WSGIApplication = _wsgi_app
    for path, options in _config["gates"].items():
        app = WsgiGate(app, settings=_settings(path, options))

    def with_pid(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def start_with_pid(status: str, headers: list[tuple[str, str]], *more: Any) -> Callable[[bytes], object]:
            return start_response(status, [*headers, ("X-Pid", str(os.getpid()))], *more)

        return app(environ, start_with_pid)

    os.register_at_fork(after_in_child=lambda: _write("started"))
    return with_pid
