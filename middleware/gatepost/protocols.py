"""The values and interfaces that the other modules speak in; nothing here does I/O.

Times that travel in tokens or reach a store are whole milliseconds since the Unix epoch, since several processes and
hosts compare them. Everything else counts in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any, Protocol, runtime_checkable

from .media import Media as Media  # one of the values, which others import from here

Clock = Callable[[], float]
"""Seconds since the Unix epoch. Wall-clock time, because tokens are compared between processes."""


class Headers:
    """The header fields of one request: names in lower case, repeats kept, in the order they came.

    :param fields: pairs of name and value.
    """

    __slots__ = ("_fields", "_named")

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self._fields = tuple([(name.lower(), value) for name, value in fields])
        self._named: dict[str, list[str]] = {}
        for name, value in self._fields:
            self._named.setdefault(name, []).append(value)

    def get(self, name: str, default: str = "") -> str:
        """The first value of the field ``name`` (given in lower case), or ``default``."""
        values = self._named.get(name)
        return values[0] if values else default

    def all(self, name: str) -> list[str]:
        """Every value of the field ``name`` (given in lower case)."""
        return [*self._named.get(name, ())]

    def __contains__(self, name: object) -> bool:
        return name in self._named

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
class Challenge:
    """One puzzle.

    ``answer`` is in the form that :meth:`Kind.normalise` returns, and never empty. ``data`` is up to 64 bytes of the
    kind's own, which travel readable (but signed) in the token and come back to :meth:`Kind.normalise`. ``label`` names
    the answer field for people; empty means the page's own words for this type of media.

    The rest is said to people as well: the ``language`` of the question and the label, a tag such as ``"en"``, or empty
    if it is not known; ``digits``, the answer is made of nothing but digits; ``caseless``, capital and small letters
    make no difference in it.
    """

    answer: str = field(repr=False)
    media: Media
    data: bytes = b""
    label: str = ""
    language: str = ""
    digits: bool = False
    caseless: bool = False


@runtime_checkable
class Kind(Protocol):
    """A kind of challenge. One instance serves every thread, so it keeps no state of a single challenge.

    A kind that speaks may have an attribute ``languages``: the tags of those that it can draw in, its own first. Then
    it is asked for the nearest of them to what the visitor speaks, or else for the first. A kind without that attribute
    is asked for the site's ``locale``, or English, whoever visits.
    """

    @property
    def name(self) -> str:
        """A short name that stays the same between versions: it travels in tokens."""

    def draw(self, level: int, locale: str) -> Challenge:
        """Make a new challenge.

        :param level: 1 for the gentlest; each further threshold that is passed adds 1.
        :param locale: a language tag such as ``"en"``, for kinds that speak: one of ``languages``, where they have it.
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
    RESTARTED = "restarted"
    """The store has another id than the one that was compared: it may have forgotten what it knew."""


class StoreError(Exception):
    """A shared store cannot answer now: it is away, full, or not what it should be."""


class StoreBusyError(StoreError):
    """A shared store has not answered in time. It counts as lost only if nobody else is answered for a while."""


@dataclass(frozen=True, slots=True)
class Terms:
    """When a rule engages and ends, as the settings of a process say: for people who look at the store.

    For each level ``above`` is the count that has to be exceeded, and ``below`` the one under which the rate must have
    been for ``hold`` seconds. ``mode`` is empty where nothing is known.
    """

    mode: str = ""
    above: tuple[float, ...] = ()
    below: tuple[float, ...] = ()
    hold: float = 0.0


@dataclass(frozen=True, slots=True)
class Sums:
    """What a process tells the store of one rule, a few times a second.

    Buckets are numbered by ``time // period``, so that all processes mean the same ones.
    """

    rule: str
    period: float
    bucket: int
    fresh: int
    """Submissions counted in this bucket since the last exchange."""
    late: int
    """The same for the bucket before, if it ended meanwhile."""
    until: tuple[float, ...]
    """For each level when it ends if nothing more comes, in seconds since the epoch; 0 if it is not engaged."""
    turn: int
    """How often the rule was released by hand, as far as this process knows."""
    cause: str
    counts: Mapping[str, int]
    """Outcomes since the last exchange."""
    teller: bytes = b""
    """An id of the process, random. What it has told once under a number is not added again."""
    number: int = 0
    """Rises with each exchange of this teller."""
    terms: Terms = Terms()
    """What this process has configured."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What the store tells of one rule, over all processes."""

    rule: str
    bucket: int
    current: int
    previous: int
    until: tuple[float, ...]
    turn: int


