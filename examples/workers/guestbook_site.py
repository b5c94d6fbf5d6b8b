"""The guestbook as a site of several workers: what gunicorn serves.

Everything that the workers must agree on comes from the environment: ``GATEPOST_SECRET``, ``GATEPOST_STORE`` and
``GUESTBOOK_DB``. ``gunicorn.conf.py`` puts the guestbook's folder on the path.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from app import create_app
from book import gate_settings
from limits import ABOVE
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gatepost.asgi import GatepostMiddleware
from gatepost.challenges import QuestionKind

HERE = Path(__file__).resolve().parent


def create() -> ASGIApp:
    """Make the application.

    :raises ValueError: for settings that cannot be, and without a secret: the guestbook would make one up, in each
        instance another.
    """
    logging.basicConfig(level=logging.INFO, format="%(process)d %(name)s: %(message)s")
    options = {
        "secret": os.environ.get("GATEPOST_SECRET", ""),
        "store": os.environ.get("GATEPOST_STORE", "auto"),
        "above": f"{ABOVE}/minute",
        # The questions come first for the sake of check.py, which finds their answers beside them.
        "challenge": [QuestionKind(HERE / "questions.toml"), "image", "audio"],
    }
    # Around the application and not by its add_middleware: Starlette would make the gate with the first request, and
    # a mistake in a setting would not stop the start.
    return NamesWorker(GatepostMiddleware(create_app(gated=False), **gate_settings(options)))


class NamesWorker:
    """Adds ``X-Worker``, so that one can see who answered: the number of its process. Of no use to visitors."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                # Asked for at each answer: the application may have been made before its workers were forked.
                worker = (b"x-worker", str(os.getpid()).encode())
                message = {**message, "headers": [*message["headers"], worker]}
            await send(message)

        await self._app(scope, receive, named if scope["type"] == "http" else send)
