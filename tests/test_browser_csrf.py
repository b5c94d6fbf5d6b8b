"""Django's and Flask-WTF's checks against forged requests, in a real browser: the gate changes nothing about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from django.conf import UserSettingsHolder, global_settings  # type: ignore[import-untyped]
from django.conf import settings as django_settings
from django.core.handlers.asgi import ASGIHandler  # type: ignore[import-untyped]
from django.core.handlers.wsgi import WSGIHandler  # type: ignore[import-untyped]
from django.http import HttpRequest, HttpResponse  # type: ignore[import-untyped]
from django.middleware.csrf import get_token  # type: ignore[import-untyped]
from django.urls import path  # type: ignore[import-untyped]
from flask import Flask
from flask import request as flask_request
from flask_wtf.csrf import CSRFProtect, generate_csrf  # type: ignore[import-untyped]
from playwright.sync_api import BrowserContext, Page, Response

from browser_bank import answer, certificate_for
from browsers import (  # noqa: F401 - fixtures among them
    HTTPS,
    PLAIN,
    Pages,
    World,
    browser_fixture,
    certificate_fixture,
    context_fixture,
    form,
    press,
    serving,
)
from gatepost import Gate
from gatepost.asgi import GatepostMiddleware as AsgiGate
from gatepost.wsgi import GatepostMiddleware as WsgiGate
from twins import settings

SECRET = "of the framework, for its own sessions"  # noqa: S105
PROTECTED, OPEN = "/sign", "/open"


@dataclass
class Shop:
    """A framework's application that is being served, with a gate before one of its two paths."""

    origin: str
    evil: str
    pages: Pages
    field: str  # that holds the token
    received: list[str]

    def token(self, page: Page) -> str:
        """The visitor's own token, which no attacker should know."""
        page.goto(f"{self.origin}{OPEN}")
        return page.locator("input[type=hidden]").first.input_value()

    def own_form(self, page: Page, where: str) -> Response:
        page.goto(f"{self.origin}{where}")
        return press(page, "Go")

    def foreign_form(self, page: Page, where: str, fields: Mapping[str, str]) -> Response:
        self.pages.html["/"] = form(f"{self.origin}{where}", dict(fields))
        page.goto(f"{self.evil}/")
        return press(page, "Go")


Made = tuple[Any, str, str]


@contextmanager
def django_app(received: list[str], secure: bool, kind: str) -> Iterator[Made]:
    def view(request: HttpRequest) -> HttpResponse:
        if request.method == "POST":
            received.append(request.POST["message"])
            return HttpResponse("<h1>Stored</h1>")
        return HttpResponse(form("", {"csrfmiddlewaretoken": get_token(request), "message": "hello"}))

    def refuse(_: HttpRequest, reason: str) -> HttpResponse:
        return HttpResponse(f"<h1>{reason}</h1>", status=403)

    class Urls:
        urlpatterns = [path("sign", view), path("open", view)]  # noqa: RUF012 - as Django has it

    own = UserSettingsHolder(global_settings)
    own.ALLOWED_HOSTS = ["*"]
    # Without SameSite, so that a new cookie comes with foreign forms and only the check of the origin is left.
    own.CSRF_COOKIE_SAMESITE = None
    own.CSRF_FAILURE_VIEW = refuse
    own.CSRF_COOKIE_SECURE = secure
    own.MIDDLEWARE = ["django.middleware.csrf.CsrfViewMiddleware"]
    own.ROOT_URLCONF = Urls
    own.SECRET_KEY = SECRET
    # Django has one settings object a process, and other tests may have put theirs there.
    theirs, django_settings._wrapped = vars(django_settings)["_wrapped"], own
    try:
        yield ASGIHandler() if kind == "asgi" else WSGIHandler(), kind, "csrfmiddlewaretoken"
    finally:
        django_settings._wrapped = theirs


@contextmanager
def flask_app(received: list[str], secure: bool) -> Iterator[Made]:
    app = Flask(__name__)
    app.config.update(SECRET_KEY=SECRET, SESSION_COOKIE_SECURE=secure)
    CSRFProtect(app)

    @app.route("/sign", methods=["GET", "POST"])
    @app.route("/open", methods=["GET", "POST"])
    def view() -> str:
        if flask_request.method == "POST":
            received.append(flask_request.form["message"])
            return "<h1>Stored</h1>"
        return form("", {"csrf_token": generate_csrf(), "message": "hello"})

    yield app, "wsgi", "csrf_token"


FRAMEWORKS: dict[str, Callable[[list[str], bool], Any]] = {
    "django-wsgi": lambda received, secure: django_app(received, secure, "wsgi"),
    "django-asgi": lambda received, secure: django_app(received, secure, "asgi"),
    "flask-wtf": flask_app,
}


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(params=[PLAIN, HTTPS], ids=lambda world: str(world.name))
def shop(request: pytest.FixtureRequest, framework: str) -> Iterator[Shop]:
    world: World = request.param
    certificate = certificate_for(world, request)
    received: list[str] = []
    pages = Pages()
    gate = Gate(settings(protect=PROTECTED, min_time=0))
    with ExitStack() as stack:
        app, kind, field = stack.enter_context(FRAMEWORKS[framework](received, world.scheme == "https"))
        gated: Any = AsgiGate(app, gate=gate) if kind == "asgi" else WsgiGate(app, gate=gate)
        port = stack.enter_context(serving(gated, kind, certificate))
        elsewhere = stack.enter_context(serving(pages, "wsgi", certificate))
        yield Shop(world.origin("site", port), world.origin("evil", elsewhere), pages, field, received)


def test_i3_own_form_passes_the_check(shop: Shop, context: BrowserContext) -> None:
    """An own form, answered for, passes the framework's check like one that was never asked."""
    page = context.new_page()
    assert shop.own_form(page, OPEN).status == 200
    assert shop.own_form(page, PROTECTED).status == 429
    assert answer(page, "wrong").status == 429
    assert answer(page).status == 200
    assert page.locator("h1").inner_text() == "Stored"
    assert shop.received == ["hello", "hello"]


def test_i3_foreign_form_fails_the_check(shop: Shop, context: BrowserContext, framework: str) -> None:
    """A foreign form, answered for, is refused by the framework in the words it would have had without a gate."""
    page = context.new_page()
    token = shop.token(page)
    for known in ({}, {shop.field: token}):
        fields = {**known, "message": "forged"}
        without = shop.foreign_form(page, OPEN, fields).status, page.locator("body").inner_text()
        assert shop.foreign_form(page, PROTECTED, fields).status == 429
        assert (answer(page).status, page.locator("body").inner_text()) == without
        # Without https Flask-WTF looks at no origin: it lets a foreign form in that knows the token, gate or not.
        let_in = framework == "flask-wtf" and bool(known) and shop.origin.startswith("http:")
        assert without[0] == {True: 200, False: 400 if framework == "flask-wtf" else 403}[let_in]
        if framework != "flask-wtf":
            assert without[1].startswith(f"Origin checking failed - {shop.evil} does not match")
        assert len(shop.received) == (2 if let_in else 0)
