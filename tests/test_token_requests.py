"""Form and header tokens as requests bring them, through both twins: delivered once, refused, or asked again."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost import Rule
from gatepost.testing import KnownChallenge
from gatepost.tokens import FORM
from test_tokens import respellings
from twins import ANSWER, BROWSER, HOST, Reply, Twin, make_twin

#: A client of the API, which gets problem+json.
PROGRAM = (("host", HOST), ("accept", "application/json"))
BODY = b"message=hello%20there"

TwinOf = Callable[..., Twin]


def form_body(token: str, carry: str, answer: str = ANSWER, button: str = "answer") -> bytes:
    fields = {"gatepost_token": token, "gatepost_carry": carry, "gatepost_answer": answer, "gatepost_do": button}
    return urlencode(fields, errors="surrogatepass").encode()


def by_header(token: str, answer: str = ANSWER) -> tuple[tuple[str, str], ...]:
    # Header fields are Latin-1; what is not cannot arrive.
    text = token.encode("latin-1", "replace").decode("latin-1")
    return (*PROGRAM, ("gatepost-token", text), ("gatepost-answer", quote(answer)))


def test_i4_respelt_form_token_delivers_once(twin_of: TwinOf) -> None:
    """Of a token and all its re-spellings one is delivered, whichever comes first; none of them is a crash."""
    for first_is_respelt in (False, True):
        twin = twin_of()
        fields = twin.send(body=BODY).answered()
        twin.clock.tick(2)
        texts = [fields["gatepost_token"], *respellings(fields["gatepost_token"])]
        for text in reversed(texts) if first_is_respelt else texts:
            reply = twin.send(body=form_body(text, fields["gatepost_carry"]))
            assert (reply.status, reply.reason) in [(200, ""), (400, "forged"), (409, "already-sent")]
        assert [received.body for received in twin.received] == [BODY]


def test_i5_used_token_does_not_tell_right_from_wrong(twin_of: TwinOf) -> None:
    """Of a token that was used, the right answer gets the same page as a wrong one, whatever level is demanded now."""
    twin = twin_of(mode="adaptive", above=["1/minute", "3/minute"])
    pages = [twin.send(body=BODY) for _ in range(2)]
    fields = pages[-1].answered()
    twin.clock.tick(2)
    assert twin.send(body=form_body(fields["gatepost_token"], fields["gatepost_carry"], "no")).reason == "wrong"
    for _ in range(3):
        twin.send(body=BODY)
    levels = set()
    for answer in ("no", ANSWER):
        reply = twin.send(body=form_body(fields["gatepost_token"], fields["gatepost_carry"], answer))
        assert reply.reason == "used"
        token = twin.gate.tokens.read(FORM, reply.answered()["gatepost_token"])
        assert token is not None
        levels.add(token.level)
    assert levels == {2}


def test_i4_respelt_header_token_delivers_once(twin_of: TwinOf) -> None:
    """A header token passes one request, however it is spelt later."""
    twin = twin_of()
    token = twin.send(body=BODY, fields=PROGRAM).answered().headers["Gatepost-Token"]
    twin.clock.tick(2)
    replies = [twin.send(body=BODY, fields=by_header(text)) for text in (token, *respellings(token))]
    assert replies[0].status == 200
    assert {(reply.status, reply.reason) for reply in replies[1:]} == {(429, "already-sent"), (429, "forged")}
    assert [received.body for received in twin.received] == [BODY]


@pytest.mark.parametrize("answer", [ANSWER, "wrong"])
@pytest.mark.parametrize("button", ["", "another", "continue"])
def test_i4_page_of_what_was_delivered_says_so(twin_of: TwinOf, answer: str, button: str) -> None:
    """Whatever is done on a page of a delivered submission, it says 'already sent' and offers nothing further."""
    twin = twin_of()
    page = twin.send(body=BODY)
    twin.answer(page)
    reply = twin.answer(page, answer, button=button)
    assert (reply.status, reply.reason) == (409, "already-sent")
    assert "gatepost_token" not in reply.text
    assert len(twin.received) == 1


@pytest.mark.parametrize("name", ["wsgi", "asgi-asyncio"])
def test_i4_no_changed_answer_request_delivers_twice(name: str) -> None:
    """Any bytes of a delivered answer request changed, dropped or added: refused or challenged, never a crash."""
    twin = make_twin(name)
    whole = twin.send(body=BODY).answered().body
    twin.clock.tick(2)
    assert twin.send(body=whole).status == 200

    @settings(max_examples=150, deadline=None)
    @given(st.integers(0, len(whole)), st.binary(max_size=2), st.integers(0, 2))
    def change(at: int, new: bytes, dropped: int) -> None:
        assert twin.send(body=whole[:at] + new + whole[at + dropped :]).status in (400, 409, 429)
        assert len(twin.received) == 1

    change()


def test_i2_changed_answer_request_delivers_the_original_or_nothing() -> None:
    """Any one byte of a fresh right answer request changed: what is delivered, if anything, is what was sent."""
    twin = make_twin("wsgi")

    @settings(max_examples=200, deadline=None)
    @given(st.integers(0, 2000), st.integers(1, 255))
    def change(at: int, mask: int) -> None:
        whole = twin.send(body=BODY).answered().body
        twin.clock.tick(2)
        at %= len(whole)
        assert twin.send(body=whole[:at] + bytes([whole[at] ^ mask]) + whole[at + 1 :]).status in (200, 400, 429)
        assert {received.body for received in twin.received} <= {BODY}

    change()


@pytest.mark.parametrize(
    ("options", "accepted"),
    [
        ({}, True),
        ({"query": "a=2"}, False),
        ({"query": ""}, False),
        ({"query": "a=1&b"}, False),
        ({"query": "a=%31"}, False),  # the query is compared as it was sent
        ({"path": "/other"}, False),
        ({"path": "/contact/"}, False),
        ({"prefix": "/mounted"}, True),  # the prefix is not part of the path
    ],
)
def test_i5_form_token_is_bound_to_path_and_query(twin_of: TwinOf, options: dict[str, Any], accepted: bool) -> None:
    """A form token of another path or query is forged."""
    twin = twin_of(protect=["/contact", "/other"])
    reply = twin.answer(twin.send(body=BODY, query="a=1"), **({"query": "a=1"} | options))
    assert reply.reason == ("" if accepted else "forged")
    assert len(twin.received) == accepted


@pytest.mark.parametrize(
    ("options", "accepted"),
    [({}, True), ({"method": "PATCH"}, False), ({"query": "a=2"}, False), ({"path": "/other"}, False)],
)
def test_i5_header_token_is_bound_to_method_path_and_query(
    twin_of: TwinOf, options: dict[str, Any], accepted: bool
) -> None:
    """A header token of another method, path or query is forged, and a new one comes with a challenge."""
    twin = twin_of(protect=[Rule(path, methods=("POST", "PUT", "PATCH")) for path in ("/contact", "/other")])
    request: dict[str, Any] = {"method": "PUT", "path": "/contact", "body": BODY, "query": "a=1"}
    token = twin.send(**request, fields=PROGRAM).answered().headers["Gatepost-Token"]
    twin.clock.tick(2)
    reply = twin.send(**(request | options), fields=by_header(token))
    assert reply.reason == ("" if accepted else "forged")
    assert len(twin.received) == accepted


def test_i5_token_of_the_other_way_is_forged(twin_of: TwinOf) -> None:
    """A form token in the header, and a header token in the form, are forged."""
    twin = twin_of()
    fields = twin.send(body=BODY).answered()
    token = twin.send(body=BODY, fields=PROGRAM).answered().headers["Gatepost-Token"]
    twin.clock.tick(2)
    assert twin.send(body=form_body(token, fields["gatepost_carry"])).reason == "forged"
    assert twin.send(body=BODY, fields=by_header(fields["gatepost_token"])).reason == "forged"
    assert not twin.received


def test_i13_token_of_another_rule_gets_a_fresh_challenge(twin_of: TwinOf) -> None:
    """A token of a rule that bears another name now does not count as answered, and its submission is not lost."""
    old = twin_of(protect=[Rule("/contact", name="old")])
    new = twin_of(protect=[Rule("/contact", name="new")], store=old.gate.store.local, clock=old.clock)
    page = new.answer(old.send(body=BODY))
    assert (page.status, page.reason) == (429, "outdated")
    assert new.answer(page).status == 200
    assert [received.body for received in new.received] == [BODY]


def as_version(twin: Twin, page: Reply, version: int, rest: bytes | None = None) -> bytes:
    """The answer to a page whose token another version has signed; ``rest`` replaces what follows the lineage."""
    fields = page.answered()
    payload = twin.gate.tokens.unsign(FORM, fields["gatepost_token"])
    assert payload is not None
    lineage = 1 + 16 + 32 + 16 + 16 + 8 + 8
    body = payload[1:] if rest is None else payload[1:lineage] + rest
    return form_body(twin.gate.tokens.sign(FORM, bytes([version]) + body), fields["gatepost_carry"])


@pytest.mark.parametrize(
    ("version", "rest"), [(2, None), (255, b""), (0, bytes(500)), (1, b"short"), (1, bytes(300)), (2, b"\xff" * 90)]
)
def test_i13_unknown_version_keeps_the_submission(twin_of: TwinOf, version: int, rest: bytes | None) -> None:
    """A genuine token of another version gets a fresh challenge with the same carry, and delivers once."""
    twin = twin_of()
    page = twin.send(body=BODY)
    twin.clock.tick(2)
    fresh = twin.send(body=as_version(twin, page, version, rest))
    assert (fresh.status, fresh.reason) == (429, "outdated")
    assert fresh.answered()["gatepost_carry"] == page.answered()["gatepost_carry"]
    assert twin.answer(fresh).status == 200
    assert twin.answer(page).reason == "already-sent"  # the same submission
    assert [received.body for received in twin.received] == [BODY]


def test_i5_shared_secret_of_two_sites(twin_of: TwinOf) -> None:
    """A page of one site is forged on another with the same secret."""
    secret = secrets.token_urlsafe(32)
    shop, wiki = twin_of(secret=secret, site="shop"), twin_of(secret=secret, site="wiki")
    assert wiki.answer(shop.send(body=BODY)).reason == "forged"
    assert not wiki.received


# --- answers ---


def test_empty_answer_is_never_right(twin_of: TwinOf) -> None:
    """An empty answer is wrong, and so is one that is empty once normalised."""
    twin = twin_of()
    for answer in ("", " ", "\u3000"):
        assert twin.answer(twin.send(body=BODY), answer).reason == "wrong"
    assert not twin.received


def test_continue_token_is_never_right(twin_of: TwinOf) -> None:
    """While a challenge is demanded, no answer and no button makes a 'Continue' page deliver."""
    twin = twin_of(issue_limit="1/hour")
    twin.send(body=BODY)
    page = twin.send(body=BODY)
    assert page.reason == "issue-limit"
    fields = page.answered()
    for button in ("continue", "answer", "another", "kind-known", ""):
        for answer in ("", ANSWER, "\0" * 16):
            reply = twin.send(body=form_body(fields["gatepost_token"], fields["gatepost_carry"], answer, button))
            assert (reply.status, reply.reason) == (429, "issue-limit")
    assert not twin.received


def test_i4_continue_pages_cost_no_memory_of_nonces() -> None:
    """'Another picture' on a page without a picture claims nothing, or anyone could flush the claims by it."""
    twin = make_twin("wsgi", issue_limit="2/hour", spent_size=3)
    honest = twin.send(body=BODY, peer="198.51.100.1")
    twin.clock.tick(2)
    twin.send(body=b"x")
    twin.send(body=b"x")
    page = twin.send(body=b"x")
    for _ in range(10):
        page = twin.send(body=page.answered().with_button("another").body)
        assert page.reason == "issue-limit"
    assert twin.answer(honest, peer="198.51.100.1").status == 200


@pytest.mark.parametrize("answer", ["Open Sesame", "7A3F9K", "ключ", "x"])
def test_i9_answer_is_not_in_the_token(answer: str) -> None:
    """Neither the page nor the signed bytes hold the answer, or an unkeyed digest of it by which to try answers."""
    known = KnownChallenge(answer)
    twin = make_twin("wsgi", challenge=known)
    page = twin.send(body=BODY)
    right = known.draw(1, "en").answer
    payload = twin.gate.tokens.unsign(FORM, page.answered()["gatepost_token"])
    assert payload is not None
    token = twin.gate.tokens.read(FORM, page.answered()["gatepost_token"])
    assert token is not None
    if len(right) > 1:  # one letter may be anywhere by chance
        assert right.encode() not in payload
        assert right not in page.text
    for text in {right, answer}:
        for salted in (text.encode(), token.nonce + text.encode(), text.encode() + token.nonce):
            for name in ("md5", "sha1", "sha256", "sha512"):
                assert hashlib.new(name, salted).digest()[:8] not in payload


# --- a store that has forgotten ---


@pytest.mark.parametrize("way", ["form", "header"])
@pytest.mark.parametrize("limits", [{}, {"issue_limit": "1/hour"}, {"failure_limit": "1/hour"}])
def test_i4_restart_is_told_whatever_the_limits(twin_of: TwinOf, way: str, limits: dict[str, str]) -> None:
    """A token of another store is issued again only with the word that it may have been sent already."""
    program = PROGRAM if way == "header" else BROWSER
    old = twin_of()
    answer = old.send(body=BODY, fields=program).answered()
    new = twin_of(clock=old.clock, **limits)
    new.answer(new.send(body=b"of another one"), "wrong")
    sent = by_header(answer.headers["Gatepost-Token"]) if way == "header" else BROWSER
    reply = new.send(body=BODY if way == "header" else answer.body, fields=sent)
    assert (reply.status, reply.reason) == (429, "restarted")
    assert way == "header" or "may have arrived already" in reply.text
    assert not new.received


# --- time ---


@pytest.mark.parametrize(
    ("options", "waits", "reason"),
    [
        ({}, 0, "too-fast"),
        ({}, 0.9, "too-fast"),
        ({}, 1, ""),
        ({}, 599.9, ""),
        ({}, 600, "expired"),
        ({"lifetime": 3600}, 3599.9, ""),
        ({"lifetime": 3600}, 3600, "ended"),
        ({"min_time": 0}, 0, ""),
        ({"min_time": 0}, -4, ""),  # a host whose clock is behind, within the leeway
        ({"min_time": 0, "leeway": 0}, 0, ""),
    ],
)
def test_time_of_an_answer(twin_of: TwinOf, options: dict[str, Any], waits: float, reason: str) -> None:
    """An answer is right between min_time and lifetime, and a clock that is behind by the leeway does not matter."""
    twin = twin_of(**options)
    answer = twin.send(body=BODY).answered()
    twin.clock.tick(waits)
    reply = twin.send(body=answer.body, fields=BROWSER)
    assert reply.reason == reason
    assert len(twin.received) == (reason == "")


def test_no_token_outlives_its_submission(twin_of: TwinOf) -> None:
    """A page that is issued shortly before the submission's end can be answered until then, and says so."""
    twin = twin_of()
    page = twin.send(body=BODY)
    begin = twin.clock()
    twin.clock.tick(3500)
    page = twin.answer(page)
    token = twin.gate.tokens.read(FORM, page.answered()["gatepost_token"])
    assert token is not None
    assert token.expires == token.end == int((begin + 3600) * 1000)
    assert "You have 2 minutes to answer" in page.text


@pytest.mark.parametrize(
    ("issued", "living", "reason"), [(0, 600, ""), (4.9, 600, ""), (5.1, 600, "expired"), (0, 600.1, "expired")]
)
def test_token_from_the_future_or_too_long_is_expired(issued: float, living: float, reason: str) -> None:
    """Issued later than now and the leeway, or living longer than its rule allows: expired, with a fresh challenge."""
    twin = make_twin("wsgi", min_time=0)
    fields = twin.send(body=BODY).answered()
    token = twin.gate.tokens.read(FORM, fields["gatepost_token"])
    assert token is not None
    begin = token.issued + int(issued * 1000)
    text = twin.gate.tokens.issue(replace(token, issued=begin, expires=begin + int(living * 1000)))
    assert twin.send(body=form_body(text, fields["gatepost_carry"])).reason == reason
