"""What the flow asks its driver for, and what it ends in: values only.

An effect is yielded by the flow and answered by the driver; a verdict is what the flow returns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from .protocols import Challenge, Reason


class Read(Enum):
    """How reading a body ended."""

    WHOLE = "whole"
    OVER = "over"  # it is longer than the cap, or its length could not be known
    SLOW = "slow"  # past the deadline
    GONE = "gone"  # the client left
    OVERLOADED = "overloaded"  # the process holds as many bytes as it may


@dataclass(frozen=True, slots=True)
class Body:
    """A body that was read: its bytes if it was read whole, its length (so far), its SHA-256.

    ``closing`` says that the rest was left unread, so that the connection cannot be used again.
    """

    ended: Read
    data: bytes = field(default=b"", repr=False)
    length: int = 0
    sha256: bytes = bytes(32)
    closing: bool = False


@dataclass(frozen=True, slots=True)
class ReadBody:
    """Read the request's body up to ``cap`` bytes and drain the rest; answered by a :class:`Body`."""

    cap: int


@dataclass(frozen=True, slots=True)
class Delivered:
    """Was this submission delivered? Answered by a :class:`~gatepost.protocols.Claim`."""

    submission: bytes
    end: int


@dataclass(frozen=True, slots=True)
class Claiming:
    """Claim a nonce, a submission, or both at once; answered by a :class:`~gatepost.protocols.Claim`.

    ``store`` is the id of the store that the token or permit was issued under.
    """

    nonce: bytes | None
    expires: int
    store: bytes
    submission: bytes | None = None
    end: int = 0


@dataclass(frozen=True, slots=True)
class Keep:
    """Keep a body in the store until it is delivered or its time is up; answered by whether it could be."""

    submission: bytes
    body: bytes = field(repr=False)
    until: int
    client: str


@dataclass(frozen=True, slots=True)
class Holds:
    """Is the body of this submission still kept? Answered by a bool."""

    submission: bytes


@dataclass(frozen=True, slots=True)
class Fetch:
    """The kept body with this SHA-256; answered by bytes, or ``None`` if it is gone or not the one."""

    submission: bytes
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Drop:
    """Forget a kept body."""

    submission: bytes


@dataclass(frozen=True, slots=True)
class Limit:
    """Count one more event of this client, if it fits a limit; answered by the seconds until it does, 0 if it is now.

    It is counted before it happens, or many at once would find that there is room for one.
    """

    name: str
    client: str


@dataclass(frozen=True, slots=True)
class GiveBack:
    """What :class:`Limit` counted did not happen after all."""

    name: str
    client: str


@dataclass(frozen=True, slots=True)
class Draw:
    """A new challenge; answered by a :class:`~gatepost.protocols.Challenge`, or by :class:`Busy`.

    ``waited`` is for how many seconds the submission has been without a picture. An empty ``submission`` is one of
    which nothing is remembered.
    """

    kind: str
    level: int
    locale: str
    client: str
    waited: float
    submission: bytes = b""


@dataclass(frozen=True, slots=True)
class Busy:
    """No challenge can be had now; ``retry_after`` is in seconds, and true."""

    retry_after: float


@dataclass(frozen=True, slots=True)
class PutBack:
    """The challenge that was drawn for this order is not shown after all. Needs no store."""

    order: Draw
    challenge: Challenge = field(repr=False)


Effect = ReadBody | Delivered | Claiming | Keep | Holds | Fetch | Drop | Limit | GiveBack | Draw | PutBack


@dataclass(frozen=True, slots=True)
class Pass:
    """Call the application with the request as it is."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Deliver:
    """Call the application with the original request: these header fields, this body."""

    fields: list[tuple[str, str]] = field(repr=False)
    body: bytes = field(repr=False)
    cookie: str = ""


@dataclass(frozen=True, slots=True)
class Show:
    """Answer with an interstitial. Without a challenge it is the 'Continue' page."""

    reason: Reason
    token: str = field(repr=False)
    carry: str = field(repr=False)
    status: int
    kind: str
    kinds: tuple[str, ...]
    lifetime: float  # seconds that the challenge can be answered
    remaining: float  # seconds until the submission ends
    challenge: Challenge | None = None
    retry_after: float = 0
    length: int = 0
    kept: bool = True
    maybe_sent: bool = False
    json: bool = False
    closing: bool = False


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer with a page that holds no challenge.

    ``referer`` is what the submission said, where it is known to have come from the site itself.
    """

    reason: Reason
    status: int
    retry_after: float = 0
    cookie: str = ""
    closing: bool = False
    referer: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Gone:
    """The client left; there is nobody to answer."""


Verdict = Pass | Deliver | Show | Refuse | Gone
