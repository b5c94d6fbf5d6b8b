"""The link to the page with the form, on pages that have no other way on: only within the site, only if it is known."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.page import onward
from pages import Form, request
from twins import BROWSER, HOST, URLENCODED, Fields, Reply, Twin

FORM = f"http://{HOST}/blog/entry?id=5#comment"
#: A browser that says no Sec-Fetch-*, as over plain http.
PLAIN = tuple(item for item in BROWSER if not item[0].startswith("sec-fetch-"))


def links(page: Reply) -> list[str | None]:
    return [attrs.get("href") for attrs in Form(page.body).all("a")]


def replaced(fields: Fields, **changes: str | None) -> Fields:
    """These fields with some changed, or taken out."""
    given = {name.replace("_", "-"): value for name, value in changes.items()}
    kept = [item for item in fields if item[0] not in given]
    return [*kept, *((name, value) for name, value in given.items() if value is not None)]


@pytest.mark.parametrize("fields", [BROWSER, PLAIN], ids=["fetch metadata", "plain"])
def test_already_sent_leads_back(fields: Fields, twin_of: Callable[..., Twin]) -> None:
    """Who sends an answer again gets a link to where the form was, not to the page that was answered."""
    twin = twin_of()
    page = twin.send(body=b"a=b", fields=replaced(fields, referer=FORM))
    ours = replaced(fields, referer=f"http://{HOST}/contact")
    assert twin.answer(page, fields=ours).text == "stored"
    again = twin.answer(page, fields=ours)
    assert (again.status, again.reason) == (409, "already-sent")
    assert links(again) == ["/blog/entry?id=5"]


def test_refused_submission_leads_back(twin_of: Callable[..., Twin]) -> None:
    """A submission that cannot be taken gets the link, too; then the form is where it says it came from."""
    twin = twin_of()
    odd = f"{URLENCODED}, {URLENCODED}"
    page = twin.send(body=b"a=b", content_type=odd, fields=replaced(BROWSER, referer=FORM))
    assert (page.reason, links(page)) == ("content-type", ["/blog/entry?id=5"])
    full = twin_of(buffer_limit=10, carry_limit=10, keep_limit=10)
    full.gate.buffer.grow(9)
    page = full.send(body=b"a=b", fields=replaced(BROWSER, referer=FORM))
    assert (page.status, links(page)) == (503, ["/blog/entry?id=5"])


@pytest.mark.parametrize(
    "changes",
    [
        {"referer": None},
        {"referer": "http://evil.example/"},
        {"referer": f"http://{HOST}.evil.example/"},
        {"referer": f"http://{HOST}:8080/"},
        {"referer": f"http://user@{HOST}/"},
        {"referer": "about:client"},
        {"referer": "javascript:alert(1)"},
        {"referer": FORM, "sec_fetch_site": "cross-site", "origin": "http://evil.example"},
        {"referer": FORM, "sec_fetch_site": "same-site"},
        {"referer": FORM, "sec_fetch_site": None, "origin": "null"},
        {"referer": FORM, "sec_fetch_site": None, "origin": None},
        {"referer": f"http://{HOST}/{'x' * 2000}"},
    ],
)
def test_i3_no_link_for_what_came_from_elsewhere(changes: dict[str, str | None], twin_of: Callable[..., Twin]) -> None:
    """A form that another site made a visitor send, or that may be one, gets no link that it chose."""
    twin = twin_of()
    foreign = replaced(BROWSER, **changes)
    page = twin.send(body=b"a=b", fields=foreign)
    assert links(page) == []
    sent = twin.answer(page, fields=BROWSER)
    assert (sent.status, links(sent)) == (200, [])
    again = twin.answer(page, fields=BROWSER)
    assert (again.reason, links(again)) == ("already-sent", [])
    odd = twin.send(body=b"a=b", content_type=f"{URLENCODED}, {URLENCODED}", fields=foreign)
    assert (odd.reason, links(odd)) == ("content-type", [])


def test_i3_no_link_for_what_cannot_be_read(twin_of: Callable[..., Twin]) -> None:
    """A forged answer and one from another page get no link: what they say of themselves is all that there is."""
    twin = twin_of()
    page = twin.send(body=b"a=b", fields=replaced(BROWSER, referer=FORM))
    ours = replaced(BROWSER, referer=FORM)
    forged = twin.send(body=b"gatepost_token=x", fields=ours)
    assert (forged.reason, links(forged)) == ("forged", [])
    foreign = replaced(BROWSER, referer=FORM, sec_fetch_site="cross-site", origin="http://evil.example")
    answer = twin.answer(page, fields=foreign)
    assert (answer.reason, links(answer)) == ("foreign", [])


@pytest.mark.parametrize(
    ("referer", "expected"),
    [
        ("http://other.example/a", ""),
        (f"http://{HOST}", "/"),
        (f"http://{HOST}/", "/"),
        (f"http://{HOST}?a=b", "/?a=b"),
        (f"https://{HOST.upper()}/a", "/a"),
        (f"http://{HOST}:80/a", "/a"),
        (f"http://{HOST}//evil.example/a", "/evil.example/a"),
        (f"http://{HOST}/\\evil.example", "/evil.example"),
        (f"http://{HOST}/a\\b?c=\\d", "/a%5Cb?c=%5Cd"),
        (f'http://{HOST}/a"><script>', '/a"><script>'),
        (f"http://{HOST}/javascript:alert(1)", "/javascript:alert(1)"),
        (f"http://{HOST}/a?next=http://evil.example/", "/a?next=http://evil.example/"),
        (f"http://{HOST}/\xe9", "/%C3%A9"),
    ],
)
def test_i12_link_is_a_path_of_this_host(referer: str, expected: str) -> None:
    """Of the address only path and query are left, cleaned as the address of the form is."""
    assert onward(referer, request(host=HOST)) == expected


@given(
    st.text(st.sampled_from("/\\.:;?#%@[] \t\r\n\0aé1"), max_size=20).map(lambda text: f"http://{HOST}{text}")
    | st.text()
)
def test_i12_link_never_leaves_the_host(referer: str) -> None:
    """Whatever the field says: there is no link, or one that begins with exactly one slash and names no host."""
    address = onward(referer, request(host=HOST))
    if address:
        assert re.fullmatch(r"/(?!/)[!-\[\]-~]*", address)
        assert (urlsplit(address).scheme, urlsplit(address).netloc) == ("", "")
