"""Workers that are killed in the middle of an answer, and hosts whose clocks do not agree."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from fleet import Fleet, Place, place
from server_clients import PAGE, Reply
from servers import wait_until
from store_servers import store_server
from visitors import Count, Visitor, judged, load

# --- killed ---


@dataclass
class Site:
    """Four workers that share a file. Those who submit to ``/mortal`` can have one of them killed."""

    place: Place
    host: Fleet


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A :class:`Site`."""
    folder = tmp_path_factory.mktemp("killed")
    # Patient, or a busy machine would be one fault more.
    gates = {
        "/mortal": {"store": f"mortal:{folder}/gatepost.db", "store_timeout": 10},
        "/refuse": {"store": f"sqlite:///{folder}/gatepost.db", "store_timeout": 10},
    }
    with place(folder) as here:
        yield Site(here, here.fleet("gunicorn", gates))


@pytest.mark.parametrize(
    ("where", "delivered", "again"),
    [
        # Nothing has been claimed: the same answer is right once more.
        ("before", 0, (200, "")),
        # Nobody can know whether the application had been called. It is told that it was, rather than called twice.
        ("after", 0, (409, "already-sent")),
        ("inside", 1, (409, "already-sent")),
    ],
)
def test_i4_worker_killed_in_the_middle_of_an_answer(
    site: Site, where: str, delivered: int, again: tuple[int, str]
) -> None:
    """The answer that the worker had in hand is not delivered twice, and the others go on with the next worker."""
    diary = site.place.diary
    victim = Visitor("/mortal", f"killed-{where}")
    started = len(diary.lines("started"))
    with load([site.host], ["/refuse"]) as visitors:
        visitors.visits(10)
        assert victim.submit(site.host).status == 429
        site.place.kill_one(where)
        assert answer(victim, site.host).status == 0  # the connection is gone, and nothing came back
        assert diary.deliveries("/mortal")[victim.name] == delivered
        wait_until(lambda: len(diary.lines("started")) > started, "another worker has started")
        reply = answer(victim, site.host)
        assert (reply.status, reply.reason) == again
        visitors.visits(10)
    assert diary.deliveries("/mortal")[victim.name] == delivered + (again[0] == 200)
    count = Count.of("/refuse", visitors.tallies["/refuse"], diary)
    assert (count.twice, count.refused) == (0, 0)
    # In the same instant the worker may have been between another one's claim and the application.
    assert count.lost <= 1


def answer(visitor: Visitor, host: Fleet) -> Reply:
    """Answer the page that a visitor has, once; status 0 if the worker dies over it."""
    with host.connect() as line:
        try:
            return line.answer(visitor.path, visitor.page, PAGE)
        except ConnectionError:
            return Reply(0)


# --- clocks ---

LEEWAY = 5  # seconds, the default


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, dict[int, Fleet]]]:
    """Hosts by how many seconds their clocks are ahead, on one Redis."""
    pytest.importorskip("redis", reason="redis-py is not installed")
    with ExitStack() as stack:
        server = stack.enter_context(store_server("redis-server"))
        here = stack.enter_context(place(tmp_path_factory.mktemp("clocks")))
        gates = {"/refuse": {"store": server.url, "on_store_error": "refuse", "leeway": LEEWAY, "store_timeout": 10}}
        started = {0: here.fleet("uvicorn", gates, workers=2)}
        for ahead in (3, 8):
            started[ahead] = here.fleet("gunicorn", gates, workers=2, offset=ahead)
        yield here, started


@pytest.mark.parametrize("ahead", [3, 8])
def test_i4_clocks_apart_lose_nothing(hosts: tuple[Place, dict[int, Fleet]], ahead: int) -> None:
    """Whatever the difference, nothing is lost or delivered twice; within the leeway nobody is asked twice, either."""
    here, by_offset = hosts
    with load([by_offset[0], by_offset[ahead]], ["/refuse"]) as visitors:
        visitors.visits(30)
        visitors.prepare(3, large=True)
        visitors.return_()
    [count] = judged(visitors, here.diary).values()
    assert (count.refused, count.again, count.lost) == (0, 0, 0)
    assert ahead > LEEWAY or count.challenged == visitors.tallies["/refuse"].begun


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (0, 3, (200, "")),
        (3, 0, (200, "")),
        (0, 8, (200, "")),
        # It comes from too far ahead to be believed.
        (8, 0, (429, "expired")),
    ],
)
def test_page_of_a_host_with_another_clock(
    hosts: tuple[Place, dict[int, Fleet]], first: int, second: int, expected: tuple[int, str]
) -> None:
    """A page of a host whose clock is ahead by more than the leeway is asked again, and delivered after that."""
    _, by_offset = hosts
    visitor = Visitor("/refuse", f"from-{first}-to-{second}")
    visitor.submit(by_offset[first])
    reply = answer(visitor, by_offset[second])
    assert (reply.status, reply.reason) == expected
    if reply.status == 429:
        visitor.page = reply
        assert answer(visitor, by_offset[first]).status == 200
