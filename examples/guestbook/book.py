"""The guestbook itself, without a web framework: what an entry may be, where entries live, and how the page looks."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

HERE = Path(__file__).resolve().parent

SHOWN = 50
NAME_LIMIT = 80
MESSAGE_LIMIT = 2_000
PICTURE_LIMIT = 5_000_000
# Well above a picture of 5 MB, so that somebody who picks a photo straight from a camera reads a sentence about it.
BODY_LIMIT = 32 * 1024 * 1024
TEXT_LIMIT = 1024 * 1024

TOO_LARGE = "What you sent is too large, so nothing of it was read. A picture may have at most 5 MB."

SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    created REAL NOT NULL,
    name TEXT NOT NULL,
    message TEXT NOT NULL,
    picture_type TEXT,
    picture BLOB
)
"""


@dataclass(frozen=True, slots=True)
class Draft:
    """What somebody sent. ``picture`` is ``None`` if no file was chosen, and empty for an empty file."""

    name: str = ""
    message: str = ""
    picture: bytes | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as the page shows it."""

    id: int
    created: datetime
    name: str
    message: str
    has_picture: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """A stored picture and its MIME type."""

    type: str
    content: bytes


class Guestbook:
    """The entries in one SQLite file. Each call opens a connection of its own, so threads and processes may share it.

    :param path: the file; it is made if it is not there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        with self._connect() as connection:
            connection.execute(SCHEMA)
            # Readers then never wait for a writer. The file remembers this, so one worker has to get through with it.
            with suppress(sqlite3.OperationalError):
                connection.execute("PRAGMA journal_mode = WAL")

    def add(self, draft: Draft) -> None:
        """Store a draft without mistakes, exactly as it was sent."""
        statement = "INSERT INTO entries (created, name, message, picture_type, picture) VALUES (?, ?, ?, ?, ?)"
        kind = picture_type(draft.picture) if draft.picture is not None else None
        with self._connect() as connection:
            connection.execute(statement, (time.time(), draft.name, draft.message, kind, draft.picture))

    def latest(self) -> list[Entry]:
        """The last entries, newest first, without their pictures."""
        query = "SELECT id, created, name, message, picture_type FROM entries ORDER BY id DESC LIMIT ?"
        with self._connect() as connection:
            rows = connection.execute(query, (SHOWN,)).fetchall()
        return [
            Entry(number, datetime.fromtimestamp(created, UTC), name, message, kind is not None)
            for number, created, name, message, kind in rows
        ]

    def picture(self, number: int) -> Picture | None:
        """The picture of the entry ``number``, or ``None``."""
        if number >= 2**63:  # SQLite has no such integer and would raise.
            return None
        query = "SELECT picture_type, picture FROM entries WHERE id = ? AND picture IS NOT NULL"
        with self._connect() as connection:
            row = connection.execute(query, (number,)).fetchone()
        return Picture(*row) if row else None

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        # The connection's own context manager commits or rolls back; it does not close.
        with closing(sqlite3.connect(self._path)) as connection, connection:
            yield connection


def picture_type(content: bytes) -> str | None:
    """The MIME type of a picture by its first bytes, or ``None``. What a browser says about a file is a guess."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "image/webp"
    return None


def check(draft: Draft) -> dict[str, str]:
    """What is wrong with a draft: a sentence by field name; empty if it can be stored."""
    mistakes = {}
    if mistake := _check_text(draft.name, NAME_LIMIT, "Please write your name."):
        mistakes["name"] = mistake
    if mistake := _check_text(draft.message, MESSAGE_LIMIT, "Please write a message."):
        mistakes["message"] = mistake
    if draft.picture is not None:
        if len(draft.picture) > PICTURE_LIMIT:
            mistakes["picture"] = "This picture is larger than 5 MB. Please choose a smaller one."
        elif picture_type(draft.picture) is None:
            mistakes["picture"] = "This file is not a picture. Please choose a PNG, JPEG, WebP or GIF file."
        elif mistakes:
            # No page can put a file back into a form.
            mistakes["picture"] = "Please choose your picture again. Browsers do not keep files in a form."
    return mistakes


def _check_text(text: str, limit: int, empty: str) -> str | None:
    if not text.strip():
        return empty
    # A form sends two characters for a line break; people count one.
    length = len(text.replace("\r\n", "\n"))
    if length > limit:
        return f"Please use at most {limit:,} characters. This has {length:,}."
    return None


_templates = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True, trim_blocks=True)
_style = (HERE / "templates" / "guestbook.css").read_text(encoding="utf-8")
_style_hash = base64.b64encode(hashlib.sha256(_style.encode()).digest()).decode()

PAGE_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        f"default-src 'none'; img-src 'self' data:; style-src 'sha256-{_style_hash}'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
}
# A file can be a picture and something worse at once, so a browser must take it for nothing else.
PICTURE_HEADERS = {"Content-Security-Policy": "default-src 'none'; sandbox", "X-Content-Type-Options": "nosniff"}


def page(book: Guestbook, draft: Draft | None = None, mistakes: Mapping[str, str] | None = None) -> str:
    """The page: the form, with what was typed and what is wrong with it, above the entries."""
    return _templates.get_template("guestbook.html").render(
        draft=draft or Draft(),
        entries=book.latest(),
        limits={"name": NAME_LIMIT, "message": MESSAGE_LIMIT},
        mistakes=mistakes or {},
        style=Markup(_style),  # noqa: S704 - our own file; escaped, it would no longer match its hash
    )


def open_book(database: str | os.PathLike[str] | None) -> Guestbook:
    """The guestbook in ``database``, or else where the environment says, or else in a file beside the code."""
    return Guestbook(database or os.environ.get("GUESTBOOK_DB") or HERE / "guestbook.db")


def storing_delay() -> float:
    """Seconds to wait before an entry is stored: time enough to click twice, and see what comes of it."""
    return float(os.environ.get("GUESTBOOK_DELAY") or 0)


def gate_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the gate: this guestbook's, changed by ``settings``.

    A whole ``gate`` or ``settings`` object has everything in it already and is handed on alone.
    """
    if "gate" in settings or "settings" in settings:
        return dict(settings)
    # A secret made up at each start is right for one process. Several processes need the same one, or an answer
    # is refused by every process but the one that asked; and it must outlive a restart for answers to do so.
    secret = os.environ.get("GATEPOST_SECRET")
    return {
        "secret": secret or secrets.token_urlsafe(32),
        "store": "auto" if secret else "memory://",
        "protect": ["/"],
        "above": "3/minute",
        "site_name": "The guestbook",
        **settings,
    }
