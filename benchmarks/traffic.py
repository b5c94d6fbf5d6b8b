"""The requests that the benchmarks send: what a browser sends, in the shape of ASGI and of WSGI."""

from __future__ import annotations

import io
import secrets
from dataclasses import dataclass
from typing import Any

from gatepost import Settings
from gatepost.form import URLENCODED

HOST = "forum.example"
#: Five protected patterns, two of them with parameters.
PROTECT = ("/contact", "/login", "/sign-up", "/posts/{post:int}/comments", "/groups/{group}/messages/new")
#: Far more than is ever sent here: the gate stays calm.
NEVER_REACHED = "999999999/minute"
MULTIPART = "multipart/form-data; boundary=----form"
JSON = "application/json"

# The order is Firefox's; with those of a body it is twelve fields.
_FIRST = (
    ("host", HOST),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "en-GB,en;q=0.7,de;q=0.3"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
)
_LAST = (
    ("cookie", "session=eyJ1c2VyIjo0Mn0.ZxYwVu.hQ5sUqzJ0R2nqkz6bY8o0cVt3mE; theme=dark"),
    ("sec-fetch-dest", "document"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-site", "same-origin"),
)
_FORM = b"name=A.+Person&subject=Opening+hours&message=" + b"Are+you+open+on+Sunday%3F+" * 10


@dataclass(frozen=True)
class Sent:
    """One request."""

    name: str
    method: str
    path: str
    body: bytes = b""
    content_type: str = ""

    @property
    def fields(self) -> list[tuple[str, str]]:
        """Its header fields."""
        if self.method != "POST":
            return [*_FIRST, *_LAST]
        length = str(len(self.body))
        body = [("content-type", self.content_type), ("content-length", length), ("origin", f"https://{HOST}")]
        return [*_FIRST, *body, *_LAST]

    @property
    def scope(self) -> dict[str, Any]:
        """As an ASGI scope."""
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "https",
            "path": self.path,
            "raw_path": self.path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in self.fields],
            "client": ("203.0.113.7", 50123),
            "server": ("127.0.0.1", 8000),
        }

    @property
    def environ(self) -> dict[str, Any]:
        """As a WSGI environ, without its input: :meth:`stream` makes one for each request."""
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": self.path,
            "QUERY_STRING": "",
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "8000",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "203.0.113.7",
            "REMOTE_PORT": "50123",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https",
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in self.fields:
            key = name.upper().replace("-", "_")
            environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
        return environ

    def stream(self) -> io.BytesIO:
        """The input of a WSGI request."""
        return io.BytesIO(self.body)


def form_post(name: str, path: str, body: bytes = _FORM) -> Sent:
    """A form as a browser sends it when it has no files."""
    return Sent(name, "POST", path, body, URLENCODED)


READING = Sent("GET, unprotected", "GET", "/posts/7")
ELSEWHERE = form_post("POST, unprotected", "/cart/items")
NEARLY = form_post("POST, unprotected, nearly a protected path", "/posts/7/likes")
UPLOAD = Sent(
    "POST multipart, protected and calm",
    "POST",
    "/posts/7/comments",
    b'------form\r\nContent-Disposition: form-data; name="message"\r\n\r\n'
    + b"Hello. " * 100
    + b"\r\n------form--\r\n",
    MULTIPART,
)
DOCUMENT = Sent(
    "POST JSON, protected and calm", "POST", "/posts/7/comments", b'{"message": "Are you open on Sunday?"}', JSON
)
FORM = form_post("POST urlencoded, protected and calm", "/posts/7/comments")


def settings(**options: Any) -> Settings:
    """Settings with the five patterns, calm unless told otherwise."""
    defaults: dict[str, Any] = {
        "secret": secrets.token_urlsafe(32),
        "protect": PROTECT,
        "above": NEVER_REACHED,
        "store": "memory://",
    }
    return Settings(**(defaults | options))
