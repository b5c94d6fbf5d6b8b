"""ASGI, in company: under mounts and prefixes, above and below other middleware, and one gate within another."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gatepost import Gate
from gatepost.asgi import GatepostMiddleware
from gatepost.testing import ManualClock, solve
from raw import BACKENDS, Probe, call, pieces, scope_of
from twins import ANSWER, HOST, SECRET, settings

FORM = {"name": "Ada", "message": "héllo & more"}
BROWSER = {"host": HOST, "accept": "text/html", "sec-fetch-site": "same-origin", "sec-fetch-mode": "navigate"}


async def contact(request: Request) -> Response:
    """The application: what it got of the form, and of the session."""
    if "session" in request.scope:
        request.session["count"] = request.session.get("count", 0) + 1
    form = await request.form()
    return PlainTextResponse(f"{form['name']}: {form['message']}" + "." * 1000)


def site(*middleware: Middleware) -> Starlette:
    return Starlette(routes=[Route("/contact", contact, methods=["POST"])], middleware=[*middleware])


def gated(**options: Any) -> Middleware:
    return Middleware(GatepostMiddleware, settings=settings(**options))


def walk_through(app: ASGIApp, path: str = "/contact", backend: Any = "asyncio", **fields: str) -> Any:
    """Send the form, answer the challenge, and return the application's response."""
    headers = BROWSER | fields
    with TestClient(app, base_url=f"http://{HOST}", backend=backend) as client:
        page = client.post(path, data=FORM, headers=headers)
        assert page.status_code == 429, page.text
        answer = solve(page.text, ANSWER)
        headers |= {"content-type": answer.content_type}
        return client.post(path, content=answer.body, headers=headers)


async def plain_dispatch(request: Request, call_next: RequestResponseEndpoint) -> Response:
    return await call_next(request)


async def reading_dispatch(request: Request, call_next: RequestResponseEndpoint) -> Response:
    await request.body()
    return await call_next(request)


