"""On real servers: every kind of body passes, or comes through a challenge, byte for byte."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import pytest

from server_clients import JSON, PAGE, URLENCODED, Connection, Reply
from servers import CLOSES, WHOLE_FIRST, Server, case_fixture, server_fixture, stopped_at_the_end_fixture

__all__ = ["case_fixture", "server_fixture", "stopped_at_the_end_fixture"]

MULTIPART = "multipart/form-data; boundary=a-boundary"
_PART = b'--a-boundary\r\nContent-Disposition: form-data; name="file"; filename="a\xc3\xa9.bin"\r\n\r\n'


def noise(size: int) -> bytes:
    """Bytes that no mistake leaves as they are: of every value, and without a period."""
    return random.Random(size).randbytes(size)  # noqa: S311 - any bytes will do


def multipart(size: int) -> bytes:
    """A form with one file."""
    return _PART + noise(size) + b"\r\n--a-boundary--\r\n"


# A body of 300 kB is more than travels in the page and is kept in the store, and so is the file.
BODIES: dict[str, tuple[str | None, bytes]] = {
    "urlencoded": (URLENCODED, b"name=Ada&message=%FF%00+two++blanks&&=&gatepost_token=mine"),
    "multipart": (MULTIPART, multipart(1_500_000)),
    "json": ("application/json", b'{"name": "Ada", "list": [1, 2.50]}\n'),
    "empty": (None, b""),
    "kept": ("text/plain; charset=koi8-r", noise(300_000)),
}
CHUNKED = ("Transfer-Encoding", "chunked")


def chunks(body: bytes, size: int) -> bytes:
    """A body as ``Transfer-Encoding: chunked`` has it."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])


