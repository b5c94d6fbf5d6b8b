"""The carry: what is packed comes back byte for byte, what was altered does not come back at all."""

from __future__ import annotations

import hashlib
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost.carry import (
    CONTENT_TYPE_LIMIT,
    HEAD_LIMIT,
    TEXT_LIMIT,
    Carry,
    Head,
    Where,
    content_type_flaw,
    make_head,
    rebuild,
    unpack,
)
from gatepost.origin import Provenance, Trust
from gatepost.protocols import Headers, Request
from gatepost.testing import Answer
from test_tokens import changed
from twins import BROWSER, URLENCODED, Twin, make_twin

TwinOf = Callable[..., Twin]

#: What a header field can hold: Latin-1 without control characters.
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, blacklist_categories=["Cc"]), max_size=60)
names = st.sampled_from(
    ["origin", "referer", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest", "cookie", "authorization", "x-other"]
)
fields = st.lists(st.tuples(names, values), max_size=12)
bodies = st.binary(max_size=500) | st.sampled_from([b"", b"\0", b"\r\n\r\n", b"gatepost_token=x", b"a=%ZZ&\xff"])
types = st.none() | values.filter(lambda text: "," not in text)


def request(headers: list[tuple[str, str]], content_type: str | None = URLENCODED) -> Request:
    typed = headers if content_type is None else [*headers, ("content-type", content_type)]
    return Request("POST", "/contact", Headers(typed), "203.0.113.7", {})


def packed(body: bytes, headers: list[tuple[str, str]], content_type: str | None = URLENCODED) -> Carry:
    digest = hashlib.sha256(body).digest()
    return Carry.pack(make_head(request(headers, content_type), len(body), digest, Where.PAGE), body)


def as_text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


# --- round trips ---


@given(bodies, fields, types)
def test_i2_carry_comes_back(body: bytes, headers: list[tuple[str, str]], content_type: str | None) -> None:
    """Whatever body and header fields are packed, the same head and body are unpacked."""
    carry = packed(body, headers, content_type)
    found = unpack(carry.text, carry.digest)
    assert found == carry
    assert (found.body, found.head.length) == (body, len(body))
    assert found.head.content_type == content_type
    assert found.head.provenance == Provenance.of(Headers(headers))


@given(fields, fields, types, st.sampled_from([Trust.FULL, Trust.CUT]))
def test_i3_rebuilt_fields(
    first: list[tuple[str, str]], second: list[tuple[str, str]], content_type: str | None, trust: Trust
) -> None:
    """Origin, Referer and Sec-Fetch-* are the first request's; Authorization the second's, if the first had one."""
    head = packed(b"body", first, content_type).head
    rebuilt = Headers(rebuild(Headers([*second, ("content-type", "text/x"), ("content-length", "9")]), head, trust))
    one, two = Headers(first), Headers(second)
    for name in ("origin", "referer", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest"):
        assert rebuilt.all(name) == one.all(name)
    assert rebuilt.all("authorization") == (two.all("authorization") if "authorization" in one else [])
    assert rebuilt.all("x-other") == two.all("x-other")
    assert rebuilt.all("content-type") == ([] if content_type is None else [content_type])
    assert rebuilt.all("content-length") == ["4"]
    if trust is Trust.FULL:
        assert rebuilt.all("cookie") == two.all("cookie")


#: Of the answer request: field, value, whether the application gets it.
ANSWER_FIELDS = [
    ("accept-language", "de", True),
    ("user-agent", "x", True),
    ("x-forwarded-for", "203.0.113.9", True),
    ("x-csrf-token", "x", True),
    ("content-type", "application/x-own", False),
    ("content-encoding", "gzip", False),
    ("transfer-encoding", "chunked", False),
    ("trailer", "x", False),
    ("te", "trailers", False),
    ("expect", "100-continue", False),
    ("digest", "sha-256=x", False),
    ("content-digest", "sha-256=:x:", False),
    ("repr-digest", "sha-256=:x:", False),
    ("content-md5", "x", False),
    ("gatepost-token", "x", False),
    ("gatepost-answer", "x", False),
    ("gatepost-anything", "x", False),
    ("sec-fetch-user", "?1", False),
    ("authorization", "Basic x", False),
]


@pytest.mark.parametrize(("name", "value", "kept"), ANSWER_FIELDS)
def test_what_the_answer_request_hands_on(name: str, value: str, kept: bool) -> None:
    """Fields of the answer's own body, connection or origin are dropped; all others are handed on."""
    rebuilt = rebuild(Headers([(name, value)]), packed(b"body", []).head, Trust.FULL)
    assert ((name, value) in rebuilt) is kept


BODIES = {
    "urlencoded": (b"a=1&b=%E2%82%AC&a=2&c", URLENCODED),
    "urlencoded in another charset": (b"a=\xa4&_charset_=iso-8859-15", URLENCODED + "; charset=iso-8859-15"),
    "multipart": (
        b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\n\0\xff\r\n--b--',
        "multipart/form-data; boundary=b",
    ),
    "json": (b'{"a": [1, 2.50, "\\u20ac"]}\n', "application/json"),
    "text": (b"a=1\r\nb=2\r\n", "text/plain"),
    "empty": (b"", URLENCODED),
    "without a type": (b"\0\1\2", None),
    "like one of ours": (b"a=1&gatepost_token=x&gatepost_answer=y", URLENCODED),
    "nearly one of ours": (b"gatepost_token", URLENCODED),
    "in the page to the last byte": (b"x" * 1000, "application/octet-stream"),
    "kept in the store": (b"\xfe" * 1001, "application/octet-stream"),
    "kept to the last byte": (b"\xfe" * 5000, "application/octet-stream"),
}


@pytest.mark.parametrize("case", BODIES)
def test_i2_every_kind_of_body_is_delivered(twin_of: TwinOf, case: str) -> None:
    """Each kind of body comes through the page byte for byte, after another picture and a wrong answer too."""
    body, content_type = BODIES[case]
    twin = twin_of(carry_limit=1000, keep_limit=5000)
    page = twin.send(body=[body[:7], body[7:]], content_type=content_type)
    page = twin.answer(twin.answer(page, button="another"), "wrong")
    assert twin.answer(page).status == 200
    [received] = twin.received
    assert received.body == body
    assert received.get("content-type") == content_type
    assert received.get("content-length") == str(len(body))
    assert not [name for name, _ in received.fields if name.startswith("gatepost")]


@pytest.mark.parametrize("name", ["wsgi", "asgi-asyncio"])
def test_i2_any_body_is_delivered(name: str) -> None:
    """Any bytes come through the page, or the store, as they were sent, in however many pieces."""
    twin = make_twin(name, carry_limit=250, keep_limit=500)

    @settings(max_examples=60, deadline=None)
    @given(bodies, st.integers(0, 500))
    def send(body: bytes, at: int) -> None:
        page = twin.send(body=[body[:at], body[at:]], content_type="application/x-thing", fields=BROWSER)
        assert twin.answer(page).status == 200
        assert twin.received.pop().body == body

    send()


# --- altered texts ---

CARRY = packed(b"message=hello", [("cookie", "a=1"), ("origin", "http://site.example")])
RAW = urlsafe_b64decode(CARRY.text + "=" * (-len(CARRY.text) % 4))


@given(st.integers(0, len(RAW) - 1), st.integers(1, 255))
def test_i5_altered_byte_is_refused(at: int, mask: int) -> None:
    """A carry of which any byte was changed, of head or body, is none."""
    assert unpack(as_text(RAW[:at] + bytes([RAW[at] ^ mask]) + RAW[at + 1 :]), CARRY.digest) is None


@given(st.integers(0, len(RAW) - 1), st.binary(min_size=1, max_size=9))
def test_i5_cut_or_lengthened_carry_is_refused(at: int, more: bytes) -> None:
    """A carry that is shorter or longer than it was is none."""
    assert unpack(as_text(RAW[:at]), CARRY.digest) is None
    assert unpack(as_text(RAW + more), CARRY.digest) is None
    assert unpack(as_text(RAW[:at] + more + RAW[at:]), CARRY.digest) is None


@given(changed(CARRY.text) | st.text(max_size=50))
def test_i5_respelt_carry_says_the_same_or_nothing(text: str) -> None:
    """Whatever is done to the text: refused, or the same carry in our own spelling, and never a crash."""
    assert unpack(text, CARRY.digest) in (None, CARRY)


@given(st.integers(0, len(CARRY.text)), st.text("<>\"'&=\n.!", min_size=1, max_size=20))
def test_i5_what_is_no_base64_is_not_handed_on(at: int, junk: str) -> None:
    """What decoding skips, such as markup, is not in the text that goes into the next page."""
    found = unpack(CARRY.text[:at] + junk + CARRY.text[at:], CARRY.digest)
    assert found in (None, CARRY)


@pytest.mark.parametrize("digest", [b"", bytes(32), hashlib.sha256(RAW).digest(), CARRY.digest[:31]])
def test_i5_carry_of_another_token_is_refused(digest: bytes) -> None:
    """A carry is good with the token that holds its digest, and with no other."""
    assert unpack(CARRY.text, CARRY.digest) is not None
    assert unpack(CARRY.text, digest) is None


def test_i5_body_of_another_submission_is_refused(twin_of: TwinOf) -> None:
    """A body cannot be put behind the head of another one, nor a whole carry be used with another page's token."""
    twin = twin_of()
    mine, other = (twin.send(body=body).answered() for body in (b"amount=1", b"amount=2"))
    twin.clock.tick(2)
    heads = [urlsafe_b64decode(page["gatepost_carry"] + "==") for page in (mine, other)]
    swapped = as_text(heads[0][: -len(b"amount=1")] + b"amount=2")
    for carry in (swapped, other["gatepost_carry"], ""):
        assert twin.send(body=Answer({**mine, "gatepost_carry": carry}, {}).body).reason == "forged"
    assert twin.send(body=mine.body).status == 200
    assert [received.body for received in twin.received] == [b"amount=1"]


def test_longest_carry_is_read_and_no_longer_one() -> None:
    """The longest body that a page may carry is read back, and a longer text is refused unread."""
    body = secrets.token_bytes(512 * 1024)
    headers = [("referer", "")]
    room = HEAD_LIMIT - len(packed(body, headers).head.encode())
    carry = packed(body, [("referer", "x" * room)])
    assert len(carry.head.encode()) == HEAD_LIMIT
    assert len(carry.text) <= TEXT_LIMIT
    assert unpack(carry.text, carry.digest) == carry
    assert unpack(carry.text + "!" * TEXT_LIMIT, carry.digest) is None


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"null", b"\xff", b'{"where":"page"}', b"[" * 8000, b'{"where":["x"]}']
)
def test_head_that_is_none(raw: bytes) -> None:
    """A genuine digest over what is no head: refused, not a crash."""
    with pytest.raises(ValueError):  # noqa: PT011 - of json, of UTF-8 and of ours
        Head.decode(raw)
    assert unpack(as_text(len(raw).to_bytes(2, "big") + raw), hashlib.sha256(raw).digest()) is None


