"""A real server under a flood of submissions: what it costs, and what is left for everyone else."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any
from urllib.request import urlopen

from . import engine
from .flooded import PROTECTED, UNPROTECTED
from .flooding import Answers, Load, Stream
from .tables import ROW, show
from .timing import Plan

RATE = 2000.0  # protected submissions a second
DRAWING = 0.25  # of a core, at the default render_rate
LAG = 0.010  # seconds, p99
GROWTH = 5e6  # bytes
KEPT = 0.9  # of the unprotected route's rate

_CLIENTS = {"many clients": 60_000, "one client": 0}
_POSTS, _GETS = 64, 8  # connections
_READERS = 500.0  # requests a second that a site of some size has
_SETTLED = 2.0  # seconds after which memory is to stay as it is
# By default the C library gives memory back to the system and takes it anew for every request, or not, depending on
# what else a process has: an accident of a third of a server's rate, by which two of them cannot be compared.
_MEMORY = {"MALLOC_MMAP_THRESHOLD_": f"{64 << 20}", "MALLOC_TRIM_THRESHOLD_": f"{256 << 20}"}
_READY = 20.0  # seconds that a server may take to start


@dataclass(frozen=True)
class Server:
    """A server in a process of its own."""

    port: int

    def figures(self) -> dict[str, Any]:
        """What it tells of the time since this was last asked."""
        with urlopen(f"http://127.0.0.1:{self.port}/figures", timeout=_READY) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    @property
    def memory(self) -> int:
        """Bytes of memory that it has in use."""
        with urlopen(f"http://127.0.0.1:{self.port}/memory", timeout=_READY) as answer:
            return int(answer.read())

    def load(self, seconds: float, *streams: Stream) -> subprocess.Popen[str]:
        """Begin to send requests; what the server has seen until then is forgotten."""
        process = _start("flooding", asdict(Load(self.port, seconds, list(streams))))
        assert process.stdout is not None
        process.stdout.readline()  # it is connected
        self.figures()
        return process


def _start(module: str, told: object) -> subprocess.Popen[str]:
    """Start one of our own programs, and tell it this."""
    run = [sys.executable, "-W", "error", "-m", f"benchmarks.{module}"]
    process = subprocess.Popen(  # noqa: S603 - our own program
        run,
        env=os.environ | _MEMORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    json.dump(told, process.stdin)
    process.stdin.close()
    return process


@contextmanager
def served(gate: dict[str, Any] | None) -> Iterator[Server]:
    """A server of the application behind a gate with these options, or alone."""
    process = _start("flooded", gate)
    try:
        assert process.stdout is not None
        server = Server(int(process.stdout.readline()))
        _await(server)
        yield server
    finally:
        process.terminate()
        process.wait()


def _await(server: Server) -> None:
    deadline = time.monotonic() + _READY
    while True:
        try:
            server.figures()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def answers(load: subprocess.Popen[str]) -> list[Answers]:
    """What came back, once all has been sent."""
    assert load.stdout is not None
    found = [Answers(**one) for one in json.load(load.stdout)]
    load.wait()
    return found


# --- the flood ---


@dataclass(frozen=True)
class Flood:
    """One flood: what was answered, and how the server fared."""

    answers: Answers
    figures: dict[str, Any]
    seconds: float
    settled: int  # bytes of memory when it had gone on for a while

    @property
    def odd(self) -> int:
        """Requests that were not answered by a page, or by the application before the threshold."""
        fine = sum(count for status, count in self.answers.statuses.items() if status in ("303", "429", "503"))
        return self.answers.sent - fine


def flood(clients: int, seconds: float, gate: dict[str, Any]) -> Flood:
    """A server that is flooded for so long."""
    with served(gate) as server:
        load = server.load(seconds, Stream("POST", PROTECTED, RATE, _POSTS, clients))
        time.sleep(min(_SETTLED, seconds / 2))
        settled = server.memory
        (back,) = answers(load)
        return Flood(back, server.figures(), seconds, settled)


def _flood_rows(floods: Sequence[Flood]) -> list[ROW]:
    def row(name: str, *cells: str, target: str = "") -> ROW:
        return (name, *cells, target)

    def counts(flood: Flood) -> str:
        passed, pages = flood.answers.statuses.get("303", 0), flood.answers.statuses.get("429", 0)
        return f"{passed:,} + {pages:,} + {flood.answers.statuses.get('503', 0):,}"

    def pictures(flood: Flood) -> str:
        return f"{flood.figures['drawn'] / flood.seconds:.1f}"

    def milli(seconds: float) -> str:
        return f"{1e3 * seconds:,.2f}"

    each = [(flood, flood.answers, flood.figures) for flood in floods]
    return [
        row("sent, a second", *(f"{back.rate:,.0f}" for _, back, _ in each), target=f"{RATE:,.0f}"),
        row("passed + pages + 503", *(counts(flood) for flood in floods)),
        row("answered otherwise, or not at all", *(f"{flood.odd:,}" for flood in floods), target="0"),
        row("pictures drawn, a second", *map(pictures, floods), target="<= 50"),
        row(
            "drawing, share of a core",
            *(f"{flood.figures['drawing'] / flood.seconds:.3f}" for flood in floods),
            target=f"<= {DRAWING}",
        ),
        row("the whole server, share of a core", *(f"{flood.figures['used'] / flood.seconds:.2f}" for flood in floods)),
        row("lag of the event loop, ms: median", *(milli(seen["lags"][0]) for _, _, seen in each)),
        row("  p99", *(milli(seen["lags"][1]) for _, _, seen in each), target=f"< {milli(LAG)}"),
        row("  longest", *(milli(seen["lags"][2]) for _, _, seen in each)),
        row("until answered, ms: median", *(milli(back.median) for _, back, _ in each)),
        row("  p99", *(milli(back.p99) for _, back, _ in each)),
        row("memory at the end, MB", *(f"{seen['memory'] / 1e6:.1f}" for _, _, seen in each)),
        row(
            f"  more than after {_SETTLED:g} s",
            *(f"{(flood.figures['memory'] - flood.settled) / 1e6:+.1f}" for flood in floods),
            target=f"<= {GROWTH / 1e6:.1f}",
        ),
        row("load generator, share of a core", *(f"{back.load:.2f}" for _, back, _ in each)),
    ]


# --- the rest of the application ---


@dataclass
class Reading:
    """The unprotected route of one server, round by round: requests a second, seconds, and the server's load."""

    rates: list[float]
    times: list[float]
    loads: list[float]

    @classmethod
    def begun(cls) -> Reading:
        """Nothing yet."""
        return cls([], [], [])

    def add(self, back: Answers, load: float) -> None:
        """One more round."""
        self.rates.append(back.answered)
        self.times.append(back.p99)
        self.loads.append(load)


