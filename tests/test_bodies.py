"""What the application receives is what was sent: every kind of body, every size around a limit, both twins."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost.form import PREFIX
from gatepost.settings import KIB, MIB
from twins import BROWSER, URLENCODED, Reply, Twin, make_twin

CARRY = 48 * KIB
KEEP = 1280 * KIB
SIZES = (0, 1, 14, 15, 16, CARRY - 1, CARRY, CARRY + 1, MIB, KEEP, KEEP + 1)
LIMITS: dict[str, Any] = {"carry_limit": CARRY, "keep_limit": KEEP, "keep_per_client": 16 * MIB}
NOISE = random.Random(20).randbytes(KEEP + 1)  # noqa: S311 - any bytes will do
ARABIC = "الاسم=آدا&الرسالة=مرحبا"
JAPANESE = "名前=エイダ&本文=こんにちは"


@dataclass(frozen=True)
class Kind:
    """A kind of body: its type, how it begins, and the header fields and form in which it travels."""

    content_type: str | None
    begin: bytes
    fields: tuple[tuple[str, str], ...] = ()
    chunked: bool = False

    def body(self, size: int) -> bytes:
        return (self.begin + NOISE)[:size] if len(self.begin) < size else self.begin[:size]

    def send(self, twin: Twin, body: bytes, **options: Any) -> Reply:
        pieces = [body]
        fields = [*BROWSER, *self.fields]
        if self.chunked:
            step = max(1, len(body) // 37)
            pieces = [body[at : at + step] for at in range(0, len(body), step)] or [b""]
            fields.append(("transfer-encoding", "chunked"))
            options["length"] = None
        return twin.send(body=pieces, fields=fields, content_type=self.content_type, **options)


FORM = "multipart/form-data; boundary=" + "b" * 60
KINDS = {
    "urlencoded": Kind(URLENCODED, b"name=Ada&message=%F0%9F%A7%A1"),
    "urlencoded, utf-8": Kind(f"{URLENCODED}; charset=utf-8", ARABIC.encode()),
    "urlencoded, windows-1256": Kind(f"{URLENCODED}; charset=windows-1256", ARABIC.encode("windows-1256")),
    "urlencoded, shift_jis": Kind(f'{URLENCODED};charset="shift_jis"', JAPANESE.encode("shift_jis")),
    "urlencoded, utf-16": Kind(f"{URLENCODED}; charset=utf-16", JAPANESE.encode("utf-16")),
    "urlencoded, chunked": Kind(URLENCODED, b"name=Ada&message=", chunked=True),
    "multipart": Kind(
        FORM, b"--" + b"b" * 60 + b'\r\nContent-Disposition: form-data; name="f"; filename="p.png"\r\n\r\n'
    ),
    "multipart, chunked": Kind(FORM, b"--" + b"b" * 60 + b"\r\n", chunked=True),
    "json": Kind("application/json", b'{"name": "Ada", "message": "'),
    "text": Kind("text/plain", b"name=Ada\r\nmessage="),
    "no type": Kind(None, b""),
    "encoded": Kind(URLENCODED, b"\x1f\x8b\x08", (("content-encoding", "gzip"),)),
    "odd charset": Kind("text/plain; charset=\xf6\xe4; charset=x-none", b"\xff\xfe\x00"),
    "almost an answer": Kind(URLENCODED, b"gatepost_toke"),
    "an answer of another type": Kind("text/plain", b"gatepost_token="),
    "an answer in json": Kind("application/json; charset=utf-8", b"gatepost_token=x&gatepost_carry=y"),
    "an answer in multipart": Kind(FORM, b"gatepost_token=x"),
}


def check(twin: Twin, kind: Kind, body: bytes) -> None:
    """The application has received this body last, with its type, its encoding, and a length that is true."""
    got = twin.received.pop()
    assert twin.received == []
    assert got.sha256 == hashlib.sha256(body).hexdigest(), len(body)
    assert got.get("content-type") == kind.content_type
    assert got.get("content-encoding") == dict(kind.fields).get("content-encoding")
    assert got.get("content-length") in ((None,) if got.get("transfer-encoding") else (str(len(body)),))


@pytest.mark.parametrize("name", KINDS)
def test_i1_calm_body_arrives(name: str, twin_of: Callable[..., Twin]) -> None:
    """In calm a body of any kind and size arrives as it was sent."""
    kind, twin = KINDS[name], twin_of(mode="adaptive", above="1000/minute", **LIMITS)
    for size in SIZES:
        body = kind.body(size)
        assert kind.send(twin, body).status == 200
        check(twin, kind, body)


@pytest.mark.parametrize("name", KINDS)
def test_i2_solved_body_arrives(name: str, twin_of: Callable[..., Twin]) -> None:
    """Behind a challenge a body of any kind and size up to the limits arrives as it was sent."""
    kind, twin = KINDS[name], twin_of(**LIMITS)
    for size in SIZES[:-1]:
        body = kind.body(size)
        page = kind.send(twin, body)
        assert page.status == 429
        assert "is kept with this page" in page.text
        assert twin.received == []
        assert twin.answer(page).status == 200
        check(twin, kind, body)


@pytest.mark.parametrize("name", KINDS)
def test_body_beyond_the_limit(name: str, twin_of: Callable[..., Twin]) -> None:
    """Above ``keep_limit`` the page says so at once; the answer earns a permit to send it again."""
    kind, twin = KINDS[name], twin_of(**LIMITS)
    body = kind.body(KEEP + 1)
    page = kind.send(twin, body)
    assert page.status == 429
    assert "What you sent (1.3 MB) is too large to be kept." in page.text
    assert "go back and send the form again: it will be let through" in page.text
    solved = twin.answer(page)
    assert (solved.status, solved.reason) == (413, "not-kept")
    assert "Your answer was right" in solved.text
    assert twin.received == []
    permit = solved.get("set-cookie").partition(";")[0]
    assert kind.send(twin, body, cookie=permit).status == 200
    check(twin, kind, body)
    assert kind.send(twin, body, cookie=permit).status == 429


@pytest.mark.parametrize("name", ["json", "urlencoded", "multipart, chunked"])
def test_i2_body_sent_with_the_answer_in_its_header_arrives(name: str, twin_of: Callable[..., Twin]) -> None:
    """A client that sends the original again, with the answer in its header, has it delivered whatever its size."""
    kind, twin = KINDS[name], twin_of(**LIMITS)
    script = (("accept", "application/json"),)
    for size in SIZES:
        body = kind.body(size)
        asking = Kind(kind.content_type, kind.begin, script, kind.chunked)
        asked = twin.send(body=body, fields=[BROWSER[0], *script], content_type=kind.content_type)
        twin.clock.tick(2)
        answer = tuple((name.lower(), value) for name, value in asked.answered().headers.items())
        answering = Kind(kind.content_type, kind.begin, (*asking.fields, *answer), kind.chunked)
        assert answering.send(twin, body).status == 200
        check(twin, kind, body)


def test_i2_default_limits(twin_of: Callable[..., Twin]) -> None:
    """With the default settings 8 MiB are kept and delivered, and one byte more is not."""
    twin = twin_of()
    kind = KINDS["multipart"]
    body = NOISE * 7
    assert kind.send(twin, body[: 8 * MIB + 1]).text.count("too large to be kept") == 1
    body = body[: 8 * MIB]
    assert twin.answer(kind.send(twin, body)).status == 200
    check(twin, kind, body)
    assert twin.gate.buffer.held == 0


@pytest.mark.parametrize(("carry", "keep"), [(0, 0), (0, 100), (100, 0), (100, 50), (512 * KIB, 512 * KIB)])
def test_limits_may_be_anything(carry: int, keep: int, twin_of: Callable[..., Twin]) -> None:
    """Whatever the two limits are, a body up to the larger is delivered, and a larger one is not kept."""
    twin = twin_of(carry_limit=carry, keep_limit=keep)
    kind, most = KINDS["text"], max(carry, keep)
    for size in {0, min(carry, keep), most}:
        body = kind.body(size)
        assert twin.answer(kind.send(twin, body)).status == 200
        check(twin, kind, body)
    assert twin.answer(kind.send(twin, kind.body(most + 1))).status == 413


TYPE = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters=',"\x7f'), max_size=128)
ODD = [b"gatepost_token", b"gatepost_", b"\r\n.\r\n"]
# What begins with all of the prefix is an answer.
BODY = (st.binary(max_size=300) | st.sampled_from(ODD)).filter(lambda body: not body.startswith(PREFIX))
TWINS = {name: make_twin(name, carry_limit=150) for name in ("asgi-asyncio", "wsgi")}


@settings(max_examples=100, deadline=None)
@given(
    body=BODY,
    content_type=st.none() | st.sampled_from([URLENCODED, FORM, "application/json"]) | TYPE.map(str.strip),
    cuts=st.lists(st.integers(0, 300), max_size=4),
)
@pytest.mark.parametrize("twin_name", TWINS)
def test_i2_any_bytes_arrive(twin_name: str, body: bytes, content_type: str | None, cuts: list[int]) -> None:
    """Whatever the bytes, their type and the pieces in which they come: what was sent is what arrives."""
    twin = TWINS[twin_name]
    ends = [0, *sorted(cut for cut in cuts if cut < len(body)), len(body)]
    pieces = [body[start:end] for start, end in pairwise(ends)]
    page = twin.send(body=pieces, content_type=content_type or None)
    twin.answer(page)
    check(twin, Kind(content_type or None, b""), body)
