"""The pages: header fields, policy, form and problem document, and that nothing in them can be injected."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost import Challenge, Media, Reason, Request
from gatepost.effects import Refuse, Show
from gatepost.page import Page, Response, target
from pages import EVIL, PICTURE, QUESTION, SOUND, Form, form, request, show, verdict
from twins import settings

# --- pages that differ in little ---

waits = st.builds(
    verdict,
    st.none(),
    reason=st.sampled_from([Reason.BUSY, Reason.ISSUE_LIMIT, Reason.FAILURE_LIMIT, Reason.RESTARTED]),
    retry_after=st.floats(0, 300) | st.sampled_from([0, 1, 2, 119.5, 120]),
    remaining=st.floats(1, 9000),
    length=st.integers(0, 60_000) | st.sampled_from([0, 999, 1000, 1500, 2500, 999_499, 999_500, 999_999, 1_150_000]),
    kept=st.booleans(),
    maybe_sent=st.booleans(),
)


@given(st.lists(st.tuples(waits, st.sampled_from(["en", "de", "ar"])), min_size=2, max_size=4))
def test_page_from_a_mould_is_the_page(shown: list[tuple[Show, str]]) -> None:
    """Pages without a challenge are made of few moulds, and each is as if it had been rendered for itself alone."""
    for number, (one, language) in enumerate(shown):
        mine = replace(one, token=f"token{number}", carry=f"carry{number}", remaining=int(one.remaining))
        body = PAGE.show(mine, request(accept_language=language)).body
        assert body == PAGE._interstitial(mine, language, None, "")


def test_flood_is_rendered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand pages that differ in token, carry and fractions of a second take one rendering."""
    page = Page(settings())
    rendered: list[Show] = []
    render = page._interstitial

    def counted(one: Show, *rest: Any) -> bytes:
        rendered.append(one)
        return render(one, *rest)

    monkeypatch.setattr(page, "_interstitial", counted)
    for number in range(1000):
        one = verdict(None, token=f"token {number}", retry_after=58.5 + number / 2000, length=1600 + number % 800)
        assert b'value="token %d"' % number in page.show(one, request()).body
    assert len(rendered) == 1


@pytest.mark.parametrize("asked", [{}, {"sec_fetch_mode": "cors", "accept": "text/html"}])
def test_templates_of_a_site_see_every_page(asked: dict[str, str], tmp_path: Path) -> None:
    """A template of the site's own may do with token and carry what it likes; a page with an address is its own."""
    if not asked:
        (tmp_path / "challenge.html").write_text("{{ show.token|upper }} {{ show.carry|length }}")
    page = Page(settings(templates=tmp_path))
    for token in ("one", "two"):
        body = page.show(verdict(None, token=token, carry="four"), request(**asked)).body.decode()
        assert body == f"{token.upper()} 4" if not asked else f'value="{token}"' in body


# --- header fields and policy ---


@pytest.mark.parametrize("kind", ["page", "json", "refused"])
def test_header_fields(kind: str) -> None:
    """Every answer of the gate has the same fields against caches, sniffing, indexing and leaking, once each."""
    page = Page(settings())
    if kind == "refused":
        response = page.refuse(Refuse(Reason.FORGED, 400), request())
    else:
        response = page.show(verdict(json=kind == "json"), request())
    fields = dict(response.fields)
    assert len(fields) == len(response.fields)
    assert fields["cache-control"] == "no-store"
    assert fields["x-robots-tag"] == "noindex"
    assert fields["referrer-policy"] == "same-origin"
    assert fields["x-content-type-options"] == "nosniff"
    assert fields["content-length"] == str(len(response.body))
    assert fields["gatepost"] == ("refused; reason=forged" if kind == "refused" else "challenge; reason=rule-engaged")
    assert "retry-after" not in fields
    assert "set-cookie" not in fields


