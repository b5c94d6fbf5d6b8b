"""What goes wrong with a real Redis under load is survived by four real workers, as the policy says.

Two of the workers serve ASGI and two serve WSGI, on two ports, as two hosts would. Each path has a gate of its own, and
so a policy of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import pytest

from fleet import Fleet, Place, place
from servers import wait_until
from store_servers import StoreServer, store_server
from visitors import judged, load, suffer

POLICIES = ("local", "refuse")
PAUSE = 5.0  # seconds
WRONG = "wrong-password"


@dataclass
class Site:
    """Two hosts whose gates share two servers: one that forgets, and one with a password that does not."""

    place: Place
    hosts: list[Fleet]
    forgetful: StoreServer
    durable: StoreServer


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A :class:`Site`."""
    pytest.importorskip("redis", reason="redis-py is not installed")
    with (
        store_server("redis-server") as forgetful,
        store_server("redis-server", "--appendonly", "yes") as durable,
        place(tmp_path_factory.mktemp("redis")) as here,
    ):
        durable.protect("right-password")
        gates = {f"/forgetful-{policy}": {"store": forgetful.url, "on_store_error": policy} for policy in POLICIES}
        gates |= {f"/durable-{policy}": {"store": durable.url, "on_store_error": policy} for policy in POLICIES}
        wrong = durable.url.replace(durable.password, WRONG)
        gates["/wrong-local"] = {"store": wrong, "site": "wrong"}
        hosts = [here.fleet(server, gates, workers=2) for server in ("uvicorn", "gunicorn")]
        yield Site(here, hosts, forgetful, durable)


# --- the faults ---


@contextmanager
def killed(server: StoreServer) -> Iterator[None]:
    """It is gone like after a crash, and comes back with what it had written down."""
    server.kill()
    try:
        yield
    finally:
        server.start()


@contextmanager
def paused(server: StoreServer) -> Iterator[None]:
    """It does not answer for five seconds."""
    end = time.monotonic() + PAUSE
    with server.paused():
        yield
        wait_until(lambda: time.monotonic() > end, "the pause is over")


@contextmanager
def full(server: StoreServer) -> Iterator[None]:
    """It takes nothing more."""
    server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    server.ask("CONFIG", "SET", "maxmemory", 1)
    try:
        yield
    finally:
        server.ask("CONFIG", "SET", "maxmemory", 0)


@contextmanager
def locked_up(server: StoreServer) -> Iterator[None]:
    """It wants another password from now on, also from those who are connected."""
    password = server.password
    server.protect("another-password")
    server.ask("CLIENT", "KILL", "TYPE", "normal")
    try:
        yield
    finally:
        server.protect(password)


@contextmanager
def occupied(server: StoreServer) -> Iterator[None]:
    """Somebody else's list is where the store's id should be."""
    keys = server.ask("KEYS", "gatepost:*:id")
    for key in keys:  # in one step, or a worker makes it anew in between
        server.ask("EVAL", "redis.call('DEL', KEYS[1]) redis.call('RPUSH', KEYS[1], 'x')", 1, key)
    try:
        yield
    finally:
        for key in keys:
            server.ask("DEL", key)


Fault = Callable[[StoreServer], AbstractContextManager[None]]


@pytest.mark.parametrize(("fault", "again"), [(killed, 3), (paused, 0), (full, 0), (occupied, 0)])
def test_i10_fault_of_a_server_that_forgets(site: Site, fault: Fault, again: int) -> None:
    """Nothing is lost or delivered twice beyond the policy, no request waits for the server, and all recover.

    What the server had kept is gone with it if it is killed, and who had sent that is told so.
    """
    paths = [f"/forgetful-{policy}" for policy in POLICIES]
    counts = suffer(site.place, site.hosts, paths, lambda: fault(site.forgetful))
    assert [count.again for count in counts.values()] == [again, again]


@pytest.mark.parametrize("fault", [killed, locked_up])
def test_i10_fault_of_a_server_that_remembers(site: Site, fault: Fault) -> None:
    """The same where what was claimed and kept before is there afterwards."""
    paths = [f"/durable-{policy}" for policy in POLICIES]
    counts = suffer(site.place, site.hosts, paths, lambda: fault(site.durable))
    assert [count.again for count in counts.values()] == [0, 0]


def test_i10_password_that_was_wrong_from_the_start(site: Site) -> None:
    """Workers with a wrong password start, go on alone, tell of it without the password, and begin when it is right."""
    path, right, diary = "/wrong-local", site.durable.password, site.place.diary
    with load(site.hosts, [path]) as visitors:
        visitors.visits(20)
        wait_until(lambda: len(diary.away(path)) > 1, "workers tell that they have lost the store")
        site.durable.protect(WRONG)
        try:
            wait_until(lambda: not diary.away(path), "every worker has the store")
            visitors.visits(10)
        finally:
            site.durable.protect(right)
    judged(visitors, diary)
    for host in site.hosts:
        assert "The store is lost (AuthenticationError" in host.output
        assert WRONG not in host.output
