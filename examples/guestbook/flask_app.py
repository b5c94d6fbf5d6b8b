"""The guestbook as a WSGI application, with Flask. The twin of ``app.py``.

Run it with ``gunicorn 'flask_app:create_app()'`` from this folder.
"""

from __future__ import annotations

import os
import time
from typing import Any

import book
from flask import Flask, Response, redirect, request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.wrappers import Response as BaseResponse

from gatepost.wsgi import GatepostMiddleware


def create_app(database: str | os.PathLike[str] | None = None, *, gated: bool = True, **settings: Any) -> Flask:
    """Make the application.

    :param database: the SQLite file; ``GUESTBOOK_DB`` or ``guestbook.db`` beside the code if it is not given.
    :param gated: whether the gate stands in front of it.
    :param settings: settings of the gate that differ from this guestbook's.
    """
    guestbook = book.open_book(database)
    delay = book.storing_delay()
    app = Flask(__name__, static_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=book.BODY_LIMIT, MAX_FORM_MEMORY_SIZE=book.TEXT_LIMIT)

    @app.get("/")
    def show() -> Response:
        return _page(guestbook)

    @app.post("/")
    def sign() -> BaseResponse:
        try:
            draft = _draft()
        except RequestEntityTooLarge:
            return _page(guestbook, mistakes={"picture": book.TOO_LARGE}, status=413)
        if mistakes := book.check(draft):
            return _page(guestbook, draft, mistakes, status=422)
        time.sleep(delay)
        guestbook.add(draft)
        return redirect(f"{request.root_path}/", code=303)

    @app.get("/pictures/<int:number>")
    def picture(number: int) -> Response:
        found = guestbook.picture(number)
        if found is None:
            return Response("There is no such picture.\n", status=404, mimetype="text/plain")
        return Response(found.content, mimetype=found.type, headers=book.PICTURE_HEADERS)

    if gated:
        app.wsgi_app = GatepostMiddleware(  # type: ignore[method-assign]
            app.wsgi_app, **book.gate_settings(settings)
        )
    return app


def _page(
    guestbook: book.Guestbook,
    draft: book.Draft | None = None,
    mistakes: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    return Response(book.page(guestbook, draft, mistakes), status, book.PAGE_HEADERS, mimetype="text/html")


def _draft() -> book.Draft:
    """What was sent; ``RequestEntityTooLarge`` if it is too large."""
    picture = request.files.get("picture")
    content = None
    # A browser sends a file without a name when none was chosen.
    if picture is not None and picture.filename:
        # One byte more tells a picture that is too large from one that just fits.
        content = picture.stream.read(book.PICTURE_LIMIT + 1)
    return book.Draft(request.form.get("name", ""), request.form.get("message", ""), content)