@pytest.mark.parametrize(("seconds", "said"), [(0, None), (0.001, "1"), (2, "2"), (2.5, "3"), (59.99, "60")])
def test_retry_after_is_rounded_up(seconds: float, said: str | None) -> None:
    """``Retry-After`` is there where it is true, and never too short."""
    page = Page(settings())
    for response in (
        page.show(verdict(None, retry_after=seconds), request()),
        page.show(verdict(None, retry_after=seconds, json=True), request()),
        page.refuse(Refuse(Reason.OVERLOADED, 503, retry_after=seconds), request()),
    ):
        assert dict(response.fields).get("retry-after") == said


def directives(response: Response) -> dict[str, str]:
    policy = dict(response.fields)["content-security-policy"]
    return {name: values for name, _, values in (part.strip().partition(" ") for part in policy.split(";"))}


@pytest.mark.parametrize("own_style", [None, "body { color: red } </style><script>alert(1)</script>"])
def test_i12_policy_allows_what_the_page_uses(own_style: str | None, tmp_path: Path) -> None:
    """The policy allows data: media and the one style by its hash; it has no form-action, and nothing else may load."""
    if own_style is not None:
        (tmp_path / "style.css").write_text(own_style)
    response = show(verdict(PICTURE), templates=tmp_path)
    style = re.findall(rb"<style>(.*?)</style>", response.body, re.DOTALL)
    assert len(style) == 1
    digest = base64.b64encode(hashlib.sha256(style[0]).digest()).decode()
    assert directives(response) == {
        "default-src": "'none'",
        "img-src": "data:",
        "media-src": "data:",
        "style-src": f"'sha256-{digest}'",
        "base-uri": "'none'",
        "frame-ancestors": "'self'",
    }
    assert Form(response.body).all("script") == []


@pytest.mark.parametrize("where", ["iframe", "frame", "embed", "object"])
def test_page_in_a_frame_may_be_framed(where: str) -> None:
    """Where the form lives in a frame already, the page may be shown there, with the rest of the policy as it is."""
    page = Page(settings())
    framed = request(sec_fetch_dest=where, sec_fetch_mode="navigate")
    plain = directives(page.show(verdict(), request()))
    for response in (page.show(verdict(), framed), page.refuse(Refuse(Reason.ENDED, 410), framed)):
        assert directives(response) == {name: value for name, value in plain.items() if name != "frame-ancestors"}


@pytest.mark.parametrize(
    "challenge", [QUESTION, PICTURE, SOUND, None], ids=["question", "picture", "sound", "continue"]
)
def test_i12_page_is_self_contained(challenge: Challenge | None) -> None:
    """The page has no script, no handler, and no address but ``data:``."""
    found = form(verdict(challenge, kinds=("question", "image", "audio")), site_name="Site", contact="mail@x.example")
    assert not {tag for tag, _ in found.tags} & {"script", "iframe", "object", "embed", "base"}
    for tag, attrs in found.tags:
        assert not [name for name in attrs if name.startswith("on") or name in ("style", "srcset", "formaction")]
        for name in ("src", "href", "action", "poster"):
            assert (attrs.get(name) or "data:").startswith("data:"), tag


def test_status_line() -> None:
    """A status goes out with its phrase, and one that has none with a word."""
    assert Response(429, [], b"").status_line == "429 Too Many Requests"
    assert Response(599, [], b"").status_line == "599 Unknown"
    assert show(verdict(status=503)).status == 503


# --- the form ---


def test_form_posts_where_the_browser_is() -> None:
    """The form has no action: it posts to the address that the browser shows, query and prefix included."""
    for asked in (request(), request(sec_fetch_mode="navigate"), request(raw_path="/x", query="a=b", prefix="/p")):
        (attrs,) = form(verdict(), asked).all("form")
        assert attrs == {"method": "post", "autocomplete": "off"}


