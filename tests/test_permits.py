"""Permits: a cookie that lets the next submissions of someone who has solved a challenge pass, and not one more."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost import Rule
from gatepost.permits import Permits
from gatepost.protocols import Headers
from gatepost.tokens import Tokens
from test_tokens import changed, respellings
from twins import HOST, Reply, Twin, make_twin

TwinOf = Callable[..., Twin]

BODY = b"message=hello"
MINUTE = 60_000
KEY = secrets.token_bytes(32)
STORE = secrets.token_bytes(16)
PERMITS = Permits(Tokens((KEY,)), "")


def issued(permits: Permits = PERMITS, rule: str = "/contact", lifetime: int = 5 * MINUTE) -> str:
    """A ``Cookie`` field with a permit for two uses, issued at 0."""
    return permits.issue(rule, 2, STORE, 0, lifetime, secure=False).partition(";")[0]


def cookies(*fields: str) -> Headers:
    return Headers(("cookie", field) for field in fields)


def permit_of(reply: Reply) -> str:
    """The permit that a reply set, as the browser sends it back."""
    assert reply.get("set-cookie").startswith("gatepost_permit")
    return reply.get("set-cookie").partition(";")[0]


def earned(twin: Twin, **options: Any) -> str:
    return permit_of(twin.answer(twin.send(body=BODY, **options), **options))


# --- the cookie ---


@pytest.mark.parametrize(("secure", "more"), [(False, []), (True, ["Secure"])])
def test_cookie_attributes(secure: bool, more: list[str]) -> None:
    """The cookie is out of reach of scripts and of foreign sites' forms, and over https it is sent over https alone."""
    name, *attributes = PERMITS.issue("/contact", 2, STORE, 0, 5 * MINUTE, secure).split("; ")
    assert name.startswith("gatepost_permit=")
    assert attributes == ["Path=/", "Max-Age=300", "HttpOnly", "SameSite=Lax", *more]


@pytest.mark.parametrize(
    ("rule", "store", "now", "longest", "good"),
    [
        ("/contact", STORE, 0, 5 * MINUTE, True),
        ("/contact", STORE, 5 * MINUTE - 1, 5 * MINUTE, True),
        ("/contact", STORE, 5 * MINUTE, 5 * MINUTE, False),  # expired
        ("/contact", STORE, 0, 5 * MINUTE - 1, False),  # living longer than the settings allow
        ("/contact", STORE, -1, 5 * MINUTE, False),  # from the future
        ("/other", STORE, 0, 5 * MINUTE, False),
        ("", STORE, 0, 5 * MINUTE, False),
        ("/contact", bytes(16), 0, 5 * MINUTE, False),  # of another store, which does not know of its uses
    ],
)
def test_i5_permit_is_bound(rule: str, store: bytes, now: int, longest: int, good: bool) -> None:
    """A permit is for one rule and one store, until it expires, and for no longer than the settings allow."""
    permit = PERMITS.read(cookies(issued()), rule, store, now, longest)
    assert (permit is not None) is good
    assert permit is None or permit.uses == 2


@pytest.mark.parametrize(
    ("key", "site", "good"), [(KEY, "", True), (secrets.token_bytes(32), "", False), (KEY, "other", False)]
)
def test_i5_permit_of_another_site_or_secret_is_none(key: bytes, site: str, good: bool) -> None:
    """A permit of another application is none, even under the name that this one would give it."""
    reader = Permits(Tokens((key,), site), site)
    field = f"{reader.cookie}={issued().partition('=')[2]}"
    assert (reader.read(cookies(field), "/contact", STORE, 0, 5 * MINUTE) is not None) is good
    assert (reader.cookie == PERMITS.cookie) is (site == "")


