"""An upload behind the gate in each framework: challenged, solved, stored byte for byte, however it is spelt."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from django.conf import UserSettingsHolder, global_settings  # type: ignore[import-untyped]
from django.conf import settings as django_settings
from django.core.handlers.asgi import ASGIHandler  # type: ignore[import-untyped]
from django.core.handlers.wsgi import WSGIHandler  # type: ignore[import-untyped]
from django.http import HttpRequest, HttpResponse  # type: ignore[import-untyped]
from django.urls import path as django_path  # type: ignore[import-untyped]
from fastapi import FastAPI, Form, UploadFile
from flask import Flask
from flask import request as flask_request
from litestar import Litestar, post
from litestar import Request as LitestarRequest
from litestar.middleware import DefineMiddleware
from quart import Quart
from quart import request as quart_request
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gatepost import Settings
from gatepost.asgi import GatepostMiddleware as AsgiGate
from gatepost.testing import solve
from gatepost.wsgi import GatepostMiddleware as WsgiGate
from raw import call, call_wsgi, environ_of, pieces, scope_of
from twins import ANSWER, HOST, settings

BOUNDARY = "a-boundary-of-our-own"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
PICTURE = b"\x89PNG\r\n\x1a\n" + random.Random(3).randbytes(1_500_000)  # noqa: S311 - any bytes will do
TEXT = "شكرًا 🧡 & <b>"


def upload() -> bytes:
    """A form with a text and a file, as a browser sends it."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="message"\r\n\r\n{TEXT}\r\n'.encode(),
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="picture"; filename="p.png"\r\n'.encode(),
        b"Content-Type: image/png\r\n\r\n" + PICTURE + f"\r\n--{BOUNDARY}--\r\n".encode(),
    ]
    return b"".join(parts)


@dataclass
class Stored:
    """What an application has stored."""

    entries: list[tuple[str, str]] = field(default_factory=list)

    def add(self, message: str, picture: bytes) -> None:
        self.entries.append((message, hashlib.sha256(picture).hexdigest()))


@dataclass
class Site:
    """An application behind its gate, and what it has stored."""

    app: Any
    kind: str
    stored: Stored

    def send(self, body: bytes, content_type: str, method: str = "POST", path: str = "/sign") -> tuple[int, bytes]:
        fields = [(b"content-length", str(len(body)).encode())]
        if self.kind == "wsgi":
            environ = environ_of(body, content_type=content_type, REQUEST_METHOD=method, PATH_INFO=path)
            result = call_wsgi(self.app, environ)
            return result.code, result.body
        scope = scope_of(content_type=content_type, method=method, path=path, raw_path=path.encode())
        scope["headers"] += fields
        line = call(self.app, scope, pieces(body[:1000], body[1000:]), stays=True)
        return line.status, line.body


def starlette_site(stored: Stored, gate: Settings) -> Any:
    async def sign(request: Request) -> Response:
        async with request.form() as form:
            picture = form["picture"]
            assert not isinstance(picture, str)
            stored.add(str(form["message"]), await picture.read())
        return PlainTextResponse("stored")

    return Starlette(routes=[Route("/sign", sign, methods=["POST"])], middleware=[Middleware(AsgiGate, settings=gate)])


def fastapi_site(stored: Stored, gate: Settings) -> Any:
    app = FastAPI()
    app.add_middleware(AsgiGate, settings=gate)

    @app.post("/sign")
    async def sign(message: Annotated[str, Form()], picture: UploadFile) -> str:
        stored.add(message, await picture.read())
        return "stored"

    return app


def litestar_site(stored: Stored, gate: Settings) -> Any:
    @post("/sign", status_code=200)
    async def sign(request: LitestarRequest[Any, Any, Any]) -> str:
        form = await request.form()
        stored.add(form["message"], await form["picture"].read())
        return "stored"

    middleware = DefineMiddleware(AsgiGate, settings=gate)  # type: ignore[arg-type]
    return Litestar([sign], middleware=[middleware], openapi_config=None, logging_config=None)


def quart_site(stored: Stored, gate: Settings) -> Any:
    app = Quart(__name__)

    @app.post("/sign")
    async def sign() -> str:
        form, files = await quart_request.form, await quart_request.files
        stored.add(form["message"], files["picture"].read())
        return "stored"

    app.asgi_app = AsgiGate(app.asgi_app, settings=gate)  # type: ignore[method-assign, assignment, arg-type]
    return app


