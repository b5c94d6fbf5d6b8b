"""Bad input: each kind has a stated outcome, none is a 500, and none reaches the application as less than a request."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost.carry import HEAD_LIMIT, TEXT_LIMIT
from gatepost.form import ANSWER_LIMIT, BODY_LIMIT
from gatepost.testing import Answer
from gatepost.tokens import TOKEN_LIMIT
from twins import ANSWER, BROWSER, HOST, TWINS, URLENCODED, Twin, make_twin

ORIGINAL = b"name=Ada&message=hello"
SCRIPT = (("host", HOST), ("accept", "application/json"))
TwinOf = Callable[..., Twin]
Fields = dict[str, str]


@dataclass(frozen=True)
class Bad:
    """What is done to a right answer, and what comes of it.

    ``make`` gives the body to post for the fields of a right answer. ``burnt`` says that the answer was taken for one,
    so that its challenge is used up.
    """

    make: Callable[[Fields], bytes]
    status: int
    reason: str
    burnt: bool = False


def change(**changes: str | None) -> Callable[[Fields], bytes]:
    """The fields with these replaced, or left out if ``None``."""

    def make(fields: Fields) -> bytes:
        changed = fields | {f"gatepost_{name}": value for name, value in changes.items() if value is not None}
        return urlencode(
            {k: v for k, v in changed.items() if changes.get(k.removeprefix("gatepost_"), "") is not None}
        ).encode()

    return make


def edit(name: str, how: Callable[[str], str]) -> Callable[[Fields], bytes]:
    """The fields with the value of one edited."""
    return lambda fields: urlencode(fields | {f"gatepost_{name}": how(fields[f"gatepost_{name}"])}).encode()


def append(text: str) -> Callable[[Fields], bytes]:
    return lambda fields: urlencode(fields).encode() + text.encode()


def altered(at: int) -> Callable[[str], str]:
    """One character replaced by another of the same alphabet."""
    return lambda text: text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 or None :]


FORGED = (400, "forged")
WRONG = (429, "wrong")
RIGHT = (200, "")

TABLE: dict[str, Bad] = {
    # Fields that are missing, empty, repeated, unknown or too many.
    "no carry": Bad(change(carry=None), *FORGED),
    "empty carry": Bad(change(carry=""), *FORGED),
    "empty token": Bad(change(token=""), *FORGED),
    "no answer": Bad(change(answer=None), *WRONG, burnt=True),
    "empty answer": Bad(change(answer=""), *WRONG, burnt=True),
    "blank answer": Bad(change(answer=" \t\n"), *WRONG, burnt=True),
    "no button": Bad(change(do=None), *RIGHT, burnt=True),
    "empty button": Bad(change(do=""), *RIGHT, burnt=True),
    "unknown button": Bad(change(do="delete-all"), *RIGHT, burnt=True),
    "unknown kind": Bad(change(do="kind-../../etc"), 429, "refreshed", burnt=True),
    "continue, where there is a challenge": Bad(change(do="continue", answer=""), *WRONG, burnt=True),
    "token twice": Bad(append("&gatepost_token=x"), *FORGED),
    "carry twice": Bad(append("&gatepost_carry="), *FORGED),
    "answer twice": Bad(append("&gatepost_answer=" + quote(ANSWER)), *FORGED),
    "button twice": Bad(append("&gatepost_do=answer"), *FORGED),
    "a field of the form's own": Bad(append("&name=Eve&message=bye"), *RIGHT, burnt=True),
    "an unknown field of ours": Bad(append("&gatepost_level=0&gatepost_path=%2F"), *RIGHT, burnt=True),
    "coordinates of no click": Bad(append("&gatepost_answer.x=1&gatepost_answer.y=-1e9"), *RIGHT, burnt=True),
    "too many fields": Bad(append("&x=" * 9), *FORGED),
    "very many fields": Bad(append("&x" * 10_000), *FORGED),
    "token not first": Bad(lambda fields: b"x=&" + urlencode(fields).encode(), 429, "always"),
    "semicolons": Bad(lambda fields: urlencode(fields).replace("&", ";").encode(), *FORGED),
    "upper case": Bad(lambda fields: urlencode(fields).replace("gatepost_carry", "GATEPOST_CARRY").encode(), *FORGED),
    # Values that are too long, cut, or no text.
    "longest answer": Bad(change(answer="x" * ANSWER_LIMIT), *WRONG, burnt=True),
    "too long an answer": Bad(change(answer="x" * (ANSWER_LIMIT + 1)), *FORGED),
    "too long a coordinate": Bad(append("&gatepost_answer.x=" + "1" * (ANSWER_LIMIT + 1)), *FORGED),
    "answer of another script": Bad(change(answer="\U0001f9e1" * ANSWER_LIMIT), *WRONG, burnt=True),
    "answer that is no utf-8": Bad(
        lambda fields: urlencode(fields | {"gatepost_answer": b"\xff\xfe\x00"}).encode(), *WRONG, burnt=True
    ),
    "too long a token": Bad(edit("token", lambda text: "A" * TOKEN_LIMIT + text), *FORGED),
    "token cut": Bad(edit("token", lambda text: text[:-9]), *FORGED),
    "token cut to its payload": Bad(edit("token", lambda text: text.rpartition(".")[0]), *FORGED),
    "token cut to its signature": Bad(edit("token", lambda text: text.rpartition(".")[2]), *FORGED),
    "token altered at its beginning": Bad(edit("token", altered(0)), *FORGED),
    "token altered in its middle": Bad(edit("token", altered(200)), *FORGED),
    "token that is no ascii": Bad(edit("token", lambda text: text + "\u0661"), *FORGED),
    "carry cut": Bad(edit("carry", lambda text: text[:-8]), *FORGED),
    "carry cut to nearly nothing": Bad(edit("carry", lambda text: text[:2]), *FORGED),
    "carry lengthened": Bad(edit("carry", lambda text: text + "AAAA"), *FORGED),
    "carry altered in its head": Bad(edit("carry", altered(40)), *FORGED),
    "carry altered in its body": Bad(edit("carry", altered(-3)), *FORGED),
    "carry of another length": Bad(edit("carry", altered(1)), *FORGED),
    "too long a carry": Bad(edit("carry", lambda text: text + "\n" * TEXT_LIMIT), *FORGED),
    "carry that is no ascii": Bad(edit("carry", lambda text: text + "é"), *FORGED),
    "percent signs of nothing": Bad(lambda fields: urlencode(fields).encode() + b"&x=%zz%&%=%", *RIGHT, burnt=True),
    "every byte percent-encoded": Bad(
        lambda fields: b"gatepost_token=" + "&".join(
            f"{name}={''.join(f'%{byte:02x}' for byte in value.encode())}" for name, value in fields.items()
        ).encode().removeprefix(b"gatepost_token="),
        *RIGHT, burnt=True,
    ),
    # Bodies that only begin like an answer.
    "nothing but the prefix": Bad(lambda _: b"gatepost_token=", *FORGED),
    "the prefix and an ampersand": Bad(lambda _: b"gatepost_token=&", *FORGED),
    "null bytes": Bad(lambda _: b"gatepost_token=" + bytes(1000), *FORGED),
    "an original with our prefix": Bad(lambda _: b"gatepost_token=&" + ORIGINAL, *FORGED),
    "ten megabytes": Bad(lambda _: b"gatepost_token=" + b"a" * 10_000_000, *FORGED),
    "just too large": Bad(lambda fields: urlencode(fields).encode().ljust(BODY_LIMIT + 1, b"&"), *FORGED),
}  # fmt: skip


@pytest.fixture(scope="module")
def twins() -> dict[str, Twin]:
    """One of each twin for the whole table: nothing of one row may reach another."""
    return {name: make_twin(name, above="1000000/minute") for name in TWINS}


@pytest.fixture(scope="module")
def calm_twins() -> dict[str, Twin]:
    """The same without any demand."""
    return {name: make_twin(name, mode="adaptive", above="1000000/minute") for name in TWINS}


@pytest.mark.parametrize("twin_name", TWINS)
@pytest.mark.parametrize("name", TABLE)
def test_bad_answer(name: str, twin_name: str, twins: dict[str, Twin]) -> None:
    """A bad answer has its outcome, and unless that was a delivery, nothing is lost by it."""
    bad, twin = TABLE[name], twins[twin_name]
    twin.received.clear()
    page = twin.send(body=ORIGINAL)
    twin.clock.tick(2)
    good = page.answered()
    reply = twin.send(body=bad.make(dict(good)))
    assert (reply.status, reply.reason) == (bad.status, bad.reason)
    again = twin.send(body=good.body)
    if bad.status == 200:
        assert (again.status, again.reason) == (409, "already-sent")
    elif bad.burnt:
        assert (again.status, again.reason) == (429, "used")
        assert twin.answer(again).status == 200
    else:
        assert again.status == 200
    assert [got.body for got in twin.received] == [ORIGINAL]
    assert all(not name.startswith("gatepost") for name, _ in twin.received[0].fields)


@pytest.mark.parametrize("twin_name", TWINS)
@pytest.mark.parametrize("name", [name for name, bad in TABLE.items() if bad.reason == "forged"])
def test_forged_answer_is_forged_in_calm_too(
    name: str, twin_name: str, twins: dict[str, Twin], calm_twins: dict[str, Twin]
) -> None:
    """What is no answer of ours is refused without any demand as well: the application never gets our fields."""
    fields = dict(twins[twin_name].send(body=ORIGINAL).answered())
    calm = calm_twins[twin_name]
    reply = calm.send(body=TABLE[name].make(fields))
    assert (reply.status, reply.reason) == (400, "forged")
    assert calm.received == []


@pytest.mark.parametrize(
    ("length", "asgi", "wsgi"),
    [
        (None, ORIGINAL, ORIGINAL),
        ("", ORIGINAL, b""),
        ("banana", ORIGINAL, b""),
        ("-1", ORIGINAL, b""),
        ("5", ORIGINAL, ORIGINAL[:5]),
        ("0", ORIGINAL, b""),
        ("0022", ORIGINAL, ORIGINAL),
        ("23", ORIGINAL, None),
        ("9" * 18, "not kept", None),
        ("9" * 40, "not kept", None),
    ],
)
def test_content_length(length: str | None, asgi: Any, wsgi: Any, twin_of: TwinOf) -> None:
    """A length that is wrong: ASGI servers say where a body ends, WSGI has only the length; nothing waits for more."""
    twin = twin_of()
    expected = wsgi if "Wsgi" in type(twin).__name__ else asgi
    page = twin.send(body=ORIGINAL, length=length)
    if expected is None:  # the client has left in the middle
        assert (page.status, page.body) == (400, b"")
        assert twin.received == []
        return
    assert page.status == 429
    assert ("too large to be kept" in page.text) is (expected == "not kept")
    reply = twin.answer(page)
    if expected == "not kept":
        assert (reply.status, reply.reason) == (413, "not-kept")
        assert twin.received == []
    else:
        assert reply.status == 200
        assert twin.received[0].body == expected
        assert twin.received[0].get("content-length") == str(len(expected))


@pytest.mark.parametrize(
    "fields",
    [
        [*BROWSER, ("content-type", "text/plain")],
        [*BROWSER, ("content-type", URLENCODED)],
        [*BROWSER, ("content-type", "")],
    ],
)
def test_two_content_types(fields: Any, twin_of: TwinOf) -> None:
    """A form with two types is refused, not challenged; an answer with two is forged; in calm both are as they were."""
    twin = twin_of()
    reply = twin.send(body=ORIGINAL, fields=fields)
    assert (reply.status, reply.reason) == (400, "content-type")
    reply = twin.send(body=b"gatepost_token=x", fields=fields)
    assert (reply.status, reply.reason) == (400, "forged")
    assert twin.received == []
    calm = twin_of(mode="adaptive")
    assert calm.send(body=ORIGINAL, fields=fields).status == 200
    assert calm.received[0].body == ORIGINAL


def test_overlong_head(twin_of: TwinOf) -> None:
    """A request of which too much would have to be remembered counts as too large to keep, and earns a permit."""
    twin = twin_of()
    for fields in (
        [*BROWSER, ("referer", f"http://{HOST}/" + "r" * HEAD_LIMIT)],
        [*BROWSER, ("sec-fetch-" + "x" * HEAD_LIMIT, "1")],
        [*BROWSER, ("cookie", "; ".join(f"name-{number}=1" for number in range(900)))],
        [*BROWSER, ("content-encoding", "gzip, " * 2000)],
    ):
        page = twin.send(body=ORIGINAL, fields=fields)
        assert page.status == 429
        assert "too large to be kept" in page.text
        reply = twin.answer(page)
        assert (reply.status, reply.reason) == (413, "not-kept")
        permit = reply.get("set-cookie").partition(";")[0]
        assert twin.send(body=ORIGINAL, cookie=permit).status == 200
    assert [got.body for got in twin.received] == [ORIGINAL] * 4


def test_header_answers(twin_of: TwinOf) -> None:
    """What comes in the header and is not right gets a new header token, and the request is not passed on."""
    twin = twin_of()
    page = twin.send(body=ORIGINAL)
    form_token = page.answered()["gatepost_token"]
    asked = twin.send(body=ORIGINAL, fields=SCRIPT)
    twin.clock.tick(2)
    answer = dict(asked.answered().headers)
    token, right = answer["Gatepost-Token"], answer["Gatepost-Answer"]
    table: list[tuple[list[tuple[str, str]], str]] = [
        ([("gatepost-token", form_token), ("gatepost-answer", right)], "forged"),
        ([("gatepost-token", ""), ("gatepost-answer", right)], "forged"),
        ([("gatepost-token", token[:-5]), ("gatepost-answer", right)], "forged"),
        ([("gatepost-token", "\xff" * 3000)], "forged"),
        ([("gatepost-answer", right)], "always"),
    ]
    for fields, reason in table:
        reply = twin.send(body=ORIGINAL, fields=[*SCRIPT, *fields])
        assert (reply.status, reply.reason) == (429, reason)
        assert reply.get("content-type") == "application/problem+json"
    body = Answer({"gatepost_token": token, "gatepost_carry": "", "gatepost_answer": ANSWER}, {}).body
    assert twin.send(body=body).reason == "forged"
    assert twin.received == []
    assert (
        twin.send(body=ORIGINAL, fields=[*SCRIPT, ("gatepost-token", token), ("gatepost-answer", right)]).status == 200
    )
    for bad_answer in ("", "%", "%ff", "x" * 9999):
        fresh = twin.send(body=ORIGINAL, fields=SCRIPT).answered().headers["Gatepost-Token"]
        twin.clock.tick(2)
        fields = [*SCRIPT, ("gatepost-token", fresh), ("gatepost-answer", bad_answer)]
        assert twin.send(body=ORIGINAL, fields=fields).reason == "wrong"
    assert len(twin.received) == 1


def test_i12_carry_brings_no_markup(twin_of: TwinOf) -> None:
    """Markup that base64 decoding skips, around letters that are the carry's own, comes into no page."""
    markup = '"><a href=https://evil.example/>go</a>'
    twin = twin_of(failure_limit="1/minute")
    # Whatever the head's length is, one of these bodies spells the letters.
    bodies = [b"x" * shift + urlsafe_b64decode(_letters(markup)) for shift in range(3)]
    pages = [dict(twin.send(body=body, content_type="text/plain").answered("wrong")) for body in bodies]
    letters = _letters(markup).decode().rstrip("A")
    fields = next(page for page in pages if letters in page["gatepost_carry"])
    fields["gatepost_carry"] = fields["gatepost_carry"].replace(letters, markup)
    for reason in ("wrong", "failure-limit"):
        twin.clock.tick(2)
        reply = twin.send(body=urlencode(fields).encode())
        assert reply.reason == reason
        assert "evil.example" not in reply.text


