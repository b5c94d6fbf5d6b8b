"""ASGI, scopes and messages: what is not ours is untouched, and what is ours keeps to the protocol."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from gatepost import Gate
from gatepost.asgi import DELIVERED, GatepostMiddleware
from raw import BACKENDS, Line, Probe, call, pieces, run, scope_of
from twins import URLENCODED, settings

ORIGINAL = b"name=Ada&message=hello"
#: What a gate can answer by itself: the header fields, the body, and the status.
OWN_ANSWERS = {
    "page": ([], ORIGINAL, 429),
    "json": ([(b"accept", b"application/json")], ORIGINAL, 429),
    "forged": ([], b"gatepost_token=x", 400),
    "content-type": ([(b"content-type", b"text/plain")], ORIGINAL, 400),
}


def gated(app: Any, **options: Any) -> GatepostMiddleware:
    return GatepostMiddleware(app, settings=settings(**options))


def solved(gate: GatepostMiddleware, page: Line, backend: str = "asyncio", **scope: Any) -> Line:
    """Post the right answer to an interstitial."""
    gate.gate.settings.clock.tick(2)  # type: ignore[attr-defined]
    return call(gate, scope_of(**scope), pieces(page.answered().body), backend)


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "lifespan"},
        {"type": "websocket"},
        {"type": "gatepost.unheard-of"},
        *({"method": method} for method in ("GET", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PUT", "PURGE", "")),
        {"path": "/elsewhere"},
        {"path": ""},
        {"path": "*"},
        {"path": "/Contact"},
        {DELIVERED: True},
    ],
    ids=str,
)
def test_i1_other_requests_pass_with_the_same_objects(changes: dict[str, Any]) -> None:
    """Whatever is no protected POST reaches the application with the same scope, receive and send, all unchanged."""
    probe, line = Probe(), Line(pieces(b"gatepost_token=x"))
    scope = scope_of(**changes)
    before = dict(scope)
    receive, send = line.receive, line.send
    run("asyncio", gated(probe), scope, receive, send)
    passed, their_receive, their_send = probe.calls[0]
    assert passed is scope
    assert their_receive is receive
    assert their_send is send
    assert scope == before
    assert all(scope[key] is before[key] for key in before)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data; boundary=x", "text/plain", None])
def test_i1_calm_body_is_not_touched(backend: str, content_type: str | None) -> None:
    """A calm POST of any other type passes with the same objects, and its body is not asked for."""
    probe, line = Probe(), Line(pieces(b"gatepost_token=x"))
    scope = scope_of(content_type=content_type)
    receive, send = line.receive, line.send
    taken: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        taken.append(line.taken)
        await probe(scope, receive, send)

    run(backend, gated(app, mode="adaptive"), scope, receive, send)
    assert probe.calls == [(scope, receive, send)]
    assert probe.scope is scope
    assert taken == [0]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("body", [b"", b"g", b"gatepost_token", b"gatepost_tokens=x", ORIGINAL, b"x" * 100_000])
def test_i1_calm_form_is_handed_on(backend: str, body: bytes) -> None:
    """Of a calm urlencoded POST the messages that were looked at are handed on as they are, then the real receive."""
    messages = [*pieces(body, b"more", b""), {"type": "http.disconnect"}]
    probe, line = Probe(), Line([*messages])
    scope = scope_of()
    send = line.send
    run(backend, gated(probe, mode="adaptive"), scope, line.receive, send)
    assert probe.scope is scope
    assert probe.calls[0][2] is send
    assert all(mine is theirs for mine, theirs in zip(messages, probe.messages, strict=False))
    assert probe.body == body + b"more"
    # All that is left comes from the server itself.
    assert run(backend, probe.calls[0][1]) is messages[-1]


@pytest.mark.parametrize("kind", OWN_ANSWERS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_own_answers_keep_to_the_protocol(backend: str, kind: str) -> None:
    """Each answer of our own is one start and one final body, with a true length and what keeps it out of caches."""
    fields, body, status = OWN_ANSWERS[kind]
    scope = scope_of()
    scope["headers"] = [item for item in scope["headers"] if item[0] not in dict(fields)] + fields
    if kind == "content-type":
        scope["headers"].append((b"content-type", b"text/html"))
    line = call(gated(Probe()), scope, pieces(body), backend)
    assert [message["type"] for message in line.sent] == ["http.response.start", "http.response.body"]
    assert line.sent[1].get("more_body", False) is False
    assert line.status == status
    assert line.headers["content-length"] == str(len(line.body))
    assert line.headers["content-type"] in ("text/html; charset=utf-8", "application/problem+json")
    assert line.headers["cache-control"] == "no-store"
    assert line.headers["x-content-type-options"] == "nosniff"
    assert line.headers["referrer-policy"] == "same-origin"
    assert "Accept" in line.headers["vary"]
    names = [name for name, _ in line.sent[0]["headers"]]
    assert len(names) == len(set(names))
    assert all(name == name.lower() for name in names)


OPTIONAL = (
    "client",
    "root_path",
    "raw_path",
    "scheme",
    "server",
    "extensions",
    "query_string",
    "http_version",
    "state",
)


@pytest.mark.parametrize("missing", [*((key,) for key in OPTIONAL), OPTIONAL], ids=lambda keys: "+".join(keys))
@pytest.mark.parametrize("mode", ["always", "adaptive"])
def test_optional_keys_may_be_missing(missing: tuple[str, ...], mode: str) -> None:
    """A scope without any of the keys that servers leave out is challenged and delivered, or passes."""
    probe = Probe()
    gate = gated(probe, mode=mode, above_per_client="100/minute", exempt="198.51.100.0/24", permit_uses=1)
    line = call(gate, scope_of(*missing, asgi={"version": "3.0"}), pieces(ORIGINAL))
    if mode == "always":
        gate.gate.settings.clock.tick(2)  # type: ignore[attr-defined]
        line = call(gate, scope_of(*missing, asgi={"version": "3.0"}), pieces(line.answered().body))
    assert line.status == 200
    assert probe.body == ORIGINAL


@pytest.mark.parametrize(
    "client", [None, ("203.0.113.7", 80), ("203.0.113.7", "80"), ["::1", 0], ("", 0), ("unix:", 0)]
)
def test_client_of_any_shape(client: Any) -> None:
    """No peer, a port that is a string, a list for a pair, no address at all: nothing breaks."""
    probe = Probe()
    gate = gated(probe, above_per_client="1/minute", exempt="10.0.0.0/8")
    page = call(gate, scope_of(client=client), pieces(ORIGINAL))
    assert page.status == 429
    assert solved(gate, page, client=client).status == 200


CONTAINERS: dict[str, Callable[[list[tuple[bytes, bytes]]], Iterable[Any]]] = {
    "list": list,
    "tuple": tuple,
    "lists": lambda fields: [list(item) for item in fields],
    "generator": lambda fields: (item for item in fields),
    "iterator": iter,
    "title case": lambda fields: [(name.title(), value) for name, value in fields],
    "upper case": lambda fields: [(name.upper(), value) for name, value in fields],
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_headers_in_any_container(container: str) -> None:
    """Header fields may be any iterable, with names in any case and repeats, and the application sees them all."""
    make, probe = CONTAINERS[container], Probe()
    crumbs = [(b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"x-one", b"1"), (b"x-one", b"2")]
    fields = [*scope_of()["headers"], *crumbs]
    calm = gated(probe, mode="adaptive")
    call(calm, scope_of(headers=make(fields)), pieces(ORIGINAL))
    assert sorted((name.lower(), value) for name, value in probe.scope["headers"]) == sorted(fields)

    gate = gated(probe)
    page = call(gate, scope_of(headers=make(fields)), pieces(ORIGINAL))
    assert page.status == 429
    assert solved(gate, page, headers=make(fields)).status == 200
    delivered = [(bytes(name).lower(), value) for name, value in probe.scope["headers"]]
    assert [item for item in delivered if item in crumbs] == crumbs


def test_i1_incoming_scope_is_never_changed() -> None:
    """A delivery has a scope of its own, in which all that is not a header field is the very same object."""
    probe, marker = Probe(), object()
    gate = gated(probe)
    page = call(gate, scope_of(), pieces(ORIGINAL))
    answer = page.answered().body
    gate.gate.settings.clock.tick(2)  # type: ignore[attr-defined]
    extra: dict[str, Any] = {"litestar.app": marker, "app": marker}
    scope = scope_of(**extra, state={"a": 1}, extensions={"http.response.push": {}})
    before = {**scope, "headers": [*scope["headers"]]}
    call(gate, scope, pieces(answer))
    assert scope == before
    assert probe.scope is not scope
    assert all(probe.scope[key] is scope[key] for key in scope if key != "headers")
    assert set(probe.scope) - set(scope) == {DELIVERED}


@pytest.mark.parametrize("backend", BACKENDS)
def test_i1_send_is_the_servers_own(backend: str) -> None:
    """The application that a submission is delivered to sends through the server's own send."""
    probe = Probe()
    gate = gated(probe)
    page = call(gate, None, pieces(ORIGINAL), backend)
    line = Line(pieces(page.answered().body))
    gate.gate.settings.clock.tick(2)  # type: ignore[attr-defined]
    send = line.send
    run(backend, gate, scope_of(), line.receive, send)
    assert probe.calls[0][2] is send


