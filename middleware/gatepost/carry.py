"""The carry: the original request, packed so that it can be delivered after the answer.

A carry is a head and a body. The head (JSON, at most 8 KiB) travels in the page; the body travels behind it, or is kept
in the store, or was not kept at all. The token holds the head's digest, and the head the body's, so nothing of it can
be changed without notice. Every body is opaque bytes: none is parsed, none is rewritten.
"""

from __future__ import annotations

import binascii
import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, replace
from enum import StrEnum

from .origin import Provenance, Trust, cut_cookies, narrowed
from .protocols import Headers, Request
from .settings import CARRY_CEILING, KIB

HEAD_LIMIT = 8 * KIB
CONTENT_TYPE_LIMIT = 128
#: The longest text that :func:`unpack` reads, in characters.
TEXT_LIMIT = (2 + HEAD_LIMIT + CARRY_CEILING) * 4 // 3 + 4

_VERSION = 1
_JSON = json.JSONEncoder(separators=(",", ":"))
_SHORT = 512  # what a head that had to be cut may still say of its origin
# What belongs to the answer request's own body, connection or origin, and not to the original's.
_REPLACED = frozenset(
    {
        "authorization",
        "content-digest",
        "content-encoding",
        "content-length",
        "content-md5",
        "content-type",
        "digest",
        "expect",
        "origin",
        "referer",
        "repr-digest",
        "te",
        "trailer",
        "transfer-encoding",
    }
)


class Where(StrEnum):
    """Where the body is."""

    PAGE = "page"
    KEPT = "kept"
    NOWHERE = "nowhere"


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of the original request, apart from its body."""

    where: Where
    length: int
    sha256: bytes
    content_type: str | None
    content_encoding: str | None
    provenance: Provenance

    def encode(self) -> bytes:
        """The head as JSON."""
        said = self.provenance
        return _JSON.encode(
            {
                "v": _VERSION,
                "where": self.where,
                "length": self.length,
                "sha256": self.sha256.hex(),
                "type": self.content_type,
                "encoding": self.content_encoding,
                "origin": said.origins,
                "referer": said.referers,
                "fetch": said.fetch,
                "cookies": said.cookies,
                "authorized": said.authorized,
            }
        ).encode()

    @classmethod
    def decode(cls, raw: bytes) -> Head:
        """A head from its JSON.

        :raises ValueError: if it is none.
        """
        try:
            values = json.loads(raw)
            return cls(
                where=Where(values["where"]),
                length=values["length"],
                sha256=bytes.fromhex(values["sha256"]),
                content_type=values["type"],
                content_encoding=values["encoding"],
                provenance=Provenance(
                    origins=tuple(values["origin"]),
                    referers=tuple(values["referer"]),
                    fetch=tuple((name, value) for name, value in values["fetch"]),
                    cookies=tuple((name, count) for name, count in values["cookies"]),
                    authorized=values["authorized"],
                ),
            )
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"no carry head: {error!r}") from error

    def narrowed(self, answered: Provenance) -> Head:
        """The head for an answer that is not known to come from our own page."""
        return replace(self, provenance=narrowed(self.provenance, answered))


@dataclass(frozen=True, slots=True)
class Carry:
    """A head with its digest, and the body if it travels in the page."""

    head: Head
    digest: bytes
    text: str
    body: bytes | None

    @classmethod
    def pack(cls, head: Head, body: bytes | None) -> Carry:
        """Pack a head and, for :attr:`Where.PAGE`, its body."""
        raw = head.encode()
        inline = body if head.where is Where.PAGE else None
        packed = len(raw).to_bytes(2, "big") + raw + (inline or b"")
        return cls(head, hashlib.sha256(raw).digest(), _text(packed), inline)


def _text(packed: bytes) -> str:
    return urlsafe_b64encode(packed).rstrip(b"=").decode("ascii")


def make_head(request: Request, length: int, sha256: bytes, where: Where) -> Head:
    """The head of a request; one that would be too large says :attr:`Where.NOWHERE` and keeps what fits."""
    said = Provenance.of(request.headers)
    encodings = request.headers.all("content-encoding")
    head = Head(
        where=where,
        length=length,
        sha256=sha256,
        content_type=request.headers.get("content-type") if "content-type" in request.headers else None,
        content_encoding=", ".join(encodings) if encodings else None,
        provenance=said,
    )
    if len(head.encode()) <= HEAD_LIMIT:
        return head
    site = tuple(item for item in said.fetch if item[0] == "sec-fetch-site")
    short = Provenance(origins=said.origins, fetch=site)
    if sum(map(len, said.origins)) + sum(len(value) for _, value in site) > _SHORT:
        short = Provenance(origins=("null", "null"))  # equal to no answer's
    return replace(head, where=Where.NOWHERE, content_encoding=None, provenance=short)


def unpack(text: str, digest: bytes) -> Carry | None:
    """The carry in ``text``; ``None`` if it is too long, altered, or not the one of this digest.

    Decoding skips what is no base64. So the carry's own text is spelled anew, and goes into no page as it came.
    """
    if len(text) > TEXT_LIMIT:
        return None
    try:
        packed = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except (binascii.Error, UnicodeEncodeError):
        return None
    size = int.from_bytes(packed[:2], "big")
    raw = packed[2 : 2 + size]
    if hashlib.sha256(raw).digest() != digest:
        return None
    try:
        head = Head.decode(raw)
    except ValueError:
        return None
    body = packed[2 + size :]
    if head.where is not Where.PAGE:
        return Carry(head, digest, _text(packed), None) if not body else None
    if len(body) != head.length or hashlib.sha256(body).digest() != head.sha256:
        return None
    return Carry(head, digest, _text(packed), body)


def content_type_flaw(request: Request) -> str:
    """Why a request's ``Content-Type`` cannot be carried, or the empty string."""
    values = request.headers.all("content-type")
    if len(values) > 1 or any("," in _unquoted(value) for value in values):  # servers join repeated fields by commas
        return "more than one Content-Type"
    if values and len(values[0]) > CONTENT_TYPE_LIMIT:
        return f"a Content-Type of {len(values[0])} bytes, more than {CONTENT_TYPE_LIMIT}"
    return ""


def _unquoted(value: str) -> str:
    return "".join(value.split('"')[::2])


def rebuild(answer: Headers, head: Head, trust: Trust) -> list[tuple[str, str]]:
    """The header fields of the rebuilt request: those of the answer request, with the original's where they differ.

    :param answer: the answer request's fields.
    :param head: what the carry says; under :attr:`Trust.NARROW` already narrowed.
    """
    said = head.provenance
    fields = [
        (name, value)
        for name, value in answer
        if name not in _REPLACED and not name.startswith(("sec-fetch-", "gatepost-"))
    ]
    if trust is not Trust.FULL:
        fields = [(name, value) for name, value in fields if name != "cookie"]
        cookie = cut_cookies(answer, said.cookies)
        if cookie:
            fields.append(("cookie", cookie))
    if said.authorized:
        fields += [("authorization", value) for value in answer.all("authorization")]
    if head.content_type is not None:
        fields.append(("content-type", head.content_type))
    if head.content_encoding is not None:
        fields.append(("content-encoding", head.content_encoding))
    fields.append(("content-length", str(head.length)))
    fields += [("origin", value) for value in said.origins]
    fields += [("referer", value) for value in said.referers]
    fields += said.fetch
    return fields