def _letters(markup: str) -> bytes:
    """What is left of it in base64."""
    letters = re.sub("[^A-Za-z0-9/]", "", markup).replace("/", "_").encode()
    return letters + b"A" * (-len(letters) % 4)


@settings(max_examples=150, deadline=None)
@given(noise=st.binary(max_size=200))
@pytest.mark.parametrize("twin_name", ["asgi-asyncio", "wsgi"])
def test_i5_noise_is_forged(twin_name: str, noise: bytes, twins: dict[str, Twin]) -> None:
    """Whatever follows the name of our first field: it is refused, and the application is not called."""
    twin = twins[twin_name]
    twin.received.clear()
    reply = twin.send(body=b"gatepost_token=" + noise)
    assert (reply.status, reply.reason) == (400, "forged")
    assert twin.received == []


@settings(max_examples=150, deadline=None)
@given(
    cuts=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), st.binary(max_size=3)), min_size=1, max_size=3),
)
@pytest.mark.parametrize("twin_name", ["asgi-asyncio", "wsgi"])
def test_i5_changed_answer_delivers_the_original_or_nothing(
    twin_name: str, cuts: list[tuple[float, int, bytes]], twins: dict[str, Twin]
) -> None:
    """However an answer is changed: the application gets the original, exactly, or is not called."""
    twin = twins[twin_name]
    twin.received.clear()
    page = twin.send(body=ORIGINAL)
    twin.clock.tick(2)
    body = page.answered().body
    for where, away, instead in cuts:
        at = 15 + int(where * (len(body) - 15))
        body = body[:at] + instead + body[at + away :]
    reply = twin.send(body=body)
    assert reply.status in (200, 400, 429)
    assert [got.body for got in twin.received] == ([ORIGINAL] if reply.status == 200 else [])
