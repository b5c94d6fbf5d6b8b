"""A flood of the demo, seen by a Prometheus: calm, flooded, calm again. Draws what was seen to a picture.

    python examples/observe/flood.py [PICTURE]

It takes a minute and a half, talks to nobody but this machine, and needs ``prometheus`` (Debian has it) and matplotlib.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import random
import re
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import uvicorn
from observed import create_app
from plot import draw
from scraping import HERE, HOST, Prometheus, free_port

from gatepost import Challenge
from gatepost.challenges import ImageKind
from gatepost.testing import solve

if TYPE_CHECKING:
    from collections.abc import Iterator

ABOVE, HOLD = "60/15 seconds", 5.0
CALM, FLOODED, AFTER = 20.0, 35.0, 35.0  # seconds
PEOPLE, BOTS = 1.5, 30.0  # submissions a second
RENDER_RATE = 24  # low, so that the budget is spent and seen to be

_PICTURE = re.compile(rb"data:image/\w+;base64,([A-Za-z0-9+/=]+)")
_FORM = "application/x-www-form-urlencoded"


class KnownPictures:
    """The pictures of :class:`ImageKind`, with their answers noted, since nobody sits here to read them."""

    def __init__(self) -> None:
        self._kind = ImageKind()
        self._answers: dict[bytes, str] = {}

    @property
    def name(self) -> str:
        """See :class:`gatepost.Kind`."""
        return self._kind.name

    def draw(self, level: int, locale: str) -> Challenge:
        """See :class:`gatepost.Kind`."""
        challenge = self._kind.draw(level, locale)
        self._answers[hashlib.sha256(challenge.media.content).digest()] = challenge.answer
        return challenge

    def normalise(self, fields: Mapping[str, str], data: bytes) -> str:
        """See :class:`gatepost.Kind`."""
        return self._kind.normalise(fields, data)

    def read(self, page: bytes) -> str:
        """What a person would read on this page; empty if there is no picture."""
        found = _PICTURE.search(page)
        return self._answers.get(hashlib.sha256(base64.b64decode(found[1])).digest(), "") if found else ""


@dataclass
class Reply:
    """What came back."""

    status: int
    retry_after: float
    body: bytes


@dataclass
class Visitors:
    """People and bots. Each has an address of its own, out of those that all mean this machine."""

    port: int
    pictures: KnownPictures
    random: random.Random = field(default_factory=lambda: random.Random(4))  # noqa: S311 - any visitors will do

    def person(self) -> None:
        """Send an entry; where a challenge comes, take some time and answer it, mostly right."""
        number = self.random.randrange(10_000, 60_000)
        reply = self._post(number, urlencode({"name": "Ada", "message": "Good day!"}).encode())
        for _ in range(6):
            if reply.status not in (429, 503):
                return
            answer = self.pictures.read(reply.body)
            if answer and self.random.random() < 0.15:
                answer = "?????"
            time.sleep(self.random.lognormvariate(1.6, 0.5) if answer else reply.retry_after)
            reply = self._post(number, solve(reply.body, answer).body)

    def bot(self) -> None:
        """Send an entry, and care about nothing; or now and then guess."""
        number = self.random.randrange(1, 200)
        reply = self._post(number, urlencode({"name": "Buy", "message": "this"}).encode())
        if reply.status == 429 and self.random.random() < 0.1:
            time.sleep(1.5)
            self._post(number, solve(reply.body, "guess").body)

    def _post(self, number: int, body: bytes) -> Reply:
        source = (f"127.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0)
        line = http.client.HTTPConnection(HOST, self.port, timeout=30, source_address=source)
        try:
            origin = f"http://{HOST}:{self.port}"
            line.request("POST", "/", body, {"Content-Type": _FORM, "Accept": "text/html", "Origin": origin})
            response = line.getresponse()
            return Reply(response.status, float(response.headers.get("Retry-After") or 2), response.read())
        finally:
            line.close()


def keep_coming(visit: Callable[[], None], per_second: float, seconds: float) -> None:
    """Let visitors come at random moments, so many a second; returns when the last one has left."""
    chance, end = random.Random(5), time.monotonic() + seconds  # noqa: S311
    with ThreadPoolExecutor(48) as threads:
        while time.monotonic() < end:
            threads.submit(visit)
            time.sleep(chance.expovariate(per_second))


@contextmanager
def serving(port: int, folder: Path, secret: str, store: str, pictures: KnownPictures) -> Iterator[None]:
    """The demo on this port."""
    app = create_app(
        folder / "guestbook.db",
        secret=secret,
        store=store,
        above=ABOVE,
        hold=HOLD,
        render_rate=RENDER_RATE,
        challenge=[pictures],
    )
    server = uvicorn.Server(uvicorn.Config(app, host=HOST, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def status(secret: str, store: str) -> str:
    """What ``gatepost status`` prints now."""
    command = [sys.executable, "-m", "gatepost", "status", "--store", store]
    environ = os.environ | {"GATEPOST_SECRET": secret}
    return subprocess.run(command, env=environ, check=True, capture_output=True, text=True).stdout  # noqa: S603


def main() -> None:
    """Have the flood, and draw it."""
    picture = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "flood.png"
    pictures, port, secret = KnownPictures(), free_port(), secrets.token_urlsafe(32)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = f"sqlite:///{folder}/gatepost.db"
        visitors = Visitors(port, pictures)
        with serving(port, folder, secret, store, pictures), Prometheus(port, folder) as prometheus:
            began = time.time()
            people = threading.Thread(target=keep_coming, args=(visitors.person, PEOPLE, CALM + FLOODED + AFTER))
            people.start()
            time.sleep(CALM)
            print("The flood begins.", flush=True)
            bots = threading.Thread(target=keep_coming, args=(visitors.bot, BOTS, FLOODED))
            bots.start()
            time.sleep(FLOODED * 0.6)
            print(f"$ gatepost status\n{status(secret, store)}", flush=True)
            bots.join()
            print("The flood is over.", flush=True)
            people.join()
            time.sleep(3)  # for the last scrape
            draw(prometheus, began, time.time(), picture)
    print(f"What Prometheus saw is in {picture}.")


if __name__ == "__main__":
    main()
