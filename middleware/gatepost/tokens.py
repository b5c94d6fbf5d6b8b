"""Tokens: the signed statement about one challenge that travels with it.

Facts
    itsdangerous signs and does not hide, so nothing in a token is secret: of the answer it holds a keyed MAC.
    Text is malleable: base64 can be re-spelled and still loads. So nothing is ever keyed by a token's text; claims
    go by its nonce and submission.

Contract
    The first part of a payload, :data:`_LINEAGE`, has the same place and meaning in every version, so that a process
    of another version can still tell whose submission it is and issue a fresh challenge for it. A token in which it
    cannot be read is forged.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import os
import secrets
import struct
import time
from dataclasses import dataclass, field
from functools import lru_cache

from itsdangerous import BadData, Signer
from itsdangerous.encoding import base64_decode, base64_encode

VERSION = 1
TOKEN_LIMIT = 1024  # characters; a genuine token has about half, and each bad one costs a MAC for every secret
DATA_LIMIT = 64  # bytes of a kind's own

# version, path digest, carry digest (zeros: none), submission, store id, first time, end
_LINEAGE = struct.Struct(">B16s32s16s16sQQ")
# nonce, kind digest, rule digest, method digest, level, flags, issued, expires, waiting since, MAC
_DETAILS = struct.Struct(">16s8s8s8sBBQQQ16s")
_NO_CARRY = bytes(32)
_ID = struct.Struct(">QQ")
_COUNTED = 1

_id_key = secrets.token_bytes(32)
_numbers = itertools.count()

FORM = "form"
HEADER = "header"
ANSWER = "answer"
PERMIT = "permit"
CLIENT = "client"


@dataclass(frozen=True, slots=True)
class Token:
    """What a token says. Times are milliseconds since the epoch; digests are made by :func:`digest`.

    A token without a challenge ('Continue') has an empty ``mac``. ``known`` is false if the token is genuine but of
    another version: then only its lineage, the fields up to ``end``, can be relied on.
    """

    path: bytes
    carry: bytes | None
    submission: bytes
    store: bytes
    first: int
    end: int
    nonce: bytes = b""
    kind: bytes = b""
    rule: bytes = b""
    method: bytes = b""
    level: int = 0
    counted: bool = True
    issued: int = 0
    expires: int = 0
    since: int = 0
    mac: bytes = b""
    data: bytes = b""
    known: bool = field(default=True)


@lru_cache(maxsize=1024)  # names of rules, kinds and methods, which the settings bound
def digest(text: str) -> bytes:
    """Eight bytes that stand for the name of a rule, kind or method."""
    return hashlib.sha256(text.encode()).digest()[:8]


def path_digest(path: str, query: str) -> bytes:
    """Sixteen bytes that stand for the decoded path without its prefix and the undecoded query."""
    parts = f"{len(path)}:{path}?{query}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(parts).digest()[:16]


def new_id() -> bytes:
    """128 bits that nobody can guess and nobody else has: a nonce, or the id of a submission.

    They are a keyed hash of a counter, under a key that the system has drawn for this process. Asking the system each
    time would hand the lock that threads share to whatever draws a picture, twice for every request of a flood. The
    time is for a machine that is saved and started many times, whose processes all have one key and one counter.
    """
    said = _ID.pack(next(_numbers), time.time_ns())
    return hashlib.blake2b(said, key=_id_key, digest_size=16).digest()


def _new_key() -> None:
    global _id_key
    _id_key = secrets.token_bytes(32)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_key)


class Tokens:
    """Signs and reads tokens, and makes the MACs of answers.

    :param keys: secrets from oldest to newest; the newest signs, all are accepted.
    :param site: part of every salt, for applications that share a secret.
    """

    def __init__(self, keys: tuple[bytes, ...], site: str = "") -> None:
        self._signers = {purpose: self._signer(keys, site, purpose) for purpose in (FORM, HEADER, PERMIT)}
        self._answer_keys = self._derived(keys, site, ANSWER)
        self.client_key = self._derived(keys, site, CLIENT)[-1]

    @staticmethod
    def _signer(keys: tuple[bytes, ...], site: str, purpose: str) -> Signer:
        salt = f"gatepost.{purpose}:{site}".encode()
        return Signer(list(keys), salt=salt, key_derivation="hmac", digest_method=hashlib.sha256)

    @classmethod
    def _derived(cls, keys: tuple[bytes, ...], site: str, purpose: str) -> list[bytes]:
        signer = cls._signer(keys, site, purpose)
        return [signer.derive_key(key) for key in keys]

    def sign(self, purpose: str, payload: bytes) -> str:
        """The signed text of a payload."""
        return self._signers[purpose].sign(base64_encode(payload)).decode("ascii")

    def unsign(self, purpose: str, text: str, limit: int = TOKEN_LIMIT) -> bytes | None:
        """The payload of a signed text, or ``None`` if it is too long or not genuine."""
        if len(text) > limit or not text.isascii():
            return None
        try:
            return base64_decode(self._signers[purpose].unsign(text))
        except BadData:
            return None

    def issue(self, token: Token) -> str:
        """The text of a token; with a carry digest it is a form token, without one a header token."""
        if len(token.data) > DATA_LIMIT:
            raise ValueError(f"the kind's data has {len(token.data)} bytes, wanted at most {DATA_LIMIT}")
        payload = _LINEAGE.pack(
            VERSION, token.path, token.carry or _NO_CARRY, token.submission, token.store, token.first, token.end
        )
        payload += _DETAILS.pack(
            token.nonce,
            token.kind,
            token.rule,
            token.method,
            min(token.level, 255),
            (_COUNTED if token.counted else 0),
            token.issued,
            token.expires,
            token.since,
            token.mac,
        )
        return self.sign(HEADER if token.carry is None else FORM, payload + token.data)

    def read(self, purpose: str, text: str) -> Token | None:
        """The token of this purpose in ``text``; ``None`` if it is forged, or of the other purpose."""
        payload = self.unsign(purpose, text)
        if payload is None or len(payload) < _LINEAGE.size:
            return None
        version, path, carry, submission, store, first, end = _LINEAGE.unpack_from(payload)
        if (carry == _NO_CARRY) != (purpose == HEADER):
            return None
        lineage = (path, None if purpose == HEADER else carry, submission, store, first, end)
        details = payload[_LINEAGE.size :]
        if version != VERSION or not _DETAILS.size <= len(details) <= _DETAILS.size + DATA_LIMIT:
            return Token(*lineage, known=False)
        nonce, kind, rule, method, level, flags, issued, expires, since, mac = _DETAILS.unpack_from(details)
        return Token(
            *lineage,
            nonce=nonce,
            kind=kind,
            rule=rule,
            method=method,
            level=level,
            counted=bool(flags & _COUNTED),
            issued=issued,
            expires=expires,
            since=since,
            mac=b"" if mac == bytes(16) else mac,
            data=details[_DETAILS.size :],
        )

    def mac(self, nonce: bytes, answer: str) -> bytes:
        """The keyed MAC of a nonce and a normalised answer."""
        return self._mac(self._answer_keys[-1], nonce, answer)

    @staticmethod
    def _mac(key: bytes, nonce: bytes, answer: str) -> bytes:
        return hmac.digest(key, nonce + answer.encode("utf-8", "surrogatepass"), "sha256")[:16]

    def right(self, token: Token, answer: str) -> bool:
        """Whether this normalised answer is the token's. Never, if the answer or the MAC is empty."""
        if not answer or not token.mac:
            return False
        # Every key is tried, so that the time tells nothing about which one it was.
        found = [hmac.compare_digest(token.mac, self._mac(key, token.nonce, answer)) for key in self._answer_keys]
        return any(found)
