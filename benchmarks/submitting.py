"""A whole challenged submission and a whole answer, in process: what a request costs that does not simply pass."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.types import Message

from gatepost import Gate
from gatepost.asgi import GatepostMiddleware as AsgiGate
from gatepost.challenges import ImageKind
from gatepost.effects import Draw
from gatepost.protocols import Challenge
from gatepost.settings import KIB
from gatepost.testing import solve
from gatepost.wsgi import GatepostMiddleware as WsgiGate

from . import passing_asgi, passing_wsgi
from .tables import middle, show
from .timing import Contender, Plan, Round, measure
from .traffic import MULTIPART, NEVER_REACHED, Sent, form_post, settings

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_PATH = "/contact"
_SIZES = (1, 48)

Prepare = Callable[[int], list[Sent]]
"""Makes so many requests."""


class StockedGate(Gate):
    """A gate that always asks and never tires, and whose pool always has a picture: drawing is measured by itself."""

    def __init__(self) -> None:
        many = 1_000_000
        super().__init__(
            settings(
                mode="always",
                min_time=0,
                issue_limit=NEVER_REACHED,
                failure_limit=NEVER_REACHED,
                spent_size=many,
                delivered_size=many,
            )
        )
        self._ready = ImageKind().draw(1, "en")

    def draw(self, order: Draw) -> Challenge:  # noqa: ARG002 - whatever is ordered
        """The picture that is ready."""
        return self._ready

    def short(self, order: Draw) -> None:
        """Never is."""

    @property
    def word(self) -> str:
        """What its picture shows."""
        return self._ready.answer


def submission(size: int) -> Sent:
    """A submission of so many KiB."""
    return Sent("", "POST", _PATH, b"x" * (size * KIB), MULTIPART)


def exchange(app: WsgiGate, sent: Sent) -> bytes:
    """One request to the WSGI twin."""
    environ: WSGIEnvironment = sent.environ
    environ["wsgi.input"] = sent.stream()
    return b"".join(app(environ, lambda *_: lambda _data: None))


def answers(gate: StockedGate, size: int) -> Prepare:
    """Makes right answers, each to a page of its own. Either twin may have made the page."""
    app = WsgiGate(passing_wsgi.application, gate=gate)
    asked = submission(size)

    def prepare(count: int) -> list[Sent]:
        solved = [solve(exchange(app, asked), gate.word) for _ in range(count)]
        return [form_post("", _PATH, answer.body) for answer in solved]

    return prepare


def asgi_rounds(runner: asyncio.Runner, gate: Gate, prepare: Prepare, status: int) -> Round:
    """Rounds of requests to the ASGI twin, which are to be answered with this status."""
    app = AsgiGate(passing_asgi.application, gate=gate)
    statuses: set[int] = set()

    async def send(message: Message) -> None:
        if "status" in message:
            statuses.add(message["status"])

    async def requests(sents: list[Sent]) -> float:
        ready: list[tuple[Any, Message]] = [
            (sent.scope, {"type": "http.request", "body": sent.body, "more_body": False}) for sent in sents
        ]
        started = time.perf_counter()
        for scope, message in ready:
            await app(scope, passing_asgi.Client(message).receive, send)
        taken = time.perf_counter() - started
        _expect(statuses, status)
        return taken

    return lambda count: runner.run(requests(prepare(count)))


def wsgi_rounds(gate: Gate, prepare: Prepare, status: int) -> Round:
    """Rounds of requests to the WSGI twin, which are to be answered with this status."""
    app = WsgiGate(passing_wsgi.application, gate=gate)
    statuses: set[int] = set()

    def start_response(line: str, *_: object) -> Callable[[bytes], object]:
        statuses.add(int(line[:3]))
        return lambda _data: None

    def requests(count: int) -> float:
        ready = [sent.environ | {"wsgi.input": sent.stream()} for sent in prepare(count)]
        started = time.perf_counter()
        for environ in ready:
            for _piece in app(environ, start_response):
                pass
        taken = time.perf_counter() - started
        _expect(statuses, status)
        return taken

    return requests


def _expect(statuses: set[int], status: int) -> None:
    if statuses != {status}:
        raise ValueError(f"answered with {statuses}, wanted {status}: what was measured is not what it says")
    statuses.clear()


def run(plan: Plan) -> None:
    """Measure and print."""
    contenders = []
    with asyncio.Runner() as runner:
        for size in _SIZES:
            gate = StockedGate()
            asked, solved = [submission(size)], answers(gate, size)
            contenders += [
                Contender(f"submission of {size} KiB to page, ASGI", asgi_rounds(runner, gate, asked.__mul__, 429)),
                Contender(f"submission of {size} KiB to page, WSGI", wsgi_rounds(gate, asked.__mul__, 429)),
                Contender(f"answer to delivery of {size} KiB, ASGI", asgi_rounds(runner, gate, solved, 200)),
                Contender(f"answer to delivery of {size} KiB, WSGI", wsgi_rounds(gate, solved, 200)),
            ]
        results = measure(contenders, plan.of(0.1, 0.002))
    rows = [(name, *middle(result), f"{1e6 / result.median:,.0f}") for name, result in results.items()]
    show("Whole requests: microseconds each", ("", "median", "quartiles", "a second"), rows)
