"""Ways of a browser to our page and on from it: frames, no origin at all, proxies, redirects, and a text browser."""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import closing
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from playwright.sync_api import BrowserContext, Frame, Page

from browser_bank import FORM, OPEN, Stage, answer, staged
from browsers import (  # noqa: F401 - fixtures among them
    METADATA,
    PATIENCE,
    PLAIN,
    World,
    browser_fixture,
    context_fixture,
    form,
    press,
    serving,
    wait_for,
)
from gatepost.testing import KnownChallenge

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


@pytest.fixture(params=["asgi", "wsgi"])
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture(params=[(PLAIN, "asgi"), (METADATA, "wsgi")], ids=lambda param: f"{param[0].name}-{param[1]}")
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """The bank in two worlds."""
    with staged(*request.param) as made:
        yield made


def frame_of(page: Page) -> Frame:
    """The page's only frame, when it shows something."""
    wait_for(lambda: len(page.frames) == 2, page)
    frame = page.frames[1]
    frame.wait_for_load_state()
    return frame


def framed(html: str, sandbox: str = "") -> str:
    """A page with another page in a frame."""
    return f'<!doctype html><link rel="icon" href="data:,"><iframe {sandbox} srcdoc="{escape(html)}"></iframe>'


# --- no origin ---


def test_i3_form_without_origin_stays_so(stage: Stage, context: BrowserContext) -> None:
    """A form of a page that has no origin (a ``data:`` address) is delivered with ``Origin: null``, as it came."""
    page = context.new_page()
    stage.log_in(page)
    seen = []
    for path in (OPEN, "/transfer"):
        page.goto(f"data:text/html,{quote(form(stage.origin + path, FORM))}")
        assert (press(page, "Go").status == 429) == (path != OPEN)
        if path != OPEN:
            assert stage.bank.posts == []
            assert answer(page).status == 200
        seen.append(stage.last())
    without, with_gate = seen
    assert with_gate.said == without.said
    assert with_gate.get("origin") == "null"
    assert with_gate.cookies == ["plain"]


def test_i3_sandboxed_frame_gains_nothing(kind: str, context: BrowserContext) -> None:
    """In a sandboxed frame form and answer have no origin alike; what is delivered has none, and foreign cookies."""
    with staged(METADATA, kind) as stage:
        page = context.new_page()
        stage.log_in(page)
        seen = []
        for path in (OPEN, "/transfer"):
            stage.show(page, framed(form(stage.origin + path, FORM), 'sandbox="allow-forms"'))
            frame = frame_of(page)
            assert (press(frame, "Go").status == 429) == (path != OPEN)
            if path != OPEN:
                assert answer(frame).status == 200
            seen.append(stage.last())
        without, with_gate = seen
        assert with_gate.said == without.said
        assert (with_gate.get("origin"), with_gate.get("sec-fetch-site")) == ("null", "cross-site")
        assert with_gate.cookies == []


# --- frames ---


@pytest.mark.parametrize(("kind", "host"), [("asgi", "evil"), ("wsgi", "sub.site")])
def test_form_in_a_foreign_frame_is_not_lost(kind: str, context: BrowserContext, host: str) -> None:
    """The bank's form, sent in a frame of somebody else's page: the question appears there, and its answer delivers."""
    with staged(METADATA, kind) as stage:
        page = context.new_page()
        stage.log_in(page)
        seen = []
        for path in (OPEN, "/transfer"):
            stage.show(page, f'<link rel="icon" href="data:,"><iframe src="{stage.origin}/form{path}"></iframe>', host)
            frame = frame_of(page)
            assert (press(frame, "Go").status == 429) == (path != OPEN)
            if path != OPEN:
                assert frame.get_by_label("Your answer").is_visible()
                assert answer(frame, "wrong").status == 429
                assert answer(frame).status == 200
            assert page.url == f"{stage.foreign(host)}/"
            assert frame.locator("h1").inner_text() == "Done"
            seen.append(stage.last())
        without, with_gate = seen
        assert with_gate.said == without.said | {"referer": f"{stage.origin}/form/transfer"}


# --- where it leads ---


def test_redirect_to_another_site_is_followed(stage: Stage, context: BrowserContext) -> None:
    """Where the bank sends its visitor on to another site after the POST, the visitor arrives there."""
    stage.bank.elsewhere = f"{stage.foreign('pay')}/checkout?id=1"
    stage.pages.html["/checkout"] = '<link rel="icon" href="data:,"><h1>Pay here</h1>'
    page = context.new_page()
    assert stage.own_form(page, "/pay").status == 429
    assert answer(page).status == 200
    assert page.url == stage.bank.elsewhere
    assert page.locator("h1").inner_text() == "Pay here"
    assert len(stage.bank.posts) == 1


