"""See from outside that the workers are one gate: flood them a little, then post one answer many times at once.

At most 85 requests, and to this machine alone. The questions' answers are read from ``questions.toml``.
"""

from __future__ import annotations

import http.client
import secrets
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from threading import Barrier
from urllib.parse import urlencode, urlsplit

from limits import ABOVE

from gatepost.testing import solve

HERE = Path(__file__).resolve().parent
URLENCODED = "application/x-www-form-urlencoded"
#: Submissions at once, on connections of their own, so that they reach several workers.
WAVE = 4
WAVES = 6
#: Seconds between two waves: a little more than the workers take to tell each other what they counted.
PACE = 0.35
#: Seconds that an answer must take at least (`min_time`), and a little more.
THINKING = 1.1
ANSWERS_AT_ONCE = 50
TRIES = 10


@dataclass(frozen=True)
class Reply:
    """What came back; names of header fields in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body of a page."""
        return self.body.decode()


class Visitor:
    """Sends requests to the guestbook, each on a connection of its own.

    :param url: where to.
    :param host: what to say for ``Host``, if not what the URL says: that of the proxy, to go past it.
    """

    def __init__(self, url: str, host: str = "") -> None:
        self.address = urlsplit(url).netloc
        self.host = host or self.address

    def send(self, method: str, body: bytes = b"", path: str = "/", **headers: str) -> Reply:
        """Send a request as a browser does. Headers are keywords: ``content_type``."""
        fields = {"Host": self.host, "Accept": "text/html", "Content-Length": str(len(body))}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection(self.address, timeout=30)
        try:
            connection.request(method, path, body, fields)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, found, response.read())
        finally:
            connection.close()

    def write(self, message: str) -> Reply:
        """Send an entry."""
        body = urlencode({"name": "The check", "message": message}).encode()
        return self.send("POST", body, content_type=URLENCODED, origin=f"http://{self.host}")

    def answer(self, page: Reply) -> Reply:
        """Answer the question on a page, rightly."""
        answer = solve(page.body, right_answer(page.text))
        return self.send("POST", answer.body, content_type=answer.content_type, origin=f"http://{self.host}")


def right_answer(page: str) -> str:
    """The answer to the question on this page; empty if it has none of ours."""
    text = " ".join(unescape(page).split())
    for questions in tomllib.loads((HERE / "questions.toml").read_text("utf-8")).values():
        for item in questions:
            if item["question"] in text:
                return str(item["answers"][0])
    return ""


def at_once(work: Callable[[int], Reply], count: int) -> list[Reply]:
    """Do something so many times, all beginning at the same moment."""
    barrier = Barrier(count)

    def wait_and_work(number: int) -> Reply:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(wait_and_work, range(count)))


def check(url: str) -> bool:
    """Check the guestbook at this address, and print what is found; whether it is one gate."""
    visitor = Visitor(url)
    passed, replies = _flood(visitor)
    workers = _workers(replies)
    everywhere = {reply.status for reply in replies[-WAVE:]} == {429}
    print(f"{passed} submissions passed {len(workers)} workers ({', '.join(workers)}) before the page came.")
    print(f"The limit is {ABOVE} a minute for all together; gates that do not share would let {ABOVE} pass each.")
    print("Then every submission got the page." if everywhere else "But then some submissions still passed.")
    once = _answer_at_once(visitor)
    return once and everywhere and passed < 2 * ABOVE


def _flood(visitor: Visitor) -> tuple[int, list[Reply]]:
    """Send waves of submissions until all of one get the page; how many passed, and all replies in order."""
    replies: list[Reply] = []
    for _ in range(WAVES):
        wave = at_once(lambda _: visitor.write(f"number {secrets.token_hex(4)} of a flood"), WAVE)
        replies += wave
        if {reply.status for reply in wave} == {429}:
            break
        time.sleep(PACE)
    return sum(reply.status == 303 for reply in replies), replies


def _answer_at_once(visitor: Visitor) -> bool:
    """Post the answer to one page many times at once; whether it was delivered once."""
    for _ in range(TRIES):  # a worker that has had nothing to do hears of the flood with its first submission
        message = f"an entry to be kept once, {secrets.token_hex(8)}"
        page = visitor.write(message)
        if page.status == 429:
            break
    if not right_answer(page.text):
        print("There was no page with a question, since too many were asked for. Try again in a minute.")
        return False
    time.sleep(THINKING)
    replies = at_once(lambda _: visitor.answer(page), ANSWERS_AT_ONCE)
    statuses = Counter(reply.status for reply in replies)
    found = visitor.send("GET").text.count(message)
    print(f"One answer, posted {ANSWERS_AT_ONCE} times at once to {len(_workers(replies))} workers: ", end="")
    print(f"{statuses[303]} delivered, {statuses[409]} told that it was sent already; in the book {found} time(s).")
    return statuses == {303: 1, 409: ANSWERS_AT_ONCE - 1} and found == 1


def _workers(replies: Iterable[Reply]) -> list[str]:
    return sorted({reply.headers.get("x-worker", "?") for reply in replies})
