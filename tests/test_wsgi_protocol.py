"""WSGI, environ and answers: what is not ours is untouched, and what is ours keeps to the protocol."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest

from gatepost import Gate
from gatepost.wsgi import DELIVERED, GatepostMiddleware
from raw import call_wsgi, environ_of
from twins import SECRET, URLENCODED, settings

ORIGINAL = b"name=Ada&message=hello"
Application = Callable[..., Iterable[bytes]]


def gated(app: Application, **options: Any) -> GatepostMiddleware:
    return GatepostMiddleware(app, settings=settings(**options))


def tick(gate: GatepostMiddleware) -> None:
    gate.gate.settings.clock.tick(2)  # type: ignore[attr-defined]


class Probe:
    """A WSGI application that keeps what it was called with and answers with one iterable."""

    def __init__(self) -> None:
        self.calls: list[tuple[dict[str, Any], Any]] = []
        self.bodies: list[bytes] = []
        self.result = [b"stored"]

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.calls.append((environ, start_response))
        self.bodies.append(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return self.result


def start(_status: str, _headers: list[tuple[str, str]], _exc_info: Any = None) -> Callable[[bytes], object]:
    return lambda _data: None


@pytest.mark.parametrize(
    "changes",
    [
        *({"REQUEST_METHOD": method} for method in ("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "PURGE", "")),
        {"PATH_INFO": "/elsewhere"},
        {"PATH_INFO": ""},
        {"PATH_INFO": "/Contact"},
        {"PATH_INFO": "/\xff\xfe"},
        {DELIVERED: True},
    ],
    ids=str,
)
def test_i1_other_requests_pass_with_the_same_objects(changes: dict[str, Any]) -> None:
    """Whatever is no protected POST gets the same environ and start_response, and its iterable comes back."""
    probe = Probe()
    environ = environ_of(b"gatepost_token=x", **changes)
    before = dict(environ)
    result = gated(probe)(environ, start)
    assert result is probe.result
    assert probe.calls[0][0] is environ
    assert probe.calls[0][1] is start
    assert environ == before
    assert all(environ[key] is before[key] for key in before)


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data; boundary=x", "text/plain", None])
def test_i1_calm_body_is_not_touched(content_type: str | None) -> None:
    """A calm POST of any other type passes with the same objects, and nothing of its input is read."""
    probe = Probe()
    environ = environ_of(b"gatepost_token=x", content_type=content_type)
    stream = environ["wsgi.input"]
    before = dict(environ)
    assert gated(probe, mode="adaptive")(environ, start) is probe.result
    assert probe.calls == [(before, start)]
    assert probe.calls[0][0] is environ
    assert environ["wsgi.input"] is stream
    assert probe.bodies == [b"gatepost_token=x"]


@pytest.mark.parametrize("body", [b"", b"g", b"gatepost_token", b"gatepost_tokens=x", ORIGINAL])
def test_i1_calm_form_keeps_its_environ(body: bytes) -> None:
    """Of a calm urlencoded POST only ``wsgi.input`` is another, which gives the same bytes; the rest is the same."""
    probe = Probe()
    environ = environ_of(body)
    before = dict(environ)
    assert gated(probe, mode="adaptive")(environ, start) is probe.result
    assert probe.calls[0][0] is environ
    assert type(environ) is dict
    assert {key for key in environ if environ[key] is not before[key]} <= {"wsgi.input"}
    assert environ.keys() == before.keys()
    assert probe.bodies == [body]


def test_i1_delivery_returns_the_applications_iterable() -> None:
    """A delivered request's iterable comes back as it is, so that the server closes it and may send files its way."""
    probe = Probe()
    gate = gated(probe)
    answer = call_wsgi(gate, environ_of(ORIGINAL)).answered()
    tick(gate)
    assert gate(environ_of(answer.body), start) is probe.result
    assert probe.calls[0][1] is start
    assert type(probe.calls[0][0]) is dict


def test_i1_incoming_environ_is_not_changed_by_a_delivery() -> None:
    """A delivery has an environ of its own; all that is neither a field nor the input is the very same object."""
    probe = Probe()
    gate = gated(probe)
    answer = call_wsgi(gate, environ_of(ORIGINAL)).answered()
    tick(gate)
    marker = object()
    extra: dict[str, Any] = {"gunicorn.socket": marker}
    environ = environ_of(answer.body, **extra)
    before = dict(environ)
    gate(environ, start)
    assert {key for key in environ if environ[key] is not before[key]} <= {"wsgi.input"}
    delivered = probe.calls[0][0]
    assert delivered is not environ
    assert delivered["gunicorn.socket"] is marker
    same = [key for key in before if not key.startswith(("HTTP_", "CONTENT_")) and key != "wsgi.input"]
    assert all(delivered[key] is before[key] for key in same)
    assert delivered["CONTENT_LENGTH"] == str(len(ORIGINAL))
    assert delivered["wsgi.input_terminated"] is True