def assert_delivered(reply: Reply, content_type: str | None, body: bytes) -> dict[str, Any]:
    """The application answered, and got this body and this type."""
    assert (reply.status, reply.reason) == (200, "")
    record: dict[str, Any] = reply.json()
    assert record["complete"]
    assert (record["length"], record["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
    assert record["fields"].get("content-type") == content_type
    return record


def assert_page(reply: Reply, size: str) -> None:
    """The interstitial arrived, whole, and names the size of what it keeps."""
    assert (reply.status, reply.get("gatepost")) == (429, "challenge; reason=always")
    assert reply.body.rstrip().endswith(b"</html>")
    assert f"({size})".encode() in reply.body


@pytest.mark.parametrize("kind", BODIES)
def test_i1_what_passes_is_untouched(server: Server, kind: str) -> None:
    """Below the threshold each kind of body reaches the application as it was sent."""
    content_type, body = BODIES[kind]
    with server.line() as line:
        record = assert_delivered(line.post("/calm", content_type, body, PAGE), content_type, body)
    assert record["fields"]["content-length"] == str(len(body))


@pytest.mark.parametrize("kind", BODIES)
def test_i2_answer_delivers_what_was_sent(server: Server, kind: str) -> None:
    """The right answer has each kind of body delivered as it was sent, with its type and its true length."""
    content_type, body = BODIES[kind]
    with server.line() as line:
        page = line.post("/always?to=me%2Fyou", content_type, body, PAGE, ("Origin", "http://127.0.0.1"))
        assert (page.status, page.get("gatepost")) == (429, "challenge; reason=always")
        reply = line.answer("/always?to=me%2Fyou", page, PAGE, ("Origin", "http://127.0.0.1"))
        record = assert_delivered(reply, content_type, body)
    assert record["fields"]["content-length"] == str(len(body))
    assert (record["path"], record["query"]) == ("/always", "to=me%2Fyou")


def test_page_comes_above_the_threshold(server: Server) -> None:
    """With ``above="3/hour"`` three submissions pass, the fourth gets the page, and its answer delivers it."""
    content_type, body = BODIES["urlencoded"]
    with server.line() as line:
        for _ in range(3):
            assert_delivered(line.post("/rising", content_type, body, PAGE), content_type, body)
        page = line.post("/rising", content_type, body, PAGE)
        assert (page.status, page.reason) == (429, "rule-engaged")
        assert_delivered(line.answer("/rising", page, PAGE), content_type, body)


def test_wrong_answer_loses_nothing(server: Server) -> None:
    """A wrong answer gets another page, and the right answer to that one delivers what was sent first."""
    content_type, body = BODIES["kept"]
    with server.line() as line:
        page = line.post("/always", content_type, body, PAGE)
        again = line.answer("/always", page, PAGE, answer="close sesame")
        assert (again.status, again.reason) == (429, "wrong")
        assert_delivered(line.answer("/always", again, PAGE), content_type, body)


def test_too_large_to_keep_is_said_before_and_let_through_after(server: Server) -> None:
    """Of 20 MB the whole page arrives and says that they were not kept; the answer's permit lets them through once."""
    body = multipart(20_000_000)
    with server.line() as line:
        page = line.post("/always", MULTIPART, body, PAGE)
        assert_page(page, "20.0 MB")
        assert b"too large to be kept" in page.body
        refused = line.answer("/always", page, PAGE)
        assert (refused.status, refused.reason) == (413, "not-kept")
        cookie = refused.get("set-cookie").partition(";")[0]
        assert_delivered(line.post("/always", MULTIPART, body, PAGE, ("Cookie", cookie)), MULTIPART, body)
        once_more = line.post("/always", MULTIPART, b"", PAGE, ("Cookie", cookie))
        assert (once_more.status, once_more.reason) == (429, "always")


def test_more_than_is_drained_does_no_harm(server: Server, case: str) -> None:
    """A body past ``drain_limit`` never reaches the application, and the server goes on; the page may be lost."""
    with server.connect() as line:
        try:
            reply = line.post("/drained", MULTIPART, multipart(5_000_000), PAGE, ("X-Case", case))
            assert (reply.status, reply.reason) == (429, "always")
        except ConnectionError:
            assert server.name not in WHOLE_FIRST  # it reads everything in any case
    assert server.settled(case) == []


@pytest.mark.parametrize("size", [1, 7_000, 300_000])
@pytest.mark.parametrize("content_type", ["text/plain", URLENCODED])
def test_i2_chunked_body_is_delivered(server: Server, content_type: str, size: int) -> None:
    """A chunked body passes, and comes through a challenge, byte for byte: every server here takes chunks.

    Passing, the application sees ``Transfer-Encoding`` and no length (Waitress: a length, since it joins the chunks).
    Delivered after an answer, it always sees the length.
    """
    body = noise(50 if size == 1 else 300_000)
    fields = [PAGE, ("Content-Type", content_type), CHUNKED]
    with server.line() as line:
        passed = assert_delivered(line.request("POST", "/calm", fields, chunks(body, size)), content_type, body)
        page = line.request("POST", "/always", fields, chunks(body, size))
        assert_page(page, f"{len(body)} B" if size == 1 else "300 kB")
        record = assert_delivered(line.answer("/always", page, PAGE), content_type, body)
    seen = {"content-length": str(len(body))} if server.name in WHOLE_FIRST else {"transfer-encoding": "chunked"}
    assert passed["fields"] == {"content-type": content_type} | seen
    assert record["fields"] == {"content-type": content_type, "content-length": str(len(body))}


def test_i2_chunked_answer_delivers(server: Server) -> None:
    """The answer itself may come in chunks, cut in the middle of its first field; what is delivered has a length."""
    content_type, body = BODIES["urlencoded"]
    with server.line() as line:
        solved = line.post("/always", content_type, body, PAGE).answered()
        fields = [PAGE, ("Content-Type", solved.content_type), CHUNKED]
        reply = line.request("POST", "/always", fields, chunks(solved.body, 5))
        record = assert_delivered(reply, content_type, body)
    assert record["fields"] == {"content-type": content_type, "content-length": str(len(body))}


def test_chunked_body_too_large_to_keep(server: Server) -> None:
    """The caps count real bytes: a chunked body past ``keep_limit`` is not kept, and the page says so."""
    with server.line() as line:
        page = line.request(
            "POST", "/drained", [PAGE, ("Content-Type", "text/plain"), CHUNKED], chunks(noise(90_000), 999)
        )
        assert_page(page, "90 kB")
        assert b"too large to be kept" in page.body


def test_ten_megabytes_of_token_are_refused(server: Server) -> None:
    """An answer request of 10 MB gets the whole page that says it could not be read."""
    with server.line() as line:
        reply = line.post("/always", URLENCODED, b"gatepost_token=" + b"a" * 10_000_000, PAGE)
    assert (reply.status, reply.get("gatepost")) == (400, "refused; reason=forged")
    assert reply.body.rstrip().endswith(b"</html>")


def test_flawed_content_type_is_refused(server: Server) -> None:
    """A Content-Type that cannot be carried gets the whole page that says so, however large the body."""
    with server.line() as line:
        reply = line.post("/always", f"text/plain; note={'x' * 200}", noise(10_000_000), PAGE)
    assert (reply.status, reply.get("gatepost")) == (400, "refused; reason=content-type")
    assert reply.body.rstrip().endswith(b"</html>")


# --- Expect: 100-continue ---

#: Servers that ask for the body before the application has read any of it.
EAGER = ("hypercorn", "gunicorn-sync", "gunicorn-gthread", "waitress")


def ask_first(line: Connection, content_type: str, body: bytes, accept: tuple[str, str]) -> tuple[bool, Reply]:
    """Send a body as a client does that waits until it is asked for it; whether it was, and the answer."""
    length = ("Content-Length", str(len(body)))
    line.send_head("POST", "/always", [accept, ("Content-Type", content_type), length, ("Expect", "100-continue")])
    first = line.read_reply(interim=True)
    if first.status != 100:
        return False, first
    try:
        line.socket.sendall(body)
    except ConnectionError:  # it answered early and closed; the answer can still be read
        assert content_type != URLENCODED
    return True, line.read_reply()


def test_expecting_page_client_is_asked_for_its_body(server: Server) -> None:
    """A page client that expects ``100 Continue`` gets it, then the page, and the answer delivers the body."""
    body = noise(1_000_000)
    with server.line() as line:
        asked, page = ask_first(line, "text/plain", body, PAGE)
        assert asked
        assert_page(page, "1.0 MB")
        record = assert_delivered(line.answer("/always", page, PAGE), "text/plain", body)
    assert "expect" not in record["fields"]


def test_expecting_json_client_is_refused_without_upload(server: Server) -> None:
    """A JSON client that expects ``100 Continue`` is refused without it, and told that the connection ends there.

    Hypercorn, Gunicorn and Waitress send ``100 Continue`` before anyone has asked for the body.
    """
    body = noise(1_000_000)
    with server.connect() as line:
        asked, reply = ask_first(line, "application/json", body, JSON)
        assert asked == (server.name in EAGER)
        assert (reply.status, reply.reason, reply.get("content-type")) == (429, "always", "application/problem+json")
        if server.name not in EAGER:
            assert line.read_reply().status == 0
        if server.name in ("uvicorn-h11", "uvicorn-httptools", "granian-asgi"):
            assert reply.closes
    with server.line() as line:
        answered = line.post("/always", "application/json", body, JSON, *reply.answered().headers.items())
        assert_delivered(answered, "application/json", body)


def test_expecting_json_client_with_a_form_is_drained(server: Server) -> None:
    """The look at an urlencoded body asks for it; then it is read to its end, and the connection stays good."""
    with server.line() as line:
        asked, reply = ask_first(line, URLENCODED, b"x" * 10_000_000, JSON)
    assert asked
    assert (reply.status, reply.reason, reply.closes) == (429, "always", server.name in CLOSES)