@dataclass(frozen=True, slots=True)
class Told:
    """What the store knows of one rule, for people: see ``gatepost status``."""

    rule: str
    period: float
    rate: float
    until: tuple[float, ...]
    since: float
    cause: str
    counts: Mapping[str, int]
    terms: Terms = Terms()
    """Those of the process that told its sums last."""


class Claims(Protocol):
    """What one process needs of a store. Methods are thread-safe; times in milliseconds are wall-clock."""

    def identity(self) -> bytes:
        """The store's id, 16 bytes. A store that may have forgotten claims has a new one."""

    def delivered(self, submission: bytes, end: int) -> Claim:
        """``DELIVERED``, ``FORGOTTEN``, or ``NEW`` if this submission can still be delivered. Changes nothing."""

    def claim(
        self, nonce: bytes | None, expires: int, submission: bytes | None, end: int, store: bytes | None = None
    ) -> Claim:
        """Claim a nonce, a submission, or both, in one atomic step; nothing is claimed unless the result is ``NEW``.

        What is past its time (and the leeway) is never new.

        :param expires: when the token of this nonce expires, in milliseconds.
        :param end: when the submission ends, in milliseconds.
        :param store: the id that the token was compared with. In the same step it is compared once more, so that
            nothing is claimed in a store that was flushed meanwhile. ``None``: whatever its id is.
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

    def limit(self, name: str, client: str) -> float:
        """Count one event of this client, in one atomic step, if it is within the limit ``name``.

        :param name: ``"issue"`` or ``"failure"``.
        :returns: 0 if it was counted, else the seconds until one more is within the limit.
        """

    def give_back(self, name: str, client: str) -> None:
        """Take back an event that :meth:`limit` counted a moment ago."""

    def sweep(self) -> bool:
        """Let go of some of what has expired, in bounded time; whether bodies are still kept."""


class Store(Claims, Protocol):
    """Where claims, shared sums and kept bodies live, for several processes.

    Every method may block, but not for longer than ``store_timeout``, and may be called in a process that was forked
    after construction. A store may also have ``kept()``, which tells the number of kept bodies and of their bytes to
    those who watch.

    :raises StoreError: from every method, when the store cannot answer; :class:`StoreBusyError` when it only takes
        too long.
    """

    def exchange(self, sums: Sequence[Sums]) -> list[Totals]:
        """Add what one process counted, and get what all have counted: one :class:`Totals` for each of ``sums``."""

    def command(self, rule: str, until: float | None, cause: str) -> None:
        """Engage a rule by hand until this time (seconds since the epoch), or release it (``None``)."""

    def status(self) -> list[Told]:
        """What is known of each rule."""

    def close(self) -> None:
        """Close this process's connections; they are opened again when needed."""


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
    STORE_AWAY = "store-away"
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
    """One thing that happened, for ``on_event`` and the log. Each comes once.

    ``name`` is one of

    - ``engaged``, ``released``: a rule, or with ``client`` one client of it; ``reason`` is a sentence for people;
    - ``challenged``: a challenge of ``kind`` and ``level`` went out;
    - ``deferred``: a page without a challenge went out, with which the submission can be sent again later;
    - ``delivered``: a submission that had been held was handed over, ``seconds`` after its first page; where a
      challenge was solved for it, ``kind`` and ``level`` are that one's;
    - ``permitted``: a permit let a submission pass;
    - ``refused``: a request got a page with which nothing can be sent;
    - ``observed``: a challenge would have gone out, but for the mode;
    - ``store-lost``, ``store-back``: the shared store; ``rule`` is empty.

    ``at`` is seconds since the epoch. ``reason`` is a :class:`Reason` where nothing else is said. ``client`` is a keyed
    hash that changes daily, or empty.
    """

    name: str
    rule: str
    at: float
    reason: str = ""
    client: str = ""
    level: int = 0
    kind: str = ""
    seconds: float = 0.0
