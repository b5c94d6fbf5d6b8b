"""Metrics: what Prometheus is told agrees with what happened, stays small, and adds up over processes."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from gatepost import Gate, Rule, StoreError
from gatepost.stores.sqlite import SqliteStore
from gatepost.testing import KnownChallenge
from gatepost.ticker import Ticker
from twins import ANSWER, HOST, Reply, Twin, make_twin, settings

prometheus = pytest.importorskip("prometheus_client", reason="prometheus-client is not installed")
from prometheus_client.parser import text_string_to_metric_families  # noqa: E402

from gatepost.metrics import GateMetrics  # noqa: E402

ORIGINAL = b"name=Ada&message=hello"
JSON = (("host", HOST), ("accept", "application/json"))


class Watched:
    """A twin with metrics in a registry of their own."""

    def __init__(self, **options: Any) -> None:
        self.twin: Twin = make_twin("wsgi", **options)
        self.registry = prometheus.CollectorRegistry()
        self.metrics = GateMetrics(self.twin.gate, self.registry)

    def send(self, times: int = 1, **options: Any) -> Reply:
        for _ in range(times):
            reply = self.twin.send(body=ORIGINAL, **options)
        return reply

    def scrape(self) -> dict[tuple[str, ...], float]:
        """The value of each series, by its name and its labels in alphabetical order."""
        text = prometheus.generate_latest(self.registry).decode()
        return {
            (
                sample.name.removeprefix("gatepost_"),
                *(value for _, value in sorted(sample.labels.items())),
            ): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if not sample.name.endswith(("_bucket", "_created"))
        }


@pytest.fixture
def watched() -> Iterator[Callable[..., Watched]]:
    made: list[Watched] = []

    def make(**options: Any) -> Watched:
        made.append(Watched(**options))
        return made[-1]

    yield make
    for one in made:
        one.twin.clock.tick(10**7)  # or the pool's thread would wait for its traffic to get old


def by_header(site: Watched) -> None:
    headers = site.send(fields=JSON).answered().headers
    site.twin.clock.tick(3)
    site.send(fields=[*JSON, *((name.lower(), value) for name, value in headers.items())])


def with_permit(site: Watched) -> None:
    cookie = site.twin.answer(site.send()).get("set-cookie").partition(";")[0]
    site.send(cookie=cookie)


def a_while(site: Watched) -> None:
    site.send(2)
    site.twin.clock.tick(300)


RULE = "/contact"
HAPPENINGS: dict[str, tuple[dict[str, Any], Callable[[Watched], object], dict[tuple[str, ...], float]]] = {
    "nothing": (
        {},
        lambda _: None,
        {
            ("submissions_total", RULE): 0,
            ("challenges_total", "known", "rule-engaged", RULE): 0,
            ("outcomes_total", "solved", RULE): 0,
            ("transitions_total", RULE, "engaged"): 0,
            ("answer_seconds_count", RULE): 0,
        },
    ),
    "calm": (
        {"mode": "adaptive", "above": "10/minute"},
        lambda site: site.send(4),
        {("submissions_total", RULE): 4, ("passed_total", RULE): 4, ("rate", RULE): 4, ("engaged", RULE): 0},
    ),
    "solved": (
        {},
        lambda site: site.twin.answer(site.twin.answer(site.send(), "no")),
        {
            ("submissions_total", RULE): 1,
            ("passed_total", RULE): 0,
            ("challenges_total", "known", "always", RULE): 1,
            ("challenges_total", "known", "wrong", RULE): 1,
            ("outcomes_total", "solved", RULE): 1,
            ("answer_seconds_count", RULE): 1,
            ("answer_seconds_sum", RULE): 4,
        },
    ),
    "by header, which is uncounted": (
        {},
        by_header,
        {("submissions_total", RULE): 1, ("outcomes_total", "solved", RULE): 1, ("answer_seconds_sum", RULE): 3},
    ),
    "permit": ({"permit_uses": 1}, with_permit, {("outcomes_total", "permit", RULE): 1}),
    "refused": (
        {},
        lambda site: site.twin.send(body=b"gatepost_token=x"),
        {("outcomes_total", "forged", RULE): 1, ("submissions_total", RULE): 0},
    ),
    "no challenge now": (
        {"issue_limit": "1/minute"},
        lambda site: site.send(3),
        {("deferrals_total", "issue-limit", RULE): 2, ("challenges_total", "known", "always", RULE): 1},
    ),
    "observed": (
        {"mode": "observe", "above": "1/minute"},
        lambda site: site.send(3),
        {("outcomes_total", "would-challenge", RULE): 2, ("passed_total", RULE): 3, ("engaged", RULE): 1},
    ),
    "two levels": (
        {"mode": "adaptive", "above": ["1/minute", "2/minute"], "below": "1/2 minutes"},
        lambda site: site.send(3),
        {
            ("engaged", RULE): 1,
            ("level", RULE): 2,
            ("threshold", "above", "1", RULE): 1,
            ("threshold", "below", "1", RULE): 0.5,
            ("threshold", "above", "2", RULE): 2,
            ("threshold", "below", "2", RULE): 1,
            ("transitions_total", RULE, "engaged"): 1,
        },
    ),
    "calm again, with nobody there": (
        {"mode": "adaptive", "above": "1/minute", "hold": 10},
        a_while,
        {
            ("engaged", RULE): 0,
            ("rate", RULE): 0,
            ("transitions_total", RULE, "engaged"): 1,
            ("transitions_total", RULE, "calm"): 1,
            # Two submissions at the beginning of a bucket of a minute are under one half 1.75 minutes later.
            ("engaged_seconds_total", RULE): 115,
            ("since_timestamp_seconds", RULE): 1_800_000_115,
        },
    ),
    "kept": (
        {"carry_limit": 5},
        lambda site: site.send(2),
        {("kept_bodies",): 2, ("kept_bytes",): 2 * len(ORIGINAL)},
    ),
}


@pytest.mark.parametrize("name", HAPPENINGS)
def test_metrics_tell_what_happened(name: str, watched: Callable[..., Watched]) -> None:
    """Each thing that happens is in the series that it belongs to, once, and in those alone that are looked at."""
    options, happen, expected = HAPPENINGS[name]
    site = watched(**options)
    happen(site)
    found = site.scrape()
    assert {key: found.get(key) for key in expected} == expected
    still = [key for key in found if not key[0].startswith(("pool_", "render_"))]  # drawing may go on
    assert {key: site.scrape()[key] for key in still} == {key: found[key] for key in still}, "looking must not count"


def test_figures_rise_with_each_look(watched: Callable[..., Watched]) -> None:
    """However often it is looked, and whenever, counts and seconds add up to the same."""
    site = watched(mode="adaptive", above="5/minute")
    for number in range(10):
        site.send()
        site.twin.clock.tick(1)
        assert site.scrape()["submissions_total", RULE] == number + 1
    assert site.scrape()["engaged_seconds_total", RULE] == 5
    assert site.scrape()["passed_total", RULE] == 5


def test_i7_budget_that_is_spent_is_seen(watched: Callable[..., Watched]) -> None:
    """As many drawings are denied as submissions go without a picture."""
    site = watched(render_rate=1, pool_size=2)
    replies = [site.send(peer=f"198.51.100.{number}") for number in range(6)]
    without = sum(reply.reason == "busy" for reply in replies)
    found = site.scrape()
    assert without >= 3
    assert found["drawings_denied_total", "known"] == found["deferrals_total", "busy", RULE] == without


def test_drawing_is_timed(watched: Callable[..., Watched]) -> None:
    """As many times are told as challenges were drawn, of those that could be."""
    site = watched()
    site.send()
    deadline = time.monotonic() + 20
    while site.scrape()["pool_challenges",] < 60 and time.monotonic() < deadline:
        time.sleep(0.01)
    site.twin.clock.tick(10**7)
    found = site.scrape()
    assert found["render_seconds_count", "known"] == site.twin.gate.pool.drawn >= 60


class Fragile(SqliteStore):
    """A store that can be taken away."""

    away = False

    def claim(self, *arguments: Any) -> Any:
        if self.away:
            raise StoreError("taken away by the test")
        return super().claim(*arguments)


@pytest.fixture
def shared(watched: Callable[..., Watched], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    """A site on a shared store, whose exchange happens when the test says so."""
    monkeypatch.setattr("gatepost.exchange.Exchange.start", lambda _: None)
    plain = settings(carry_limit=5)
    store = Fragile(tmp_path / "gatepost.db", plain)
    return watched(carry_limit=5, clock=plain.clock, store=store)


def test_i10_store_is_timed_and_its_loss_is_seen(shared: Watched) -> None:
    """Operations of the shared store are timed by name, failures counted, and its loss and return are seen."""
    shared.twin.answer(shared.send())
    found = shared.scrape()
    for operation, times in {"claim": 1, "keep": 1, "drop": 1, "limit": 2, "give_back": 1}.items():
        assert found["store_seconds_count", operation] == times, operation
    assert found["store_away",] == 0
    store = shared.twin.gate.settings.store
    store.away = True
    shared.twin.answer(shared.send())
    assert shared.metrics._away._value.get() == 1, "told when it happens, since nobody may look for a while"
    found = shared.scrape()
    assert (found["store_errors_total", "claim"], found["store_away",]) == (1, 1)
    shared.twin.gate.exchange.once()
    assert shared.scrape()["store_errors_total", "claim"] == 2
    store.away = False
    shared.twin.gate.exchange.once()
    assert shared.scrape()["store_away",] == 0


def test_bodies_in_a_shared_store_are_seen(shared: Watched) -> None:
    """What the store keeps is asked by the thread that sweeps it, and never by whoever looks."""
    shared.send(3)
    assert shared.scrape()["kept_bodies",] == 0
    asked = shared.scrape().get(("store_seconds_count", "sweep"), 0)
    shared.twin.gate.store.sweep_shared()
    found = shared.scrape()
    assert (found["kept_bodies",], found["kept_bytes",]) == (3, 3 * len(ORIGINAL))
    assert found["store_seconds_count", "sweep"] == asked + 1


def test_i6_clients_cannot_make_series(watched: Callable[..., Watched]) -> None:
    """Whatever is sent, labels are those of the configuration and of the reasons, and series are few."""
    rule = Rule("/posts/{id:int}", name="posts", mode="adaptive", above="3/minute", above_per_client="2/minute")
    kinds = [KnownChallenge(ANSWER), KnownChallenge(ANSWER, "other")]
    site = watched(protect=rule, challenge=kinds)
    before = set(site.scrape())
    for number in range(40):
        path, peer = f"/posts/{number}", f"198.51.100.{number}"
        page = site.send(3, path=path, peer=peer)
        if page.status == 429:
            for button in ("", "kind-other", f"kind-{number}", "another", f"x{number}"):
                site.twin.answer(page, f"guess {number}", button=button, path=path, peer=peer)
    new = set(site.scrape()) - before
    assert len(new) < 12
    for _, *values in new:
        assert not [value for value in values if any(letter.isdigit() for letter in value)]


def test_i9_metrics_hold_no_secret(watched: Callable[..., Watched]) -> None:
    """No address, body, answer or token stands in a page of metrics."""
    site = watched()
    page = site.send()
    site.twin.answer(page, "my password")
    text = prometheus.generate_latest(site.registry).decode()
    for secret in ("203.0.113", "hello", "my password", ANSWER, page.answered()["gatepost_token"][:40]):
        assert secret not in text


def test_second_gate_needs_a_namespace(watched: Callable[..., Watched]) -> None:
    """Two gates in one registry are refused, and do no harm to the first, unless they have names of their own."""
    site = watched()
    second = Gate(settings())
    with pytest.raises(ValueError, match="Duplicated"):
        GateMetrics(second, site.registry)
    site.send()
    assert site.scrape()["submissions_total", RULE] == 1
    GateMetrics(second, site.registry, namespace="second")
    assert site.scrape()["second_submissions_total", RULE] == 0


def test_i11_child_counts_for_itself(watched: Callable[..., Watched]) -> None:
    """A gate that was reset, as in a forked process, has metrics that go on from there."""
    site = watched(mode="adaptive")
    site.send(5)
    assert site.scrape()["submissions_total", RULE] == 5
    site.twin.gate.reset()
    site.send(2)
    assert site.scrape()["submissions_total", RULE] == 7
    assert site.scrape()["rate", RULE] == 2


# --- the ticker ---


def test_ticker_ends_by_itself_and_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ticks while something goes on, once more at the end, and starts again when asked."""
    monkeypatch.setattr("gatepost.ticker.INTERVAL", 0.001)
    going, told = [True, True, False, False] * 2, []
    done = threading.Event()

    def tick() -> bool:
        told.append("tick")
        done.set() if len(going) in (1, 5) else None
        return going.pop(0)

    ticker = Ticker(tick, lambda: told.append("rest"))
    for _ in range(2):
        done.clear()
        ticker.start()
        assert done.wait(20)
    assert told == ["tick", "tick", "tick", "rest", "tick"] * 2


