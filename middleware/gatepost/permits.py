"""Permits: a signed cookie that lets the next submissions of someone who has just solved a challenge pass.

A permit is good with the store that was asked when it was issued. Another one, or the same after it has forgotten its
claims, does not know how often the permit was used.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from .origin import cookie_pairs
from .protocols import Headers
from .tokens import PERMIT, Tokens, digest, new_id

_PAYLOAD = struct.Struct(">B16s16s8sBQ")  # version, id, store id, rule digest, uses, expires
_VERSION = 1
_LIMIT = 256  # characters
_CANDIDATES = 2  # cookies of our name that are looked at; a path or domain can double one


@dataclass(frozen=True, slots=True)
class Permit:
    """What a permit says. ``expires`` is milliseconds since the epoch."""

    id: bytes
    store: bytes
    rule: bytes
    uses: int
    expires: int

    def nonce(self, use: int) -> bytes:
        """What is claimed for the use of this number, which counts from 1."""
        return hashlib.sha256(b"permit" + self.id + bytes([use])).digest()[:16]


class Permits:
    """Makes and reads permit cookies.

    :param site: the ``site`` setting; part of the cookie's name, so that two applications on one host do not
        overwrite each other's.
    """

    def __init__(self, tokens: Tokens, site: str) -> None:
        self._tokens = tokens
        self.cookie = "gatepost_permit" + (f"_{digest(site).hex()}" if site else "")

    def issue(self, rule: str, uses: int, store: bytes, now: int, lifetime: int, secure: bool) -> str:
        """A ``Set-Cookie`` value.

        :param store: the id of the store that will claim its uses.
        :param now: milliseconds since the epoch.
        :param lifetime: milliseconds.
        :param secure: whether the request came over https.
        """
        payload = _PAYLOAD.pack(_VERSION, new_id(), store, digest(rule), uses, now + lifetime)
        parts = [
            f"{self.cookie}={self._tokens.sign(PERMIT, payload)}",
            "Path=/",
            f"Max-Age={lifetime // 1000}",
            "HttpOnly",
            "SameSite=Lax",
        ]
        return "; ".join([*parts, "Secure"] if secure else parts)

    def read(self, headers: Headers, rule: str, store: bytes, now: int, longest: int) -> Permit | None:
        """The permit for this rule and store in the request's cookies, or ``None``.

        :param longest: the longest life in milliseconds that the settings allow; one that ends later is not believed.
        """
        values = [text.partition("=")[2] for name, text in cookie_pairs(headers) if name == self.cookie]
        for value in values[:_CANDIDATES]:
            payload = self._tokens.unsign(PERMIT, value.strip(), _LIMIT)
            if payload is None or len(payload) != _PAYLOAD.size:
                continue
            version, permit_id, issuer, owner, uses, expires = _PAYLOAD.unpack(payload)
            mine = version == _VERSION and issuer == store and owner == digest(rule)
            if mine and now < expires <= now + longest:
                return Permit(permit_id, issuer, owner, uses, expires)
        return None
