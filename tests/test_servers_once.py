"""On real servers: what several connections do at once is delivered once, and the answer by header works."""

from __future__ import annotations

import json
import secrets
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from server_clients import JSON, PAGE, PATIENCE, URLENCODED, Reply, holding
from servers import ONE_AT_A_TIME, Server, case_fixture, server_fixture, stopped_at_the_end_fixture

__all__ = ["case_fixture", "server_fixture", "stopped_at_the_end_fixture"]

CLIENTS = 20
# The second one is too large for the page, so that the store keeps it.
BODIES = {"in the page": b"name=Ada&message=hello", "in the store": b"message=" + b"x" * 300_000}


def all_at_once(send: Callable[[], Reply]) -> list[Reply]:
    """What each of :data:`CLIENTS` clients gets that send at the same moment."""
    barrier = threading.Barrier(CLIENTS)

    def one(_: int) -> Reply:
        barrier.wait(PATIENCE)
        return send()

    with ThreadPoolExecutor(CLIENTS) as threads:
        return list(threads.map(one, range(CLIENTS)))


def click(server: Server, page: Reply, *fields: tuple[str, str]) -> Reply:
    """Answer a page on a connection of its own."""
    with server.connect() as line:
        return line.answer("/always", page, PAGE, *fields)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_i4_twenty_right_answers_at_once_deliver_once(server: Server, case: str, body: bytes) -> None:
    """Of twenty equal right answers at once one is delivered, and the others are told that it has been sent."""
    with server.line() as line:
        page = line.post("/always", URLENCODED, body, PAGE)
    replies = all_at_once(lambda: click(server, page, ("X-Case", case)))
    assert Counter((reply.status, reply.reason) for reply in replies) == {(200, ""): 1, (409, "already-sent"): 19}
    delivered = server.seen(case)["records"]
    assert [(record["length"], record["complete"]) for record in delivered] == [(len(body), True)]


def test_i4_twenty_header_answers_at_once_deliver_once(server: Server, case: str) -> None:
    """The same by header: one passes, and the others, who still have the request, get a new challenge for it."""
    with server.line() as line:
        answer = line.post("/always", "application/json", b"{}", JSON).answered().headers

    def send() -> Reply:
        with server.connect() as one:
            return one.post("/always", "application/json", b"{}", JSON, ("X-Case", case), *answer.items())

    replies = all_at_once(send)
    assert Counter(reply.status for reply in replies) == {200: 1, 429: 19}
    assert {reply.reason for reply in replies if reply.status == 429} == {"already-sent"}
    assert len(server.seen(case)["records"]) == 1


# --- a double click ---


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_i4_double_click_is_delivered_once(server: Server, case: str, body: bytes) -> None:
    """A second answer while the application is busy with the first gets 409 at once, and the first gets its answer.

    A server that takes one request at a time answers the second when it is done with the first.
    """
    with server.line() as first, holding() as hold:
        page = first.post("/always", URLENCODED, body, PAGE)
        with ThreadPoolExecutor(2) as threads:
            one = threads.submit(first.answer, "/always", page, PAGE, ("X-Case", case), hold.field)
            with hold.held():
                other = threads.submit(click, server, page, ("X-Case", case), hold.field)
                if server.name not in ONE_AT_A_TIME:
                    assert other.result(PATIENCE).status == 409
                assert not one.done()
        assert (one.result().status, one.result().json()["length"]) == (200, len(body))
        assert (other.result().status, other.result().reason) == (409, "already-sent")
    assert len(server.seen(case)["records"]) == 1


# --- the answer by header ---


@pytest.mark.parametrize("content_type", ["application/json", URLENCODED])
def test_answer_by_header(server: Server, content_type: str) -> None:
    """A programme gets a problem document, answers in two fields, and its request passes as it is sent again."""
    body = json.dumps({"name": "Ada", "picture": secrets.token_hex(100_000)}).encode()
    with server.line() as line:
        asked = line.post("/always", content_type, body, JSON)
        assert (asked.status, asked.get("content-type")) == (429, "application/problem+json")
        assert asked.json()["challenge"]["kind"] == "known"
        wrong = line.post("/always", content_type, body, JSON, *asked.answered("close sesame").headers.items())
        assert (wrong.status, wrong.json()["reason"]) == (429, "wrong")
        right = line.post("/always", content_type, body, JSON, *wrong.answered().headers.items())
        assert (right.status, right.reason) == (200, "")
        assert (right.json()["length"], right.json()["complete"]) == (len(body), True)


def test_answer_by_header_of_twenty_megabytes(server: Server) -> None:
    """What a programme sends is drained, not kept: the problem document arrives, and the answered request passes."""
    body = b"x" * 20_000_000
    with server.line() as line:
        asked = line.post("/always", "application/octet-stream", body, JSON)
        assert (asked.status, asked.reason) == (429, "always")
        answer = asked.answered().headers
        assert line.post("/always", "application/octet-stream", body, JSON, *answer.items()).json()["length"] == len(
            body
        )
