"""Patience: how long one request still waits for the shared store, in all of its steps together.

The driver of a request gives it an :func:`allowance`; the front notes in it how long each call took, and the stores ask
:func:`left` before they wait. Worker threads are given the context of their request, and so the same allowance. The
threads of the background have none, and wait for ``store_timeout`` each time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_LEAST = 0.001  # seconds; a time-out of 0 would mean something else to sockets


class Allowance:
    """The seconds that are left of ``store_timeout``."""

    __slots__ = ("left",)

    def __init__(self, seconds: float) -> None:
        self.left = seconds


_allowance: ContextVar[Allowance | None] = ContextVar("gatepost_allowance", default=None)


@contextmanager
def allowance(seconds: float) -> Iterator[None]:
    """What is done inside waits for so many seconds at most."""
    token = _allowance.set(Allowance(seconds))
    try:
        yield
    finally:
        _allowance.reset(token)


def left(most: float) -> float:
    """Seconds that a call may wait now: ``most``, or what is left of it for this request."""
    mine = _allowance.get()
    return most if mine is None else max(min(most, mine.left), _LEAST)


def spent() -> bool:
    """Whether this request has waited for as long as it may."""
    mine = _allowance.get()
    return mine is not None and mine.left <= _LEAST


@contextmanager
def waiting() -> Iterator[None]:
    """What is done inside counts as waiting."""
    mine = _allowance.get()
    if mine is None:
        yield
        return
    began = time.monotonic()
    try:
        yield
    finally:
        mine.left -= time.monotonic() - began
