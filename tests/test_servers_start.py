"""Real servers start, are mounted under a prefix, and end; one skip for each that is not installed."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from server_clients import PAGE, URLENCODED
from servers import INSTALLED, PROGRAMS, Server, missing, start

#: How a server ends that was asked to by SIGTERM; the others end with 0.
BY_SIGNAL = ("uvicorn-h11", "uvicorn-httptools", "waitress")
PREFIX = "/some/where"
#: Turbo and its like fetch the page, and show it without changing the address.
FETCHED = (("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Site", "same-origin"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_i11_server_starts_and_ends(name: str) -> None:
    """The server answers behind a gate, and ends by itself when it is told to, with nothing to complain about."""
    if missing(name):
        pytest.skip(missing(name))
    server = start(name)
    with server.line() as line:
        page = line.post("/always", URLENCODED, b"name=Ada", PAGE)
        assert line.answer("/always", page, PAGE).json()["length"] == 8
    assert server.stop() == (-signal.SIGTERM if name in BY_SIGNAL else 0)
    assert "Traceback" not in server.output
    server.log.unlink()


@pytest.fixture(params=INSTALLED, scope="module")
def mounted(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Each server, mounted under a prefix by its own option."""
    server = start(request.param, prefix=PREFIX)
    yield server
    server.stop()
    server.log.unlink()


def test_prefix_is_not_part_of_the_path(mounted: Server) -> None:
    """Under a prefix the rule for ``/always`` protects, and the page's answer delivers, with prefix and path apart."""
    target = mounted.target("/always?to=me%2Fyou")
    with mounted.line() as line:
        page = line.post(target, URLENCODED, b"name=Ada", PAGE)
        assert (page.status, page.reason) == (429, "always")
        assert b'<form method="post" autocomplete' in page.body  # no action: it posts to the address of the page
        record = line.answer(target, page, PAGE).json()
    assert (record["prefix"], record["path"], record["query"]) == (PREFIX, "/always", "to=me%2Fyou")
    assert (record["length"], record["complete"]) == (8, True)


def test_fetched_page_names_its_address_with_the_prefix(mounted: Server) -> None:
    """A page that a script puts in place has an ``action``, with the prefix that the browser needs, once."""
    target = mounted.target("/always/?to=me%2Fyou")
    with mounted.line() as line:
        page = line.post(target, URLENCODED, b"name=Ada", PAGE, *FETCHED)
        assert f'action="{PREFIX}/always/?to=me%2Fyou"'.encode() in page.body
        assert line.answer(target, page, PAGE, *FETCHED).json()["path"] == "/always/"


def test_token_of_another_path_under_the_prefix_is_forged(mounted: Server) -> None:
    """A page's answer is for its own path and query, under a prefix as elsewhere."""
    with mounted.line() as line:
        page = line.post(mounted.target("/always?to=me"), URLENCODED, b"name=Ada", PAGE)
        refused = line.answer(mounted.target("/always?to=you"), page, PAGE)
    assert (refused.status, refused.reason) == (400, "forged")


def test_calm_path_under_the_prefix_passes(mounted: Server) -> None:
    """What passes under a prefix has the prefix and the path that the server gave."""
    with mounted.line() as line:
        record = line.post(mounted.target("/calm"), URLENCODED, b"name=Ada", PAGE).json()
    assert (record["prefix"], record["path"], record["length"]) == (PREFIX, "/calm", 8)