@pytest.mark.parametrize(
    ("fields", "good"),
    [
        (["{permit}"], True),
        (["a=1; {permit}; b=2"], True),
        (["a=1", "{permit}"], True),
        (["  {permit}  ;"], True),
        (["gatepost_permit=x; {permit}"], True),  # a path or a domain can double a name
        (["{permit}; gatepost_permit=x"], True),
        (["gatepost_permit=x; gatepost_permit=y; {permit}"], False),  # each costs a MAC, so two are looked at
        (["gatepost_permit"], False),
        (["gatepost_permit="], False),
        (["gatepost_permit=" + "x" * 300], False),
        (["other={permit}"], False),
        ([], False),
    ],
)
def test_permit_among_other_cookies(fields: list[str], good: bool) -> None:
    """A permit is found among other cookies, and whatever else bears its name does no harm."""
    headers = cookies(*(field.format(permit=issued()) for field in fields))
    found = PERMITS.read(headers, "/contact", STORE, 0, 5 * MINUTE)
    assert (found is not None) is good


COOKIE = issued()
GENUINE = PERMITS.read(cookies(COOKIE), "/contact", STORE, 0, 5 * MINUTE)


@given(changed(COOKIE.partition("=")[2]))
def test_i5_changed_permit_is_refused_or_the_same(value: str) -> None:
    """No change of one character makes a permit of another id, rule, number of uses or expiry."""
    found = PERMITS.read(cookies(f"gatepost_permit={value}"), "/contact", STORE, 0, 5 * MINUTE)
    assert found in (None, GENUINE)


@given(st.binary(max_size=80))
def test_signed_noise_is_no_permit(payload: bytes) -> None:
    """What is genuine, but no permit of this version, is passed over without a crash."""
    signed = Tokens((KEY,)).sign("permit", payload)
    assert PERMITS.read(cookies(f"gatepost_permit={signed}"), "/contact", STORE, 0, 5 * MINUTE) is None


# --- through the twins ---


@pytest.mark.parametrize("uses", [0, 1, 3])
def test_permit_passes_so_many_submissions(twin_of: TwinOf, uses: int) -> None:
    """A solved challenge earns as many passes as the setting says, each with its body untouched, and no more."""
    twin = twin_of(permit_uses=uses)
    reply = twin.answer(twin.send(body=BODY))
    cookie = permit_of(reply) if uses else None
    assert bool(reply.get("set-cookie")) is bool(uses)
    bodies = [b"%d" % number for number in range(uses + 2)]
    assert [twin.send(body=body, cookie=cookie).status for body in bodies] == [200] * uses + [429] * 2
    assert [received.body for received in twin.received] == [BODY, *bodies[:uses]]


def test_permit_cookie_is_secure_on_https(twin_of: TwinOf) -> None:
    """Over https the permit is ``Secure``, so that it never travels in clear."""
    fields = (("host", HOST), ("accept", "text/html"), ("origin", f"https://{HOST}"))
    twin = twin_of(permit_uses=1)
    page = twin.send(body=BODY, fields=fields, scheme="https")
    assert "; Secure" in twin.answer(page, fields=fields, scheme="https").get("set-cookie")
    assert "; Secure" not in twin.answer(twin.send(body=BODY)).get("set-cookie")


def test_i4_respelt_permit_earns_no_more(twin_of: TwinOf) -> None:
    """All spellings of a permit together let through what the permit does."""
    twin = twin_of(permit_uses=2)
    name, _, value = earned(twin).partition("=")
    spellings = [text for text in respellings(value) if text.isascii()]
    passed = [twin.send(body=BODY, cookie=f"{name}={text}").status for text in spellings]
    assert passed.count(200) == 2
    assert set(passed) == {200, 429}
    assert twin.send(body=BODY, cookie=f"{name}={value}").status == 429


def test_any_cookie_is_read_without_a_crash() -> None:
    """Whatever a ``Cookie`` field holds, the submission is challenged."""
    twin = make_twin("wsgi", permit_uses=1)

    @settings(max_examples=100, deadline=None)
    @given(st.text(st.characters(max_codepoint=255, blacklist_characters="\r\n"), max_size=200))
    def send(field: str) -> None:
        for cookie in (field, f"gatepost_permit={field}"):
            assert twin.send(body=BODY, cookie=cookie).status == 429

    send()