EXOTIC: list[Message] = [
    {"type": "http.response.early_hint", "links": [b"</style.css>"]},
    {"type": "http.response.debug", "info": {}},
    {"type": "http.response.push", "path": "/", "headers": []},
    {"type": "http.response.start", "status": 201, "trailers": True},
    {"type": "http.response.pathsend", "path": "/file"},
    {"type": "http.response.zerocopysend", "file": 3},
    {"type": "http.response.body", "body": b"a", "more_body": True},
    {"type": "http.response.body"},
    {"type": "http.response.trailers", "headers": [(b"x-t", b"1")]},
]


@pytest.mark.parametrize("uses", [0, 1])
def test_every_message_is_passed_on_in_order(uses: int) -> None:
    """Whatever the application sends goes out in its order, and only a permit adds to the start's header fields."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        for message in EXOTIC:
            await send(message)

    gate = gated(app, permit_uses=uses)
    line = solved(gate, call(gate, None, pieces(ORIGINAL)))
    others = [message for message in line.sent if message["type"] != "http.response.start"]
    assert [message["type"] for message in line.sent] == [message["type"] for message in EXOTIC]
    assert all(message in EXOTIC for message in others)
    start = line.sent[3]
    cookies = [name for name, _ in start.pop("headers", [])]
    assert cookies == [b"set-cookie"] * uses
    assert start == {"type": "http.response.start", "status": 201, "trailers": True}


class AppError(Exception):
    """An application's own."""


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["adaptive", "always"])
def test_errors_of_the_application_are_its_own(backend: str, mode: str) -> None:
    """An exception of the application propagates unchanged, from calm requests and from deliveries."""
    error = AppError("of the application")

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise error

    gate = gated(app, mode=mode)
    body = ORIGINAL
    if mode == "always":
        body = call(gate, None, pieces(ORIGINAL), backend).answered().body
        gate.gate.settings.clock.tick(2)  # type: ignore[attr-defined]
    with pytest.raises(AppError) as caught:
        call(gate, None, pieces(body), backend)
    assert caught.value is error