# --- limits ---


@pytest.mark.parametrize("more", [0, 1])
def test_head_over_the_limit_counts_as_too_large_to_keep(more: int) -> None:
    """A head of 8 KiB is kept; one byte more, and nothing is kept but where the request came from."""
    origin = ("origin", "http://site.example")
    least = len(packed(b"", [origin, ("referer", "")]).head.encode())
    headers = [origin, ("referer", "x" * (HEAD_LIMIT - least + more))]
    head = make_head(request(headers), 0, bytes(32), Where.PAGE)
    assert head.where is (Where.NOWHERE if more else Where.PAGE)
    assert head.provenance.origins == ("http://site.example",)
    assert bool(head.provenance.referers) is not bool(more)
    assert len(head.encode()) <= HEAD_LIMIT


@given(st.lists(st.tuples(names, st.integers(0, 70_000).map(lambda size: "é=1;" * (size // 4))), max_size=6), types)
@settings(max_examples=50, deadline=None)
def test_i6_no_request_makes_a_head_over_the_limit(headers: list[tuple[str, str]], content_type: str | None) -> None:
    """Whatever fields a request has, its head is at most 8 KiB, and a cut one is never delivered."""
    typed = content_type[:CONTENT_TYPE_LIMIT] if content_type else content_type
    head = make_head(request(headers, typed), 4, bytes(32), Where.PAGE)
    assert len(head.encode()) <= HEAD_LIMIT
    assert unpack(Carry.pack(head, b"").text, b"") is None
    if head.where is Where.NOWHERE:
        assert head.provenance.cookies == ()
        assert not head.provenance.authorized


@pytest.mark.parametrize(
    "long",
    [("referer", "http://site.example/" + "x" * HEAD_LIMIT), ("cookie", "; ".join(f"c{n}=1" for n in range(999)))],
)
def test_large_head_is_said_before_the_answer(twin_of: TwinOf, long: tuple[str, str]) -> None:
    """With too large a head the page says that nothing is kept, and the right answer earns one pass."""
    twin = twin_of()
    page = twin.send(body=b"message=hello", fields=[*BROWSER, long])
    assert "too large to be kept" in page.text
    reply = twin.answer(page, fields=[*BROWSER, long])
    assert (reply.status, reply.reason) == (413, "not-kept")
    assert reply.get("set-cookie").startswith("gatepost_permit=")
    assert not twin.received


@pytest.mark.parametrize("size", [600, 2_000, 70_000])
def test_i6_answer_cannot_make_the_head_grow(twin_of: TwinOf, size: int) -> None:
    """An answer that says very much of its origin gets no carry over the limit, and is no crash."""
    plain = (("accept", "*/*"),)
    twin = twin_of()
    page = twin.send(body=b"message=hello", fields=plain)
    said = [*plain, *((f"sec-fetch-x{number}", "x" * (size // 10)) for number in range(10))]
    reply = twin.answer(page, fields=said, button="another")
    assert reply.reason == ("foreign" if size >= HEAD_LIMIT else "refreshed")
    assert twin.answer(page, fields=plain, button="another").status == 429


@pytest.mark.parametrize(
    ("content_types", "sound"),
    [
        ([], True),
        ([URLENCODED], True),
        ([""], True),
        (["x" * CONTENT_TYPE_LIMIT], True),
        (["x" * (CONTENT_TYPE_LIMIT + 1)], False),
        ([URLENCODED, URLENCODED], False),
        ([f"{URLENCODED},{URLENCODED}"], False),
        (["text/plain,application/json"], False),  # two fields, as WSGI servers join them
        (['multipart/form-data; boundary="a,b"'], True),
        (['multipart/form-data; boundary="a,b", text/plain'], False),
    ],
)
def test_content_type_that_cannot_be_carried(twin_of: TwinOf, content_types: list[str], sound: bool) -> None:
    """More than one Content-Type, or a very long one, is refused at once, since it could not be given back."""
    headers = [("content-type", value) for value in content_types]
    assert (content_type_flaw(request(headers, None)) == "") is sound
    twin = twin_of()
    reply = twin.send(body=b"a=1", content_type=None, fields=[*BROWSER, *headers])
    assert (reply.status, reply.reason) == ((429, "always") if sound else (400, "content-type"))
    assert not twin.received


def test_narrowed_head_is_the_same_submission() -> None:
    """What is narrowed is what the head says of its origin; the body, its place and its type stay."""
    head = CARRY.head.narrowed(Provenance())
    assert head == replace(CARRY.head, provenance=Provenance())