_READING: dict[str, tuple[Stream, ...]] = {
    "calm, as many as it can": (Stream("GET", UNPROTECTED, 0, _GETS),),
    f"calm, {_READERS:g} a second": (Stream("GET", UNPROTECTED, _READERS, _GETS),),
    f"flooded, {_READERS:g} a second": (
        Stream("GET", UNPROTECTED, _READERS, _GETS),
        Stream("POST", PROTECTED, RATE, _POSTS, _CLIENTS["many clients"]),
    ),
    "flooded, as many as it can": (
        Stream("GET", UNPROTECTED, 0, _GETS),
        Stream("POST", PROTECTED, RATE, _POSTS, _CLIENTS["many clients"]),
    ),
}


def reading(rounds: int, seconds: float, gate: dict[str, Any]) -> dict[str, tuple[Reading, Reading]]:
    """The unprotected route, alone and behind a gate by turns, for each of the loads."""
    found = {}
    with ExitStack() as stack:
        for name, streams in _READING.items():
            servers = [stack.enter_context(served(options)) for options in (None, gate)]
            both = (Reading.begun(), Reading.begun())
            for _ in range(rounds):
                for server, into in zip(servers, both, strict=True):
                    into.add(answers(server.load(seconds, *streams))[0], server.figures()["used"] / seconds)
            found[name] = both
            stack.close()
    return found


def _reading_rows(found: dict[str, tuple[Reading, Reading]]) -> list[ROW]:
    rows: list[ROW] = []
    for name, (alone, gated) in found.items():
        ratios = [mine / other for mine, other in zip(gated.rates, alone.rates, strict=True)]
        for who, seen in (("alone", alone), ("with the gate", gated)):
            rows.append(
                (
                    f"{name}: {who}",
                    f"{statistics.median(seen.rates):,.0f}",
                    f"{1e3 * statistics.median(seen.times):,.1f}",
                    f"{statistics.median(seen.loads):.2f}",
                    f"{statistics.median(ratios):.2f}" if seen is gated else "",
                    f">= {KEPT}" if seen is gated else "",
                )
            )
    return rows


# --- all of it ---


def run(plan: Plan) -> None:
    """Measure and print."""
    quick = plan.turns < Plan().turns
    seconds, rounds, part = (4.0, 1, 1.5) if quick else (20.0, 5, 3.0)
    gate = {"above": "20/minute"}
    floods = {name: flood(clients, seconds, gate) for name, clients in _CLIENTS.items()}
    show(
        f"A flood: {RATE:,.0f} protected submissions a second for {seconds:g} s, uvicorn, one worker",
        ("", *floods, "target"),
        _flood_rows(list(floods.values())),
        "Many clients as a proxy names them, a new one each time. The server has one core and the load another.",
    )
    show(
        "The unprotected route: requests a second, ms (p99), the server's share of a core",
        ("", "a second", "p99", "load", "ratio", "target"),
        _reading_rows(reading(rounds, part, gate)),
        "Flooded: while as many submissions come as above, which alone the application answers itself by parsing them.",
    )
    engine.run(seconds, floods["many clients"].figures, floods["many clients"].seconds)
