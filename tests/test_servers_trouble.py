"""On real servers: clients that leave, dawdle or lie about the length of what they send."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from server_clients import JSON, PAGE, URLENCODED, Connection, Reply
from servers import (
    BLOCKS,
    INSTALLED,
    ONE_AT_A_TIME,
    WHOLE_FIRST,
    Server,
    case_fixture,
    running,
    server_fixture,
    stopped_at_the_end_fixture,
    wait_until,
)

__all__ = ["case_fixture", "server_fixture", "stopped_at_the_end_fixture"]

LENGTH = 100_000
#: What has arrived of a body when its client leaves or falls silent: a type, and the first bytes.
BEGINNINGS = {
    "nothing": ("text/plain", b""),
    "text": ("text/plain", b"x" * 5_000),
    "form": (URLENCODED, b"name=Ada&message=" + b"x" * 5_000),
    "half a prefix": (URLENCODED, b"gatepost_"),
    "answer": (URLENCODED, b"gatepost_token=" + b"x" * 5_000),
}

#: It says that it closes, and waits for the rest of the body first, on newer Pythons about every other time.
KEEPS_OPEN = "granian-asgi"


def begin(line: Connection, path: str, beginning: str, *fields: tuple[str, str]) -> None:
    """Send a head that promises :data:`LENGTH` bytes, and the first of them."""
    content_type, sent = BEGINNINGS[beginning]
    line.send_head("POST", path, [*fields, ("Content-Type", content_type), ("Content-Length", str(LENGTH))])
    line.socket.sendall(sent)


def await_entry(server: Server, case: str) -> None:
    """Wait until the request is with the gate, where that can be seen."""
    if server.name not in (*ONE_AT_A_TIME, *WHOLE_FIRST):
        wait_until(lambda: server.seen(case)["entered"], f"{case} is with the gate")


def assert_goes_on(server: Server) -> None:
    """The server takes a submission, challenges it and delivers it."""
    with server.line() as line:
        page = line.post("/always", URLENCODED, b"name=Ada", PAGE)
        reply = line.answer("/always", page, PAGE)
        assert (page.status, reply.status, reply.json()["length"]) == (429, 200, 8)


@pytest.mark.parametrize("how", ["closes", "resets"])
@pytest.mark.parametrize("accept", [PAGE, JSON], ids=["page", "json"])
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_client_that_leaves_never_reaches_the_application(
    server: Server, case: str, beginning: str, accept: tuple[str, str], how: str
) -> None:
    """Who leaves in the middle of a body has not sent anything, and the server goes on."""
    with server.connect() as line:
        begin(line, "/always", beginning, accept, ("X-Case", case))
        await_entry(server, case)
        if how == "resets":
            line.reset()
    assert server.settled(case) == []


def test_server_goes_on_after_clients_left(server: Server) -> None:
    """After twenty clients have left in the middle of their bodies, the next submission is served as ever."""
    for _ in range(20):
        with server.connect() as line:
            begin(line, "/always", "text", PAGE)
    assert_goes_on(server)


def test_i4_answer_that_was_cut_is_not_burnt(server: Server, case: str) -> None:
    """An answer whose client leaves before its end claims nothing: sent again, it delivers."""
    with server.line() as line:
        page = line.post("/always", URLENCODED, b"name=Ada", PAGE)
        solved = page.answered()
        with server.connect() as cut:
            length = ("Content-Length", str(len(solved.body)))
            cut.send_head("POST", "/always", [PAGE, ("X-Case", case), ("Content-Type", URLENCODED), length])
            cut.socket.sendall(solved.body[:-1])
            await_entry(server, case)
        assert server.settled(case) == []
        reply = line.answer("/always", page, PAGE, ("X-Case", case))
    assert (reply.status, reply.json()["length"]) == (200, 8)


# --- too slow ---


def assert_too_slow(reply: Reply) -> None:
    """The 408 page, whole, on a connection that ends with it."""
    assert (reply.status, reply.get("gatepost")) == (408, "refused; reason=too-slow")
    assert reply.body.rstrip().endswith(b"</html>")


@pytest.mark.parametrize("name", [name for name in INSTALLED if name not in (*BLOCKS, *WHOLE_FIRST)])
def test_silent_client_gets_408(name: str, case: str, stopped_at_the_end: None) -> None:  # noqa: ARG001
    """Past ``read_timeout`` (one second) a body that does not come gets 408 and a closed connection.

    These are the servers that hand on bytes as they come. One who is silent before the first bytes of a form are
    known is refused, too, and a JSON client gets its challenge, since its body is only drained.
    """
    server = running(name)
    with ExitStack() as stack:
        lines = {beginning: stack.enter_context(server.connect()) for beginning in BEGINNINGS}
        for beginning, line in lines.items():
            begin(line, "/impatient", beginning, PAGE, ("X-Case", case))
        script = stack.enter_context(server.connect())
        begin(script, "/impatient", "text", JSON, ("X-Case", case))
        for line in lines.values():
            reply = line.read_reply()
            assert_too_slow(reply)
            assert reply.closes
            if name != KEEPS_OPEN:
                assert line.read_reply().status == 0
        reply = script.read_reply()
        assert (reply.status, reply.reason, reply.closes) == (429, "always", True)
    wait_until(lambda: server.seen(case)["left"] == len(lines) + 1, "all of them are done")
    assert server.seen(case)["records"] == []
    assert_goes_on(server)


@contextmanager
def dawdling(name: str, case: str) -> Iterator[Connection]:
    """A client that has sent almost one block, and nothing for longer than its bytes and the timeout allow."""
    with running(name).connect() as line:
        length = ("Content-Length", "1000000")
        line.send_head("POST", "/impatient", [PAGE, ("X-Case", case), ("Content-Type", "text/plain"), length])
        line.socket.sendall(b"x" * 65_535)
        yield line


def test_slow_client_of_a_server_that_blocks(case: str, stopped_at_the_end: None) -> None:  # noqa: ARG001
    """WSGI looks at the time between reads: who was too slow gets 408 as soon as a block is full, and no later.

    A read of Gunicorn's and Granian's input waits for as many bytes as it asks for, so the gate cannot answer before.
    Waitress does not call the application before it has the whole body; it closes by its own ``channel_timeout``.
    """
    names = [name for name in INSTALLED if name in (*BLOCKS, *WHOLE_FIRST)]

    def try_one(name: str) -> None:
        with dawdling(name, case) as line:
            if name in WHOLE_FIRST:
                assert line.read_reply().status == 0
                return
            # The bytes allow four seconds, and the timeout one more, from when the server gets to it: two for that.
            assert not line.arrives(7)
            line.socket.sendall(b"x")
            assert_too_slow(line.read_reply())

    for name in names:
        running(name)
    with ThreadPoolExecutor(len(names)) as threads:
        list(threads.map(try_one, names))
    for name in names:
        assert running(name).settled(case) == []
        assert_goes_on(running(name))


# --- Content-Length ---

LENGTHS = {
    "longer than what comes": ["1000"],
    "more than a body can have": ["999999999999"],
    "of 32 digits": ["9" * 32],
    "of 5000 digits": ["9" * 5000],
    "negative": ["-5"],
    "a word": ["abc"],
    "blank": [" "],
    "signed": ["+20"],
    "hexadecimal": ["0x14"],
    "fractional": ["20.0"],
    "twice and different": ["20", "30"],
    "another script's digits": ["\xd9\xa2\xd9\xa0"],
}
#: Answers 500 by itself for a client that half closes and is told nothing, as ASGI wants it after a disconnect.
OWN_500 = ("granian-asgi",)


@pytest.mark.parametrize(
    ("length", "content_type"),
    [(length, URLENCODED) for length in LENGTHS] + [(length, "text/plain") for length in LENGTHS if "than" in length],
)
def test_wrong_length_never_reaches_the_application(server: Server, case: str, length: str, content_type: str) -> None:
    """With a Content-Length that is not true there is no page to answer, nothing is delivered, and nothing breaks."""
    with server.connect() as line:
        lengths = [("Content-Length", value) for value in LENGTHS[length]]
        line.send_head("POST", "/always", [PAGE, ("X-Case", case), ("Content-Type", content_type), *lengths])
        status = 0
        try:
            line.socket.sendall(b"x" * 20)
            line.socket.shutdown(socket.SHUT_WR)
            status = line.read_reply().status
        except OSError:  # the server had closed by then
            pass
    assert status in (0, 400, 413, 431, *([500] if server.name in OWN_500 else []))
    assert server.settled(case, least=0) == []


def test_absent_length_is_an_empty_body(server: Server) -> None:
    """Without Content-Length and Transfer-Encoding there is no body, and that is what is delivered."""
    with server.line() as line:
        page = line.request("POST", "/always", [PAGE, ("Content-Type", "text/plain")])
        assert (page.status, page.reason) == (429, "always")
        record = line.answer("/always", page, PAGE).json()
    assert (record["length"], record["complete"], record["fields"]["content-length"]) == (0, True, "0")


CHUNKED_TROUBLE = {
    "ends within a chunk": b"64\r\nxxxxx",
    "ends between chunks": b"5\r\nxxxxx\r\n",
    "size is no number": b"zz\r\nxxxxx\r\n0\r\n\r\n",
    "chunk is longer than it says": b"5\r\nxxxxxxxxxx\r\n0\r\n\r\n",
}
#: Takes the end of the connection for the end of a chunked body, so that nobody can tell a body that was cut.
ENDS_CHUNKS_EARLY = ("granian-wsgi",)


@pytest.mark.parametrize("content_type", ["text/plain", URLENCODED])
@pytest.mark.parametrize("trouble", CHUNKED_TROUBLE)
def test_broken_chunks_never_reach_the_application(server: Server, case: str, trouble: str, content_type: str) -> None:
    """A chunked body that is malformed or cut gets no page to answer, and nothing of it is delivered."""
    fields = [PAGE, ("X-Case", case), ("Content-Type", content_type), ("Transfer-Encoding", "chunked")]
    with server.connect() as line:
        line.send_head("POST", "/always", fields)
        status = 0
        try:
            line.socket.sendall(CHUNKED_TROUBLE[trouble])
            line.socket.shutdown(socket.SHUT_WR)
            status = line.read_reply().status
        except OSError:
            pass
    allowed = [*([500] if server.name in OWN_500 else []), *([429] if server.name in ENDS_CHUNKS_EARLY else [])]
    assert status in (0, 400, *allowed)
    assert server.settled(case, least=0) == []
