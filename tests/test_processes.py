"""Starting, forking, spawning and ending: what a gate does to the process that it lives in."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gatepost import Gate
from twins import AsgiTwin, WsgiTwin, make_twin, settings

TESTS = Path(__file__).parent
LIMIT = 60  # seconds; far more than any of these programmes takes

#: What every programme begins with: a twin, and a way to solve a page and to say what came of it.
SHARED = """
import json, multiprocessing, os, sys, threading, time
sys.path.insert(0, {tests!r})
from twins import AsgiTwin, WsgiTwin, make_twin, settings

def round_trip(twin):
    page = twin.send(body=b"message=hello")
    return [page.reason, twin.answer(page).status, len(twin.received)]

def threads():
    return sorted(thread.name for thread in threading.enumerate() if thread is not threading.main_thread())
"""


def run(programme: str, *, shared: bool = True) -> Any:
    """What a fresh interpreter prints as JSON in its last line; it has to end by itself, and in time."""
    source = SHARED.format(tests=str(TESTS)) + programme if shared else programme
    done = subprocess.run(  # noqa: S603 - our own programme
        # From Python 3.12 on there is a warning of forks beside threads, and those are what is tried here.
        [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", "-c", source],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# --- importing and constructing ---


@pytest.mark.parametrize("module", ["gatepost", "gatepost.asgi", "gatepost.wsgi", "gatepost.testing"])
def test_i11_import_loads_no_pillow_and_starts_nothing(module: str) -> None:
    """Importing loads no drawing library and none of the optional ones, and starts no thread."""
    programme = f"""
import json, sys, threading
import {module}
loaded = [name for name in ("PIL", "redis", "sqlite3", "trio", "flask") if name in sys.modules]
print(json.dumps([loaded, threading.active_count()]))
"""
    assert run(programme, shared=False) == [[], 1]


@pytest.mark.parametrize("module", ["gatepost.asgi", "gatepost.wsgi"])
def test_i11_construction_starts_nothing(module: str) -> None:
    """A gate with pictures that has been constructed, and has let calm traffic through, has started no thread."""
    programme = f"""
import asyncio, io, json, sys, threading
from {module} import GatepostMiddleware
asgi = {module!r}.endswith("asgi")
async def app(scope, receive, send): calls.append(1)
def wsgi_app(environ, start_response): calls.append(1); return []
calls = []
gate = GatepostMiddleware(app if asgi else wsgi_app, secret="0123456789abcdef" * 2, protect="/contact")
scope = {{"type": "http", "method": "POST", "path": "/contact", "headers": [], "client": ("192.0.2.1", 1)}}
environ = {{"REQUEST_METHOD": "POST", "PATH_INFO": "/contact", "wsgi.input": io.BytesIO()}}
for _ in range(5):
    asyncio.run(gate(scope, None, None)) if asgi else gate(environ, None)
print(json.dumps([len(calls), "PIL" in sys.modules, threading.active_count()]))
"""
    assert run(programme, shared=False) == [5, False, 1]


def test_i8_first_challenge_imports_nothing_in_the_event_loop() -> None:
    """All that the first interstitial needs is loaded when it comes: to import it then would hold up everyone else."""
    programme = """
import asyncio, json, sys
from gatepost.asgi import GatepostMiddleware
from gatepost.testing import KnownChallenge
gate = GatepostMiddleware(
    None, secret="0123456789abcdef" * 2, protect="/contact", mode="always", store="memory://",
    challenge=KnownChallenge(answer="a"),
)
scope = {"type": "http", "method": "POST", "path": "/contact", "headers": [], "client": ("192.0.2.1", 1)}
scope["headers"] = [(b"accept-language", b"de"), (b"content-type", b"text/plain"), (b"content-length", b"1")]
statuses = []
async def receive(): return {"type": "http.request", "body": b"x", "more_body": False}
async def send(message): statuses.append(message.get("status"))
async def main():
    known = set(sys.modules)
    await gate(scope, receive, send)
    print(json.dumps([statuses[0], sorted(set(sys.modules) - known)]))
asyncio.run(main())
"""
    assert run(programme, shared=False) == [429, []]


# --- ending ---


@pytest.mark.parametrize("name", ["wsgi", "asgi-asyncio", "asgi-trio"])
def test_i11_interpreter_exits_by_itself(name: str) -> None:
    """After a gate was used, and while its thread still draws, the interpreter ends without being told to."""
    programme = f"""
twin = make_twin({name!r}, challenge="image", pool_size=5000, clock=time.time)
replies = [twin.send(body=b"x").status for _ in range(3)]
print(json.dumps([replies, "gatepost-pool" in threads()]))
"""
    assert run(programme) == [[429, 429, 429], True]


# --- fork ---


@pytest.mark.parametrize("name", ["wsgi", "asgi-asyncio", "asgi-trio"])
@pytest.mark.parametrize("used_before", [False, True])
def test_i11_fork_gives_each_process_a_gate_of_its_own(name: str, used_before: bool) -> None:
    """Constructed, used or not, and forked: both processes work, with store ids and threads of their own."""
    programme = f"""
twin = make_twin({name!r})
before = round_trip(twin) if {used_before} else None
page = twin.send(body=b"message=of before") if {used_before} else None
readable, writable = os.pipe()
child = os.fork()
twin.received.clear()
found = [round_trip(twin), twin.gate.store.identity().hex(), threads()]
found.append(twin.answer(page).reason if page else None)
found.append(twin.gate.stats()["/contact"].submissions)
if child == 0:
    os.write(writable, json.dumps(found).encode())
    os._exit(0)
