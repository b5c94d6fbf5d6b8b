"""The example guestbook, as an ASGI and a WSGI application, without the gate in front of it."""

from __future__ import annotations

import html
import importlib
import random
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from werkzeug.test import Client as WerkzeugClient

GUESTBOOK = Path(__file__).parent.parent / "examples" / "guestbook"
BOUNDARY = "a-boundary-of-our-own"
PNG = b"\x89PNG\r\n\x1a\n"
PICTURES = {
    "image/png": PNG + b"\0\r\n--",
    "image/jpeg": b"\xff\xd8\xff\xe0 a photo",
    "image/gif": b"GIF89a\x01\0\x01\0",
    "image/webp": b"RIFF\x10\0\0\0WEBPVP8 ",
}


@dataclass(frozen=True)
class Reply:
    """What either kind of application answers: names of header fields in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode()


class Client:
    """Sends requests to the application of one kind, ``asgi`` or ``wsgi``."""

    def __init__(self, kind: str, database: Path) -> None:
        self.client = asgi_client(database) if kind == "asgi" else wsgi_client(database)

    def __call__(self, method: str, path: str, body: bytes = b"", content_type: str = "") -> Reply:
        headers = {"Content-Type": content_type} if content_type else {}
        if isinstance(self.client, TestClient):
            answer = self.client.request(method, path, content=body, headers=headers)
            return Reply(answer.status_code, answer.headers, answer.content)
        with self.client.open(path, method=method, data=body, headers=headers) as response:
            return Reply(response.status_code, {k.lower(): v for k, v in response.headers}, response.get_data())


def asgi_client(database: Path, prefix: str = "") -> TestClient:
    app = importlib.import_module("app").create_app(database, gated=False)
    return TestClient(app, follow_redirects=False, root_path=prefix)


def wsgi_client(database: Path) -> WerkzeugClient:
    return WerkzeugClient(importlib.import_module("flask_app").create_app(database, gated=False))


def multipart(name: str, message: str, picture: bytes | None = None, filename: str = "picture") -> tuple[bytes, str]:
    """A form as a browser sends it: a file that was not chosen is a part with an empty file name."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'.encode()
        for field, value in (("name", name), ("message", message))
    ]
    filename = "" if picture is None else filename
    parts.append(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="picture"; filename="{filename}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
    )
    parts.append((picture or b"") + f"\r\n--{BOUNDARY}--\r\n".encode())
    return b"".join(parts), f"multipart/form-data; boundary={BOUNDARY}"