TARGETS: list[tuple[Request, str]] = [
    (request("/contact"), "/contact"),
    (request("/contact", query="a=b&c=%2F"), "/contact?a=b&c=%2F"),
    (request("/a%2Fb%20c"), "/a%2Fb%20c"),
    (request("/shop/contact", prefix="/shop"), "/shop/contact"),
    (request("/contact", prefix="/shop"), "/shop/contact"),
    (request("/shopping", path="/shopping", prefix="/shop"), "/shop/shopping"),
    (request("/sh%6fp/contact", prefix="/shop"), "/sh%6fp/contact"),
    (request("//evil.example/x"), "/evil.example/x"),
    (request("/\\evil.example"), "/evil.example"),
    (request("\\\\evil.example"), "/evil.example"),
    (request("/a\\b"), "/a%5Cb"),
    (request("/a\tb\r\nc\0"), "/a%09b%0D%0Ac%00"),
    (request("/a", query='b="<>\\\n'), "/a?b=%22<>%5C%0A".replace("%22", '"')),
    (request(None, path="/contact"), "/contact"),
    (request(None, path="/100%/é", prefix="/ä b"), "/%C3%A4%20b/100%25/%C3%A9"),
    (request(None, path="//evil.example"), "/evil.example"),
    (request(None, path="/shop/x", prefix="/shop"), "/shop/shop/x"),
    (request(None, path=""), "/"),
    (request(None, path="", prefix="/shop"), "/shop"),
]


@pytest.mark.parametrize(("asked", "expected"), TARGETS)
def test_target(asked: Request, expected: str) -> None:
    """The address of the form, for pages that are put in place by a script, is prefix, path and query of this host."""
    assert target(asked) == expected


PATHS = st.text(st.sampled_from("/\\.:;?#%@ \t\r\n\0aé\u2028\U0001f9e1x25"), max_size=20)


@given(
    raw=st.none() | PATHS.map(lambda text: text.encode().decode("latin-1")),
    path=PATHS,
    query=PATHS.map(lambda text: text.encode().decode("latin-1")),
    prefix=st.sampled_from(["", "/shop", "//evil", "\\evil", "/ä b", "http://evil.example"]),
)
def test_i12_target_is_a_path_of_this_host(raw: str | None, path: str, query: str, prefix: str) -> None:
    """Whatever was asked for: the address begins with exactly one slash, is printable, and names no other host."""
    address = target(request(raw, path, query, prefix))
    assert re.match(r"/(?!/)", address)
    assert re.fullmatch(r"[!-\[\]-~]*", address)
    assert urlsplit(address).netloc == ""
    assert urlsplit(address).scheme == ""


@given(path=PATHS.map(lambda text: "/" + text.lstrip("/\\")), prefix=st.sampled_from(["", "/shop", "/ä b"]))
def test_target_leads_back(path: str, prefix: str) -> None:
    """The address leads to the same decoded path, where a server tells no raw one."""
    address = target(request(None, path, "", prefix))
    assert "?" not in address
    assert unquote(address) == prefix + path


def test_turbo_gets_an_action() -> None:
    """A page that a script puts in place has the address in its form, escaped as an attribute."""
    asked = request("/contact", query='a="><script>', sec_fetch_mode="cors", accept="text/html")
    (attrs,) = form(verdict(), asked).all("form")
    assert attrs["action"] == '/contact?a="><script>'
    assert Form(show(verdict(), asked).body).all("script") == []


@pytest.mark.parametrize(
    "challenge", [QUESTION, PICTURE, SOUND, None], ids=["question", "picture", "sound", "continue"]
)
def test_fields_and_buttons(challenge: Challenge | None) -> None:
    """The token is the first field, then the carry, then the answer; the button that answers is the first."""
    found = form(verdict(challenge, kinds=("question", "image", "my kind")))
    named = [attrs for tag, attrs in found.tags if tag in ("input", "button") and "name" in attrs]
    names = [(attrs["name"], attrs.get("value")) for attrs in named]
    assert names[:2] == [("gatepost_token", "the-token"), ("gatepost_carry", "the-carry")]
    if challenge is None:
        assert names[2:] == [("gatepost_do", "continue")]
        return
    assert names[2:5] == [("gatepost_answer", None), ("gatepost_do", "answer"), ("gatepost_do", "another")]
    assert names[5:] == [("gatepost_do", "kind-image"), ("gatepost_do", "kind-my kind")]
    assert [("formnovalidate" in attrs) for attrs in found.all("button")] == [False, True, True, True]


