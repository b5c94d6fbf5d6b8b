"""A guard is one rule at work: its meters, its counts, and the answer to 'is a challenge demanded of this request?'"""

from __future__ import annotations

import ipaddress
import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from .meter import ClientMeters, Meter
from .protocols import Event, Kind, Mode, Reason, Request, State, Sums, Terms, Totals
from .reports import place_of
from .rules import Bound, Rate
from .settings import Settings

log = logging.getLogger("gatepost")

Alias = Callable[[str], str]
"""Makes a keyed hash of a client, for logs, events and stores."""


@dataclass(frozen=True, slots=True)
class RuleStats:
    """What :meth:`Gate.stats` tells of one rule. ``rate`` is submissions in the period of ``above``."""

    submissions: int
    state: State
    since: float | None
    rate: float
    passed: int
    challenged: int
    delivered: int
    reasons: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Demand:
    """That a challenge is demanded, how hard a one, why, and whether the submission counted for the rule."""

    level: int
    reason: Reason
    counted: bool


class Guard:
    """Counts the submissions of one rule and judges which of them are challenged. Thread-safe."""

    def __init__(
        self,
        rule: Bound,
        kinds: Mapping[str, Kind],
        settings: Settings,
        alias: Alias,
        near: Callable[[], None],
        report: Callable[[Event], None],
    ) -> None:
        self.rule = rule
        #: The rule's kinds of challenge by name, the one that is offered first in front.
        self.kinds = kinds
        self._settings = settings
        self._alias = alias
        self._report = report
        self.meter = Meter(rule.above, rule.below, rule.hold, near, self._changed)
        self._clients: ClientMeters | None = None
        if rule.above_per_client:
            self._clients = ClientMeters(rule.above_per_client, rule.hold, settings.clients_size, self._client_changed)
        self._proxy_told = False
        self._lock = threading.Lock()
        self._reasons: Counter[str] = Counter()
        self._challenged = 0
        self._delivered = 0
        self._held = 0  # counted, but not passed on as they came
        self._alone = 0  # counted for the client alone
        # Whether the rule's own meter is all that calm traffic has to be shown to.
        self._simple = rule.mode is Mode.ADAPTIVE and self._clients is None
        #: Whether the gate is to be woken before the next request is judged: see :meth:`Gate.wake`.
        self.asleep = False
        self._hurry: Callable[[], None] = lambda: None
        self._told: Counter[str] = Counter()
        self._terms = Terms(rule.mode.value, tuple(float(rate.count) for rate in rule.above), rule.below, rule.hold)
        self._cause = ""
        self._turn = 0  # of the meter, when its state changed last

    # --- deciding ---

    def client(self, request: Request) -> str | None:
        """Who sent this: what the ``client`` setting says, else the peer's address (of IPv6 the /64)."""
        choose = self._settings.client
        if choose is not None:
            try:
                chosen = choose(request)
                return None if chosen is None else str(chosen)
            except Exception as error:
                log.error(
                    "The 'client' callable failed; the address of the connection is used instead: %s", place_of(error)
                )
        if not self._proxy_told and _looks_proxied(request):
            self._proxy_told = True
            log.warning(
                "Requests of rule %r bear a forwarded header that names another address than the connection's. If a "
                "proxy stands in front, all its visitors share one client's limits: let the server or framework read "
                "the header (uvicorn --proxy-headers, werkzeug's ProxyFix), or set 'client'.",
                self.rule.name,
            )
        return network_of(request.peer)

    def screen(self, make: Callable[[Any], Request], raw: Any, now: float) -> tuple[Request, Demand] | None:
        """Count a submission; what is demanded of it, or ``None`` if it passes. The calm path of both twins.

        :param make: makes the request of ``raw``; called only where something hangs on it.
        """
        if self._simple:
            level = self.meter.count(now)
            if not level:
                return None
            request = make(raw)
            demand = self._weigh(request, Demand(level, Reason.RULE_ENGAGED, counted=True))
        else:
            request = make(raw)
            demand = self.admit(request, now)
        return None if demand is None else (request, demand)

    def admit(self, request: Request, now: float) -> Demand | None:
        """Count this submission; what is demanded of it, or ``None`` if it passes."""
        return None if self.rule.mode is Mode.OFF else self._weigh(request, self._count(request, now))

    def _weigh(self, request: Request, demand: Demand) -> Demand | None:
        if self.rule.mode is Mode.ALWAYS and demand.level == 0:
            demand = Demand(1, Reason.ALWAYS, demand.counted)
        if not demand.level or self._exempt(request):
            return None
        if self.rule.mode is Mode.OBSERVE:
            self._observed(request, demand)
            return None
        with self._lock:
            self._held += 1
        return demand

    def _count(self, request: Request, now: float) -> Demand:
        if self._clients is not None:
            client = self.client(request)
            if client is not None:
                level = self._clients.count(client, now)
                if level:
                    # It does not count for the rule: one noisy client must not turn the challenge on for all.
                    with self._lock:
                        self._alone += 1
                    return Demand(max(level, self.meter.level(now)), Reason.CLIENT_ENGAGED, counted=False)
        return Demand(self.meter.count(now), Reason.RULE_ENGAGED, counted=True)

    def uncount(self, request: Request, demand: Demand) -> None:
        """Take back what :meth:`admit` counted: the request turned out to bring a right answer."""
        if demand.counted:
            self.meter.uncount()
        elif self._clients is not None:
            self._clients.uncount(self.client(request) or "")
        with self._lock:
            self._held -= 1
            self._alone -= not demand.counted

    def demanded(self, request: Request, now: float) -> Demand | None:
        """What is demanded of this client now, without counting anything."""
        rule = self.rule
        if rule.mode in (Mode.OFF, Mode.OBSERVE):
            return None
        level = self.meter.level(now)
        reason = Reason.RULE_ENGAGED
        if self._clients is not None:
            client = self.client(request)
            alone = self._clients.level(client, now) if client is not None else 0
            if alone:
                level, reason = max(level, alone), Reason.CLIENT_ENGAGED
        if not level and rule.mode is Mode.ALWAYS:
            level, reason = 1, Reason.ALWAYS
        if not level or self._exempt(request):
            return None
        return Demand(level, reason, counted=True)

    def _exempt(self, request: Request) -> bool:
        rule = self.rule
        if rule.networks and request.peer:
            try:
                address = ipaddress.ip_address(request.peer)
            except ValueError:
                address = None
            mapped = getattr(address, "ipv4_mapped", None)  # how a server that listens on both tells an IPv4 peer
            if address is not None and any(address in net or (mapped and mapped in net) for net in rule.networks):
                return True
        for exemption in rule.exemptions:
            try:
                if exemption(request):
                    return True
            except Exception as error:
                log.error("An 'exempt' callable failed; the request is treated as not exempt: %s", place_of(error))
        return False

    # --- counting with others ---

    def share(self, hurry: Callable[[], None]) -> None:
        """Count together with other processes, which ``hurry`` tells at once."""
        self.asleep = True
        self._hurry = hurry

    def rest(self) -> None:
        """Whoever told the others has stopped; the next request wakes the gate again."""
        self.asleep = True

    @property
    def unsent(self) -> bool:
        """Whether something was counted that others have not been told of."""
        return self.meter.unsent

    def outgoing(self, now: float) -> Sums:
        """What others have not been told of yet."""
        share = self.meter.outgoing(now)
        with self._lock:
            counts = Counter(self._reasons)
            counts.update(submissions=self.meter.total + self._alone, challenged=self._challenged)
            counts.update(delivered=self._delivered, held=self._held)
            new = {name: value - self._told[name] for name, value in counts.items() if value != self._told[name]}
            self._told = counts
        return Sums(
            self.rule.name,
            self.rule.above[0].period,
            share.bucket,
            share.fresh,
            share.late,
            share.until,
            share.turn,
            self._cause,
            new,
            terms=self._terms,
        )

    def incoming(self, totals: Totals, now: float) -> None:
        """What all have counted."""
        self.meter.incoming(totals, now)

    # --- keeping count ---

    def note(self, reason: Reason) -> None:
        """Count one more outcome of this reason."""
        with self._lock:
            self._reasons[reason.value] += 1

    def challenged(self, reason: Reason, now: float, client: str, kind: str = "", level: int = 0) -> None:
        """An interstitial went out.

        :param kind: of the challenge in it; empty if it holds none.
        """
        with self._lock:
            self._reasons[reason.value] += 1
            self._challenged += 1
        name = "challenged" if kind else "deferred"
        self._report(Event(name, self.rule.name, now, reason.value, client, level, kind))

    def delivered(self, event: Event, late: bool = False) -> None:
        """A submission that had been held was handed to the application.

        :param late: it had not counted for the rule so far, and does now.
        """
        if late:
            self.meter.count(event.at)
            with self._lock:
                self._alone -= 1
        with self._lock:
            self._reasons[event.reason] += 1
            self._delivered += 1
        self._report(event)

    def permitted(self, now: float, client: str) -> None:
        """A permit let a submission pass."""
        self.note(Reason.PERMIT)
        self._report(Event("permitted", self.rule.name, now, Reason.PERMIT.value, client))

    def refused(self, reason: Reason, now: float, client: str) -> None:
        """A request was answered with a page that holds no challenge."""
        self.note(reason)
        self._report(Event("refused", self.rule.name, now, reason.value, client))

    def _observed(self, request: Request, demand: Demand) -> None:
        self.note(Reason.WOULD_CHALLENGE)
        client = self.client(request)
        alias = self._alias(client) if client else ""
        now = self._settings.clock()
        self._report(Event("observed", self.rule.name, now, demand.reason.value, alias, demand.level))

    def stats(self, now: float) -> RuleStats:
        """The counts so far. Changes nothing."""
        with self._lock:
            submissions = self.meter.total + self._alone
            return RuleStats(
                submissions=submissions,
                state=self.state(now),
                since=self.meter.since if self.meter.since > 0 else None,
                rate=self.meter.rate(now),
                passed=submissions - self._held,
                challenged=self._challenged,
                delivered=self._delivered,
                reasons=MappingProxyType(dict(self._reasons)),
            )

    def state(self, now: float) -> State:
        """Calm or engaged. Changes nothing."""
        return State.ENGAGED if self.meter.level(now) else State.CALM

    def _changed(self, state: State, at: float, rate: float) -> None:
        self._hurry()
        rule = self.rule
        if state is State.ENGAGED:
            cause = _counted(rate, rule.above[0])
            self._cause = cause if rate > rule.above[0].count else f"by others or by hand; {cause}"
            self._report(Event("engaged", rule.name, at, self._cause, level=max(1, self.meter.level(at))))
        else:
            by_hand = self.meter.turn != self._turn
            cause = "by hand" if by_hand else f"under {rule.below[0]:g} for {rule.hold:g} s"
            self._report(Event("released", rule.name, at, cause))
        self._turn = self.meter.turn

    def _client_changed(self, client: str, state: State, at: float, rate: float) -> None:
        name, level = ("engaged", 1) if state is State.ENGAGED else ("released", 0)
        cause = _counted(rate, self.rule.above_per_client[0])
        self._report(Event(name, self.rule.name, at, cause, self._alias(client), level))


def _counted(rate: float, above: Rate) -> str:
    count = f"{rate:.0f}"
    return f"{count} submission{'' if count == '1' else 's'} in {above.period:g} s, threshold {above.count}"


def _looks_proxied(request: Request) -> bool:
    """Whether somebody forwarded this request, and nobody put the forwarded address in the connection's place."""
    said = ",".join(request.headers.all("x-forwarded-for") + request.headers.all("forwarded"))
    return bool(said) and bool(request.peer) and str(request.peer) not in said


def network_of(peer: str | None) -> str | None:
    """The peer's address; of IPv6 its /64, since one household or server has all of that."""
    if not peer:
        return None
    if ":" not in peer:
        return peer
    try:
        address = ipaddress.IPv6Address(peer.partition("%")[0])
    except ValueError:
        return peer
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