def test_permit_is_spent_only_where_a_challenge_is_demanded(twin_of: TwinOf) -> None:
    """In calm traffic a permit is not looked at, and so it is still good when the rule is engaged."""
    twin = twin_of(mode="adaptive", above="2/minute", hold=0, permit_uses=1)
    for _ in range(2):
        twin.send(body=BODY)
    cookie = earned(twin)
    twin.clock.tick(120)
    assert [twin.send(body=BODY, cookie=cookie).status for _ in range(4)] == [200, 200, 200, 429]
    assert dict(twin.gate.stats()["/contact"].reasons)["permit"] == 1


def test_permit_is_no_answer(twin_of: TwinOf) -> None:
    """A permit beside a wrong answer changes nothing, and is not spent by it."""
    twin = twin_of(permit_uses=1)
    cookie = earned(twin)
    assert twin.answer(twin.send(body=BODY), "wrong", cookie=cookie).reason == "wrong"
    assert twin.send(body=BODY, cookie=cookie).status == 200


def test_permit_is_of_its_rule(twin_of: TwinOf) -> None:
    """What was earned at one rule does not open another."""
    twin = twin_of(protect=[Rule("/contact", name="one", permit_uses=5), Rule("/other", name="two", permit_uses=5)])
    cookie = earned(twin)
    assert twin.send(path="/other", body=BODY, cookie=cookie).status == 429
    assert twin.send(path="/contact", body=BODY, cookie=cookie).status == 200


def test_permit_expires(twin_of: TwinOf) -> None:
    """A permit is good for its lifetime, and not for a millisecond more."""
    twin = twin_of(permit_uses=5, permit_lifetime=60)
    cookie = earned(twin)
    twin.clock.tick(59.9)
    assert twin.send(body=BODY, cookie=cookie).status == 200
    twin.clock.tick(0.1)
    assert twin.send(body=BODY, cookie=cookie).status == 429


@pytest.mark.parametrize("back", [6, 100, 250])
def test_i4_permit_is_not_renewed_by_a_clock_that_jumps_back(twin_of: TwinOf, back: float) -> None:
    """A clock that jumps back makes a store of a new id, which has forgotten the uses: the permit is void."""
    twin = twin_of(permit_uses=1, permit_lifetime=300)
    cookie = earned(twin)
    twin.clock.tick(250)
    assert twin.send(body=BODY, cookie=cookie).status == 200
    twin.clock.tick(-back)
    assert twin.send(body=BODY, cookie=cookie).status == 429


def test_i4_permit_is_not_renewed_by_a_restart(twin_of: TwinOf) -> None:
    """A restart forgets the uses, so a permit of before is no longer good."""
    twin = twin_of(permit_uses=1)
    cookie = earned(twin)
    assert twin.send(body=BODY, cookie=cookie).status == 200
    assert twin_of(permit_uses=1, clock=twin.clock).send(body=BODY, cookie=cookie).status == 429


def test_full_set_of_nonces_ends_permits_rather_than_renewing_them(twin_of: TwinOf) -> None:
    """When the claims of a permit have left a full set, it is good for nothing; nobody passes twice."""
    twin = twin_of(permit_uses=1, permit_lifetime=300, spent_size=3)
    cookie = earned(twin)
    assert twin.send(body=BODY, cookie=cookie).status == 200
    for _ in range(5):
        twin.answer(twin.send(body=BODY), "wrong")
    assert twin.send(body=BODY, cookie=cookie).status == 429


def test_too_large_to_keep_earns_one_pass(twin_of: TwinOf) -> None:
    """Who answers right for a submission that was too large to keep may send it again, once, without an answer."""
    twin = twin_of(carry_limit=10, keep_limit=20)
    large = b"x" * 30
    reply = twin.answer(twin.send(body=large))
    assert (reply.status, reply.reason) == (413, "not-kept")
    assert [twin.send(body=large, cookie=permit_of(reply)).status for _ in range(2)] == [200, 429]
    assert [received.body for received in twin.received] == [large]
