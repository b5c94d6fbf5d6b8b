"""Gunicorn with ``--preload``: the gate is made and used first, and the process forks after that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from server_clients import PAGE, URLENCODED, Hold, Reply, holding
from servers import Server, missing, start, wait_until

# Its workers take one request at a time, so that keeping one busy decides which of them answers.
NAME = "gunicorn-sync"
# Without leeway a token that was made since the start is at once known as another process's.
GATES = {"/always": {"mode": "always", "leeway": 0}, "/calm": {}}


@pytest.fixture
def workers() -> Iterator[Server]:
    """Two workers that were forked from a process in which the gate had been made, and used."""
    if missing(NAME):
        pytest.skip(missing(NAME))
    server = start(NAME, extra=["--preload", "--workers=2"], gates=GATES, warm="/always")
    wait_until(lambda: server.output.count("Booting worker") == 2, "both workers are there")
    yield server
    server.stop()
    server.log.unlink()


def ask(server: Server) -> Reply:
    """A page."""
    with server.connect() as line:
        return line.post("/always", URLENCODED, b"name=Ada", PAGE)


def click(server: Server, page: Reply) -> Reply:
    """Answer a page."""
    with server.connect() as line:
        return line.answer("/always", page, PAGE)


@contextmanager
def busy(server: Server, hold: Hold, wanted: Callable[[int], bool]) -> Iterator[None]:
    """Keep the worker busy whose process id is the wanted one, so that the other has to answer."""

    def occupy() -> int:
        with server.connect() as line:
            return line.post("/calm", URLENCODED, b"name=Ada", PAGE, hold.field).status

    with ThreadPoolExecutor(2) as threads:
        with ExitStack() as stack:
            sent = [threads.submit(occupy)]
            if not wanted(stack.enter_context(hold.held())):
                wrong = stack.pop_all()
                sent.append(threads.submit(occupy))
                with wrong:  # while that one is held, this gets the other
                    assert wanted(stack.enter_context(hold.held()))
            yield
        assert {future.result() for future in sent} == {200}


def issuer_of(page: Reply) -> int:
    """The process id of the worker that has made a page."""
    return int(page.get("x-pid"))


def test_i11_each_worker_delivers_what_it_has_challenged(workers: Server) -> None:
    """Made and used before the fork, the gate works in both workers: each delivers what it has challenged, once."""
    with holding() as hold:
        first = ask(workers)
        with busy(workers, hold, lambda pid: pid == issuer_of(first)):
            second = ask(workers)
            assert issuer_of(second) != issuer_of(first)
            assert click(workers, second).json()["pid"] == issuer_of(second)
            assert click(workers, second).status == 409
        with busy(workers, hold, lambda pid: pid != issuer_of(first)):
            assert click(workers, first).json()["pid"] == issuer_of(first)


def test_i11_page_of_one_worker_is_answered_at_the_other(workers: Server) -> None:
    """The other worker gives a fresh challenge for the same submission, and delivers after the answer to that.

    The memory store is one process's own. So it says that the submission may have been sent, and logs that there are
    two stores. Both workers end when they are told to, with nothing to complain about.
    """
    page = ask(workers)
    with holding() as hold, busy(workers, hold, lambda pid: pid == issuer_of(page)):
        again = click(workers, page)
        assert (again.status, again.reason) == (429, "restarted")
        assert b"may have arrived already" in again.body
        assert issuer_of(again) != issuer_of(page)
        assert click(workers, again).json()["length"] == 8
        assert click(workers, again).status == 409
    assert "A challenge that another process has issued was answered here." in workers.output
    assert workers.stop() == 0
    assert "Traceback" not in workers.output
