"""Reports: what happened is told to the log, to ``on_event``, and to whoever watches the gate."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any, Protocol

from .protocols import Event

log = logging.getLogger("gatepost")


class Watcher(Protocol):
    """Watches a gate: see :meth:`gatepost.Gate.watch`. Called from any thread, and must not block."""

    @property
    def ticking(self) -> bool:
        """Whether :meth:`tick` is needed: nobody asks this watcher for its figures in this process."""

    def happened(self, event: Event) -> None:
        """Something happened."""

    def drew(self, kind: str, seconds: float) -> None:
        """A challenge was drawn, which took so long."""

    def denied(self, kind: str) -> None:
        """A challenge was wanted, and the budget or the client's share of it did not allow to draw one."""

    def asked(self, operation: str, seconds: float, *, failed: bool) -> None:
        """The shared store was asked, which took so long."""

    def tick(self) -> None:
        """About a second has gone by, in which something may have been counted."""

    def forked(self) -> None:
        """This process was forked from another one, and the gate has forgotten what it had counted."""


class Reports:
    """Tells what happened.

    :param on_event: the setting.
    """

    def __init__(self, on_event: Callable[[Event], None] | None) -> None:
        self._on_event = on_event
        self._watchers: tuple[Watcher, ...] = ()

    def add(self, watcher: Watcher) -> None:
        """Tell this one, too."""
        self._watchers = (*self._watchers, watcher)

    @property
    def watched(self) -> bool:
        """Whether anybody watches."""
        return bool(self._watchers)

    @property
    def ticking(self) -> bool:
        """Whether anybody wants :meth:`tick`."""
        return any(watcher.ticking for watcher in self._watchers)

    def event(self, event: Event) -> None:
        """Something happened."""
        _write(event)
        if self._on_event is not None:
            try:
                self._on_event(event)
            except Exception:
                log.exception("The 'on_event' callable failed at %r.", event.name)
        self._tell("happened", event)

    def drew(self, kind: str, seconds: float) -> None:
        """See :meth:`Watcher.drew`."""
        self._tell("drew", kind, seconds)

    def denied(self, kind: str) -> None:
        """See :meth:`Watcher.denied`."""
        self._tell("denied", kind)

    def asked(self, operation: str, seconds: float, *, failed: bool) -> None:
        """See :meth:`Watcher.asked`."""
        self._tell("asked", operation, seconds, failed=failed)

    def tick(self) -> None:
        """See :meth:`Watcher.tick`."""
        self._tell("tick")

    def forked(self) -> None:
        """See :meth:`Watcher.forked`."""
        self._tell("forked")

    def _tell(self, method: str, *facts: Any, **more: Any) -> None:
        for watcher in self._watchers:
            try:
                getattr(watcher, method)(*facts, **more)
            except Exception:
                log.exception("A watcher failed at %r.", method)


def facts(event: Event) -> dict[str, Any]:
    """The facts of an event for a log record's ``extra``. Their names clash with none of a record's own."""
    found = {
        "gatepost_event": event.name,
        "gatepost_rule": event.rule,
        "gatepost_reason": event.reason,
        "gatepost_client": event.client,
        "gatepost_level": event.level,
        "gatepost_kind": event.kind,
        "gatepost_seconds": event.seconds,
    }
    return {name: value for name, value in found.items() if value}


def place_of(error: BaseException) -> str:
    """Where code of a site's own failed, for the log. What the exception says is left out: it may be what was typed."""
    return f"{type(error).__name__}, at\n{''.join(traceback.format_tb(error.__traceback__)).rstrip()}"


def _write(event: Event) -> None:
    """Log an event. What each request can bring about is of no interest but to those who look for something."""
    name, rule, client = event.name, event.rule, event.client or "unknown"
    match name:
        case "engaged" if not event.client:
            log.warning("Rule %r is engaged: %s.", rule, event.reason, extra=facts(event))
        case "released" if not event.client:
            log.warning("Rule %r is calm again: %s.", rule, event.reason, extra=facts(event))
        case "engaged":
            log.info("Rule %r is engaged for client %s alone: %s.", rule, client, event.reason, extra=facts(event))
        case "released":
            log.info("Rule %r is calm again for client %s.", rule, client, extra=facts(event))
        case "observed":
            log.info("Rule %r would have challenged client %s (%s).", rule, client, event.reason, extra=facts(event))
        case "store-lost" | "store-back":
            pass  # the store's front has logged it, with what it alone knows
        case _ if log.isEnabledFor(logging.DEBUG):
            log.debug("Rule %r, client %s: %s (%s).", rule, client, name, event.reason, extra=facts(event))
