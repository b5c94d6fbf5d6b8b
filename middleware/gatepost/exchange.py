"""The exchange: a thread that tells the shared store what this process counted, and learns what all have counted.

It starts with the first submission, and ends when nothing has happened for a while; it also brings back a store that
was lost. One request waits for it: the first of a process that knows nothing yet, or no longer, until the thread has
heard from the others. So a process that rests costs the store nothing, and lets nothing through when it wakes up.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace

from .guard import Guard
from .protocols import Sums, Totals
from .settings import Settings
from .stores.front import Front

log = logging.getLogger("gatepost")

_IDLE = 60.0  # seconds without a submission after which the thread ends, if no rule is engaged
_SWEEP = 1.0  # seconds between two looks for what has expired
_LONGEST_PAUSE = 1.0  # seconds between two tries of a lost store


class Exchange:
    """Exchanges the guards' sums with a shared store.

    What one process counts all know within ``sync_interval``: half of it passes at most until it is told, and half
    until the others ask. That a rule engages or is released is told at once.

    :param guards: the guards of this process, now.
    """

    def __init__(self, front: Front, guards: Callable[[], Sequence[Guard]], settings: Settings) -> None:
        self._front = front
        self._guards = guards
        self._settings = settings
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._learnt: Future[None] = Future()  # set when this thread has heard from the others for the first time
        self._teller, self._number = secrets.token_bytes(8), 0
        self._untold: list[Sums] = []  # of an exchange that seemed to fail: it may have been too late, and no more

    def start(self) -> Future[None] | None:
        """See to it that the thread runs.

        :returns: what is set as soon as this process knows what the others have counted; ``None`` if it does, or if
            the store is away.
        """
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._learnt = Future()
                self._learnt.set_running_or_notify_cancel()  # a request that is cancelled must not cancel it for others
                self._thread = threading.Thread(target=self._run, name="gatepost-exchange", daemon=True)
                self._thread.start()
            if not self._learnt.done():
                return None if self._front.away else self._learnt
            for guard in self._guards():
                guard.asleep = False
        return None

    def hurry(self) -> None:
        """Exchange now; a rule has changed."""
        # What the exchange itself has brought about the store knows.
        if threading.current_thread() is not self._thread:
            self._wake.set()

    def once(self) -> bool:
        """Exchange once; whether anything was going on: a submission, an engaged rule, a lost store."""
        if self._front.away and not self._front.recover():
            return True
        if self._untold and not self._tell(self._untold):
            return True
        now = self._settings.clock()
        sums = [self._numbered(guard.outgoing(now)) for guard in self._guards()]
        totals = self._tell(sums)
        counted = any(mine.fresh or mine.late or mine.counts for mine in sums)
        return not totals or counted or any(end > now for mine in totals for end in mine.until)

    def _numbered(self, sums: Sums) -> Sums:
        self._number += 1
        return replace(sums, teller=self._teller, number=self._number)

    def _tell(self, sums: list[Sums]) -> list[Totals]:
        """Tell these sums, and hand on what came back; nothing came back if there is nobody to exchange with."""
        totals = self._front.exchange(sums)
        self._untold = sums if totals is None else []
        by_name = {mine.rule: mine for mine in totals or ()}
        for guard in self._guards():
            if guard.rule.name in by_name:
                try:
                    guard.incoming(by_name[guard.rule.name], self._settings.clock())
                except Exception:  # what one rule cannot take in the others still can
                    log.exception("Rule %r could not take in what others have counted.", guard.rule.name)
        return totals or []

    def _run(self) -> None:
        busy_at = swept_at = time.monotonic()
        pause = self._settings.sync_interval
        while True:
            self._wake.clear()
            try:
                busy = self.once()
                if time.monotonic() - swept_at > _SWEEP:
                    swept_at = time.monotonic()
                    # A body must not outlive its time because nothing else comes.
                    busy = self._front.sweep_shared() or busy
            except Exception:  # the thread must outlive a mistake, or the rules of this process would go apart
                log.exception("The exchange with the store failed.")
                busy = True
            if not self._learnt.done():
                self._learnt.set_result(None)
            now = time.monotonic()
            busy_at = now if busy else busy_at
            if now - busy_at > _IDLE and self._end():
                return
            pause = min(_LONGEST_PAUSE, pause * 1.5) if self._front.away else self._settings.sync_interval / 2
            self._wake.wait(pause)

    def _end(self) -> bool:
        """Let the next submission start another thread; false if one came just now."""
        with self._lock:  # or :meth:`start` would say that all is known, and leave nobody to tell the others
            for guard in self._guards():
                guard.rest()
            if any(guard.unsent for guard in self._guards()):
                return False
            self._thread = None
        return True
