"""For the tests of applications behind a gate. Nothing here turns a check off: a known answer is a challenge, too.

::

    clock = ManualClock()
    app = GatepostMiddleware(app, ..., mode="always", challenge=KnownChallenge(answer="open sesame"), clock=clock)
    page = client.post("/contact", data={"message": "hello"})
    clock.tick(2)
    answer = solve(page.content, "open sesame")
    client.post("/contact", content=answer.body, headers={"content-type": answer.content_type})

A gate with a clock of its own shares its store with nobody. Where a test has none, set the environment variable
``GATEPOST_STORE=memory://``, or what one test counts is known to the next.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from urllib.parse import quote, urlencode

from .form import URLENCODED
from .protocols import Challenge, Media


class ManualClock:
    """A clock that stands still until it is told to go on.

    :param now: seconds since the epoch at first.
    """

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def tick(self, seconds: float) -> None:
        """Go on by so many seconds; a negative number steps back, as real clocks do at times."""
        self.now += seconds


class KnownChallenge:
    """A kind of challenge whose answer the test chose. It asks in plain text.

    :param answer: the right answer, compared without case and surrounding blanks.
    :param name: the kind's name, where a rule has several of them.
    """

    def __init__(self, answer: str, name: str = "known") -> None:
        self._answer = answer.strip().casefold()
        if not self._answer:
            raise ValueError("answer: got nothing, wanted some text, since an empty answer is never right.")
        self._name = name

    @property
    def name(self) -> str:
        """See :class:`gatepost.Kind`."""
        return self._name

    def draw(self, level: int, locale: str) -> Challenge:  # noqa: ARG002 - as the protocol has it
        """See :class:`gatepost.Kind`."""
        return Challenge(self._answer, Media("text/plain", b"What did the test choose?"), language="en")

    def normalise(self, fields: Mapping[str, str], data: bytes) -> str:  # noqa: ARG002
        """See :class:`gatepost.Kind`."""
        return fields.get("answer", "").strip().casefold()


class Answer(Mapping[str, str]):
    """The fields to post back, in order; of a problem document there are none, and :attr:`headers` has it all."""

    def __init__(self, fields: Mapping[str, str], headers: Mapping[str, str]) -> None:
        self._fields = dict(fields)
        #: To be added to the original request, where the answer goes by header.
        self.headers = dict(headers)

    def __getitem__(self, name: str) -> str:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    @property
    def body(self) -> bytes:
        """The fields as a form posts them."""
        return urlencode(self._fields).encode()

    @property
    def content_type(self) -> str:
        """The ``Content-Type`` of :attr:`body`."""
        return URLENCODED

    def with_button(self, value: str) -> Answer:
        """The same with another button pressed: ``"another"``, ``"continue"``, or ``"kind-audio"``."""
        return Answer(self._fields | {"gatepost_do": value}, self.headers)


class _FormReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.answerable = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        name = values.get("name") or ""
        if tag == "input" and values.get("type") == "hidden" and name.startswith("gatepost_"):
            self.fields[name] = values.get("value") or ""
        elif tag == "input" and name == "gatepost_answer":
            self.answerable = True


def solve(page: str | bytes, answer: str) -> Answer:
    """What to send back for an interstitial, as HTML or as problem+json.

    :raises ValueError: if ``page`` is no interstitial.
    """
    text = page.decode("utf-8") if isinstance(page, bytes) else page
    if text.lstrip().startswith("{"):
        token = json.loads(text).get("token")
        if not isinstance(token, str):
            raise ValueError("page: got a JSON document without a token, wanted the one that the gate answered with.")
        return Answer({}, {"Gatepost-Token": token, "Gatepost-Answer": quote(answer)})
    reader = _FormReader()
    reader.feed(text)
    if "gatepost_token" not in reader.fields:
        raise ValueError("page: got a page without 'gatepost_token', wanted the one that the gate answered with.")
    fields = reader.fields | ({"gatepost_answer": answer} if reader.answerable else {})
    return Answer(fields | {"gatepost_do": "answer" if reader.answerable else "continue"}, {})
