"""See from outside that the workers are one gate: flood them a little, then post one answer many times at once.

Some 85 requests, and to this machine alone; more where the gate asks to try again. The questions' answers are read from
``questions.toml``.
"""

from __future__ import annotations

import http.client
import secrets
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
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
#: Seconds between two waves, at least: a little more than the workers take to tell each other what they counted.
PACE = 0.35
#: Times as long as a wave took, at least: a machine that is slow to answer is slow to tell, too.
SLOWNESS = 2
#: Seconds that an answer must take at least (`min_time`), and a little more.
THINKING = 1.1
ANSWERS_AT_ONCE = 50
TRIES = 10
#: Seconds that those who are asked to try again go on for, all together: more than the gate tells anybody to wait.
ENDURANCE = 75.0


@dataclass(frozen=True)
class Reply:
    """What came back; names of header fields in lower case. ``at`` is when, in seconds of the monotonic clock."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    at: float = field(default_factory=lambda: time.monotonic())

    @property
    def text(self) -> str:
        """The body of a page."""
        return self.body.decode()

    @property
    def asks_again(self) -> bool:
        """Whether it is a page to go on with: another question, or 'Continue', as where the gate's store is busy."""
        return self.headers.get("gatepost", "").startswith("challenge;")

    @property
    def reason(self) -> str:
        """Why the page came, in the gate's word."""
        return self.headers.get("gatepost", "").partition("reason=")[2]

    @property
    def due(self) -> float:
        """When it may be answered, on the same clock as ``at``."""
        return self.at + max(THINKING, float(self.headers.get("retry-after", "0")))

    def wait(self) -> None:
        """Let the time go by until it may be answered."""
        time.sleep(max(0.0, self.due - time.monotonic()))


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
        """Answer the question on a page, rightly, or press 'Continue' if it has none."""
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


@dataclass(frozen=True)
class Outcome:
    """What became of one answer that was posted many times.

    :param last: what each of them got in the end.
    :param again: the reasons for which some were asked to try again first.
    """

    last: list[Reply]
    again: Counter[str]

    @property
    def statuses(self) -> Counter[int]:
        """How often each status came, but for pages that ask to try again."""
        return Counter(reply.status for reply in self.last if not reply.asks_again)

    @property
    def once(self) -> bool:
        """Whether one was delivered and no other. A gate that cannot tell may ask again as often as it likes."""
        return self.statuses[303] == 1 and set(self.statuses) <= {303, 409}

    def __str__(self) -> str:
        statuses = self.statuses
        parts = [f"{statuses.pop(303, 0)} delivered", f"{statuses.pop(409, 0)} told that it was sent already"]
        asked = sum(reply.asks_again for reply in self.last)
        if asked:
            parts.append(f"{asked} asked to try again to the end")
        return ", ".join([*parts, *(f"{count} with status {status}" for status, count in statuses.items())])


def answer_at_once(answer: Callable[[int, Reply], Reply], page: Reply, count: int) -> Outcome:
    """Answer one page so many times at once. Whoever is asked to try again does, as a visitor would.

    :param answer: sends the answer to a page; told which of them it is.
    """
    last = at_once(lambda number: answer(number, page), count)
    asked = {number: reply for number, reply in enumerate(last) if reply.asks_again}
    until = time.monotonic() + ENDURANCE
    for number, reply in asked.items():
        last[number] = _go_on(partial(answer, number), reply, until)
    return Outcome(last, Counter(reply.reason for reply in asked.values()))


def _go_on(answer: Callable[[Reply], Reply], page: Reply, until: float) -> Reply:
    """Answer page after page, each when it may be, until something else comes; the last reply."""
    while page.asks_again and page.due < until:
        page.wait()
        page = answer(page)
    return page


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
        began = time.monotonic()
        wave = at_once(lambda _: visitor.write(f"number {secrets.token_hex(4)} of a flood"), WAVE)
        replies += wave
        if {reply.status for reply in wave} == {429}:
            break
        time.sleep(max(PACE, SLOWNESS * (time.monotonic() - began)))
    return sum(reply.status == 303 for reply in replies), replies


def _answer_at_once(visitor: Visitor) -> bool:
    """Post the answer to one page many times at once; whether it was delivered once."""
    message, page = _question(visitor)
    if not right_answer(page.text):
        print(f"There was no page with a question ({page.reason or page.status}). Try again in a minute.")
        return False
    page.wait()
    outcome = answer_at_once(lambda _, page: visitor.answer(page), page, ANSWERS_AT_ONCE)
    found = visitor.send("GET").text.count(message)
    print(f"One answer, posted {ANSWERS_AT_ONCE} times at once to {len(_workers(outcome.last))} workers: ", end="")
    print(f"{outcome}; in the book {found} time(s).")
    if outcome.again:
        reasons = ", ".join(f"{count} for {reason!r}" for reason, count in outcome.again.items())
        print(f"Some had been asked to try again first ({reasons}), and did.")
    return outcome.once and found == 1


def _question(visitor: Visitor) -> tuple[str, Reply]:
    """Send entries until there is a page with a question; the entry, and the last reply.

    A worker that has had nothing to do hears of the flood with its first submission, and lets that one pass.
    """
    until = time.monotonic() + ENDURANCE
    for _ in range(TRIES):
        message = f"an entry to be kept once, {secrets.token_hex(8)}"
        page = visitor.write(message)
        while page.asks_again and not right_answer(page.text) and page.due < until:
            page.wait()
            page = visitor.answer(page)
        if page.asks_again:
            break
    return message, page


def _workers(replies: Iterable[Reply]) -> list[str]:
    return sorted({reply.headers.get("x-worker", "?") for reply in replies})