class Counted:
    """An iterable that is lazy, knows its length, and counts how often it was closed."""

    def __init__(self) -> None:
        self.closed = 0
        self.given = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in (b"a", b"", b"b"):
            self.given += 1
            yield piece

    def __len__(self) -> int:
        return 1

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("mode", ["adaptive", "always"])
def test_i1_iterable_stays_lazy_and_is_closed_once(mode: str) -> None:
    """Nothing is taken of the application's iterable before the server takes it, and it is closed once."""
    iterable = Counted()

    def app(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return iterable

    gate = gated(app, mode=mode)
    body = ORIGINAL
    if mode == "always":
        body = call_wsgi(gate, environ_of(ORIGINAL)).answered().body
        tick(gate)
    assert gate(environ_of(body), start) is iterable
    assert (iterable.given, iterable.closed) == (0, 0)
    if mode == "adaptive":
        assert call_wsgi(gate, environ_of(body)).body == b"ab"
        assert (iterable.given, iterable.closed) == (3, 1)


def with_write(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"written, ")
    return [b"returned"]


def with_second_start(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    try:
        raise LookupError("too late")
    except LookupError:
        start_response("500 Oh", [("Content-Type", "text/html")], sys.exc_info())
    return [b"sorry"]


def with_file(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    wrapper: Any = environ.get("wsgi.file_wrapper", FileWrapper)
    return wrapper(io.BytesIO(b"of a file"), 4)  # type: ignore[no-any-return]


def with_generator(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"one, "
    yield b"two"


STYLES: dict[Application, tuple[str, bytes]] = {
    with_write: ("200 OK", b"written, returned"),
    with_second_start: ("500 Oh", b"sorry"),
    with_file: ("200 OK", b"of a file"),
    with_generator: ("200 OK", b"one, two"),
}


@pytest.mark.parametrize("uses", [0, 1])
@pytest.mark.parametrize("app", STYLES, ids=lambda app: app.__name__)
def test_every_style_of_application_works(app: Application, uses: int) -> None:
    """``write``, a second start with ``exc_info``, file wrappers and generators work behind a gate."""
    gate = gated(app, permit_uses=uses)
    answer = call_wsgi(gate, environ_of(ORIGINAL)).answered()
    tick(gate)
    result = call_wsgi(gate, environ_of(answer.body))
    assert (result.status, result.body) == STYLES[app]
    assert len([name for name, _ in result.headers if name.lower() == "set-cookie"]) == uses


@pytest.mark.parametrize(
    ("fields", "body", "status"),
    [
        ({}, ORIGINAL, "429 Too Many Requests"),
        ({"HTTP_ACCEPT": "application/json"}, ORIGINAL, "429 Too Many Requests"),
        ({}, b"gatepost_token=x", "400 Bad Request"),
        ({"CONTENT_TYPE": "text/plain, text/html"}, ORIGINAL, "400 Bad Request"),
    ],
    ids=["page", "json", "forged", "content-type"],
)
def test_own_answers_keep_to_the_protocol(fields: dict[str, str], body: bytes, status: str) -> None:
    """Each answer of our own is a list of one item, with a status line, a true length and no hop-by-hop field."""
    started: list[Any] = []

    def start_response(*args: Any) -> Callable[[bytes], object]:
        started.append(args)
        return lambda _data: None

    result = gated(Probe())(environ_of(body, **fields), start_response)
    assert isinstance(result, list)
    assert len(result) == 1
    ((line, headers),) = started
    assert line == status
    names = [name.lower() for name, _ in headers]
    assert len(names) == len(set(names))
    assert not {"connection", "transfer-encoding", "keep-alive"} & set(names)
    assert dict(headers)["Content-Length"] == str(len(result[0]))
    assert dict(headers)["Cache-Control"] == "no-store"
    for name, value in headers:
        assert type(name) is type(value) is str
        value.encode("latin-1")


OPTIONAL = ("REMOTE_ADDR", "QUERY_STRING", "SCRIPT_NAME", "HTTP_HOST", "HTTP_ACCEPT", "wsgi.multithread")


@pytest.mark.parametrize("missing", [*((key,) for key in OPTIONAL), OPTIONAL], ids=lambda keys: "+".join(keys))
@pytest.mark.parametrize("mode", ["always", "adaptive"])
def test_optional_keys_may_be_missing(missing: tuple[str, ...], mode: str) -> None:
    """An environ without what servers may leave out is challenged and delivered, or passes."""
    probe = Probe()
    gate = gated(probe, mode=mode, above_per_client="100/minute", exempt="198.51.100.0/24", permit_uses=1)
    result = call_wsgi(gate, environ_of(ORIGINAL, *missing))
    if mode == "always":
        tick(gate)
        result = call_wsgi(gate, environ_of(result.answered().body, *missing))
    assert result.code == 200
    assert probe.bodies == [ORIGINAL]


@pytest.mark.parametrize("peer", ["", "203.0.113.7", "::1", "fe80::1%eth0", "unix", "203.0.113.7:80"])
def test_peer_of_any_shape(peer: str) -> None:
    """No address, an IPv6 one with a zone, what is no address at all: nothing breaks."""
    gate = gated(Probe(), above_per_client="1/minute", exempt="10.0.0.0/8")
    page = call_wsgi(gate, environ_of(ORIGINAL, REMOTE_ADDR=peer))
    assert page.code == 429
    tick(gate)
    assert call_wsgi(gate, environ_of(page.answered().body, REMOTE_ADDR=peer)).code == 200


def test_path_is_latin_1_of_utf_8() -> None:
    """A path of other scripts is matched decoded, and what is no UTF-8 breaks nothing."""
    gate = gated(Probe(), protect=["/كتاب", "/{name}/ü"])
    for path, code in (("/كتاب", 429), ("/ß/ü", 429), ("/u", 200)):
        assert call_wsgi(gate, environ_of(ORIGINAL, PATH_INFO=path.encode().decode("latin-1"))).code == code
    assert call_wsgi(gate, environ_of(ORIGINAL, PATH_INFO="/\xff/\xc3\xbc")).code == 429


def test_prefix_is_not_part_of_the_path() -> None:
    """Only ``PATH_INFO`` is matched, whatever ``SCRIPT_NAME`` says."""
    gate = gated(Probe(), protect=["/contact"])
    assert call_wsgi(gate, environ_of(ORIGINAL, SCRIPT_NAME="/shop")).code == 429
    assert call_wsgi(gate, environ_of(ORIGINAL, SCRIPT_NAME="/contact", PATH_INFO="/shop")).code == 200
    assert call_wsgi(gate, environ_of(ORIGINAL, PATH_INFO="/shop/contact")).code == 200


def test_validator_around_and_inside_is_content() -> None:
    """``wsgiref.validate`` finds no fault with the gate as an application, nor as a server, on any way through it."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        assert environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)) is not None
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"stored"]

    for mode in ("adaptive", "always"):
        gate = gated(validator(app), mode=mode, permit_uses=1)
        outside: Any = validator(gate)
        for original in (b"", b"gate", ORIGINAL):
            reply = call_wsgi(outside, environ_of(original))
            if mode == "always":
                tick(gate)
                assert reply.code == 429
                reply = call_wsgi(outside, environ_of(reply.answered().body))
            assert (reply.code, reply.body) == (200, b"stored")
        assert call_wsgi(outside, environ_of(b"", REQUEST_METHOD="GET")).code == 200
        assert call_wsgi(outside, environ_of(b"gatepost_token=x")).code == 400


class AppError(Exception):
    """An application's own."""


@pytest.mark.parametrize("mode", ["adaptive", "always"])
def test_errors_of_the_application_are_its_own(mode: str) -> None:
    """An exception of the application propagates unchanged, from calm requests and from deliveries."""
    error = AppError("of the application")

    def app(_environ: dict[str, Any], _start_response: Any) -> Iterable[bytes]:
        raise error

    gate = gated(app, mode=mode)
    body = ORIGINAL
    if mode == "always":
        body = call_wsgi(gate, environ_of(ORIGINAL)).answered().body
        tick(gate)
    with pytest.raises(AppError) as caught:
        gate(environ_of(body), start)
    assert caught.value is error


def test_two_gates_ask_once() -> None:
    """A submission that one gate has delivered is not challenged by another further in."""
    shared = Gate(settings(min_time=0))
    for inner in (shared, Gate(settings(min_time=0, secret=SECRET[::-1]))):
        probe = Probe()
        app = GatepostMiddleware(GatepostMiddleware(probe, gate=inner), gate=shared)
        page = call_wsgi(app, environ_of(ORIGINAL))
        assert call_wsgi(app, environ_of(page.answered().body)).code == 200
        assert probe.bodies == [ORIGINAL]
        assert inner is shared or inner.stats()["/contact"].submissions == 0


def test_one_instance_serves_many_threads() -> None:
    """One instance serves several threads at the same time, and each submission is delivered to the right one."""
    probe = Probe()
    gate = gated(probe, min_time=0)
    together = threading.Barrier(6)
    codes: list[int] = []

    def serve(number: int) -> None:
        together.wait(10)
        for turn in range(10):
            page = call_wsgi(gate, environ_of(f"from={number}&turn={turn}".encode()))
            codes.append(call_wsgi(gate, environ_of(page.answered().body)).code)

    threads = [threading.Thread(target=serve, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert codes == [200] * 60
    assert sorted(probe.bodies) == sorted(f"from={n}&turn={t}".encode() for n in range(6) for t in range(10))


def test_form_type_is_read_as_servers_give_it() -> None:
    """An answer is known by its urlencoded type in any case, with parameters, and as one of several joined ones."""
    for value in (URLENCODED.upper(), f"{URLENCODED}; charset=utf-8", f"{URLENCODED} ;x", f"text/plain, {URLENCODED}"):
        result = call_wsgi(gated(Probe(), mode="adaptive"), environ_of(b"gatepost_token=x", content_type=value))
        assert (result.code, result.reason) == (400, "forged"), value
    for value in (f"{URLENCODED}s", f"x{URLENCODED}", "text/plain", f"text/plain; a={URLENCODED}", "," * 5000):
        result = call_wsgi(gated(Probe(), mode="adaptive"), environ_of(b"gatepost_token=x", content_type=value))
        assert result.code == 200, value
