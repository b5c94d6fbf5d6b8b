"""A client of the real servers that has every byte in its hand, and a hand on the application that they serve."""

from __future__ import annotations

import json
import select
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from gatepost.testing import Answer, solve

HOST = "127.0.0.1"
ANSWER = "open sesame"
PAGE = ("Accept", "text/html")
JSON = ("Accept", "application/json")
URLENCODED = "application/x-www-form-urlencoded"
#: For whatever has to happen in another process. Only a failing test waits that long.
PATIENCE = 60.0


@dataclass
class Reply:
    """What the client got. ``status`` 0 means that the connection was closed instead."""

    status: int
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def get(self, name: str) -> str:
        return ",".join(value for key, value in self.fields if key == name)

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        """The reason in the ``Gatepost`` field; empty if the application or the server answered."""
        return self.get("gatepost").partition("reason=")[2]

    @property
    def closes(self) -> bool:
        return self.get("connection").lower() == "close"

    def answered(self, answer: str = ANSWER) -> Answer:
        """What to post back."""
        return solve(self.body, answer)


class Connection:
    """A client with one connection, which it makes anew once the server has said that it closes the last one."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.last = Reply(0)
        self._open()

    def _open(self) -> None:
        self.socket = socket.create_connection((HOST, self._port), PATIENCE)
        self._reader = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._reader.close()
        self.socket.close()

    def reset(self) -> None:
        """Close as a crash does: with a reset, and whatever was not read yet is lost."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def arrives(self, seconds: float) -> bool:
        """Whether anything comes from the server, its end of the connection included, within this time."""
        return bool(select.select([self.socket], [], [], seconds)[0])

    def send_head(self, method: str, target: str, fields: Sequence[tuple[str, str]]) -> None:
        """Send a request's head as it is given; only ``Host`` is added."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {HOST}"] + [f"{name}: {value}" for name, value in fields]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def request(self, method: str, target: str, fields: Sequence[tuple[str, str]], body: bytes = b"") -> Reply:
        """Send everything, then read: what a simple client does."""
        if self.last.closes:
            self.close()
            self._open()
        self.send_head(method, target, fields)
        self.socket.sendall(body)
        reply = self.read_reply(method)
        if reply.closes:
            self.close()
        return reply

    def post(self, target: str, content_type: str | None, body: bytes, *fields: tuple[str, str]) -> Reply:
        """Post a body with its true length, as a browser or a programme does; see :data:`PAGE` and :data:`JSON`."""
        typed = [("Content-Type", content_type)] if content_type is not None else []
        return self.request("POST", target, [*fields, *typed, ("Content-Length", str(len(body)))], body)

    def answer(self, target: str, page: Reply, *fields: tuple[str, str], answer: str = ANSWER) -> Reply:
        """Answer an interstitial as the browser would."""
        solved = page.answered(answer)
        return self.post(target, solved.content_type, solved.body, *fields)

    def read_reply(self, method: str = "POST", *, interim: bool = False) -> Reply:
        """Read one answer.

        :param interim: give a ``100 Continue`` as well, and do not go on to the answer behind it.
        """
        while True:
            start_line = self._reader.readline()
            if not start_line:
                self.last = Reply(0)
                return self.last
            status = int(start_line.split()[1])
            fields = self._read_fields()
            if status >= 200 or interim:
                break
        reply = Reply(status, fields)
        if status >= 200 and method != "HEAD":
            reply.body = self._read_body(reply)
        self.last = reply
        return reply

    def _read_fields(self) -> list[tuple[str, str]]:
        fields = []
        while line := self._reader.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            fields.append((name.lower(), value.strip()))
        return fields

    def _read_body(self, reply: Reply) -> bytes:
        if reply.get("content-length"):
            wanted = int(reply.get("content-length"))
            body = self._reader.read(wanted)
            assert len(body) == wanted, f"the answer was cut after {len(body)} of {wanted} bytes"
            return body
        if reply.get("transfer-encoding").lower() != "chunked":
            return self._reader.read()
        body = b""
        while size := int(self._reader.readline(), 16):
            body += self._reader.read(size)
            self._reader.readline()
        self._reader.readline()
        return body


class Hold:
    """Has the application hold requests: those with this :attr:`field`, see ``server_apps``."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.field = ("X-Hold", str(listener.getsockname()[1]))

    @contextmanager
    def held(self) -> Iterator[int]:
        """Wait until a request is held, and let it go on at the end; the id of the process that holds it."""
        line, _ = self._listener.accept()
        with line:
            yield int(line.recv(64))


@contextmanager
def holding() -> Iterator[Hold]:
    """A :class:`Hold`."""
    with socket.create_server((HOST, 0)) as listener:
        listener.settimeout(PATIENCE)
        yield Hold(listener)
