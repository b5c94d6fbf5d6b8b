"""The gate: owns the guards, tokens, store and pool of one configuration. The middleware classes drive it."""

from __future__ import annotations

import hashlib
import logging
import os
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, cast

from .challenges import make_kinds
from .effects import (
    Busy,
    Claiming,
    Delivered,
    Draw,
    Drop,
    Effect,
    Fetch,
    GiveBack,
    Holds,
    Keep,
    Limit,
    PutBack,
    ReadBody,
)
from .exchange import Exchange
from .flow import Flow
from .guard import Guard, RuleStats
from .intake import Buffer
from .languages import asked, spoken
from .permits import Permits
from .pool import Drawn, Pool
from .protocols import Challenge, Event, Headers, Kind, Mode, State, Store
from .reports import Reports, Watcher
from .routes import Routes
from .settings import Settings
from .stores import Front, make_store
from .ticker import Ticker
from .timed import TimedKind, TimedStore
from .tokens import Token, Tokens

log = logging.getLogger("gatepost")

_DRAW_TIMEOUT = 2.0  # seconds that a request waits for a drawing that the budget has granted
_DAY = 86400

_gates: weakref.WeakSet[Gate] = weakref.WeakSet()


class Gate:
    """One configured guard over some paths, shared by any number of middleware instances.

    :param settings: see :class:`gatepost.Settings`.
    :raises ValueError: for settings that cannot work.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tokens = Tokens(settings.secrets, settings.site)
        self.permits = Permits(self.tokens, settings.site)
        self.routes = Routes(settings.rules)
        self._kinds: dict[str, Kind] = {}
        kinds = [make_kinds(rule.challenge, self._kinds) for rule in settings.rules]
        self._reports = Reports(settings.on_event)
        shared = make_store(settings)
        self._timed = None if shared is None else TimedStore(shared, self._reports)
        self._shared = cast(Store | None, self._timed)  # it has all that a store has
        self._set_up(kinds)
        _gates.add(self)

    def _set_up(self, kinds: list[dict[str, Kind]]) -> None:
        """Make everything that changes while the gate works: at construction, and once more in a forked process."""
        settings = self.settings
        #: What this process knows itself, and behind it the store that it shares with others.
        self.store = Front(settings, self._shared, self._lost)
        self.buffer = Buffer(settings.buffer_limit)
        self._strangers_told = False
        self._started = settings.clock()
        report = self._reports.event
        self.guards = [
            Guard(rule, mine, settings, self.alias, self._filler(rule.mode, next(iter(mine.values()))), report)
            for rule, mine in zip(settings.rules, kinds, strict=True)
        ]
        self.pool = Pool(
            {name: TimedKind(kind, self._reports) for name, kind in self._kinds.items()},
            size=settings.pool_size,
            rate=settings.render_rate,
            clients=settings.clients_size,
            clock=settings.clock,
            needed=self._still_needed,
        )
        self.flow = Flow(settings, self.tokens, self.permits, self.store.identity, self.alias, self._strange)
        #: Tells other processes what this one counts, where a store is shared.
        self.exchange = Exchange(self.store, lambda: self.guards, settings)
        self._ticker = Ticker(self._tick, self._rest)
        self._share()

    def _share(self) -> None:
        """Let the first submission, and the first one after a rest, start what works in the background."""
        if self._shared is not None or self._reports.ticking:
            for guard in self.guards:
                guard.share(self._hurry)

    def _hurry(self) -> None:
        if self._shared is not None:
            self.exchange.hurry()

    def reset(self) -> None:
        """Forget all that was counted and claimed. A forked process does this: what it inherited is its parent's."""
        forget = getattr(self._shared, "after_fork", None)
        if forget is not None:
            forget()
        self._set_up([dict(guard.kinds) for guard in self.guards])
        self._reports.forked()

    # --- to look at ---

    def watch(self, watcher: Watcher) -> None:
        """Tell this one, from now on, of what happens: see :class:`gatepost.metrics.GateMetrics`."""
        self._reports.add(watcher)
        self._share()

    @property
    def kept(self) -> tuple[int, int]:
        """How many bodies are kept, and their bytes: of a shared store as they were about a second ago."""
        bodies, size = self.store.local.kept()
        shared = self._timed.bodies if self._timed is not None else (0, 0)
        return bodies + shared[0], size + shared[1]

    def stats(self) -> Mapping[str, RuleStats]:
        """For each rule by name its state, rate and counts. Changes nothing."""
        now = self.settings.clock()
        return {guard.rule.name: guard.stats(now) for guard in self.guards}

    def state(self, rule: str) -> State:
        """Whether the rule of this name is calm or engaged. Changes nothing.

        :raises KeyError: if there is no such rule.
        """
        return self._guard(rule).state(self.settings.clock())

    def _guard(self, rule: str) -> Guard:
        for guard in self.guards:
            if guard.rule.name == rule:
                return guard
        raise KeyError(f"there is no rule {rule!r}; the rules are {[guard.rule.name for guard in self.guards]}")

    # --- by hand ---

    def engage(self, rule: str, seconds: float = 600) -> None:
        """Demand a challenge now, whatever the rate is, in every process that shares the store.

        :param rule: the rule's name.
        :param seconds: for how long at least.
        :raises KeyError: if there is no such rule.
        :raises StoreError: if the shared store cannot be told; this process is engaged all the same.
        """
        guard, now = self._guard(rule), self.settings.clock()
        guard.meter.force(now + seconds, now)
        if self._shared is not None:
            self._shared.command(rule, now + seconds, "by hand")
            self.exchange.start()

    def release(self, rule: str) -> None:
        """Demand none, in every process that shares the store, until the rate is above the threshold again.

        :param rule: the rule's name.
        :raises KeyError: if there is no such rule.
        :raises StoreError: if the shared store cannot be told; this process is released all the same.
        """
        self._guard(rule).meter.release(self.settings.clock())
        if self._shared is not None:
            self._shared.command(rule, None, "by hand")
            self.exchange.start()

    # --- for the drivers ---

    def wake(self, guard: Guard) -> Future[None] | None:
        """Start what works in the background: with the first request of a guard, and with the first one after a rest.

        :returns: what the request is to wait for, ``store_timeout`` at most, before it is judged: this process has
            yet to hear from the others whether the rule is engaged. Nothing where that decides nothing.
        """
        learning = None
        if self._shared is not None:
            learning = self.exchange.start()
        else:
            guard.asleep = False
        if self._reports.ticking:
            self._ticker.start()
        return learning if guard.rule.mode is Mode.ADAPTIVE else None

    def perform(self, effect: Effect) -> Any:
        """Answer any effect but :class:`ReadBody` and :class:`Draw`, which the driver does in its own way."""
        store = self.store
        match effect:
            case Claiming():
                return store.claim(effect.nonce, effect.expires, effect.submission, effect.end, effect.store)
            case Delivered():
                return store.delivered(effect.submission, effect.end)
            case Limit():
                return store.limit(effect.name, effect.client)
            case GiveBack():
                return store.give_back(effect.name, effect.client)
            case Keep():
                kept = store.keep(effect.submission, effect.body, effect.until, effect.client)
                if kept:
                    self.pool.start()  # its thread also lets go of what has expired
                return kept
            case Holds():
                return store.holds(effect.submission)
            case Fetch():
                body = store.read(effect.submission)
                return body if body is not None and hashlib.sha256(body).digest() == effect.sha256 else None
            case Drop():
                return store.drop(effect.submission)
            case PutBack():
                return self.pool.put_back(effect.order, effect.challenge)
            case ReadBody() | Draw():
                raise TypeError(f"the driver answers {effect!r}")

    def draw(self, order: Draw) -> Drawn | Future[Drawn]:
        """A challenge, or :class:`Busy`, or a future of either; does not block."""
        drawn = self.pool.take(order)
        if isinstance(drawn, Busy):
            self._reports.denied(order.kind)
        return drawn

    @property
    def late(self) -> Busy:
        """What a request gets for which a drawing has taken too long: it waits no longer than this says."""
        return Busy(_DRAW_TIMEOUT)

    def drawn(self, future: Future[Drawn]) -> Challenge | Busy:
        """Wait for a drawing; blocks."""
        try:
            return future.result(self.late.retry_after)
        except FutureTimeout:
            return self.late

    # --- what the parts ask for ---

    def alias(self, client: str) -> str:
        """A keyed hash of a client, which changes daily: no address in clear stands in logs, events or stores."""
        day = int(self.settings.clock() // _DAY).to_bytes(8, "big", signed=True)
        # The hash that has a key of its own. It is made for every request of a flood, and unlike an HMAC it keeps the
        # lock that threads share, so that no request waits for a picture to be drawn.
        said = day + client.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(said, key=self.tokens.client_key, digest_size=12).hexdigest()

    def _filler(self, mode: Mode, kind: Kind) -> Callable[[], None]:
        """What a rule calls when it nears its threshold: filling begins before the first challenge is due."""
        forced = self.settings.locale
        key = (kind.name, 1, spoken(kind, asked(Headers(), forced), forced or "en"))

        def fill() -> None:
            if mode is not Mode.OBSERVE:
                self.pool.start(key)

        return fill

    def _still_needed(self) -> bool:
        now = self.settings.clock()
        needed = False
        for guard in self.guards:
            guard.meter.settle(now)
            always = guard.rule.mode is Mode.ALWAYS and guard.meter.rate(now) > 0
            needed = needed or always or guard.meter.near(now)
        return self.store.sweep() or needed

    def _tick(self) -> bool:
        self._reports.tick()
        now = self.settings.clock()
        return self.store.away or any(guard.meter.level(now) or guard.meter.rate(now) for guard in self.guards)

    def _rest(self) -> None:
        for guard in self.guards:
            guard.rest()

    def _lost(self, why: str) -> None:
        """The shared store was lost (``why`` says how), or is back."""
        name = "store-lost" if why else "store-back"
        self._reports.event(Event(name, "", self.settings.clock(), why))
        if why:
            self.exchange.start()  # which brings it back

    def _strange(self, token: Token) -> None:
        """A genuine token of another store: of before a restart, or of another process that lives beside this one."""
        leeway = self.settings.leeway
        if self._strangers_told or token.issued / 1000 <= self._started + leeway or self.store.away:
            return
        self._strangers_told = True
        if self._shared is not None:
            log.error(
                "A challenge that another store has issued was answered here. Either the store was emptied, or there "
                "are processes with a store of their own, in another container, say: then thresholds are multiplied, "
                "and visitors are asked again and again. Give all of them one store through the 'store' setting."
            )
            return
        log.error(
            "A challenge that another process has issued was answered here. Each process has a memory store of its "
            "own, so thresholds are multiplied by the number of processes, and visitors are asked again when they "
            "reach another one. Run one process, or give all of them one store through the 'store' setting."
        )


def make_gate(settings: Settings | None, gate: Gate | None, options: Mapping[str, Any]) -> Gate:
    """The gate of a middleware class, from whichever of the three ways of configuration was used.

    :raises ValueError: for more than one of them, or settings that cannot work.
    """
    given = [name for name, value in (("gate", gate), ("settings", settings), (", ".join(options), options)) if value]
    if len(given) > 1:
        raise ValueError(f"got {' and '.join(given)}, wanted one: a gate, settings, or the settings as keywords.")
    if gate is not None:
        return gate
    return Gate(settings if settings is not None else Settings.of(options))


def _after_fork() -> None:
    for gate in list(_gates):
        gate.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
