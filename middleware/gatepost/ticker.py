"""The ticker: a thread that ticks about once a second while something is going on, and ends when nothing is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

INTERVAL = 1.0  # seconds between two ticks


class Ticker:
    """Ticks.

    :param tick: called each time; says whether something is going on.
    :param rest: called at the end; from then on whoever has something to tell calls :meth:`start` again.
    """

    def __init__(self, tick: Callable[[], bool], rest: Callable[[], None]) -> None:
        self._tick = tick
        self._rest = rest
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """See to it that the thread runs."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="gatepost-ticker", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(INTERVAL)
            if not self._tick():
                break
        with self._lock:
            self._thread = None
        # In this order, so that what is counted meanwhile is in the last tick or starts another thread.
        self._rest()
        self._tick()