def test_send_that_fails_after_a_disconnect_is_told() -> None:
    """An ``OSError`` of the server's send propagates, and the submission can still be answered afterwards."""
    probe = Probe()
    gate = gated(probe)

    async def broken(_message: Message) -> None:
        raise OSError("the client is gone")

    with pytest.raises(OSError, match="the client is gone"):
        run("asyncio", gate, scope_of(), Line(pieces(ORIGINAL)).receive, broken)
    assert gate.gate.buffer.held == 0
    page = call(gate, None, pieces(ORIGINAL))
    assert solved(gate, page).status == 200


SEEN: contextvars.ContextVar[str] = contextvars.ContextVar("SEEN", default="nothing")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["adaptive", "always"])
def test_context_variables_cross_the_gate_both_ways(backend: str, mode: str) -> None:
    """What is set outside is seen by the application, and what it sets is seen outside: there is no other task."""
    seen: list[str] = []

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(SEEN.get())
        SEEN.set("set inside")

    gate = gated(app, mode=mode)
    body = ORIGINAL
    if mode == "always":
        body = call(gate, None, pieces(ORIGINAL), backend).answered().body
        gate.gate.settings.clock.tick(2)  # type: ignore[attr-defined]

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        SEEN.set("set outside")
        await gate(scope, receive, send)
        seen.append(SEEN.get())

    call(outer, None, pieces(body), backend)
    assert seen == ["set outside", "set inside"]


def test_one_instance_serves_many_loops() -> None:
    """One instance serves several threads with an event loop each, of both kinds, at the same time."""
    probe = Probe()
    gate = GatepostMiddleware(probe, gate=Gate(settings(min_time=0)))
    start = threading.Barrier(6)
    statuses: list[int] = []

    def serve(number: int) -> None:
        backend = BACKENDS[number % 2]
        start.wait(10)
        for turn in range(5):
            original = f"from={number}&turn={turn}".encode()
            page = call(gate, None, pieces(original), backend)
            statuses.append(call(gate, None, pieces(page.answered().body), backend).status)

    threads = [threading.Thread(target=serve, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert statuses == [200] * 30
    expected = {f"from={number}&turn={turn}".encode() for number in range(6) for turn in range(5)}
    assert {message["body"] for message in probe.messages} == expected
    assert len(probe.messages) == 30


def test_form_type_is_read_as_servers_give_it() -> None:
    """An answer is known by its urlencoded type in any case, with parameters, and as one of several."""
    for value in (URLENCODED.upper(), f"{URLENCODED}; charset=utf-8", f"{URLENCODED} ;x", f"text/plain, {URLENCODED}"):
        line = call(gated(Probe(), mode="adaptive"), scope_of(content_type=value), pieces(b"gatepost_token=x"))
        assert (line.status, line.reason) == (400, "forged"), value
    for value in (f"{URLENCODED}s", f"x{URLENCODED}", "text/plain", f"text/plain; a={URLENCODED}"):
        line = call(gated(Probe(), mode="adaptive"), scope_of(content_type=value), pieces(b"gatepost_token=x"))
        assert line.status == 200, value
