"""What stores cost: a calm request in front of each, claims under load from several processes, and room for claims."""

from __future__ import annotations

import multiprocessing
import secrets
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from gatepost import Gate, Store
from gatepost.protocols import Claim, Claims
from gatepost.stores import MemoryStore, make_store
from gatepost.tokens import new_id
from gatepost.wsgi import GatepostMiddleware

from .passing_wsgi import application, rounds_of
from .tables import ROW, middle, show, verdict
from .timing import Contender, Plan, measure
from .traffic import DOCUMENT, FORM, settings

_MEMORY = "memory"
_ADDED = 1.0  # microseconds that a shared store may add to a calm request
_PROCESSES, _THREADS, _RATE = 4, 4, 500  # the rate is answers a second in all
_SLOWEST = {"sqlite": 5.0, "redis": 3.0}  # milliseconds of the 99th percentile
_CLAIMS = 100_000
_ROOM = {"sqlite": 20.0, "redis": 40.0}  # megabytes
_HOUR = 3_600_000  # milliseconds


@contextmanager
def redis_server() -> Iterator[str | None]:
    """The URL of a server of our own; ``None`` where none is installed."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603
    try:
        for _ in range(500):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.01)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait(20)


def open_store(url: str, secret: str) -> Store:
    """The store of this URL. It waits for long, so that what takes long is measured and no error."""
    store = make_store(settings(secret=secret, store=url, store_timeout=10))
    assert store is not None
    return store


# --- calm requests ---


def measure_calm(urls: dict[str, str], folder: Path, plan: Plan) -> list[ROW]:
    """The same request in front of each store; how often the store was asked by a request is counted, too."""
    rows: list[ROW] = []
    tempfile.tempdir = str(folder)  # where 'auto' puts its file
    for sent in (DOCUMENT, FORM):
        contenders, asked = [], {}
        for name, url in urls.items():
            gate = Gate(settings(store=url))
            asked[name] = _count_calls(gate)
            floor, target = ("", None) if name == _MEMORY else (_MEMORY, _ADDED)
            contenders.append(
                Contender(name, rounds_of(GatepostMiddleware(application, gate=gate), sent), floor, target)
            )
        rows.append((sent.name, "", "", "", "", ""))
        for name, result in measure(contenders, plan).items():
            rows.append((f"  {name}", *middle(result), str(len(asked[name])), *verdict(result)))
    return rows


def _calm(urls: dict[str, str], folder: Path, plan: Plan) -> None:
    # In a process of its own, since its exchanges go on for a while.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        rows = pool.submit(measure_calm, urls, folder, plan).result()
    note = "Microseconds; of shared stores, those added to memory. Calls are those of a store by requests."
    show("Calm requests, WSGI", ("request and store", "median", "quartiles", "calls", "target", ""), rows, note)


def _count_calls(gate: Gate) -> list[None]:
    """A list that grows with each call of the shared store from this thread; the exchange has its own."""
    calls: list[None] = []
    here, ask = threading.current_thread(), gate.store._ask

    def counted(question: Any) -> Any:
        if threading.current_thread() is here:
            calls.append(None)
        return ask(question)

    gate.store._ask = counted  # type: ignore[method-assign]
    return calls


# --- claims under load ---


def claim_at_rate(url: str, secret: str, seconds: float) -> list[float]:
    """Claim from several threads at this process's share of the rate; the milliseconds that each claim took."""
    store = open_store(url, secret) if url else MemoryStore(settings())
    store.identity()
    pause = _PROCESSES * _THREADS / _RATE

    def claim(number: int) -> list[float]:
        taken, begin = [], time.perf_counter() + pause * number / _THREADS
        for turn in range(round(seconds / pause)):
            time.sleep(max(0.0, begin + turn * pause - time.perf_counter()))
            began = time.perf_counter()
            _claim(store, 1)
            taken.append((time.perf_counter() - began) * 1000)
        return taken

    with ThreadPoolExecutor(_THREADS) as pool:
        return [one for mine in pool.map(claim, range(_THREADS)) for one in mine]


def _claim(store: Claims, count: int) -> None:
    """So many right answers: a nonce and a submission each."""
    identity, end = store.identity(), int(time.time() * 1000) + _HOUR
    for _ in range(count):
        if store.claim(new_id(), end, new_id(), end, identity) is not Claim.NEW:
            raise ValueError("a claim was not new: what was measured is not what it says")


def _loaded(urls: dict[str, str], seconds: float) -> None:
    rows: list[ROW] = []
    for name, url in urls.items():
        secret = secrets.token_urlsafe(32)
        if url:
            open_store(url, secret).close()
        with ProcessPoolExecutor(_PROCESSES, multiprocessing.get_context("spawn")) as pool:
            shares = pool.map(claim_at_rate, *zip(*[(url, secret, seconds)] * _PROCESSES, strict=True))
            taken = sorted(one for share in shares for one in share)
        last = statistics.quantiles(taken, n=100)[98]
        target = _SLOWEST.get(name)
        judged = ("", "") if target is None else (f"{target:.2f}", "missed" if last > target else "met")
        values = (f"{statistics.median(taken):.2f}", f"{last:.2f}", f"{taken[-1]:.2f}", *judged)
        rows.append((f"{name}, {len(taken)} claims", *values))
    title = f"Claims at {_RATE} answers a second, {_PROCESSES} processes of {_THREADS} threads: milliseconds each"
    note = "'nothing' is a dictionary in each process: so long a thread waits for its turn on this machine."
    show(title, ("", "median", "99 %", "longest", "target", ""), rows, note)


# --- room ---


def _room(urls: dict[str, str], folder: Path) -> None:
    rows: list[ROW] = []
    for name, url in urls.items():
        store = open_store(url, secrets.token_urlsafe(32))
        before = _bytes(url, folder)
        began = time.perf_counter()
        _claim(store, _CLAIMS // 2)  # a nonce and a submission each
        a_second = _CLAIMS / 2 / (time.perf_counter() - began)
        taken = (_bytes(url, folder) - before) / 1e6
        store.close()
        target = _ROOM[name]
        judged = "missed" if taken > target else "met"
        rows.append((name, f"{taken:.1f}", f"{target:.1f}", judged, f"{a_second:,.0f}"))
    title = f"{_CLAIMS:,} claims, half of nonces and half of submissions: megabytes"
    show(title, ("", "taken", "target", "", "answers a second, one by one"), rows)


def _bytes(url: str, folder: Path) -> int:
    if url.startswith("sqlite"):
        return sum(file.stat().st_size for file in folder.iterdir())
    import redis

    with redis.Redis.from_url(url) as client:
        return int(client.info("memory")["used_memory"])


def run(plan: Plan) -> None:
    """Measure and print."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        shared = {"sqlite": f"sqlite:///{folder}/gatepost.db"}
        server = stack.enter_context(redis_server())
        if server is None:
            print("\nredis-server is not installed, so Redis is left out.")
        else:
            shared["redis"] = server
        _calm({_MEMORY: "memory://", **shared, "auto": "auto"}, folder, plan)
        _room(shared, folder)
        _loaded({"nothing": "", **shared}, max(2.0, plan.turns / 100))
