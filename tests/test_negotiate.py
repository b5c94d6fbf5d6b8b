"""Who gets the page and who gets problem+json, and what else hangs on how the answer will be shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost import Headers, Request
from gatepost.negotiate import VARY_LANGUAGE, in_frame, needs_action, wants_json
from twins import HOST, TWINS, URLENCODED, Twin, make_twin

HTML, ANY, JSON = "text/html,application/xhtml+xml,*/*;q=0.8", "*/*", "application/json"
TURBO = "text/vnd.turbo-stream.html, text/html, application/xhtml+xml"
MULTIPART = "multipart/form-data; boundary=x"
NAVIGATE = {"sec-fetch-mode": "navigate"}
CORS = {"sec-fetch-mode": "cors"}

TABLE: list[tuple[str, dict[str, str], bool]] = [
    # who, header fields, problem+json?
    ("a browser", {"accept": HTML, "content-type": URLENCODED, **NAVIGATE}, False),
    ("a browser with a file", {"accept": HTML, "content-type": MULTIPART, **NAVIGATE}, False),
    ("a browser, text/plain form", {"accept": HTML, "content-type": "text/plain", **NAVIGATE}, False),
    ("an old browser", {"accept": HTML, "content-type": URLENCODED}, False),
    ("lynx", {"accept": "text/html, text/plain, text/sgml, */*;q=0.01", "content-type": URLENCODED}, False),
    ("w3m, links", {"accept": ANY, "content-type": URLENCODED}, False),
    ("curl -d", {"accept": ANY, "content-type": URLENCODED}, False),
    ("curl -F", {"accept": ANY, "content-type": MULTIPART}, False),
    ("no Accept at all", {"content-type": URLENCODED}, False),
    ("an empty Accept", {"accept": "", "content-type": URLENCODED}, False),
    ("no body type", {"accept": ANY}, False),
    ("an empty body type", {"accept": ANY, "content-type": ""}, False),
    ("Turbo", {"accept": TURBO, "content-type": MULTIPART, **CORS}, False),
    ("htmx that asks for html", {"accept": "text/html", "hx-request": "true", "content-type": URLENCODED}, False),
    ("both", {"accept": f"{JSON}, text/html", "content-type": URLENCODED}, False),
    ("html in upper case", {"accept": "TEXT/HTML ; q=0.1", "content-type": JSON, **CORS}, False),
    ("curl --json", {"accept": JSON, "content-type": JSON}, True),
    ("an API client", {"accept": ANY, "content-type": JSON}, True),
    ("an API client that says nothing", {"content-type": JSON}, True),
    ("an XML client", {"accept": ANY, "content-type": "text/xml"}, True),
    ("an upload", {"accept": ANY, "content-type": "application/octet-stream"}, True),
    ("a form that wants json", {"accept": JSON, "content-type": URLENCODED}, True),
    ("problem+json", {"accept": "application/problem+json", "content-type": URLENCODED}, True),
    ("ld+json among others", {"accept": "image/*, application/ld+json;q=0.1", "content-type": URLENCODED}, True),
    ("json in upper case", {"accept": "Application/JSON;charset=utf-8", "content-type": URLENCODED}, True),
    ("json while navigating", {"accept": JSON, "content-type": URLENCODED, **NAVIGATE}, True),
    ("fetch", {"accept": ANY, "content-type": MULTIPART, **CORS}, True),
    ("fetch, same origin", {"accept": ANY, "content-type": URLENCODED, "sec-fetch-mode": "same-origin"}, True),
    ("fetch with an odd mode", {"accept": ANY, "content-type": URLENCODED, "sec-fetch-mode": ""}, True),
    ("jQuery", {"accept": ANY, "content-type": URLENCODED, "x-requested-with": "XMLHttpRequest"}, True),
    ("htmx", {"accept": ANY, "content-type": URLENCODED, "hx-request": "true"}, True),
    ("htmx in a browser", {"accept": ANY, "content-type": URLENCODED, "hx-request": "true", **CORS}, True),
]


def request(fields: dict[str, str]) -> Request:
    return Request("POST", "/contact", Headers(fields.items()), None, {})


@pytest.mark.parametrize(("who", "fields", "expected"), TABLE)
def test_who_gets_json(who: str, fields: dict[str, str], expected: bool) -> None:
    """Whoever can show a page to a person gets it; scripts and programmes get problem+json."""
    assert wants_json(request(fields)) is expected, who


@pytest.fixture(scope="module")
def twins() -> dict[str, Twin]:
    """One of each twin for the whole table."""
    return {name: make_twin(name, above="1000000/minute") for name in TWINS}


@pytest.mark.parametrize("twin_name", TWINS)
@pytest.mark.parametrize(("who", "fields", "expected"), TABLE)
def test_who_gets_json_through_the_gate(
    who: str, fields: dict[str, str], expected: bool, twin_name: str, twins: dict[str, Twin]
) -> None:
    """The same status and reason go out either way, in the form that was negotiated, which ``Vary`` tells."""
    content_type = fields.get("content-type")
    others = [("host", HOST), *((name, value) for name, value in fields.items() if name != "content-type")]
    reply = twins[twin_name].send(body=b"a=b", fields=others, content_type=content_type)
    assert (reply.status, reply.reason) == (429, "always"), who
    if expected:
        assert reply.get("content-type") == "application/problem+json"
        assert json.loads(reply.body)["status"] == 429
    else:
        assert reply.get("content-type") == "text/html; charset=utf-8"
        assert reply.body.startswith(b"<!doctype html>")
    assert reply.get("vary") == VARY_LANGUAGE


@pytest.mark.parametrize("button", ["", "another"])
def test_answer_by_form_always_gets_a_page(button: str, twin_of: Callable[..., Twin]) -> None:
    """Whatever a client says it accepts: an answer with a form token gets a page, never JSON."""
    twin = twin_of()
    for name, value in (("accept", JSON), ("x-requested-with", "XMLHttpRequest"), ("hx-request", "true")):
        page = twin.send(body=b"a=b")
        fields = [("host", HOST), ("sec-fetch-site", "same-origin"), (name, value)]
        reply = twin.answer(page, "wrong", button=button, fields=fields)
        assert reply.status == 429
        assert reply.get("content-type") == "text/html; charset=utf-8"
    forged = twin.send(body=b"gatepost_token=x", fields=[("host", HOST), ("accept", JSON)])
    assert forged.get("content-type") == "text/html; charset=utf-8"


@pytest.mark.parametrize(
    ("fields", "framed", "action"),
    [
        ({}, False, False),
        ({"sec-fetch-dest": "document", **NAVIGATE}, False, False),
        ({"sec-fetch-dest": "empty", **CORS}, False, True),
        ({"sec-fetch-mode": "same-origin"}, False, True),
        ({"sec-fetch-mode": "no-cors"}, False, True),
        *(({"sec-fetch-dest": name, **NAVIGATE}, True, False) for name in ("iframe", "frame", "embed", "object")),
    ],
)
def test_how_it_is_shown(fields: dict[str, str], framed: bool, action: bool) -> None:
    """A page for a frame may be framed, and one that a script puts in place names its own address."""
    assert in_frame(request(fields)) is framed
    assert needs_action(request(fields)) is action


HEADER = st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=60)
NAMES = ["accept", "content-type", "sec-fetch-mode", "sec-fetch-dest", "x-requested-with", "hx-request"]


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), HEADER | st.sampled_from([HTML, JSON, ",;=,", "a/b;" * 9])), max_size=8)
)
def test_any_header_is_read_without_a_crash(fields: Any) -> None:
    """Whatever these header fields say, there is an answer, and HTML in any of them means the page."""
    asked = Request("POST", "/", Headers(fields), None, {})
    got = wants_json(asked)
    in_frame(asked)
    needs_action(asked)
    if ("accept", HTML) in fields:
        assert got is False
