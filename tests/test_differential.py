"""Both twins, the same requests: the same answers to the byte, and the application receives the same."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from gatepost import Reason, Rule, flow, interstitial, permits
from gatepost.stores import memory
from gatepost.testing import KnownChallenge
from twins import ANSWER, BROWSER, HOST, Fields, Reply, Twin, make_twin

ORIGINAL = "name=Ada&message=h\u00e9llo+%26+more".encode()
MULTIPART = b'--b\r\nContent-Disposition: form-data; name="f"; filename="p"\r\n\r\n\x00\xff\r\n--b--\r\n'
SCRIPT: Fields = [("host", HOST), ("accept", "application/json"), ("sec-fetch-mode", "cors")]
FOREIGN: Fields = [
    ("host", HOST),
    ("accept", "text/html"),
    ("origin", "https://evil.example"),
    ("referer", "https://evil.example/page"),
    ("sec-fetch-site", "cross-site"),
    ("sec-fetch-mode", "navigate"),
]
TURBO: Fields = [("host", HOST), ("accept", "text/html"), ("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")]
LYNX: Fields = [("host", HOST), ("accept", "*/*"), ("cookie", "a=1; b=2")]
TWO_KINDS = [KnownChallenge(ANSWER), KnownChallenge(ANSWER, name="other")]

Step = Callable[[Twin, list[Reply]], Reply]


def post(body: Any = ORIGINAL, **options: Any) -> Step:
    """Send a form, or anything else."""
    return lambda twin, _: twin.send(body=body, **options)


def answer(text: str = ANSWER, page: int = -1, after: float = 2, **options: Any) -> Step:
    """Answer one of the pages so far, ``after`` seconds later."""

    def step(twin: Twin, replies: list[Reply]) -> Reply:
        twin.clock.tick(after - 2)  # the twin's answer brings two seconds of its own
        return twin.answer(replies[page], text, **options)

    return step


def by_header(text: str = ANSWER, page: int = -1, **options: Any) -> Step:
    """Send the original again with the answer in its header."""

    def step(twin: Twin, replies: list[Reply]) -> Reply:
        twin.clock.tick(2)
        fields = [*SCRIPT, *((name.lower(), value) for name, value in replies[page].answered(text).headers.items())]
        return twin.send(body=ORIGINAL, **({"fields": fields} | options))

    return step


def tampered(old: str, new: str) -> Step:
    """Post an answer in which some text was replaced."""

    def step(twin: Twin, replies: list[Reply]) -> Reply:
        twin.clock.tick(2)
        return twin.send(body=replies[-1].answered().body.replace(old.encode(), new.encode(), 1))

    return step


def restart(twin: Twin, replies: list[Reply]) -> Reply:
    """The process is another one from here on."""
    twin.gate.reset()
    return replies[-1]


def crowd(twin: Twin, replies: list[Reply]) -> Reply:
    """Other requests fill the buffer from here on."""
    assert twin.gate.buffer.grow(twin.gate.settings.buffer_limit)
    return replies[-1]


def permitted(twin: Twin, replies: list[Reply]) -> Reply:
    """Send the form with the permit that the last answer has set."""
    return twin.send(body=ORIGINAL, cookie=replies[-1].get("set-cookie").partition(";")[0])


SMALL = {"carry_limit": 10, "keep_limit": 30}
CALM = {"mode": "adaptive"}

# name: (settings, steps)
TABLE: dict[str, tuple[dict[str, Any], list[Step]]] = {
    "unprotected": ({}, [post(path="/elsewhere"), post(method="GET", body=b"", content_type=None)]),
    "calm": (CALM, [post(), post(MULTIPART, content_type="multipart/form-data; boundary=b"), post(b""), post(b"gate")]),
    "off": ({"mode": "off"}, [post(), post(b"gatepost_token=x")]),
    "observe": ({"mode": "observe", "above": "1/minute"}, [post(), post(), post()]),
    "exempt": ({"exempt": "203.0.113.0/24"}, [post(), post(peer="198.51.100.1"), post(peer=None)]),
    "above a threshold": ({"mode": "adaptive", "above": "2/minute"}, [post(), post(), post(), answer(), post()]),
    "one client": (
        {"mode": "adaptive", "above_per_client": "1/minute"},
        [post(), post(), post(peer="2001:db8::1"), answer(page=1)],
    ),
    "two levels": ({"mode": "adaptive", "above": ["1/minute", "2/minute"]}, [post(), post(), post(), answer(page=1)]),
    "solved": ({}, [post(), answer()]),
    "solved multipart": ({}, [post(MULTIPART, content_type="multipart/form-data; boundary=b"), answer()]),
    "solved without a type": ({}, [post(content_type=None), answer()]),
    "solved empty": ({}, [post(b""), answer()]),
    "solved in pieces": ({}, [post([b"na", b"", b"me=", b"Ada"]), answer()]),
    "solved chunked": ({}, [post(length=None, fields=[*BROWSER, ("transfer-encoding", "chunked")]), answer()]),
    "solved encoded": ({}, [post(b"\x1f\x8b\x08", fields=[*BROWSER, ("content-encoding", "gzip")]), answer()]),
    "solved with query": ({}, [post(query="a=b&c=%2F"), answer(query="a=b&c=%2F")]),
    "solved with prefix": ({}, [post(prefix="/shop"), answer(prefix="/shop")]),
    "solved over https": ({"permit_uses": 1}, [post(scheme="https"), answer(scheme="https")]),
    "solved without a peer": ({}, [post(peer=None), answer(peer=None)]),
    "solved other path": ({"protect": "/{word}/كتاب"}, [post(path="/ü/كتاب"), answer(path="/ü/كتاب")]),
    "solved with cookies": ({}, [post(cookie="a=1; b=2"), answer(cookie="a=3; c=4")]),
    "solved foreign": ({}, [post(fields=FOREIGN, cookie="a=1"), answer(cookie="a=1; session=2")]),
    "solved text browser": ({}, [post(fields=LYNX), answer(fields=LYNX)]),
    "solved authorized": (
        {},
        [
            post(fields=[*BROWSER, ("authorization", "Basic eA==")]),
            answer(fields=[*BROWSER, ("authorization", "Basic eQ==")]),
        ],
    ),
    "solved with odd fields": (
        {},
        [post(), answer(fields=[*BROWSER, ("gatepost-x", "1"), ("te", "x"), ("digest", "y"), ("x-z", "é")])],
    ),
    "wrong": ({}, [post(), answer("no"), answer("no"), answer()]),
    "empty answer": ({}, [post(), answer(""), answer(" ")]),
    "too fast": ({"min_time": 5}, [post(), answer(), answer(after=6)]),
    "expired": ({}, [post(), answer(after=700), answer()]),
    "ended": ({}, [post(), answer(after=3700)]),
    "sent twice": ({}, [post(), answer(), answer(page=0)]),
    "used": ({}, [post(), answer("no"), answer(page=0)]),
    "another": ({}, [post(), answer(button="another"), answer()]),
    "another kind": (
        {"challenge": TWO_KINDS},
        [post(), answer(button="kind-other"), answer(button="kind-nobody"), answer()],
    ),
    "another button": ({}, [post(), answer(button="<b>"), post(), answer(button="")]),
    "restarted": ({}, [post(), restart, answer(page=0), answer()]),
    "restarted in calm": (
        {"mode": "adaptive", "above": "1/minute"},
        [post(), post(), restart, answer(page=1), answer()],
    ),
    "calmed": ({"mode": "adaptive", "above": "1/minute"}, [post(), post(), answer("no", after=500)]),
    "foreign answer": ({}, [post(), answer(fields=FOREIGN), answer(page=0, fields=FOREIGN, button="another")]),
    "forged": (
        {},
        [post(b"gatepost_token="), post(b"gatepost_token=x&gatepost_carry=y"), post(b"gatepost_token=%00&x=%ff")],
    ),
    "altered carry": ({}, [post(), tampered("gatepost_carry=", "gatepost_carry=A")]),
    "altered token": ({}, [post(), tampered("gatepost_token=", "gatepost_token=A")]),
    "repeated field": ({}, [post(), tampered("&gatepost_do", "&gatepost_answer=x&gatepost_do")]),
    "missing carry": ({}, [post(), tampered("gatepost_carry", "carry")]),
    "other path": ({"protect": ["/contact", "/signup"]}, [post(), answer(path="/signup")]),
    "other query": ({}, [post(), answer(query="a=b")]),
    "very large answer": ({}, [post(b"gatepost_token=" + b"a" * 1_000_000)]),
    "two types": (
        {},
        [post(fields=[*BROWSER, ("content-type", "text/plain")]), post(content_type="text/plain, text/html")],
    ),
    "long type": ({}, [post(content_type="text/plain; x=" + "y" * 200)]),
    "kept": (SMALL, [post(b"x" * 25), answer(), answer(page=0)]),
    "kept and lost": (SMALL, [post(b"x" * 25), restart, answer(page=0)]),
    "not kept": (SMALL, [post(b"x" * 31), answer("no"), answer(), permitted, post()]),
    "over the count": (SMALL | {"keep_count": 1}, [post(b"x" * 25), post(b"x" * 25), answer()]),
    "over the buffer": ({}, [post(), crowd, post(), answer(page=0)]),
    "permits": ({"permit_uses": 2}, [post(), answer(), permitted]),
    "long head": ({}, [post(fields=[*BROWSER, ("referer", f"http://{HOST}/" + "r" * 9000)]), answer()]),
    "frame": ({}, [post(fields=[*BROWSER[:-1], ("sec-fetch-dest", "iframe")])]),
    "turbo": ({}, [post(fields=TURBO, query="a=b"), answer(fields=TURBO, query="a=b")]),
    "json": ({}, [post(fields=SCRIPT), by_header("no"), by_header(), by_header(page=1)]),
    "json body": ({}, [post(b"{}", content_type="application/json", fields=[("host", HOST)])]),
    "json with a page's answer": (
        {},
        [post(), answer(fields=[*BROWSER[:1], *BROWSER[2:], ("accept", "application/json")])],
    ),
    "header forged": ({}, [post(fields=[*SCRIPT, ("gatepost-token", "x"), ("gatepost-answer", "y")])]),
    "header twice": (
        {},
        [post(fields=SCRIPT), by_header(fields=[*SCRIPT, ("gatepost-token", "x"), ("gatepost-token", "y")])],
    ),
    "header restarted": ({}, [post(fields=SCRIPT), restart, by_header(page=0), by_header()]),
    "put": (
        {"protect": Rule("/contact", methods=("PUT",))},
        [post(method="PUT"), by_header(method="PUT"), post(method="PUT")],
    ),
    "lower case method": ({}, [post(method="post"), answer(method="Post")]),
    "failures": ({"failure_limit": "1/minute"}, [post(), answer("no"), answer("no"), answer(), answer(after=120)]),
    "issues": ({"issue_limit": "1/minute"}, [post(), post(), answer(), answer(page=0), answer(page=1, after=120)]),
    "issues by header": ({"issue_limit": "1/minute"}, [post(fields=SCRIPT), post(fields=SCRIPT), by_header()]),
    "busy": ({"render_rate": 1}, [post(peer=None), *[post(peer=None)] * 3, answer(peer=None)]),
    "no form type": (
        {},
        [post(b"<x/>", content_type="text/xml", fields=[("host", HOST)]), post(b"<x/>", content_type="text/xml")],
    ),
    "words": (
        {"site_name": "<Ada & Co>", "contact": "mail@x.example", "locale": "de", "status": 503},
        [post(), answer("no")],
    ),
}


def run(name: str, table_row: tuple[dict[str, Any], list[Step]], monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """Walk through the steps with one twin; what its clients and its application got, made comparable."""
    options, steps = table_row
    numbers = count(1)
    # Nothing random is left: ids are known, so that both twins issue the very same tokens.
    for user in (flow, interstitial, permits):
        monkeypatch.setattr(user, "new_id", lambda: next(numbers).to_bytes(16, "big"))
    ids = SimpleNamespace(token_bytes=lambda size: next(numbers).to_bytes(size, "big"))
    monkeypatch.setattr(memory, "secrets", ids)
    twin = make_twin(name, **options)
    replies: list[Reply] = []
    for step in steps:
        replies.append(step(twin, replies))
    # Only ASGI applications may close a connection.
    answers = [(r.status, sorted(item for item in r.fields if item[0] != "connection"), r.body) for r in replies]
    return answers, [(r.method, r.path, r.query, joined(r.fields), r.body) for r in twin.received]


def joined(fields: list[tuple[str, str]]) -> dict[str, str]:
    """Header fields with repeated ones joined, as WSGI has them."""
    return {name: ",".join(value for key, value in fields if key == name) for name, _ in sorted(fields)}


@pytest.mark.parametrize("name", TABLE)
def test_twins_are_identical(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both twins give the same status, header fields and bytes, and their applications receive the same."""
    (asgi, their_requests), (wsgi, our_requests) = (
        run(twin, TABLE[name], monkeypatch) for twin in ("asgi-asyncio", "wsgi")
    )
    for number, (one, other) in enumerate(zip(asgi, wsgi, strict=True)):
        assert one == other, f"step {number}"
    for one, other in zip(their_requests, our_requests, strict=True):
        assert (one[0], one[2], one[3], one[4]) == (other[0], other[2], other[3], other[4])
        assert one[1].endswith(other[1])  # ASGI paths have their prefix
    assert not any(status >= 500 and status != 503 for status, _, _ in asgi)


def test_table_goes_through_every_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table holds a request for every reason that can be given without a slow client."""
    told = set()
    for row in TABLE.values():
        replies, _ = run("wsgi", row, monkeypatch)
        told |= {
            value.partition("reason=")[2] for _, fields, _ in replies for name, value in fields if name == "gatepost"
        }
    unseen = {Reason.TOO_SLOW, Reason.SOLVED, Reason.CALMED, Reason.PERMIT, Reason.WOULD_CHALLENGE, Reason.OUTDATED}
    unseen |= {Reason.STORE_AWAY}  # in memory nothing goes away
    assert {reason.value for reason in Reason} - told == {reason.value for reason in unseen}
