"""What a request that passes costs under WSGI, over the application alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import flask
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

from gatepost.wsgi import GatepostMiddleware

from .passing import BARE, GATEPOST, NO_OP, report
from .timing import Contender, Plan, Round, measure
from .traffic import DOCUMENT, ELSEWHERE, FORM, NEARLY, READING, UPLOAD, Sent, settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

#: Microseconds that Gatepost may add.
TARGETS = ((READING, 0.4), (ELSEWHERE, 0.4), (NEARLY, 0.4), (DOCUMENT, 2.5), (UPLOAD, 2.5), (FORM, 2.5))

_BODY = [b"stored"]
_FIELDS = [("Content-Type", "text/plain")]


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Reads what is sent and answers 'stored'."""
    if environ["REQUEST_METHOD"] == "POST":
        environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    start_response("200 OK", _FIELDS)
    return _BODY


def start_response(*_: object) -> Callable[[bytes], object]:
    """The way back, which costs nothing here."""
    return _body


def _body(_data: bytes) -> None: ...


class NoOp:
    """The least that a middleware can be."""

    def __init__(self, app: WSGIApplication) -> None:
        self.app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return self.app(environ, start_response)


def make_flask() -> flask.Flask:
    """The same application in Flask."""
    app = flask.Flask(__name__)

    def store(path: str) -> str:  # noqa: ARG001 - Flask hands it over
        flask.request.get_data(cache=False)
        return "stored"

    app.add_url_rule("/<path:path>", view_func=store, methods=["GET", "POST"])
    return app


def rounds_of(app: WSGIApplication, sent: Sent) -> Round:
    """A round of requests to an application."""
    template = sent.environ

    def requests(count: int) -> float:
        turns = range(count)
        started = time.perf_counter()
        for _ in turns:
            environ = template.copy()
            environ["wsgi.input"] = sent.stream()
            result = app(environ, start_response)
            for _piece in result:
                pass
            if hasattr(result, "close"):
                result.close()
        return time.perf_counter() - started

    return requests


def run(plan: Plan) -> None:
    """Measure and print."""
    results = []
    for sent, target in TARGETS:
        gate = GatepostMiddleware(application, settings=settings())
        contenders = [
            Contender(BARE, rounds_of(application, sent)),
            Contender(NO_OP, rounds_of(NoOp(application), sent), BARE),
            Contender(GATEPOST, rounds_of(gate, sent), BARE, target),
        ]
        results.append((sent.name, measure(contenders, plan)))
    report("Requests that pass, WSGI", results)
    run_flask(plan.of(1, 0.0006))


def run_flask(plan: Plan) -> None:
    """The same over a Flask application, with Flask-Limiter beside it."""
    results = []
    limited = make_flask()
    Limiter(get_remote_address, app=limited, default_limits=["999999999/minute"], storage_uri="memory://")
    for sent in (READING, DOCUMENT):
        bare = make_flask()
        contenders = [
            Contender(BARE, rounds_of(bare, sent)),
            Contender(NO_OP, rounds_of(NoOp(bare), sent), BARE),
            Contender(GATEPOST, rounds_of(GatepostMiddleware(bare, settings=settings()), sent), BARE),
            Contender("Flask-Limiter", rounds_of(limited, sent), BARE),
        ]
        results.append((sent.name, measure(contenders, plan)))
    report("Requests that pass, Flask", results, whole=True)
