"""The WSGI driver: answers the flow's effects by calling, and sends what it ends in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import wait as wait_here
from typing import TYPE_CHECKING, Any, Unpack

from .effects import Deliver, Draw, Effect, Gone, Pass, ReadBody, Refuse, Show, Verdict
from .form import URLENCODED
from .gate import Gate, make_gate
from .guard import Guard
from .interstitial import Steps
from .page import Page, Response
from .protocols import Headers, Reason, Request, StoreError
from .settings import Options, Settings
from .stores.patience import allowance
from .wsgi_body import BodyInput, peek, read_body

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

#: Set in the environ of a request that was solved, so that another gate further in does not ask again.
DELIVERED = "gatepost.delivered"

_LENGTH = len(URLENCODED)


class GatepostMiddleware:
    """Stands in front of a WSGI application.

    :param app: the application.
    :param settings: the settings as one value, or
    :param gate: a gate that exists already, for those who want its ``stats()``, or
    :param options: the settings as keywords; ``secret`` and ``protect`` are needed.
    :raises ValueError: one sentence about the first setting that cannot be.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        settings: Settings | None = None,
        gate: Gate | None = None,
        **options: Unpack[Options],
    ) -> None:
        self.app = app
        self.gate = make_gate(settings, gate, options)
        self._page = Page(self.gate.settings)
        self._clock = self.gate.settings.clock
        self._finders = self.gate.routes.finders
        self._indices = self.gate.routes.indices

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        finder = self._finders.get(method)
        if finder is None:
            return self.app(environ, start_response)
        path = environ.get("PATH_INFO", "")
        match = finder(path if path.isascii() else _decoded(path))
        if match is None or DELIVERED in environ:
            return self.app(environ, start_response)
        gate = self.gate
        guard = gate.guards[self._indices[method][match.lastindex or 0]]
        waited = self._wake(guard) if guard.asleep else 0.0
        if _urlencoded(environ.get("CONTENT_TYPE", "")) and method.upper() == "POST":
            seen = peek(environ, gate.settings.read_timeout)
            if seen.slow:
                guard.refused(Reason.TOO_SLOW, self._clock(), "")
                return self._conclude(Refuse(Reason.TOO_SLOW, 408), request_of(environ), start_response)
            if seen.ours:
                request = request_of(environ)
                return self._drive(gate.flow.answer(guard, request), request, start_response, waited)
        screened = guard.screen(request_of, environ, self._clock())
        if screened is None:
            return self.app(environ, start_response)
        request, demand = screened
        return self._drive(gate.flow.submit(guard, request, demand), request, start_response, waited)

    def _wake(self, guard: Guard) -> float:
        """Let this process hear from the others first, if it has to; the seconds that took."""
        learning = self.gate.wake(guard)
        if learning is None:
            return 0.0
        began = time.monotonic()
        wait_here([learning], self.gate.settings.store_timeout)
        return time.monotonic() - began

    def _drive(self, steps: Steps, request: Request, start_response: StartResponse, waited: float) -> Iterable[bytes]:
        """Run the flow to its verdict, and carry that out.

        :param waited: seconds that this request has waited for the store already.
        """
        held = [0]  # bytes of the process's buffer that this request has taken
        try:
            with allowance(self.gate.settings.store_timeout - waited):
                verdict = self._run(steps, request, held)
        finally:
            self.gate.buffer.shrink(held[0])
            steps.close()
        return self._conclude(verdict, request, start_response)

    def _run(self, steps: Steps, request: Request, held: list[int]) -> Verdict:
        if not self.gate.store.ready:
            self.gate.store.open()
        try:
            effect = next(steps)
            while True:
                try:
                    result = self._perform(effect, request)
                except StoreError as error:
                    effect = steps.throw(error)
                    continue
                if isinstance(effect, ReadBody):
                    held[0] += len(result.data)
                effect = steps.send(result)
        except StopIteration as stop:
            verdict: Verdict = stop.value
        return verdict

    def _perform(self, effect: Effect, request: Request) -> Any:
        gate = self.gate
        if isinstance(effect, ReadBody):
            return read_body(request, effect.cap, gate.settings, gate.buffer)
        if isinstance(effect, Draw):
            drawn = gate.draw(effect)
            return gate.drawn(drawn) if isinstance(drawn, Future) else drawn
        return gate.perform(effect)

    def _conclude(self, verdict: Verdict, request: Request, start_response: StartResponse) -> Iterable[bytes]:
        match verdict:
            case Show():
                return _send(self._page.show(verdict, request), start_response)
            case Refuse():
                return _send(self._page.refuse(verdict, request), start_response)
            case Pass():
                return self.app({**request.raw, DELIVERED: True}, start_response)
            case Deliver():
                return self._deliver(verdict, request, start_response)
            case Gone():
                # Nobody listens, but WSGI wants an answer.
                return _send(Response(400, [("content-length", "0")], b""), start_response)

    def _deliver(self, verdict: Deliver, request: Request, start_response: StartResponse) -> Iterable[bytes]:
        environ = {key: value for key, value in request.raw.items() if not _is_field(key)}
        environ |= _environ_fields(verdict.fields)
        environ["wsgi.input"] = BodyInput(verdict.body)
        environ["wsgi.input_terminated"] = True
        environ[DELIVERED] = True
        if verdict.cookie:
            start_response = _with_cookie(start_response, verdict.cookie)
        return self.app(environ, start_response)


