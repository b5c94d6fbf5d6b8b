"""Four workers of one host, and eight of two, are one gate: they claim once, and engage and end together."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from fleet import Fleet, Place, place
from server_clients import PAGE, PATIENCE, URLENCODED, Connection, Reply
from servers import wait_until
from store_servers import store_server

POSTS = 500
ABOVE = 20  # submissions in a second
VISITORS = 12  # at a time
PACE = 0.2  # seconds between two submissions of one of them, at least: three times as many as the threshold
INTERVAL = 0.25  # seconds, the default of sync_interval
SLACK = 1.0  # seconds for a machine that has other things to do, at least
STORES = ("auto", "sqlite", "redis")


@dataclass
class Site:
    """A host with four workers of an ASGI server, and one with four of a WSGI server."""

    place: Place
    hosts: list[Fleet]

    def hosts_of(self, store: str) -> list[Fleet]:
        """The hosts that share this store: a file is of one host."""
        return self.hosts if store == "redis" else self.hosts[:1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A :class:`Site`."""
    folder = tmp_path_factory.mktemp("fleet")
    with ExitStack() as stack:
        server = stack.enter_context(store_server("redis-server"))
        stores: dict[str, dict[str, Any]] = {
            "auto": {},
            "sqlite": {"store": f"sqlite:///{folder}/gatepost.db"},
            "redis": {"store": server.url},
        }
        gates = {f"/{name}": store for name, store in stores.items()}
        rising: dict[str, Any] = {"mode": "adaptive", "above": f"{ABOVE}/second", "hold": 1}
        gates |= {f"/{name}-rising": store | rising for name, store in stores.items()}
        here = stack.enter_context(place(folder))
        yield Site(here, [here.fleet(name, gates, environ={"TMPDIR": str(folder)}) for name in ("uvicorn", "gunicorn")])


def at_once(hosts: Sequence[Fleet], path: str, body: bytes) -> list[Reply]:
    """The replies to so many equal requests, all of which wait for their last byte before the first one gets it."""
    with ExitStack() as stack:
        lines: list[Connection] = []
        for number in range(POSTS):
            line = stack.enter_context(hosts[number % len(hosts)].connect())
            line.send_head("POST", path, [PAGE, ("Content-Type", URLENCODED), ("Content-Length", str(len(body)))])
            line.socket.sendall(body[:-1])
            lines.append(line)
        for line in lines:
            line.socket.sendall(body[-1:])
        return [line.read_reply() for line in lines]


@pytest.mark.parametrize("store", STORES)
def test_i4_one_of_five_hundred_equal_answers_is_delivered(site: Site, store: str) -> None:
    """Of five hundred right answers with one token at once, over all workers, exactly one is delivered.

    Whoever waits too long in the crowd is asked to try again, and whoever comes after that gets a new question: the
    store is busy by that, and not lost.
    """
    hosts, path = site.hosts_of(store), f"/{store}"
    with hosts[-1].connect() as line:
        page = line.post(path, URLENCODED, b"only-one&message=hello", PAGE)
    replies = at_once(hosts, path, page.answered().body)
    found = Counter((reply.status, reply.reason) for reply in replies)
    assert found[200, ""] == 1
    assert set(found) <= {(200, ""), (409, "already-sent"), (503, "store-away"), (429, "used")}
    assert site.place.diary.deliveries(path) == {"only-one": 1}
    for number, host in enumerate(hosts):
        workers = {reply.get("x-pid") for reply in replies[number :: len(hosts)]}
        print(store, host.port, Counter(reply.get("x-pid") for reply in replies[number :: len(hosts)]))
        assert len(workers) > 1


@dataclass(frozen=True)
class Sent:
    """One submission: when it was sent, when its answer had come (seconds since the epoch), by whom, and which."""

    begun: float
    ended: float
    pid: int
    passed: bool


def flood(hosts: Sequence[Fleet], path: str, sent: list[Sent], over: threading.Event) -> None:
    """Submissions until it is over: more than the threshold, but for each worker alone they would be too few."""

    def one(number: int) -> None:
        host, taken = hosts[number % len(hosts)], 0.0
        while not over.wait(max(0.0, PACE - taken)):
            with host.connect() as line:
                begun = time.time()
                reply = line.post(path, URLENCODED, b"a=b", PAGE)
                ended = time.time()
            sent.append(Sent(begun, ended, int(reply.get("x-pid")), reply.status == 200))
            taken = ended - begun

    with ThreadPoolExecutor(VISITORS) as threads:
        list(threads.map(one, range(VISITORS)))


@pytest.mark.parametrize("store", STORES)
def test_workers_engage_and_are_released_as_one(site: Site, store: str) -> None:
    """All workers engage within an interval or two after one gate alone would have, and are released together, once."""
    hosts, path, diary = site.hosts_of(store), f"/{store}-rising", site.place.diary
    sent: list[Sent] = []

    def told(what: str) -> dict[int, float]:
        return {line.pid: line.at for line in diary.lines(what, path)}

    def all_told(what: str) -> bool:
        seen = {one.pid for one in list(sent)}
        return len(seen) > len(hosts) and seen == set(told(what))

    over = threading.Event()
    with ThreadPoolExecutor(1) as background:
        flooding = background.submit(flood, hosts, path, sent, over)
        try:
            wait_until(lambda: all_told("engaged"), "every worker is engaged")
        finally:
            over.set()
        flooding.result(PATIENCE)
    wait_until(lambda: all_told("engaged"), "every worker is engaged")
    due = sorted(one.ended for one in sent)[ABOVE]  # one gate would ask for an answer from here on
    engaged = told("engaged")
    late = sum(one.passed and one.begun > due for one in sent)
    waited = [at - max(due, min(one.begun for one in sent if one.pid == pid)) for pid, at in engaged.items()]
    print(f"{store}: {len(engaged)} engaged after {min(waited):.3f} to {max(waited):.3f} s; {late} of {len(sent)} late")
    # A machine that is slow to answer is slow to tell, too.
    slack = SLACK + 2 * max(one.ended - one.begun for one in sent)
    assert min(waited) < INTERVAL + slack
    assert max(waited) < 2 * INTERVAL + slack
    assert not any(one.passed for one in sent if one.begun > max(engaged.values()))
    wait_until(lambda: all_told("released"), "every worker is released")
    released = told("released").values()
    print(f"{store}: released within {max(released) - min(released):.3f} s")
    assert max(released) - min(released) < 2 * INTERVAL + slack
    for what in ("engaged", "released"):
        assert set(Counter(line.pid for line in diary.lines(what, path)).values()) == {1}
    for host in hosts:
        with host.connect() as line:
            assert line.post(path, URLENCODED, b"a=b", PAGE).status == 200
