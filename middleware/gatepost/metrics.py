"""Prometheus metrics of a gate (``gatepost[metrics]``).

::

    gate = Gate(Settings(...))
    GateMetrics(gate)
    app = GatepostMiddleware(app, gate=gate)

Strategy
    A calm submission touches no metric: it costs what it costs without them. What the gate counts anyway is read, and
    added as the difference to what was read before, when the metrics are asked for. In prometheus_client's
    multiprocess mode nobody asks a process for its metrics, so there the gate ticks once a second while something goes
    on. What a challenge, an answer or the store brings about is counted when it happens.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from .gate import Gate
from .guard import Guard
from .protocols import Event, Reason, State

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Metric
except ImportError as error:
    raise ImportError(
        "gatepost.metrics needs the package 'prometheus-client'; install it, or gatepost[metrics]."
    ) from error

_ANSWER_BUCKETS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
_RENDER_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.035, 0.05, 0.1, 0.25, 0.5, 1)
_STORE_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5)

_Collector = TypeVar("_Collector", bound=Any)
_Mode = Literal["livemax", "livesum", "livemostrecent"]


# What can become of a submission in nearly every flood.
_CHALLENGED = (
    Reason.RULE_ENGAGED,
    Reason.WRONG,
    Reason.TOO_FAST,
    Reason.EXPIRED,
    Reason.USED,
    Reason.REFRESHED,
    Reason.CHANGED,
    Reason.CONTINUED,
)
_DEFERRED = (Reason.BUSY, Reason.ISSUE_LIMIT, Reason.FAILURE_LIMIT)
_ENDED = (Reason.SOLVED, Reason.CALMED, Reason.FORGED, Reason.ALREADY_SENT)


@dataclass
class _Span:
    """For how long a rule was engaged, in seconds."""

    before: float = 0.0
    since: float | None = None

    def change(self, state: State, at: float) -> None:
        """The rule became calm or engaged."""
        self.before, self.since = self.total(at), at if state is State.ENGAGED else None

    def total(self, now: float) -> float:
        """For how long so far."""
        return self.before + (max(0.0, now - self.since) if self.since is not None else 0.0)


class _Before:
    """A collector without metrics: it is registered before the others, and so asked before them."""

    def __init__(self, refresh: Callable[[], None]) -> None:
        self._refresh = refresh

    def describe(self) -> Iterable[Metric]:
        """There is nothing to describe, and no need to collect in order to find that out."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Have the others brought up to date."""
        self._refresh()
        return ()


