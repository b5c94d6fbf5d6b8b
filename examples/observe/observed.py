"""The guestbook with a page of metrics beside it: ``/metrics``.

Run it with ``python examples/observe``, or with ``uvicorn --factory observed:create_app`` from this folder.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, make_asgi_app
from starlette.types import ASGIApp, Receive, Scope, Send

from gatepost import Gate, Settings
from gatepost.metrics import GateMetrics

sys.path.append(str(Path(__file__).resolve().parent.parent / "guestbook"))


def create_app(database: str | os.PathLike[str] | None = None, **settings: Any) -> ASGIApp:
    """Make the application.

    :param database: the guestbook's SQLite file.
    :param settings: settings of the gate that differ from the guestbook's.
    """
    guestbook, book = importlib.import_module("app"), importlib.import_module("book")
    gate = Gate(Settings(**book.gate_settings(settings)))
    registry = CollectorRegistry()
    GateMetrics(gate, registry)
    metrics: ASGIApp = make_asgi_app(registry)
    pages: ASGIApp = guestbook.create_app(database, gate=gate)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # In production this page belongs on a port or a host that is not open to everybody.
        ours = scope["type"] == "http" and scope["path"] == "/metrics"
        await (metrics if ours else pages)(scope, receive, send)

    return app
