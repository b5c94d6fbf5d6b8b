"""The ASGI driver: answers the flow's effects by awaiting them, and sends what it ends in."""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import Any, Unpack

import anyio
import anyio.lowlevel
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .asgi_body import Replay, begin, ours_at_once, peek, read_body, taking_the_rest
from .effects import Claiming, Deliver, Draw, Drop, Effect, Fetch, Gone, Pass, PutBack, ReadBody, Refuse, Show, Verdict
from .form import URLENCODED
from .gate import Gate, make_gate
from .guard import Guard
from .interstitial import Steps
from .page import Page, Response
from .protocols import Claim, Headers, Reason, Request, StoreError
from .routes import strip_prefix
from .settings import Options, Settings
from .stores.patience import allowance
from .threads import in_thread, settled

#: Set in the scope of a request that was solved, so that another gate further in does not ask again.
DELIVERED = "gatepost.delivered"

_URLENCODED = URLENCODED.encode()
_LENGTH = len(_URLENCODED)


class GatepostMiddleware:
    """Stands in front of an ASGI application.

    :param app: the application.
    :param settings: the settings as one value, or
    :param gate: a gate that exists already, for those who want its ``stats()``, or
    :param options: the settings as keywords; ``secret`` and ``protect`` are needed.
    :raises ValueError: one sentence about the first setting that cannot be.
    """

    def __init__(
        self, app: ASGIApp, *, settings: Settings | None = None, gate: Gate | None = None, **options: Unpack[Options]
    ) -> None:
        self.app = app
        self.gate = make_gate(settings, gate, options)
        self._page = Page(self.gate.settings)
        self._clock = self.gate.settings.clock
        self._finders = self.gate.routes.finders
        self._indices = self.gate.routes.indices

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        method = scope["method"]
        finder = self._finders.get(method)
        if finder is None:
            return await self.app(scope, receive, send)
        path, prefix = scope["path"], scope.get("root_path")
        match = finder(strip_prefix(path, prefix) if prefix else path)
        if match is None and path[:1] != "/":  # an absolute address, as some servers hand it on
            match = finder(strip_prefix(path, ""))
        if match is None or DELIVERED in scope:
            return await self.app(scope, receive, send)
        fields = scope["headers"]
        if not isinstance(fields, list) and iter(fields) is fields:  # can be gone through once, as the application will
            fields = list(fields)
            scope = {**scope, "headers": fields}
        gate = self.gate
        guard = gate.guards[self._indices[method][match.lastindex or 0]]
        waited = await self._wake(guard) if guard.asleep else 0.0
        if _urlencoded(fields) and method.upper() == "POST":
            first, pending = begin(receive)
            ours = None if first is None else ours_at_once(first)
            if ours is None:
                seen = await peek(receive, first, pending, gate.settings.read_timeout)
                if seen.slow:
                    return await self._refuse_slow(guard, scope, receive, send)
                receive, ours = Replay(seen.messages, receive), seen.ours
            elif first is not None:
                receive = Replay([first], receive)
            if ours:
                request = request_of(scope)
                return await self._drive(gate.flow.answer(guard, request), request, receive, send, waited)
        screened = guard.screen(request_of, scope, self._clock())
        if screened is None:
            return await self.app(scope, receive, send)
        request, demand = screened
        return await self._drive(gate.flow.submit(guard, request, demand), request, receive, send, waited)

    async def _wake(self, guard: Guard) -> float:
        """Let this process hear from the others first, if it has to; the seconds that took."""
        learning = self.gate.wake(guard)
        if learning is None:
            return 0.0
        began = time.monotonic()
        await settled(learning, self.gate.settings.store_timeout)
        return time.monotonic() - began

    async def _drive(self, steps: Steps, request: Request, receive: Receive, send: Send, waited: float) -> None:
        """Run the flow to its verdict, and carry that out.

        :param waited: seconds that this request has waited for the store already.
        """
        held = [0]  # bytes of the process's buffer that this request has taken
        try:
            with allowance(self.gate.settings.store_timeout - waited):
                verdict = await self._run(steps, request, receive, held)
        finally:
            self.gate.buffer.shrink(held[0])
            steps.close()
        match verdict:
            case Show():
                await _send(self._page.show(verdict, request), request, receive, send)
            case Refuse():
                await _send(self._page.refuse(verdict, request), request, receive, send)
            case Pass():
                await self.app({**request.raw, DELIVERED: True}, receive, send)
            case Deliver():
                await self._deliver(verdict, request, receive, send)
            case Gone():
                pass

    async def _run(self, steps: Steps, request: Request, receive: Receive, held: list[int]) -> Verdict:
        store = self.gate.store
        if not store.ready:
            await in_thread(store.open)
        try:
            effect = next(steps)
            while True:
                try:
                    result = await self._perform(effect, request, receive, held)
                except StoreError as error:
                    effect = steps.throw(error)
                else:
                    effect = steps.send(result)
        except StopIteration as stop:
            verdict: Verdict = stop.value
        return verdict

    async def _perform(self, effect: Effect, request: Request, receive: Receive, held: list[int]) -> Any:
        gate = self.gate
        if isinstance(effect, ReadBody):
            body = await read_body(receive, request, effect.cap, gate.settings, gate.buffer)
            held[0] += len(body.data)
            return body
        if isinstance(effect, Draw):
            drawn = gate.draw(effect)
            if not isinstance(drawn, Future):
                return drawn
            late = gate.late
            return drawn.result() if await settled(drawn, late.retry_after) else late
        if isinstance(effect, Claiming | Drop) and gate.store.blocking:
            # Not to be left half known: a cancellation waits until the store has answered.
            with anyio.CancelScope(shield=True):
                found = await in_thread(gate.perform, effect)
            if found is Claim.NEW and effect.submission is not None:
                await self._unless_cancelled(effect.submission)
            return found
        # A fetch hashes what may be megabytes.
        if isinstance(effect, Fetch) or (gate.store.blocking and not isinstance(effect, PutBack)):
            return await in_thread(gate.perform, effect)
        return gate.perform(effect)

    async def _unless_cancelled(self, submission: bytes) -> None:
        """Withdraw a claim if the request was cancelled meanwhile; from here on, nothing waits before the delivery."""
        try:
            await anyio.lowlevel.checkpoint_if_cancelled()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await in_thread(self.gate.store.withdraw, submission)
            raise

    async def _deliver(self, verdict: Deliver, request: Request, receive: Receive, send: Send) -> None:
        fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in verdict.fields]
        scope = {**request.raw, "headers": fields, DELIVERED: True}
        message = {"type": "http.request", "body": verdict.body, "more_body": False}
        if verdict.cookie:
            send = _with_cookie(send, verdict.cookie)
        await self.app(scope, Replay([message], receive), send)

    async def _refuse_slow(self, guard: Guard, scope: Scope, receive: Receive, send: Send) -> None:
        guard.refused(Reason.TOO_SLOW, self._clock(), "")
        request = request_of(scope)
        response = self._page.refuse(Refuse(Reason.TOO_SLOW, 408, closing=True), request)
        await _send(response, request, receive, send)