class GateMetrics:
    """The metrics of one gate. The README lists them.

    :param gate: whose metrics they are.
    :param registry: where they are registered.
    :param namespace: what their names begin with; two gates of one process need two of them.
    :raises ValueError: if the registry has metrics of these names.
    """

    def __init__(self, gate: Gate, registry: CollectorRegistry = REGISTRY, namespace: str = "gatepost") -> None:
        self._gate = gate
        self._registry = registry
        self._namespace = namespace
        self._made: list[Any] = []
        self.forked()
        self._register(_Before(self.tick))
        try:
            self._make_of_rules()
            self._make_of_process()
        except ValueError:
            for collector in self._made:
                registry.unregister(collector)
            raise
        self._begin()
        gate.watch(self)
        self.tick()

    # --- what there is ---

    def _register(self, collector: _Collector) -> _Collector:
        self._registry.register(collector)
        self._made.append(collector)
        return collector

    def _counter(self, name: str, text: str, labels: Iterable[str] = ()) -> Counter:
        return self._register(Counter(name, text, labels, namespace=self._namespace, registry=None))

    def _gauge(self, name: str, text: str, labels: Iterable[str] = (), mode: _Mode = "livemax") -> Gauge:
        gauge = Gauge(name, text, labels, namespace=self._namespace, registry=None, multiprocess_mode=mode)
        return self._register(gauge)

    def _histogram(self, name: str, text: str, labels: Iterable[str], buckets: Sequence[float]) -> Histogram:
        return self._register(Histogram(name, text, labels, namespace=self._namespace, registry=None, buckets=buckets))

    def _make_of_rules(self) -> None:
        rule = ["rule"]
        self._submissions = self._counter("submissions", "Submissions counted.", rule)
        self._passed = self._counter("passed", "Submissions that went on as they came.", rule)
        self._challenges = self._counter("challenges", "Challenges sent.", ["rule", "kind", "reason"])
        self._deferrals = self._counter("deferrals", "Pages sent that had no challenge to show.", ["rule", "reason"])
        self._outcomes = self._counter(
            "outcomes", "What became of submissions that were held, and of answers refused.", ["rule", "reason"]
        )
        self._answer = self._histogram(
            "answer_seconds", "From a submission's first challenge to its delivery.", rule, _ANSWER_BUCKETS
        )
        self._engaged = self._gauge("engaged", "Whether a challenge is demanded: 1 or 0.", rule)
        self._level = self._gauge("level", "Level that is demanded; 0 is calm.", rule)
        self._since = self._gauge("since_timestamp_seconds", "When the state began; 0 if it never changed.", rule)
        self._rate = self._gauge("rate", "Submissions in the last period of 'above'.", rule)
        self._thresholds = self._gauge(
            "threshold",
            "Submissions in that period that bring a level about (above) or end it (below).",
            ["rule", "level", "edge"],
            "livemostrecent",
        )
        self._engaged_seconds = self._counter("engaged_seconds", "Time engaged, of each process.", rule)
        self._transitions = self._counter("transitions", "Changes of state, of each process.", ["rule", "state"])

    def _make_of_process(self) -> None:
        self._pool = self._gauge("pool_challenges", "Challenges drawn ahead.", mode="livesum")
        self._render = self._histogram("render_seconds", "Time to draw a challenge.", ["kind"], _RENDER_BUCKETS)
        self._denied = self._counter("drawings_denied", "Drawings that the budget did not allow.", ["kind"])
        self._store = self._histogram(
            "store_seconds", "Time that the shared store took.", ["operation"], _STORE_BUCKETS
        )
        self._errors = self._counter("store_errors", "Operations in which the shared store failed.", ["operation"])
        self._away = self._gauge("store_away", "Processes that go without the shared store.", mode="livesum")
        # What is kept in a shared store is the same for all who look.
        where: _Mode = "livemostrecent" if self._gate.store.blocking else "livesum"
        self._bodies = self._gauge("kept_bodies", "Bodies kept until they are delivered.", mode=where)
        self._bytes = self._gauge("kept_bytes", "Bytes of those.", mode=where)

    def _begin(self) -> None:
        """Make the series that are known beforehand, so that their increase is seen from the first one on."""
        for guard in self._gate.guards:
            name = guard.rule.name
            for kind in guard.kinds:
                for reason in _CHALLENGED:
                    self._challenges.labels(name, kind, reason.value)
                self._render.labels(kind)
                self._denied.labels(kind)
            for reason in _DEFERRED:
                self._deferrals.labels(name, reason.value)
            for reason in _ENDED:
                self._outcomes.labels(name, reason.value)
            for state in State:
                self._transitions.labels(name, state.value)
            self._answer.labels(name)

    # --- what the gate tells: see gatepost.reports.Watcher ---

    @property
    def ticking(self) -> bool:
        """Whether the gate has to tick: in multiprocess mode."""
        return "PROMETHEUS_MULTIPROC_DIR" in os.environ

    def forked(self) -> None:
        """The gate of this process has counted nothing yet."""
        self._lock = threading.Lock()  # the one of before may be held by a thread that is not here
        self._read: dict[tuple[Counter, str], float] = {}
        self._spans: dict[str, _Span] = {guard.rule.name: _Span() for guard in self._gate.guards}

    def tick(self) -> None:
        """Bring up to date what is not told when it happens. The gate and the registry call this."""
        for guard in self._gate.guards:
            guard.meter.settle(self._gate.settings.clock())
        with self._lock:
            for guard in self._gate.guards:
                self._look_at(guard)
            self._pool.set(self._gate.pool.stock)
            self._away.set(self._gate.store.away)
            bodies, size = self._gate.kept
            self._bodies.set(bodies)
            self._bytes.set(size)

    def _look_at(self, guard: Guard) -> None:
        name, now = guard.rule.name, self._gate.settings.clock()
        stats, level = guard.stats(now), guard.meter.level(now)
        self._raise(self._submissions, name, stats.submissions)
        self._raise(self._passed, name, stats.passed)
        self._raise(self._engaged_seconds, name, self._spans[name].total(now))
        self._engaged.labels(name).set(min(level, 1))
        self._level.labels(name).set(level)
        self._since.labels(name).set(stats.since or 0)
        self._rate.labels(name).set(stats.rate)
        for number, (above, below) in enumerate(zip(guard.rule.above, guard.rule.below, strict=True), 1):
            self._thresholds.labels(name, str(number), "above").set(above.count)
            self._thresholds.labels(name, str(number), "below").set(below)

    def _raise(self, counter: Counter, rule: str, value: float) -> None:
        """Add what was counted since the last look. What was taken back since then is set off against what comes."""
        key = (counter, rule)
        before = self._read.get(key, 0.0)
        counter.labels(rule).inc(max(0.0, value - before))
        self._read[key] = max(value, before)

    def happened(self, event: Event) -> None:
        """Something happened."""
        rule, reason = event.rule, event.reason
        match event.name:
            case "challenged":
                self._challenges.labels(rule, event.kind, reason).inc()
            case "deferred":
                self._deferrals.labels(rule, reason).inc()
            case "delivered":
                self._outcomes.labels(rule, reason).inc()
                self._answer.labels(rule).observe(event.seconds)
            case "refused" | "permitted":
                self._outcomes.labels(rule, reason).inc()
            case "observed":
                self._outcomes.labels(rule, Reason.WOULD_CHALLENGE.value).inc()
            case "engaged" | "released" if not event.client:
                self._changed(event)
            case "store-lost" | "store-back":
                self._away.set(event.name == "store-lost")

    def _changed(self, event: Event) -> None:
        state = State.ENGAGED if event.name == "engaged" else State.CALM
        self._transitions.labels(event.rule, state.value).inc()
        with self._lock:
            self._spans[event.rule].change(state, event.at)

    def drew(self, kind: str, seconds: float) -> None:
        """A challenge was drawn."""
        self._render.labels(kind).observe(seconds)

    def denied(self, kind: str) -> None:
        """A challenge was wanted, and could not be drawn within the budget."""
        self._denied.labels(kind).inc()

    def asked(self, operation: str, seconds: float, *, failed: bool) -> None:
        """The shared store was asked."""
        self._store.labels(operation).observe(seconds)
        if failed:
            self._errors.labels(operation).inc()
