"""What a request that passes costs under ASGI, over the application alone."""

from __future__ import annotations

import asyncio
import time

from slowapi import Limiter
from slowapi.middleware import SlowAPIASGIMiddleware, SlowAPIMiddleware
from slowapi.util import get_remote_address
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gatepost.asgi import GatepostMiddleware

from .passing import BARE, GATEPOST, NO_OP, report
from .timing import Contender, Plan, Round, measure
from .traffic import DOCUMENT, ELSEWHERE, FORM, NEARLY, READING, UPLOAD, Sent, settings

#: Microseconds that Gatepost may add.
TARGETS = ((READING, 0.5), (ELSEWHERE, 1.0), (NEARLY, 1.0), (DOCUMENT, 2.0), (UPLOAD, 2.0), (FORM, 3.0))

_START: Message = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
_BODY: Message = {"type": "http.response.body", "body": b"stored"}


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads what is sent and answers 'stored'."""
    if scope["method"] == "POST":
        while (await receive()).get("more_body", False):
            pass
    await send(_START)
    await send(_BODY)


class NoOp:
    """The least that a middleware can be."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class Based(BaseHTTPMiddleware):
    """The least that Starlette's BaseHTTPMiddleware can be."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Hands on."""
        return await call_next(request)


async def endpoint(request: Request) -> Response:
    """Only its name is looked at: slowapi decides by the route."""
    raise NotImplementedError


def limited() -> Starlette:
    """What slowapi looks up in the scope: routes, and a limiter whose limit is never reached."""
    starlette = Starlette(routes=[Route("/{path:path}", endpoint, methods=["GET", "POST"])])
    starlette.state.limiter = Limiter(key_func=get_remote_address, default_limits=["999999999/minute"])
    return starlette


class Client:
    """One client: sends its body at once, takes everything, and stays until it is answered."""

    __slots__ = ("_message",)

    def __init__(self, message: Message) -> None:
        self._message: Message | None = message

    async def receive(self) -> Message:
        """The body, and then nothing more."""
        message, self._message = self._message, None
        if message is None:
            await asyncio.Event().wait()
            return {"type": "http.disconnect"}
        return message


async def send(message: Message) -> None:
    """The way back, which costs nothing here."""


def rounds_of(runner: asyncio.Runner, app: ASGIApp, sent: Sent, starlette: Starlette) -> Round:
    """A round of requests to an application, all in the loop of ``runner``."""
    scope = sent.scope | {"app": starlette}
    message: Message = {"type": "http.request", "body": sent.body, "more_body": False}

    async def requests(count: int) -> float:
        turns = range(count)
        started = time.perf_counter()
        for _ in turns:
            await app(scope.copy(), Client(message).receive, send)
        return time.perf_counter() - started

    return lambda count: runner.run(requests(count))


def run(plan: Plan) -> None:
    """Measure and print."""
    others: dict[str, type[BaseHTTPMiddleware] | type[SlowAPIASGIMiddleware]] = {
        "Starlette BaseHTTPMiddleware": Based,
        "slowapi, ASGI": SlowAPIASGIMiddleware,
        "slowapi": SlowAPIMiddleware,
    }
    results = []
    with asyncio.Runner() as runner:
        for sent, target in TARGETS:
            starlette = limited()
            contenders = [
                Contender(BARE, rounds_of(runner, application, sent, starlette)),
                Contender(NO_OP, rounds_of(runner, NoOp(application), sent, starlette), BARE),
            ]
            gate = GatepostMiddleware(application, settings=settings())
            contenders.append(Contender(GATEPOST, rounds_of(runner, gate, sent, starlette), BARE, target))
            for name, middleware in others.items() if sent in (READING, DOCUMENT) else ():
                contenders.append(Contender(name, rounds_of(runner, middleware(application), sent, starlette), BARE))
            results.append((sent.name, measure(contenders, plan)))
    report("Requests that pass, ASGI", results)
