"""Where a request came from: what is own, how far an answer is trusted, and that a chain of pages never gains trust."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost.carry import unpack
from gatepost.origin import Provenance, Trust, cookie_pairs, formlike, judge_trust, narrowed, own
from gatepost.protocols import Headers, Request
from gatepost.tokens import FORM
from twins import HOST, URLENCODED, Reply, Twin, make_twin

TwinOf = Callable[..., Twin]
Fields = tuple[tuple[str, str], ...]

SITE = (("host", HOST),)
OWN = (("origin", f"http://{HOST}"), ("sec-fetch-site", "same-origin"))
OLD_OWN = (("origin", f"http://{HOST}"),)  # a browser that does not know Sec-Fetch-*
FOREIGN = (("origin", "http://evil.example"), ("sec-fetch-site", "cross-site"))
OTHER_FOREIGN = (("origin", "http://other.example"), ("sec-fetch-site", "cross-site"))
OLD_FOREIGN = (("origin", "http://evil.example"),)
SIBLING = (("origin", "http://sub.site.example"), ("sec-fetch-site", "same-site"))
NULL = (("origin", "null"), ("sec-fetch-site", "cross-site"))
OLD_NULL = (("origin", "null"),)
NOTHING: Fields = ()  # a text browser
TYPED = (("sec-fetch-site", "none"),)
PROXIED = (("origin", "http://outside.example"),)  # of one whose proxy rewrites Host
TWICE = (("origin", "http://evil.example"), ("origin", "http://evil.example"))


def request(fields: Fields, scheme: str = "http") -> Request:
    return Request("POST", "/contact", Headers(fields), "203.0.113.7", {}, scheme=scheme)


def said(fields: Fields) -> Provenance:
    return Provenance.of(Headers(fields))


# --- what is own ---


def origin(value: str) -> Fields:
    return (("origin", value),)


def sites(*values: str) -> Fields:
    return tuple(("sec-fetch-site", value) for value in values)


#: What a request says of its origin, the Host that it was sent to, http or https, and whether it is own.
OWNERSHIP: list[tuple[Fields, str, str, bool]] = [
    # Sec-Fetch-Site decides where it is there.
    (sites("same-origin"), HOST, "http", True),
    (sites("same-origin"), HOST, "https", True),
    (sites("same-site"), HOST, "http", False),
    (sites("cross-site"), HOST, "http", False),
    (sites("none"), HOST, "http", False),
    (sites(""), HOST, "http", False),
    (sites("Same-Origin"), HOST, "http", False),
    (sites("same-origin", "same-origin"), HOST, "http", False),
    (sites("same-origin,same-origin"), HOST, "http", False),
    (sites("same-origin", "cross-site"), HOST, "http", False),
    (sites("cross-site") + OLD_OWN, HOST, "http", False),
    (sites("same-origin") + OLD_FOREIGN, HOST, "http", True),
    # Else the origin, by host and port.
    (OLD_OWN, HOST, "http", True),
    (OLD_OWN, "SITE.Example", "http", True),
    (origin("HTTP://Site.EXAMPLE"), HOST, "http", True),
    (OLD_OWN, f"{HOST}:80", "http", True),
    (OLD_OWN, f"{HOST}:8080", "http", False),
    (OLD_OWN, f"{HOST}:443", "http", False),
    (origin(f"http://{HOST}:80"), HOST, "http", True),
    (origin(f"http://{HOST}:8080"), HOST, "http", False),
    (origin(f"http://{HOST}:8080"), f"{HOST}:8080", "http", True),
    (origin(f"http://{HOST}:8080"), f"{HOST}:8081", "http", False),
    (origin(f"http://{HOST}:0"), HOST, "http", False),
    (origin(f"http://{HOST}:99999"), HOST, "http", False),
    (origin(f"http://{HOST}:x"), HOST, "http", False),
    (OLD_OWN, f"{HOST}:x", "http", False),
    # Plain http is not own where the request is https; the other way round a proxy may end TLS.
    (OLD_OWN, HOST, "https", False),
    (origin(f"http://{HOST}:443"), f"{HOST}:443", "https", False),
    (origin(f"https://{HOST}"), HOST, "https", True),
    (origin(f"https://{HOST}"), HOST, "http", True),
    (origin(f"https://{HOST}"), f"{HOST}:443", "https", True),
    (origin(f"https://{HOST}"), f"{HOST}:80", "https", False),
    (origin(f"https://{HOST}:8443"), f"{HOST}:8443", "https", True),
    # Names that look alike.
    (OLD_FOREIGN, HOST, "http", False),
    (origin(f"http://sub.{HOST}"), HOST, "http", False),
    (origin("http://example"), HOST, "http", False),
    (origin(f"http://evil{HOST}"), HOST, "http", False),
    (origin(f"http://{HOST}.evil.example"), HOST, "http", False),
    (origin(f"http://{HOST}@evil.example"), HOST, "http", False),
    (origin(f"http://evil.example@{HOST}"), HOST, "http", False),
    (origin(f"http://{HOST}."), HOST, "http", False),
    (origin(f"http://{HOST}/"), HOST, "http", False),
    (origin(f"http://evil.example/{HOST}"), HOST, "http", False),
    (OLD_OWN, f"evil.example@{HOST}", "http", False),
    # Addresses.
    (origin("http://192.0.2.1:8000"), "192.0.2.1:8000", "http", True),
    (origin("http://[2001:db8::1]"), "[2001:db8::1]", "http", True),
    (origin("http://[2001:db8::1]:80"), "[2001:DB8::1]", "http", True),
    (origin("http://[2001:db8::1]:8000"), "[2001:db8::1]:8000", "http", True),
    (origin("http://[2001:db8::1]:8000"), "[2001:db8::1]", "http", False),
    (origin("http://[2001:db8::2]"), "[2001:db8::1]", "http", False),
    (origin("http://[2001:db8::1"), "[2001:db8::1]", "http", False),
    (origin("http://[2001:db8::1]"), "[2001:db8::1", "http", False),
    (origin("http://[x]"), "[x]", "http", False),
    # Neither host nor port.
    (OLD_NULL, HOST, "http", False),
    (OLD_NULL, "null", "http", False),
    (NOTHING, HOST, "http", False),
    (origin(""), "", "http", False),
    (origin("http://"), "", "http", False),
    (origin(HOST), HOST, "http", False),
    (origin(f"//{HOST}"), HOST, "http", False),
    (origin(f"file://{HOST}"), HOST, "http", False),
    (origin(f"ftp://{HOST}"), HOST, "http", False),
    (OLD_OWN, "", "http", False),
    # Repeated.
    (OLD_OWN + OLD_OWN, HOST, "http", False),
    (origin(f"http://{HOST},http://{HOST}"), HOST, "http", False),
    (origin(f"http://{HOST}, http://evil.example"), HOST, "http", False),
]


@pytest.mark.parametrize(("fields", "host", "scheme", "expected"), OWNERSHIP)
def test_i3_what_is_own(fields: Fields, host: str, scheme: str, expected: bool) -> None:
    """Own is what the browser calls same-origin, or, where it does not say, whose Origin is the Host it was sent to."""
    assert own(said(fields), request((*fields, ("host", host)), scheme)) is expected


@pytest.mark.parametrize("hosts", [(), (HOST, HOST), ("evil.example", HOST)])
def test_i3_without_one_host_nothing_is_own(hosts: tuple[str, ...]) -> None:
    """Without a Host, or with several, an Origin is not own, whatever it says."""
    fields = OLD_OWN + tuple(("host", host) for host in hosts)
    assert not own(said(fields), request(fields))


@given(st.text(max_size=40), st.text(max_size=40), st.sampled_from(["http", "https", "ws", ""]))
def test_any_origin_is_read_without_a_crash(value: str, host: str, scheme: str) -> None:
    """No Origin, Host or scheme raises."""
    for text in (value, f"http://{value}", f"https://{host}"):
        own(said(origin(text)), request((*origin(text), ("host", host)), scheme))


# --- how far an answer is trusted ---

#: The first request, the answer, whether a form could have sent the body, and what is trusted.
TRUST: list[tuple[Fields, Fields, bool, Trust]] = [
    (OWN, OWN, True, Trust.FULL),
    (OWN, OWN, False, Trust.FULL),
    (OLD_OWN, OWN, True, Trust.FULL),
    (OWN, OLD_OWN, True, Trust.FULL),
    # A foreign form, answered on our page: the cookies that it came with.
    (FOREIGN, OWN, True, Trust.CUT),
    (FOREIGN, OWN, False, Trust.CUT),
    (OLD_FOREIGN, OLD_OWN, True, Trust.CUT),
    (SIBLING, OWN, True, Trust.CUT),
    (NULL, OWN, True, Trust.CUT),
    (NOTHING, OWN, True, Trust.CUT),
    (TYPED, OWN, True, Trust.CUT),
    (TWICE, OWN, True, Trust.CUT),
    # An answer from elsewhere than the form: nothing.
    (OWN, FOREIGN, True, Trust.NONE),
    (OWN, NOTHING, True, Trust.NONE),
    (OWN, NULL, True, Trust.NONE),
    (OWN, SIBLING, True, Trust.NONE),
    (OLD_OWN, OLD_NULL, True, Trust.NONE),
    (NOTHING, FOREIGN, True, Trust.NONE),
    (NOTHING, NULL, True, Trust.NONE),
    (NOTHING, TYPED, True, Trust.NONE),
    (FOREIGN, NOTHING, True, Trust.NONE),
    (FOREIGN, NULL, True, Trust.NONE),
    (FOREIGN, OTHER_FOREIGN, True, Trust.NONE),
    (FOREIGN, OLD_FOREIGN, True, Trust.NONE),  # the origin is the same, Sec-Fetch-Site is not
    (OLD_FOREIGN, FOREIGN, True, Trust.NONE),
    (TWICE, TWICE, True, Trust.NONE),
    (sites("cross-site", "cross-site"), sites("cross-site", "cross-site"), True, Trust.NONE),
    # Neither is known to be ours, but both say the same: what both have, if a form can have sent it.
    (NOTHING, NOTHING, True, Trust.NARROW),
    (TYPED, TYPED, True, Trust.NARROW),
    (NULL, NULL, True, Trust.NARROW),
    (OLD_NULL, OLD_NULL, True, Trust.NARROW),
    (FOREIGN, FOREIGN, True, Trust.NARROW),
    (PROXIED, PROXIED, True, Trust.NARROW),
    (NOTHING, NOTHING, False, Trust.NONE),
    (FOREIGN, FOREIGN, False, Trust.NONE),
    (PROXIED, PROXIED, False, Trust.NONE),
]


@pytest.mark.parametrize(("first", "answer", "form", "trust"), TRUST)
def test_i3_trust_table(first: Fields, answer: Fields, form: bool, trust: Trust) -> None:
    """An answer is trusted as far as the origin of the form and its own allow, and no further."""
    assert judge_trust(said(first), request(SITE + answer), form) is trust


@pytest.mark.parametrize(
    ("content_type", "encoding", "expected"),
    [
        (URLENCODED, None, True),
        ("Application/X-WWW-Form-Urlencoded ; charset=x", None, True),
        ("multipart/form-data; boundary=b", None, True),
        ("text/plain", None, True),
        (None, None, True),
        ("", None, False),
        ("text/plainer", None, False),
        ("text/html", None, False),
        ("application/json", None, False),
        ("multipart/mixed", None, False),
        (URLENCODED, "gzip", False),
        (None, "", False),
    ],
)
def test_what_a_form_can_send(content_type: str | None, encoding: str | None, expected: bool) -> None:
    """A plain form sends three types, or none, and never an encoding."""
    assert formlike(content_type, encoding) is expected


FORM_COOKIES = "a=1; session=theirs"
MORE_COOKIES = "a=2; session=mine; admin=yes"


@dataclass(frozen=True)
class Outcome:
    """What the application gets of an answer: its cookies, origin and credentials; or why it gets nothing."""

    cookie: str | None = None
    origin: str | None = None
    authorization: str | None = None
    refused: str = ""


@pytest.mark.parametrize(
    ("first", "answer", "outcome"),
    [
        (OWN, OWN, Outcome(MORE_COOKIES, f"http://{HOST}", "Basic second")),
        (FOREIGN, OWN, Outcome("a=2; session=mine", "http://evil.example", "Basic second")),
        (NOTHING, OWN, Outcome("a=2; session=mine", None, "Basic second")),
        (NOTHING, NOTHING, Outcome("a=2; session=mine", None, "Basic second")),
        (FOREIGN, FOREIGN, Outcome("a=2; session=mine", "http://evil.example", "Basic second")),
        (OWN, FOREIGN, Outcome(refused="foreign")),
        (NOTHING, FOREIGN, Outcome(refused="foreign")),
        (OWN, NOTHING, Outcome(refused="foreign")),
    ],
)
@pytest.mark.parametrize("button", ["", "another"])
def test_i3_what_the_application_gets(
    twin_of: TwinOf, first: Fields, answer: Fields, outcome: Outcome, button: str
) -> None:
    """The application sees the origin of the first request and the cookies that the two requests allow together."""
    html = (*SITE, ("accept", "text/html"))
    twin = twin_of()
    credentials = [("authorization", "Basic first")]
    page = twin.send(body=b"x=1", fields=[*html, *first, *credentials], cookie=FORM_COOKIES)
    credentials = [("authorization", "Basic second")]
    if button:  # a foreign answer is refused whatever it asks for, and a re-issue changes nothing of the trust
        page = again = twin.answer(page, button=button, fields=[*html, *answer, *credentials], cookie=MORE_COOKIES)
        assert (again.status, again.reason) == ((400, "foreign") if outcome.refused else (429, "refreshed"))
        if outcome.refused:
            return
    reply = twin.answer(page, fields=[*html, *answer, *credentials], cookie=MORE_COOKIES)
    assert reply.reason == outcome.refused
    got = [
        Outcome(received.get("cookie"), received.get("origin"), received.get("authorization"))
        for received in twin.received
    ]
    assert got == ([] if outcome.refused else [outcome])


# --- a chain of pages ---

origins = st.sampled_from([NOTHING, OLD_OWN, OLD_FOREIGN, OLD_NULL, PROXIED])
fetch_sites = st.sampled_from(
    [NOTHING, *(sites(value) for value in ("same-origin", "same-site", "cross-site", "none"))]
)
cookies = st.lists(st.sampled_from(["a=1", "a=2", "session=x", "Session=x", "lone", "=", "b"]), max_size=5)
referers = st.sampled_from([NOTHING, (("referer", f"http://{HOST}/form"),), (("referer", "http://evil.example/"),)])
credentials = st.sampled_from([NOTHING, (("authorization", "Basic x"),)])


@st.composite
def headers(draw: st.DrawFn) -> Fields:
    """The header fields of a request from anywhere."""
    fields: Fields = draw(origins) + draw(fetch_sites) + draw(referers) + draw(credentials)
    sent = draw(cookies)
    return fields + ((("cookie", "; ".join(sent)),) if sent else ())


def is_own(fields: Fields) -> bool:
    """The rule in the test's own words, for the few values that these tests send."""
    values = dict(fields)
    if "sec-fetch-site" in values:
        return values["sec-fetch-site"] == "same-origin"
    return values.get("origin") == f"http://{HOST}"