os.waitpid(child, 0)
print(json.dumps([found, json.loads(os.read(readable, 65536))]))
"""
    (mine, mine_id, mine_threads, mine_page, _), (theirs, their_id, their_threads, their_page, count) = run(programme)
    assert mine == theirs == ["always", 200, 1]
    assert mine_id != their_id
    assert "gatepost-pool" in mine_threads
    assert "gatepost-pool" in their_threads
    if used_before:
        assert mine_page == ""  # delivered
        assert their_page == "restarted"  # a page of the parent's store
    assert count == 1  # the child has counted its own alone


def test_i11_fork_while_others_work() -> None:
    """A fork at a moment when other threads are inside the gate leaves no lock behind in the child."""
    programme = """
from gatepost.effects import Draw
from gatepost.protocols import Claim
sys.setswitchinterval(1e-5)
twin = make_twin("wsgi", above_per_client="5/minute")
going = True
def work():
    while going:
        twin.send(body=b"x")
workers = [threading.Thread(target=work) for _ in range(3)]
for worker in workers: worker.start()
ends = []
for _ in range(15):
    child = os.fork()
    if child == 0:
        gate = twin.gate
        drawn = gate.drawn(gate.draw(Draw("known", 1, "en", "client", 0.0)))
        claimed = gate.store.claim(bytes(16), 2**50, gate.store.identity(), 2**50)
        right = gate.stats()["/contact"].submissions == 0 and drawn.answer and claimed is Claim.NEW
        os._exit(0 if right else 1)
    ends.append(os.waitpid(child, 0)[1])
going = False
for worker in workers: worker.join()
print(json.dumps(ends))
"""
    assert run(programme) == [0] * 15


def test_i11_pool_draws_in_the_child() -> None:
    """The thread does not survive a fork, so the child starts one of its own and gets pictures from it."""
    programme = """
twin = make_twin("wsgi", challenge="image")
assert "data:image/" in twin.send(body=b"x").text
parent = twin.gate.pool
readable, writable = os.pipe()
if os.fork() == 0:
    inherited = threads()
    page = twin.send(body=b"x")
    found = [inherited, twin.gate.pool is parent, page.reason, "data:image/" in page.text, threads()]
    os.write(writable, json.dumps(found).encode())
    os._exit(0)
os.wait()
print(os.read(readable, 65536).decode())
"""
    assert run(programme) == [[], False, "always", True, ["gatepost-pool"]]


@pytest.mark.parametrize("way", ["fork", "spawn", "forkserver"])
def test_i11_multiprocessing(tmp_path: Path, way: str) -> None:
    """A gate of a module works in processes that multiprocessing makes, however it makes them, each with its own id."""
    if way not in multiprocessing.get_all_start_methods():
        pytest.skip("this platform cannot")
    module = tmp_path / "site_with_gate.py"
    programme = """
twin = make_twin("wsgi")

def work(number):
    twin.received.clear()
    return [round_trip(twin), twin.gate.store.identity().hex()]

if __name__ == "__main__":
    here = work(0)
    context = multiprocessing.get_context(sys.argv[1])
    with context.Pool(2, maxtasksperchild=1) as pool:
        print(json.dumps([here, *pool.map(work, range(2), chunksize=1)]))
"""
    module.write_text(SHARED.format(tests=str(TESTS)) + programme)
    done = subprocess.run(  # noqa: S603 - our own programme
        [sys.executable, str(module), way], capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert [outcome for outcome, _ in found] == [["always", 200, 1]] * 3
    assert len({identity for _, identity in found}) == 3


# --- threads and loops ---


def in_threads(work: Callable[[int], object], count: int = 6) -> None:
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(work, range(count)))


def test_i11_loops_and_threads_share_one_middleware() -> None:
    """One ASGI middleware serves several event loops, of both kinds, in several threads at once."""
    first = make_twin("asgi-asyncio", min_time=0)
    assert isinstance(first, AsgiTwin)
    other = AsgiTwin(first.gate, backend="trio")
    other.middleware = first.middleware

    def work(number: int) -> None:
        twin = first if number % 2 else other
        for _ in range(4):
            page = twin.send(body=b"message=%d" % number)
            assert page.status == 429
            assert twin.send(body=page.answered().body).status == 200

    in_threads(work)
    assert Counter(received.body for received in first.received) == {b"message=%d" % number: 4 for number in range(6)}
    assert first.gate.stats()["/contact"].delivered == 24


def test_i11_one_gate_behind_both_twins() -> None:
    """One gate may stand behind an ASGI and a WSGI middleware in the same process; what one issues the other takes."""
    one = make_twin("asgi-asyncio")
    two = WsgiTwin(one.gate)
    assert two.answer(one.send(body=b"message=hello")).status == 200
    assert one.answer(two.send(body=b"message=hello")).status == 200
    assert (len(one.received), len(two.received)) == (1, 1)


def test_i11_many_threads_start_one_pool_thread() -> None:
    """However many requests need a picture first, one thread draws."""
    twin = make_twin("wsgi")
    in_threads(lambda _: twin.send(body=b"x"), 8)
    mine = [thread for thread in threading.enumerate() if thread is twin.gate.pool._thread]
    assert len(mine) == 1
    assert mine[0].daemon


def test_settings_can_be_shared() -> None:
    """Two gates of the same settings share nothing: each has a store and a meter of its own."""
    same = settings(mode="adaptive", above="1/minute")
    twins = [WsgiTwin(Gate(same)) for _ in range(2)]
    for twin in twins:
        assert [twin.send(body=b"x").status for _ in range(2)] == [200, 429]
    assert twins[0].gate.store.identity() != twins[1].gate.store.identity()