# --- many processes ---

APPLICATION = """
import os
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from gatepost import Gate, Settings
from gatepost.metrics import GateMetrics
from gatepost.testing import KnownChallenge
from gatepost.wsgi import GatepostMiddleware

gate = Gate(Settings(
    secret=os.environ["GATEPOST_SECRET"], protect="/", above="5/2 seconds", hold=1, min_time=0,
    challenge=KnownChallenge("yes"), store=os.environ["GATEPOST_STORE"], sync_interval=0.05, render_rate=1000,
    issue_limit="1000/minute",
))
GateMetrics(gate)

def pages(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Worker", str(os.getpid()))])
    if environ["PATH_INFO"] != "/metrics":
        return [b"stored"]
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return [generate_latest(registry)]

application = GatepostMiddleware(pages, gate=gate)
"""


class Workers:
    """Gunicorn with two workers that were forked from a process with a gate and its metrics."""

    def __init__(self, folder: Path, store: str) -> None:
        (folder / "watched_app.py").write_text(APPLICATION)
        (folder / "metrics").mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        environ = {
            "PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics"),
            "GATEPOST_SECRET": secrets.token_urlsafe(32),
            "GATEPOST_STORE": store,
        }
        command = [sys.executable, "-m", "gunicorn", "--no-control-socket", "--preload", "--workers=2", "--threads=4"]
        command += ["--worker-class=gthread", f"--bind=127.0.0.1:{self.port}", "--log-level=error", "watched_app"]
        self.process = subprocess.Popen(  # noqa: S603
            command, cwd=folder, env=os.environ | environ, stdin=subprocess.DEVNULL, start_new_session=True
        )

    def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, str, str]:
        line = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            line.request(method, path, body, {"Content-Type": "text/plain", "Accept": "text/html"})
            response = line.getresponse()
            return response.status, response.headers.get("X-Worker", ""), response.read().decode()
        finally:
            line.close()

    def value(self, name: str, **labels: str) -> float | None:
        """The sum of the series that have these labels."""
        _, _, text = self.ask("GET", "/metrics")
        found = [
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(found) if found else None

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                if condition():
                    return
            except ConnectionError:  # not yet
                pass
            assert time.monotonic() < deadline, "waited for long enough"
            assert self.process.poll() is None
            time.sleep(0.05)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_i11_processes_add_up(store: str, tmp_path: Path) -> None:
    """Under gunicorn, preloaded, the workers' counts add up, and gauges follow when nobody comes any more."""
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    workers = Workers(tmp_path, "memory://" if store == "memory" else f"sqlite:///{tmp_path}/gatepost.db")
    try:
        workers.until(lambda: workers.ask("GET", "/metrics")[0] == 200)
        assert workers.value("gatepost_threshold", edge="above") == 5
        with ThreadPoolExecutor(8) as threads:
            replies = list(threads.map(lambda _: workers.ask("POST", "/", ORIGINAL), range(60)))
        challenged = sum(status == 429 for status, _, _ in replies)
        assert challenged >= 40
        assert workers.value("gatepost_challenges_total") == challenged
        workers.until(lambda: workers.value("gatepost_submissions_total") == 60)
        workers.until(lambda: workers.value("gatepost_passed_total") == 60 - challenged)
        workers.until(lambda: workers.value("gatepost_transitions_total", state="engaged") in (1, 2))
        workers.until(lambda: workers.value("gatepost_engaged") == 0)
        workers.until(lambda: workers.value("gatepost_rate") == 0)
        engaged = workers.value("gatepost_transitions_total", state="engaged")
        assert workers.value("gatepost_transitions_total", state="calm") == engaged
        assert (workers.value("gatepost_store_seconds_count") or 0) > 0 or store == "memory"
    finally:
        workers.stop()