def cookie_names(fields: Fields) -> Counter[str]:
    return Counter(name for name, _ in cookie_pairs(Headers(fields)))


def assert_not_more(first: Fields, later: Fields, full: bool) -> None:
    """What ``later`` says is worth no more to an application than what ``first`` said."""
    assert is_own(first) or not is_own(later)
    assert "authorization" in dict(first) or "authorization" not in dict(later)
    assert {value for name, value in later if name == "referer"} <= {v for name, v in first if name == "referer"}
    if not full:
        assert cookie_names(later) <= cookie_names(first)


def carried_by(twin: Twin, page: Reply) -> Fields:
    """What a page's carry says, as header fields."""
    fields = page.answered()
    token = twin.gate.tokens.read(FORM, fields["gatepost_token"])
    assert token is not None
    carry = unpack(fields["gatepost_carry"], token.carry or b"")
    assert carry is not None
    head = carry.head.provenance
    names = [name + "=" if name else "=" for name, count in head.cookies for _ in range(count)]
    found = [("origin", value) for value in head.origins] + [("referer", value) for value in head.referers]
    found += [*head.fetch, ("cookie", "; ".join(names))]
    return (*found, *([("authorization", "Basic x")] if head.authorized else []))


def test_i3_chain_of_pages_never_gains_trust() -> None:
    """However a carry is passed on, it gains no cookie, no credentials, no referer and no origin of our own."""
    twin = make_twin("wsgi", min_time=0)
    html = (*SITE, ("accept", "text/html"))

    @settings(max_examples=200, deadline=None)
    @given(headers(), st.lists(headers(), max_size=3), headers())
    def chain(first: Fields, between: list[Fields], last: Fields) -> None:
        twin.received.clear()
        page = twin.send(body=b"x=1", fields=html + first)
        before = carried_by(twin, page)
        for fields in between:
            again = twin.answer(page, button="another", fields=html + fields)
            if again.status == 429:
                after = carried_by(twin, again)
                assert_not_more(before, after, full=False)
                page, before = again, after
        if twin.answer(page, fields=html + last).status == 200:
            [received] = twin.received
            assert_not_more(first, tuple(received.fields), full=is_own(first) and is_own(last))

    chain()


@given(headers(), headers())
def test_i3_narrowed_is_what_both_have(first: Fields, answer: Fields) -> None:
    """Narrowed twice is narrowed once, and whatever is left both requests had."""
    one = narrowed(said(first), said(answer))
    assert narrowed(one, said(answer)) == one
    assert Counter(dict(one.cookies)) == cookie_names(first) & cookie_names(answer)
    assert one.authorized == (said(first).authorized and said(answer).authorized)