def _decoded(path: str) -> str:
    """A path as text. WSGI hands on its bytes as Latin-1."""
    return path.encode("latin-1", "replace").decode("utf-8", "replace")


def _urlencoded(content_type: str) -> bool:
    """Whether this is the Content-Type that an answer request has, or one of several that the server joined."""
    if content_type == URLENCODED:  # as nearly all clients spell it
        return True
    content_type = content_type.lower()
    return URLENCODED in content_type and any(
        part.startswith(URLENCODED) and part[_LENGTH : _LENGTH + 1] in "; \t"
        for part in map(str.lstrip, content_type.split(","))
    )


def request_of(environ: WSGIEnvironment) -> Request:
    """What the gate knows of a request, from its environ."""
    fields = [
        (key[5:].replace("_", "-"), value)
        for key, value in environ.items()
        if key.startswith("HTTP_") and key not in ("HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH")
    ]
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        value = environ.get(key) or environ.get(f"HTTP_{key}")
        if value:
            fields.append((key.replace("_", "-"), value))
    return Request(
        method=environ["REQUEST_METHOD"].upper(),
        path=_decoded(environ.get("PATH_INFO", "")),
        headers=Headers(fields),
        peer=environ.get("REMOTE_ADDR") or None,
        raw=environ,
        query=environ.get("QUERY_STRING", ""),
        scheme=environ.get("wsgi.url_scheme", "http"),
        prefix=_decoded(environ.get("SCRIPT_NAME", "")),
    )


def _is_field(key: str) -> bool:
    return key.startswith("HTTP_") or key in ("CONTENT_TYPE", "CONTENT_LENGTH")


def _environ_fields(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Header fields as environ keys; repeated ones are joined as the field wants it."""
    environ: dict[str, str] = {}
    for name, value in fields:
        key = name.upper().replace("-", "_")
        if not _is_field(key):
            key = f"HTTP_{key}"
        joint = "; " if key == "HTTP_COOKIE" else ","
        environ[key] = f"{environ[key]}{joint}{value}" if key in environ else value
    return environ


def _with_cookie(start_response: StartResponse, cookie: str) -> StartResponse:
    def start_with_cookie(
        status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
    ) -> Callable[[bytes], object]:
        headers = [*headers, ("Set-Cookie", cookie)]
        return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

    return start_with_cookie


def _send(response: Response, start_response: StartResponse) -> Iterable[bytes]:
    start_response(response.status_line, [(name.title(), value) for name, value in response.fields])
    return [response.body]
