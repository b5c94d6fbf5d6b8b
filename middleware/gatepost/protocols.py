"""The values and interfaces that the other modules speak in; nothing here does I/O or imports a sibling.

Times that travel in tokens or reach a store are whole milliseconds since the Unix epoch, since several processes and
hosts compare them. Everything else counts in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any, Protocol, runtime_checkable

Clock = Callable[[], float]
"""Seconds since the Unix epoch. Wall-clock time, because tokens are compared between processes."""


class Headers:
    """The header fields of one request: names in lower case, repeats kept, in the order they came.

    :param fields: pairs of name and value.
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self._fields = tuple((name.lower(), value) for name, value in fields)

    def get(self, name: str, default: str = "") -> str:
        """The first value of the field ``name`` (given in lower case), or ``default``."""
        for key, value in self._fields:
            if key == name:
                return value
        return default

    def all(self, name: str) -> list[str]:
        """Every value of the field ``name`` (given in lower case)."""
        return [value for key, value in self._fields if key == name]

    def __contains__(self, name: object) -> bool:
        return any(key == name for key, _ in self._fields)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        # Values may be cookies or passwords, and a repr ends up in logs.
        return f"<Headers {[name for name, _ in self._fields]}>"


@dataclass(frozen=True, slots=True)
class Request:
    """What the gate knows of a request; also what ``client`` and ``exempt`` callables are given.

    ``path`` is decoded and without the prefix (``root_path`` or ``SCRIPT_NAME``) that the application is mounted
    under, ``prefix`` is that prefix, ``raw_path`` is the path as it was sent, where the server tells, ``query`` is
    the undecoded query string without its ``?``. ``peer`` is the address at the other end of the connection, or
    ``None`` (a Unix socket). ``raw`` is the ASGI scope or the WSGI environ itself.
    """

    method: str
    path: str
    headers: Headers
    peer: str | None
    raw: Mapping[str, Any] = field(repr=False)
    query: str = ""
    scheme: str = "http"
    prefix: str = ""
    raw_path: str | None = None


@dataclass(frozen=True, slots=True)
class Media:
    """What is shown or played: its MIME type, its bytes, and the size in CSS pixels where it has one.

    ``image/*`` is shown, ``audio/*`` gets a player, ``text/plain`` (UTF-8) is printed as the question.
    """

    type: str
    content: bytes = field(repr=False)
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True)
class Challenge:
    """One puzzle.

    ``answer`` is in the form that :meth:`Kind.normalise` returns, and never empty. ``data`` is up to 64 bytes of the
    kind's own, which travel readable (but signed) in the token and come back to :meth:`Kind.normalise`. ``label`` names
    the answer field for people; empty means the page's own words for this type of media.
    """

    answer: str = field(repr=False)
    media: Media
    data: bytes = b""
    label: str = ""


@runtime_checkable
class Kind(Protocol):
    """A kind of challenge. One instance serves every thread, so it keeps no state of a single challenge."""

    @property
    def name(self) -> str:
        """A short name that stays the same between versions: it travels in tokens."""

    def draw(self, level: int, locale: str) -> Challenge:
        """Make a new challenge.

        :param level: 1 for the gentlest; each further threshold that is passed adds 1.
        :param locale: a language tag such as ``"en"``, for kinds that speak.
        """

    def normalise(self, fields: Mapping[str, str], data: bytes) -> str:
        """What was answered, in the form of :attr:`Challenge.answer`; the empty string is never right.

        :param fields: ``answer``, and for a click ``x`` and ``y``: whatever the client sent, bounded in length.
        :param data: :attr:`Challenge.data` of the challenge that is answered.
        """


class Claim(Enum):
    """What a store says to a claim."""

    NEW = "new"
    SPENT = "spent"
    """The nonce was claimed before, or could have been: it is older than what the store remembers."""
    DELIVERED = "delivered"
    """The submission was delivered before."""
    FORGOTTEN = "forgotten"
    """The submission could have been delivered before: it is older than what the store remembers."""