@pytest.mark.parametrize("challenge", [QUESTION, PICTURE, SOUND], ids=["question", "picture", "sound"])
def test_field_is_labelled_and_described(challenge: Challenge) -> None:
    """The field has a label, the focus, and a description that exists; an error is tied to it."""
    for reason in (Reason.ALWAYS, Reason.WRONG):
        found = form(verdict(challenge, reason=reason))
        (field,) = [attrs for attrs in found.all("input") if attrs.get("name") == "gatepost_answer"]
        assert {attrs["for"] for attrs in found.all("label")} == {field["id"]}
        ids = [attrs["id"] for _, attrs in found.tags if "id" in attrs]
        assert len(ids) == len(set(ids))
        assert set((field["aria-describedby"] or "").split()) <= set(ids)
        assert "autofocus" in field
        assert "placeholder" not in field
        assert ("aria-invalid" in field) is (reason is Reason.WRONG)
        assert ("notice" in (field["aria-describedby"] or "")) is (reason is Reason.WRONG)
        (html,) = found.all("html")
        assert html["lang"] == "en"


# --- nothing can be injected ---


def test_i12_everything_is_escaped() -> None:
    """Names, contact, kinds, labels, questions, token and carry are text, wherever they come from."""
    challenge = Challenge("x", Media("text/plain", EVIL.encode()), label=EVIL)
    shown = verdict(challenge, kind=EVIL, kinds=(EVIL, EVIL + "2"), token=EVIL, carry=EVIL)
    found = form(shown, site_name=EVIL, contact=EVIL)
    assert found.all("script") == []
    assert found.text.count(EVIL) >= 5
    for page in (found, form(verdict(None, token=EVIL, carry=EVIL))):
        assert [attrs["value"] for attrs in page.all("input") if "value" in attrs] == [EVIL, EVIL]
    assert EVIL in [text.strip() for text in found.text.splitlines()]
    picture = Challenge("x", Media(f"image/{EVIL}", b"x", 1, 1))
    assert form(verdict(picture)).all("script") == []


@pytest.mark.parametrize("text", ["What is 50 % of 10?", "%s %(name)s %", "{{ 7 * 7 }}", "{% raw %}", "<b>&amp;</b>"])
def test_words_of_a_kind_are_only_words(text: str) -> None:
    """The question and the label of a site's own kind are shown as they are, whatever they look like."""
    shown = verdict(Challenge("x", Media("text/plain", text.encode()), label=text), kinds=("question", text))
    assert form(shown, site_name=text, contact=text).text.count(text) >= 5


@given(st.binary(max_size=40))
def test_any_question_is_shown(content: bytes) -> None:
    """A question that is no UTF-8, or no text at all, breaks no page."""
    body = PAGE.show(verdict(Challenge("x", Media("text/plain", content))), request()).body
    assert body.decode()


PAGE = Page(settings())

# --- problem+json ---


@pytest.mark.parametrize("challenge", [QUESTION, PICTURE, None], ids=["question", "picture", "none"])
def test_problem_document(challenge: Challenge | None) -> None:
    """The document has the members of RFC 9457, the token, the challenge, and when to come again."""
    response = show(verdict(challenge, json=True, retry_after=0 if challenge else 2.5, lifetime=599.9))
    assert dict(response.fields)["content-type"] == "application/problem+json"
    assert "content-security-policy" not in dict(response.fields)
    document = json.loads(response.body)
    assert document.pop("detail").endswith(".")
    expected: dict[str, Any] = {
        "type": "about:blank",
        "title": "Too Many Requests",
        "status": 429,
        "reason": "rule-engaged",
        "token": "the-token",
        "expires_in": 599,
    }
    if challenge is None:
        expected["retry_after"] = 3
    else:
        media = challenge.media
        data = f"data:{media.type};base64,{base64.b64encode(media.content).decode()}"
        label = "Your answer" if challenge is QUESTION else "Characters in the picture, line by line"
        expected["challenge"] = {"kind": "question", "type": media.type, "data": data, "label": label}
    assert document == expected
