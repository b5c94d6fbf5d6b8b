"""Gatepost stands in front of chosen POST paths and challenges submissions when they flood in, keeping what was sent.

The middleware classes are :class:`gatepost.asgi.GatepostMiddleware` and :class:`gatepost.wsgi.GatepostMiddleware`.
"""

from .gate import Gate
from .guard import RuleStats
from .protocols import (
    Challenge,
    Claim,
    Event,
    Headers,
    Kind,
    Media,
    Mode,
    Reason,
    Request,
    State,
    Store,
    StoreBusyError,
    StoreError,
    Sums,
    Terms,
    Told,
    Totals,
)
from .rules import Rate, Rule
from .settings import Settings

__all__ = [
    "Challenge",
    "Claim",
    "Event",
    "Gate",
    "Headers",
    "Kind",
    "Media",
    "Mode",
    "Rate",
    "Reason",
    "Request",
    "Rule",
    "RuleStats",
    "Settings",
    "State",
    "Store",
    "StoreBusyError",
    "StoreError",
    "Sums",
    "Terms",
    "Told",
    "Totals",
]
__version__ = "0.1.0"