def flask_site(stored: Stored, gate: Settings) -> Any:
    app = Flask(__name__)

    @app.post("/sign")
    def sign() -> str:
        stored.add(flask_request.form["message"], flask_request.files["picture"].read())
        return "stored"

    app.wsgi_app = WsgiGate(app.wsgi_app, settings=gate)  # type: ignore[method-assign]
    return app


@contextmanager
def django_site(stored: Stored, gate: Settings, kind: str) -> Iterator[Any]:
    def sign(request: HttpRequest) -> HttpResponse:
        assert request.method == "POST"
        stored.add(request.POST["message"], request.FILES["picture"].read())
        return HttpResponse("stored")

    class Urls:
        urlpatterns = [django_path("sign", sign)]  # noqa: RUF012 - as Django has it

    own = UserSettingsHolder(global_settings)
    own.ALLOWED_HOSTS = [HOST]
    own.ROOT_URLCONF = Urls
    # Django has one settings object a process, and other tests may have put theirs there.
    theirs, django_settings._wrapped = vars(django_settings)["_wrapped"], own
    try:
        yield AsgiGate(ASGIHandler(), settings=gate) if kind == "asgi" else WsgiGate(WSGIHandler(), settings=gate)
    finally:
        django_settings._wrapped = theirs


MAKE: dict[str, Callable[[Stored, Settings], Any]] = {
    "starlette": starlette_site,
    "fastapi": fastapi_site,
    "litestar": litestar_site,
    "quart": quart_site,
    "flask": flask_site,
}
NAMES = [*MAKE, "django-asgi", "django-wsgi"]


@pytest.fixture
def site_of() -> Iterator[Callable[..., Site]]:
    """Makes the application of a framework behind a gate with these settings."""
    open_sites: list[Any] = []

    def make(name: str, **options: Any) -> Site:
        stored = Stored()
        gate = settings(**({"protect": "/sign", "min_time": 0} | options))
        framework, _, kind = name.partition("-")
        if framework == "django":
            manager = django_site(stored, gate, kind)
            open_sites.append(manager)
            return Site(manager.__enter__(), kind, stored)
        return Site(MAKE[name](stored, gate), "wsgi" if name == "flask" else "asgi", stored)

    yield make
    for manager in open_sites:
        manager.__exit__(None, None, None)


@pytest.mark.parametrize("name", NAMES)
def test_upload_is_stored_byte_for_byte(name: str, site_of: Callable[..., Site]) -> None:
    """In calm and behind a challenge, an upload is stored as it was sent, once."""
    site = site_of(name, mode="adaptive", above="1/minute")
    entry = (TEXT, hashlib.sha256(PICTURE).hexdigest())
    assert site.send(upload(), FORM)[0] == 200
    assert site.stored.entries == [entry]
    status, page = site.send(upload(), FORM)
    assert status == 429
    assert b"1.5 MB" in page
    assert site.stored.entries == [entry]
    answer = solve(page, ANSWER)
    status, body = site.send(answer.body, answer.content_type)
    assert (status, b"stored" in body) == (200, True)
    assert site.stored.entries == [entry] * 2
    assert site.send(answer.body, answer.content_type)[0] == 409
    assert site.stored.entries == [entry] * 2


SPELLINGS = [
    *(
        ("post", "/sign"),
        ("Post", "/sign"),
        ("POST", "//sign"),
        ("POST", "sign"),
        ("POST", "/sign/"),
        ("POST", "/sign\n"),
    ),
    *(("POST", "http://site.example/sign"), ("POST", "https://x/sign;y?z#a"), ("POST", "///sign//")),
]


@pytest.mark.parametrize(("method", "path"), SPELLINGS)
@pytest.mark.parametrize("name", NAMES)
def test_no_spelling_gets_past(name: str, method: str, path: str, site_of: Callable[..., Site]) -> None:
    """However method and path are spelt: the view is not reached unchallenged."""
    site = site_of(name)
    status, _ = site.send(upload(), FORM, method, path)
    assert site.stored.entries == []
    assert status != 200
    assert status < 500 or status == 501