class Store(Protocol):
    """Where claims, limits and kept bodies live. Methods may block if ``blocking`` says so, and are thread-safe."""

    @property
    def blocking(self) -> bool:
        """Whether a call can take longer than a look into memory; the ASGI side then calls it in a worker thread."""

    def identity(self) -> bytes:
        """The store's id, 16 bytes. A store that may have forgotten claims has a new one."""

    def delivered(self, submission: bytes, end: int) -> Claim:
        """``DELIVERED``, ``FORGOTTEN``, or ``NEW`` if this submission can still be delivered. Changes nothing."""

    def claim(self, nonce: bytes | None, expires: int, submission: bytes | None, end: int) -> Claim:
        """Claim a nonce, a submission, or both, in one atomic step; nothing is claimed unless the result is ``NEW``.

        :param expires: when the token of this nonce expires, in milliseconds.
        :param end: when the submission ends, in milliseconds.
        """

    def withdraw(self, submission: bytes) -> None:
        """Take back the claim of a submission that was not handed to the application after all."""

    def keep(self, submission: bytes, body: bytes, until: int, client: str) -> bool:
        """Keep a body; false if a cap on bytes, count or the client's bytes stands against it.

        :param client: a keyed hash of who sent it, or the empty string.
        """

    def holds(self, submission: bytes) -> bool:
        """Whether a body is kept for this submission."""

    def read(self, submission: bytes) -> bytes | None:
        """The kept body, which stays."""

    def drop(self, submission: bytes) -> None:
        """Forget the kept body, if there is one."""

    def sweep(self) -> bool:
        """Let go of what has expired; whether bodies are still kept. Called about once a second while that is so."""

    def limit(self, name: str, client: str, spend: bool) -> float:
        """Seconds until one more event of this client is within the limit ``name``; 0 if it is now.

        :param name: ``"issue"`` or ``"failure"``.
        :param spend: count the event, if it is within the limit.
        """


class State(StrEnum):
    """Whether a rule, or one client of it, has a challenge demanded of it."""

    CALM = "calm"
    ENGAGED = "engaged"


class Mode(StrEnum):
    """How a rule decides."""

    ADAPTIVE = "adaptive"
    ALWAYS = "always"
    OFF = "off"
    OBSERVE = "observe"


class Reason(StrEnum):
    """Why the gate answered, or let through, as it did. The words are stable: dashboards and clients read them."""

    # A first challenge.
    RULE_ENGAGED = "rule-engaged"
    CLIENT_ENGAGED = "client-engaged"
    ALWAYS = "always"
    # A new challenge with the same submission.
    WRONG = "wrong"
    TOO_FAST = "too-fast"
    EXPIRED = "expired"
    USED = "used"
    REFRESHED = "refreshed"
    CHANGED = "changed"
    OUTDATED = "outdated"
    RESTARTED = "restarted"
    CONTINUED = "continued"
    # No challenge now: the 'Continue' page.
    BUSY = "busy"
    ISSUE_LIMIT = "issue-limit"
    FAILURE_LIMIT = "failure-limit"
    # Refused.
    FORGED = "forged"
    FOREIGN = "foreign"
    CONTENT_TYPE = "content-type"
    TOO_SLOW = "too-slow"
    OVERLOADED = "overloaded"
    ALREADY_SENT = "already-sent"
    ENDED = "ended"
    LOST = "lost"
    NOT_KEPT = "not-kept"
    # Let through.
    SOLVED = "solved"
    CALMED = "calmed"
    PERMIT = "permit"
    WOULD_CHALLENGE = "would-challenge"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, for ``on_event``.

    ``name`` is ``engaged``, ``released``, ``challenged``, ``delivered``, ``refused`` or ``observed``; ``at`` is seconds
    since the epoch; ``client`` is a keyed hash that changes daily, or empty.
    """

    name: str
    rule: str
    at: float
    reason: str = ""
    client: str = ""
