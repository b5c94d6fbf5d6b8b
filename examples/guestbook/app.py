"""The guestbook as an ASGI application, with Starlette. The twin of ``flask_app.py``.

Run it with ``uvicorn --factory app:create_app`` from this folder.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import book
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Message

from gatepost.asgi import GatepostMiddleware


def create_app(database: str | os.PathLike[str] | None = None, *, gated: bool = True, **settings: Any) -> Starlette:
    """Make the application.

    :param database: the SQLite file; ``GUESTBOOK_DB`` or ``guestbook.db`` beside the code if it is not given.
    :param gated: whether the gate stands in front of it.
    :param settings: settings of the gate that differ from this guestbook's.
    """
    guestbook = book.open_book(database)
    delay = book.storing_delay()

    async def show(request: Request) -> Response:  # noqa: ARG001
        return await _page(guestbook)

    async def sign(request: Request) -> Response:
        try:
            draft = await _draft(request)
        except HTTPException:
            return await _page(guestbook, mistakes={"picture": book.TOO_LARGE}, status=413)
        if mistakes := book.check(draft):
            return await _page(guestbook, draft, mistakes, status=422)
        await asyncio.sleep(delay)
        await run_in_threadpool(guestbook.add, draft)
        return RedirectResponse(f"{request.scope.get('root_path', '')}/", status_code=303)

    async def picture(request: Request) -> Response:
        found = await run_in_threadpool(guestbook.picture, request.path_params["number"])
        if found is None:
            return PlainTextResponse("There is no such picture.\n", status_code=404)
        return Response(found.content, media_type=found.type, headers=book.PICTURE_HEADERS)

    app = Starlette(
        routes=[
            Route("/", show, methods=["GET"]),
            Route("/", sign, methods=["POST"]),
            Route("/pictures/{number:int}", picture, methods=["GET"]),
        ]
    )
    if gated:
        app.add_middleware(GatepostMiddleware, **book.gate_settings(settings))
    return app


async def _page(
    guestbook: book.Guestbook,
    draft: book.Draft | None = None,
    mistakes: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    # SQLite may wait for a disk or a lock; the event loop must not.
    html = await run_in_threadpool(book.page, guestbook, draft, mistakes)
    return HTMLResponse(html, status_code=status, headers=book.PAGE_HEADERS)


async def _draft(request: Request) -> book.Draft:
    """What was sent; ``HTTPException`` if it is too large or no form at all."""
    async with _bounded(request).form(max_part_size=book.TEXT_LIMIT) as form:
        name, message, picture = form.get("name"), form.get("message"), form.get("picture")
        content = None
        # A browser sends a file without a name when none was chosen.
        if isinstance(picture, UploadFile) and picture.filename:
            # One byte more tells a picture that is too large from one that just fits.
            content = await picture.read(book.PICTURE_LIMIT + 1)
        return book.Draft(
            name=name if isinstance(name, str) else "",
            message=message if isinstance(message, str) else "",
            picture=content,
        )


def _bounded(request: Request) -> Request:
    """The same request, with a body that raises when it grows too large; Starlette itself has no such limit."""
    seen = 0

    async def receive() -> Message:
        nonlocal seen
        message = await request.receive()
        seen += len(message.get("body", b""))
        if seen > book.BODY_LIMIT:
            raise HTTPException(413)
        return message

    return Request(request.scope, receive)
