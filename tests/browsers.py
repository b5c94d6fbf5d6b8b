"""A real browser for tests, two kinds of servers, and hosts that are different sites to it.

Import the fixtures by name. The browser lives as long as a module's tests: Playwright keeps an event loop in the main
thread meanwhile, and tests of other modules start loops of their own there.
"""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Frame, Page, Response, sync_playwright

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

PATIENCE = 60.0  # seconds that anything may take before a test gives up; only a failing one waits that long

_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP *.example 127.0.0.1",  # *.localhost leads here anyway
)


@dataclass(frozen=True)
class World:
    """Host names under one ending. ``site``, ``evil`` and ``pay`` are three sites, ``sub.site`` is of the first.

    Browsers send ``Sec-Fetch-*`` to ``*.localhost`` and over https only.
    """

    name: str
    ending: str
    scheme: str = "http"
    fetch_metadata: bool = False

    def origin(self, host: str, port: int) -> str:
        return f"{self.scheme}://{host}.{self.ending}:{port}"


PLAIN = World("plain", "example")
METADATA = World("metadata", "localhost", fetch_metadata=True)
HTTPS = World("https", "example", scheme="https", fetch_metadata=True)
WORLDS = (PLAIN, METADATA, HTTPS)


@pytest.fixture(scope="module", name="browser")
def browser_fixture() -> Iterator[Browser]:
    """Chromium, once a module."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not installed; tests in a real browser need it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(name="context")
def context_fixture(browser: Browser) -> Iterator[BrowserContext]:
    """A browser of its own for each test: no cookies, no cache, and no JavaScript."""
    context = new_context(browser)
    yield context
    context.close()


def new_context(browser: Browser, **options: Any) -> BrowserContext:
    """A browser without JavaScript that accepts our own certificate."""
    context = browser.new_context(java_script_enabled=False, ignore_https_errors=True, **options)
    context.set_default_timeout(PATIENCE * 1000)
    return context


@dataclass(frozen=True)
class Certificate:
    """Two PEM files."""

    certificate: Path
    key: Path


@pytest.fixture(scope="session", name="certificate")
def certificate_fixture(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A self-signed certificate."""
    path = shutil.which("openssl")
    if path is None:
        pytest.skip("openssl is not installed; tests over https need it")
    folder = tmp_path_factory.mktemp("certificate")
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    what = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=site.example"
    command = [path, *what.split(), "-keyout", str(made.key), "-out", str(made.certificate)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)  # noqa: S603 - our own words
    return made


@contextmanager
def serving(app: Any, kind: str, certificate: Certificate | None = None) -> Iterator[int]:
    """Serve an application on a free port, which is given.

    :param kind: ``"asgi"`` (uvicorn) or ``"wsgi"`` (a thread for each connection).
    """
    with (_uvicorn if kind == "asgi" else _threaded)(app, certificate) as port:
        yield port


@contextmanager
def _uvicorn(app: Any, certificate: Certificate | None) -> Iterator[int]:
    tls = {} if certificate is None else _tls(certificate)
    config = uvicorn.Config(app, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1, **tls)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        wait_for(lambda: server.started)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(PATIENCE)


def _tls(certificate: Certificate) -> dict[str, Any]:
    return {"ssl_certfile": str(certificate.certificate), "ssl_keyfile": str(certificate.key)}


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # a browser keeps connections open that it never uses

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a browser that leaves in the middle is part of the tests."""


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the base class has it
        """Say nothing."""


@contextmanager
def _threaded(app: Any, certificate: Certificate | None) -> Iterator[int]:
    with make_server("127.0.0.1", 0, app, server_class=_Server, handler_class=_Handler) as server:
        if certificate is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate.certificate, certificate.key)
            # The handshake is left to the connection's own thread.
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            server.base_environ["HTTPS"] = "on"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join(PATIENCE)


class Pages:
    """A WSGI application that shows whatever page a test puts under a path."""

    def __init__(self) -> None:
        self.html: dict[str, str] = {}

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        page = self.html.get(environ["PATH_INFO"])
        start_response("404 Not Found" if page is None else "200 OK", [("Content-Type", "text/html; charset=utf-8")])
        return [(page or "").encode()]


def form(action: str, fields: dict[str, str], **attributes: str) -> str:
    """A page with a form of hidden fields and the button 'Go'."""
    hidden = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in fields.items()
    )
    more = "".join(f' {name}="{escape(value)}"' for name, value in attributes.items())
    return (
        f'<!doctype html><link rel="icon" href="data:,">'
        f'<form method="post" action="{escape(action)}"{more}>{hidden}<button>Go</button></form>'
    )


def press(place: Page | Frame, button: str) -> Response:
    """Press the button of this name, and wait for what comes of it."""
    if isinstance(place, Frame) and place.parent_frame is not None:
        # A frame of another site is another process: until it has been painted, the browser drops clicks on it.
        place.frame_element().screenshot()
    with place.expect_navigation() as navigation:
        place.get_by_role("button", name=button, exact=True).click()
    response = navigation.value
    assert response is not None
    return response


def wait_for(condition: Callable[[], object], page: Page | None = None) -> None:
    """Wait until something is so.

    :param page: if given, what happens in it is taken in meanwhile.
    :raises TimeoutError: if it does not become so.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("what was waited for did not come")
        if page is None:
            time.sleep(0.01)
        else:
            page.wait_for_timeout(10)
