"""Stores and kinds that are timed for whoever watches the gate; where nobody does, they are what they were."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from .protocols import Challenge, Kind, Store, StoreError
from .reports import Reports

# What is timed of a store. Its identity is asked for after each of them, and nearly always known already.
OPERATIONS = (
    "claim",
    "command",
    "delivered",
    "drop",
    "exchange",
    "give_back",
    "holds",
    "keep",
    "limit",
    "read",
    "status",
    "sweep",
    "withdraw",
)


class TimedKind:
    """A kind of challenge, the drawing of which is timed."""

    def __init__(self, kind: Kind, reports: Reports) -> None:
        self._kind = kind
        self._reports = reports

    @property
    def name(self) -> str:
        """See :class:`gatepost.Kind`."""
        return self._kind.name

    def draw(self, level: int, locale: str) -> Challenge:
        """See :class:`gatepost.Kind`."""
        began = time.perf_counter()
        challenge = self._kind.draw(level, locale)
        if self._reports.watched:
            self._reports.drew(self._kind.name, time.perf_counter() - began)
        return challenge

    def normalise(self, fields: Mapping[str, str], data: bytes) -> str:
        """See :class:`gatepost.Kind`."""
        return self._kind.normalise(fields, data)


class TimedStore:
    """A shared store, the operations of which are timed. It has all that the store itself has."""

    def __init__(self, store: Store, reports: Reports) -> None:
        self._store = store
        self._reports = reports
        #: Bodies that are kept in the store and their bytes, as they were when it was swept last.
        self.bodies = (0, 0)
        for name in OPERATIONS:
            setattr(self, name, partial(self._timed, name))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def _timed(self, name: str, *arguments: Any, **more: Any) -> Any:
        operation = getattr(self._store, name)
        if not self._reports.watched:
            return operation(*arguments, **more)
        began, failed = time.perf_counter(), False
        try:
            result = operation(*arguments, **more)
        except StoreError:
            failed = True
            raise
        finally:
            self._reports.asked(name, time.perf_counter() - began, failed=failed)
        if name == "sweep":
            self._count()
        return result

    def _count(self) -> None:
        """Ask what is kept, where the store can tell; in the thread that sweeps, since no request may wait for it."""
        count = getattr(self._store, "kept", None)
        if callable(count):
            self.bodies = count()