def request_of(scope: Scope) -> Request:
    """What the gate knows of a request, from its scope."""
    prefix = scope.get("root_path") or ""
    client = scope.get("client")
    raw_path = scope.get("raw_path")
    return Request(
        method=scope["method"].upper(),
        path=strip_prefix(scope["path"], prefix),
        headers=Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]),
        peer=client[0] if client else None,
        raw=scope,
        query=scope.get("query_string", b"").decode("latin-1"),
        scheme=scope.get("scheme", "http"),
        prefix=prefix,
        raw_path=raw_path.decode("latin-1") if raw_path else None,
    )


def _urlencoded(fields: Any) -> bool:
    """Whether any Content-Type of these raw header fields is the one that an answer request has."""
    given = False
    for name, value in fields:
        if name == b"content-type":
            if value == _URLENCODED or _spelt_otherwise(value):
                return True
            given = True
    # Servers should give names in lower case; of one that does not, none was found so far.
    return not given and any(
        len(name) == 12 and name.lower() == b"content-type" and _spelt_otherwise(value) for name, value in fields
    )


def _spelt_otherwise(value: bytes) -> bool:
    """Whether a Content-Type is that with parameters, in other case, or among several that a proxy has joined."""
    value = value.lower()
    return _URLENCODED in value and any(
        part.startswith(_URLENCODED) and part[_LENGTH : _LENGTH + 1] in b"; \t"
        for part in map(bytes.lstrip, value.split(b","))
    )


def _with_cookie(send: Send, cookie: str) -> Send:
    async def send_with_cookie(message: Message) -> None:
        if message["type"] == "http.response.start":
            fields = [*message.get("headers", ()), (b"set-cookie", cookie.encode("latin-1"))]
            message = {**message, "headers": fields}
        await send(message)

    return send_with_cookie


async def _send(response: Response, request: Request, receive: Receive, send: Send) -> None:
    fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.fields]
    if response.closing and request.raw.get("http_version", "1.1").startswith("1"):
        fields.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": response.status, "headers": fields})
    last = {"type": "http.response.body", "body": response.body, "more_body": False}
    if response.closing:
        await taking_the_rest(receive, send, last)
    else:
        await send(last)