def test_i4_reload_of_what_was_answered_is_not_sent_twice(stage: Stage, context: BrowserContext) -> None:
    """Reloading a page that was itself the response to the POST sends the answer again, and is told 'already sent'."""
    page = context.new_page()
    stage.own_form(page)
    assert answer(page).status == 200
    for _ in range(2):
        again = page.reload()
        assert again is not None
        assert again.status == 409
        assert page.locator("h1").inner_text() == "Already sent"
    assert len(stage.bank.posts) == 1


def test_query_of_the_form_is_kept(stage: Stage, context: BrowserContext) -> None:
    """The page posts to the address that the form was posted to, query included."""
    page = context.new_page()
    stage.foreign_form(page, "/transfer?from=a%2Fb&to=%C3%A9")
    assert answer(page, "wrong").status == 429
    assert answer(page).status == 200
    assert page.url == f"{stage.origin}/transfer?from=a%2Fb&to=%C3%A9"
    assert len(stage.bank.posts) == 1


# --- a proxy that rewrites Host ---


class Proxy:
    """A reverse proxy, as plain as can be: a WSGI application that tells the server behind it that server's address."""

    def __init__(self, port: int) -> None:
        self.port = port

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        fields = {
            key.removeprefix("HTTP_").replace("_", "-"): value
            for key, value in environ.items()
            if (key.startswith("HTTP_") or key in ("CONTENT_TYPE", "CONTENT_LENGTH")) and value
        }
        fields |= {"HOST": f"127.0.0.1:{self.port}", "CONNECTION": "close"}
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as connection:
            connection.request(environ["REQUEST_METHOD"], environ["PATH_INFO"], body, fields)
            response = connection.getresponse()
            content = response.read()
            headers = [item for item in response.getheaders() if item[0].lower() not in ("connection", "keep-alive")]
        start_response(f"{response.status} {response.reason}", headers)
        return [content]


@pytest.fixture
def proxied(stage: Stage) -> Iterator[Stage]:
    """The bank behind such a proxy."""
    behind = stage.port
    with serving(Proxy(behind), "wsgi") as port:
        stage.port = port
        yield stage
        stage.port = behind


def test_own_form_behind_a_proxy_that_rewrites_host(proxied: Stage, context: BrowserContext) -> None:
    """Behind a proxy that rewrites ``Host`` the bank's own form comes with all its cookies, metadata or not."""
    page = context.new_page()
    proxied.log_in(page)
    assert proxied.own_form(page, OPEN).status == 200
    without = proxied.last()
    assert proxied.own_form(page).status == 429
    assert answer(page, "wrong").status == 429
    assert answer(page).status == 200
    assert proxied.last().said == without.said | {"referer": f"{proxied.origin}/form/transfer"}
    assert without.cookies == ["strict", "lax", "plain"]


def test_i3_foreign_form_behind_a_proxy_that_rewrites_host(proxied: Stage, context: BrowserContext) -> None:
    """There a foreign form is as foreign as ever with metadata; without, nobody can tell, and its answer is refused."""
    page = context.new_page()
    proxied.log_in(page)
    assert proxied.foreign_form(page, OPEN).status == 200
    without = proxied.last()
    assert proxied.foreign_form(page).status == 429
    if proxied.world.fetch_metadata:
        assert answer(page).status == 200
        assert proxied.last().said == without.said
    else:
        assert answer(page).status == 400
        assert page.locator("h1").inner_text() == "This came from another page"
        assert proxied.bank.posts == []


# --- a text browser ---


@pytest.fixture
def lynx() -> str:
    path = shutil.which("lynx")
    if path is None:
        pytest.skip("lynx is not installed; the test in a text browser needs it")
    return path


def test_text_browser_gets_through(kind: str, lynx: str, tmp_path: Path) -> None:
    """Lynx, which tells no origin, shows the page, answers it wrong, then right, and stays logged in."""
    world = World("lynx", "example")
    with staged(world, kind, challenge=KnownChallenge("sesame")) as stage:
        # Return follows a link or presses a button; Tab leaves the field for the button that answers.
        keys = ["^J", "^J", *"wrong", "<tab>", "^J", *"sesame", "<tab>", "^J", "q", "y"]
        script = tmp_path / "keys"
        script.write_text("".join(f"key {key}\n" for key in keys))
        address = f"http://127.0.0.1:{stage.port}"
        options = ["-cfg=/dev/null", "-accept_all_cookies", "-nopause", f"-cmd_script={script}"]
        environment = {"TERM": "vt100", "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
        subprocess.run(  # noqa: S603 - our own words
            [lynx, *options, f"{address}/login"],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=True,
        )
        (post,) = stage.bank.posts
        assert post.body == b"to=Mallory&amount=100+%E2%82%AC"
        assert (post.get("origin"), post.get("sec-fetch-site")) == (None, None)
        assert post.get("referer") == f"{address}/form/transfer"
        assert {"strict", "lax", "plain"} <= set(post.cookies)  # and one named SameSite, which is how lynx reads those
        assert stage.gate.stats()["/transfer"].reasons == {"always": 1, "wrong": 1, "solved": 1}