COMPANY = {
    "session outside": [Middleware(SessionMiddleware, secret_key=SECRET), gated(min_time=0)],
    "session inside": [gated(min_time=0), Middleware(SessionMiddleware, secret_key=SECRET)],
    "gzip outside": [Middleware(GZipMiddleware, minimum_size=100), gated(min_time=0)],
    "gzip inside": [gated(min_time=0), Middleware(GZipMiddleware, minimum_size=100)],
    "cors outside": [Middleware(CORSMiddleware, allow_origins=["*"]), gated(min_time=0)],
    "trusted host outside": [Middleware(TrustedHostMiddleware, allowed_hosts=[HOST]), gated(min_time=0)],
    "trusted host inside": [gated(min_time=0), Middleware(TrustedHostMiddleware, allowed_hosts=[HOST])],
    "base outside": [Middleware(BaseHTTPMiddleware, dispatch=plain_dispatch), gated(min_time=0)],
    "base inside": [gated(min_time=0), Middleware(BaseHTTPMiddleware, dispatch=plain_dispatch)],
    "base that reads outside": [Middleware(BaseHTTPMiddleware, dispatch=reading_dispatch), gated(min_time=0)],
    "two bases outside": [*[Middleware(BaseHTTPMiddleware, dispatch=reading_dispatch)] * 2, gated(min_time=0)],
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("company", COMPANY)
def test_other_middleware_around_the_gate(company: str, backend: str) -> None:
    """A form is challenged and delivered as it was with other middleware outside and inside the gate."""
    response = walk_through(site(*COMPANY[company]), backend=backend)
    assert response.status_code == 200
    assert response.text == "Ada: héllo & more" + "." * 1000


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dispatch", [plain_dispatch, reading_dispatch])
def test_calm_form_under_base_http_middleware(dispatch: Any, backend: Any) -> None:
    """A receive that opens a scope of its own, as that of ``BaseHTTPMiddleware`` does, is looked at without harm."""
    app = site(Middleware(BaseHTTPMiddleware, dispatch=dispatch), gated(mode="adaptive"))
    with TestClient(app, backend=backend) as client:
        assert client.post("/contact", data=FORM).status_code == 200


def test_session_is_kept_over_the_page() -> None:
    """A session cookie that came before the challenge is there when the submission is delivered."""
    app = site(gated(min_time=0, mode="adaptive", above="1/minute"), Middleware(SessionMiddleware, secret_key=SECRET))
    with TestClient(app, base_url=f"http://{HOST}") as client:
        assert client.post("/contact", data=FORM, headers=BROWSER).status_code == 200
        first = client.cookies["session"]
        page = client.post("/contact", data=FORM, headers=BROWSER)
        assert "session" not in page.cookies
        answer = solve(page.text, ANSWER)
        fields = BROWSER | {"content-type": answer.content_type}
        assert client.post("/contact", content=answer.body, headers=fields).status_code == 200
        assert client.cookies["session"] != first


def test_gate_inside_cors_lets_scripts_read_the_challenge() -> None:
    """A preflight is never challenged, and CORS outside the gate opens the challenge to the script that asked."""
    shop = "https://shop.example"
    cors = Middleware(CORSMiddleware, allow_origins=[shop], allow_methods=["POST"], allow_headers=["Gatepost-Token"])
    app = site(cors, gated())
    origin = {"origin": shop, "host": HOST}
    with TestClient(app) as client:
        preflight = client.options("/contact", headers=origin | {"access-control-request-method": "POST"})
        challenged = client.post("/contact", data=FORM, headers=origin | {"accept": "application/json"})
    assert preflight.status_code == 200
    assert challenged.status_code == 429
    assert challenged.headers["access-control-allow-origin"] == shop
    assert challenged.json()["token"]


def mounted(pattern: str, **options: Any) -> Starlette:
    """A gate inside a mount: it sees the path below the mount."""
    below = Starlette(
        routes=[Route("/contact", contact, methods=["POST"])], middleware=[gated(protect=pattern, **options)]
    )
    return Starlette(routes=[Mount("/shop", app=below), Mount("/shopping", app=below)])


@pytest.mark.parametrize("backend", BACKENDS)
def test_gate_inside_a_mount(backend: str) -> None:
    """Below a mount the patterns are those of the mounted application, whatever its prefix."""
    for path in ("/shop/contact", "/shopping/contact"):
        assert walk_through(mounted("/contact", min_time=0), path, backend).status_code == 200
    with TestClient(mounted("/shop/contact")) as client:
        assert client.post("/shop/contact", data=FORM, headers=BROWSER).status_code == 200


def test_gate_around_a_mount() -> None:
    """Around a mount the patterns have its prefix."""
    routes = [Mount("/shop", routes=[Route("/contact", contact, methods=["POST"])])]
    app = Starlette(routes=routes, middleware=[gated(protect="/shop/contact", min_time=0)])
    assert walk_through(app, "/shop/contact").status_code == 200


def test_mount_without_lifespan() -> None:
    """A mounted gate is told of no start: it works without one."""
    outer = Starlette(routes=[Mount("/shop", app=GatepostMiddleware(site(), settings=settings(min_time=0)))])
    assert walk_through(outer, "/shop/contact").status_code == 200


def test_added_like_any_middleware() -> None:
    """``app.add_middleware`` with settings as keywords works like a wrapper."""
    app = site()
    kind = settings().challenge
    app.add_middleware(
        GatepostMiddleware, secret=SECRET, protect=["/contact"], mode="always", min_time=0, challenge=kind
    )
    assert walk_through(app).status_code == 200


def test_body_limit_in_the_scope_is_kept() -> None:
    """What an outer middleware has put into the scope reaches the application with a delivery."""
    responder = object()
    probe = Probe()
    gate = GatepostMiddleware(probe, settings=settings(min_time=0))

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        scope["outer.responder"] = responder
        await gate(scope, receive, send)

    page = call(outer, None, pieces(b"a=b"))
    assert call(outer, None, pieces(page.answered().body)).status == 200
    assert probe.scope["outer.responder"] is responder


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_gates_ask_once(backend: str) -> None:
    """A submission that one gate has delivered is not challenged by another further in, whatever its settings."""
    shared = Gate(settings(min_time=0))
    for inner in (shared, Gate(settings(min_time=0, secret=SECRET[::-1]))):
        probe = Probe()
        app = GatepostMiddleware(GatepostMiddleware(probe, gate=inner), gate=shared)
        page = call(app, None, pieces(b"a=b"), backend)
        assert call(app, None, pieces(page.answered().body), backend).status == 200
        assert probe.body == b"a=b"
        assert inner is shared or inner.stats()["/contact"].submissions == 0


def test_calm_gate_outside_leaves_the_asking_to_the_inner_one() -> None:
    """Two middleware of one gate count each, but only one of them asks, and the answer is taken once."""
    probe = Probe()
    gate = Gate(settings(min_time=0, mode="adaptive", above="1/minute"))
    app = GatepostMiddleware(GatepostMiddleware(probe, gate=gate), gate=gate)
    page = call(app, None, pieces(b"a=b"))
    assert page.status == 429
    answer = page.answered()
    assert call(app, None, pieces(answer.body)).status == 200
    assert call(app, None, pieces(answer.body)).status == 409
    assert probe.body == b"a=b"


def test_streamed_response_is_not_held_back() -> None:
    """Of a delivery the response goes out piece by piece as the application makes it."""
    order: list[str] = []

    async def stream(request: Request) -> Response:
        await request.body()

        async def parts() -> Any:
            for number in range(3):
                order.append(f"made {number}")
                yield b"%d" % number

        return StreamingResponse(parts(), media_type="text/event-stream")

    app = GatepostMiddleware(
        Starlette(routes=[Route("/contact", stream, methods=["POST"])]), settings=settings(min_time=0, permit_uses=1)
    )
    answer = call(app, None, pieces(b"a=b")).answered()

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        async def note(message: Message) -> None:
            order.append(f"sent {message.get('body', b'start').decode()}")
            await send(message)

        await app(scope, receive, note)

    call(outer, None, pieces(answer.body))
    assert order[:6] == ["sent start", "made 0", "sent 0", "made 1", "sent 1", "made 2"]


def test_websocket_and_lifespan_work_through_the_gate() -> None:
    """An application's start, its websockets on a protected path, and its end are not touched."""
    happened: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            assert (await receive())["type"] == "lifespan.startup"
            happened.append("started")
            await send({"type": "lifespan.startup.complete"})
            assert (await receive())["type"] == "lifespan.shutdown"
            happened.append("ended")
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": "hello"})
            await send({"type": "websocket.close"})

    with TestClient(GatepostMiddleware(app, settings=settings())) as client:
        with client.websocket_connect("/contact") as websocket:
            assert websocket.receive_text() == "hello"
        assert happened == ["started"]
    assert happened == ["started", "ended"]


def test_prefix_is_told_apart_from_a_path_that_begins_like_it() -> None:
    """A root path is taken off at a slash only: ``/api`` does not eat ``/apiary``."""
    clock = ManualClock()
    gate = GatepostMiddleware(Probe(), settings=settings(protect=["/apiary", "/contact"], clock=clock))
    table = [
        ("/apiary", "/api", 429),
        ("/api/apiary", "/api", 429),
        ("/api/contact", "/api", 429),
        ("/apicontact", "/api", 200),
    ]
    for path, root, status in table:
        assert call(gate, scope_of(path=path, root_path=root), pieces(b"a=b")).status == status, path