def stored(database: Path) -> list[tuple[str, str, bytes | None]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT name, message, picture FROM entries ORDER BY id").fetchall()


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(GUESTBOOK))
    for name in ("GUESTBOOK_DB", "GUESTBOOK_DELAY", "GATEPOST_SECRET"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "guestbook.db"


@pytest.fixture(params=["asgi", "wsgi"])
def send(request: pytest.FixtureRequest, database: Path) -> Client:
    return Client(request.param, database)


def test_entry_is_stored_byte_for_byte(send: Client, database: Path) -> None:
    """A name, a message with its line breaks and a picture of 1.5 MB are stored as they were sent."""
    picture = PNG + random.Random(7).randbytes(1_500_000)  # noqa: S311 - any bytes will do
    message = " two spaces first\r\n\r\nand a line break last\r\n"
    reply = send("POST", "/", *multipart("  Ada ", message, picture))
    assert (reply.status, reply.headers["location"]) == (303, "/")
    assert stored(database) == [("  Ada ", message, picture)]
    assert send("GET", "/pictures/1").content == picture


@pytest.mark.parametrize(
    "text", ["شكرًا على الضيافة", "👩🏽‍🚀🧡", "漢字 a\u0301 ß \u202e", "'); DROP TABLE entries; --"]
)
def test_every_script_is_kept(send: Client, database: Path, text: str) -> None:
    """Text of any script is stored unchanged, shown on the page, and allowed its own direction."""
    send("POST", "/", *multipart(text, text))
    assert stored(database) == [(text, text, None)]
    page = send("GET", "/").text
    assert f'<p class="message" dir="auto">{html.escape(text).replace("&#x27;", "&#39;")}</p>' in page
    assert '<header dir="auto">' in page


@pytest.mark.parametrize(
    ("name", "message", "picture", "sentence"),
    [
        ("", "hello", None, "Please write your name."),
        (" \t", "hello", None, "Please write your name."),
        ("n" * 81, "hello", None, "Please use at most 80 characters. This has 81."),
        ("Ada", "\r\n", None, "Please write a message."),
        ("Ada", "m" * 2_345, None, "Please use at most 2,000 characters. This has 2,345."),
        ("Ada", "hello", b"", "This file is not a picture."),
        ("Ada", "hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "This file is not a picture."),
        ("Ada", "hello", b"RIFF\x10\0\0\0WAVEfmt ", "This file is not a picture."),
        ("Ada", "hello", PNG.ljust(5_000_001, b"x"), "This picture is larger than 5 MB."),
        ("", "hello", PNG, "Please choose your picture again."),
    ],
)
def test_mistake_keeps_what_was_typed(
    send: Client, database: Path, name: str, message: str, picture: bytes | None, sentence: str
) -> None:
    """A mistake stores nothing and shows the form again, with a sentence by the field and what was typed."""
    reply = send("POST", "/", *multipart(name, message, picture))
    assert reply.status == 422
    assert stored(database) == []
    assert sentence in reply.text
    assert 'aria-invalid="true"' in reply.text
    assert f'name="name" value="{name}"' in reply.text
    assert f">\n{message}</textarea>" in reply.text


def test_longest_entry_is_stored(send: Client, database: Path) -> None:
    """Whatever is exactly as long as allowed is stored, and a line break counts as one character."""
    entry = ("n" * 80, "\r\n".join(["m"] * 1_000) + "m", PNG.ljust(5_000_000, b"x"))
    assert send("POST", "/", *multipart(*entry)).status == 303
    assert stored(database) == [entry]


def test_first_line_break_survives_the_form(send: Client) -> None:
    """A message that begins with a line break keeps it, although browsers drop the first one in a textarea."""
    reply = send("POST", "/", *multipart("", "\r\nhello"))
    assert ">\n\r\nhello</textarea>" in reply.text


def test_everything_is_escaped(send: Client) -> None:
    """Markup in a name or message is shown as text, in the list and in the form alike."""
    evil = "\"><script>alert('1')</script></textarea>&amp;"
    refused = send("POST", "/", *multipart(evil, ""))
    send("POST", "/", *multipart(evil, evil, PNG))
    for reply in (refused, send("POST", "/", *multipart("", evil)), send("GET", "/")):
        assert "<script" not in reply.text
        assert "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&lt;/textarea&gt;&amp;amp;" in reply.text


@pytest.mark.parametrize("kind", PICTURES)
def test_picture_is_served_as_what_it_is(send: Client, kind: str) -> None:
    """A picture comes back with the type that its first bytes say, and no browser may take it for another."""
    send("POST", "/", *multipart("Ada", "hello", PICTURES[kind], filename="page.html"))
    assert '<img src="pictures/1"' in send("GET", "/").text
    reply = send("GET", "/pictures/1")
    assert (reply.status, reply.content) == (200, PICTURES[kind])
    assert reply.headers["content-type"] == kind
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_entry_without_picture_has_none(send: Client) -> None:
    """Where there is no picture, none is shown, and its address is a plain 404."""
    send("POST", "/", *multipart("Ada", "hello"))
    assert "<img" not in send("GET", "/").text
    for number in (1, 2, 2**63, 10**30):
        assert send("GET", f"/pictures/{number}").status == 404


def test_newest_fifty_are_listed(send: Client) -> None:
    """The page lists the last fifty entries, the newest first."""
    for number in range(52):
        send("POST", "/", *multipart(f"guest {number}", "hello"))
    page = send("GET", "/").text
    shown = [number for number in range(52) if f">guest {number}</h3>" in page]
    assert shown == list(range(2, 52))
    assert page.index(">guest 51<") < page.index(">guest 50<") < page.index(">guest 2<")


def test_form_without_file_field_is_fine(send: Client, database: Path) -> None:
    """A text browser that sends the form urlencoded can sign too."""
    assert send("POST", "/", b"name=Ada&message=hello", "application/x-www-form-urlencoded").status == 303
    assert stored(database) == [("Ada", "hello", None)]


def test_body_is_bounded(send: Client, database: Path) -> None:
    """A body far above what an entry can have is refused with a sentence."""
    reply = send("POST", "/", *multipart("Ada", "hello", PNG.ljust(33 * 1024 * 1024, b"x")))
    assert reply.status == 413
    assert "What you sent is too large" in reply.text
    assert send("POST", "/", *multipart("Ada", "m" * 1_100_000)).status == 413
    assert stored(database) == []


def test_page_allows_nothing_but_itself(send: Client) -> None:
    """The page has no script, and its policy allows no source but its own pictures and style."""
    reply = send("GET", "/")
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert reply.headers["content-security-policy"].startswith("default-src 'none'; ")
    assert "<script" not in reply.text


def test_twins_are_identical(database: Path) -> None:
    """Both applications answer with the same bytes and the same header fields of their own, mistakes included."""
    clients = [Client(kind, database) for kind in ("asgi", "wsgi")]
    for client, name in zip(clients, ("Ada", "ليلى"), strict=True):
        client("POST", "/", *multipart(name, "<b>hello</b>\r\nyou", PICTURES["image/gif"]))
    requests: list[tuple[str, str, bytes, str]] = [
        ("GET", "/", b"", ""),
        ("GET", "/pictures/2", b"", ""),
        ("GET", "/pictures/9", b"", ""),
        ("POST", "/", *multipart("", "<i>")),
        ("POST", "/", *multipart("Ada", "m" * 2_001, b"no picture")),
        ("POST", "/", *multipart("Ada", "m" * 1_100_000)),
    ]
    for request in requests:
        one, other = (client(*request) for client in clients)
        assert one.status == other.status
        assert one.content == other.content
        assert dict(one.headers) == dict(other.headers)


def test_workers_open_a_new_book_together(send: Client, database: Path) -> None:
    """Where another worker is at the file in the same moment, this one starts all the same."""
    database.unlink()
    with closing(sqlite3.connect(database)) as other:
        other.execute(importlib.import_module("book").SCHEMA)
        other.execute("BEGIN IMMEDIATE")
        importlib.import_module("book").open_book(database)
    assert send("GET", "/").status == 200


def test_mounted_under_a_prefix(database: Path) -> None:
    """Under a prefix the redirect leads back to the page there, not to the root of the host."""
    body, content_type = multipart("Ada", "hello")
    headers = {"Content-Type": content_type}
    asgi = asgi_client(database, prefix="/book").post("/book/", content=body, headers=headers)
    wsgi = wsgi_client(database).post("/", base_url="http://host/book", data=body, headers=headers)
    assert asgi.headers["location"] == wsgi.headers["Location"] == "/book/"


def test_gate_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate's settings are the guestbook's, the secret comes from the environment, and a caller may change each."""
    book = importlib.import_module("book")
    first, second = book.gate_settings({}), book.gate_settings({})
    assert (first["protect"], first["above"], first["site_name"]) == (["/"], "3/minute", "The guestbook")
    assert len(first["secret"]) >= 32
    assert first["secret"] != second["secret"]
    monkeypatch.setenv("GATEPOST_SECRET", "s" * 40)
    kept = {"secret": "s" * 40, "store": "auto"}  # with a new secret each time each start would leave a file
    assert book.gate_settings({"above": "9/minute"}) == {**first, **kept, "above": "9/minute"}
    gate = object()
    assert book.gate_settings({"gate": gate}) == {"gate": gate}


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_delay_comes_before_storing(kind: str, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``GUESTBOOK_DELAY`` holds back an entry that is stored, and nothing else."""
    monkeypatch.setenv("GUESTBOOK_DELAY", "1234.5")
    send = Client(kind, database)
    waited: list[float] = []

    async def wait(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("asyncio.sleep" if kind == "asgi" else "time.sleep", wait if kind == "asgi" else waited.append)
    send("POST", "/", *multipart("", "hello"))
    assert 1234.5 not in waited
    send("POST", "/", *multipart("Ada", "hello"))
    assert waited.count(1234.5) == 1


@pytest.mark.parametrize("options", [[], ["--wsgi"]])
def test_port_in_use_is_one_sentence(options: list[str], database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command on a port in use prints one sentence and ends with exit code 1."""
    monkeypatch.setenv("GUESTBOOK_DB", str(database))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, str(GUESTBOOK), "--port", port, *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Port {port} is in use already. Choose another one with --port.\n"
