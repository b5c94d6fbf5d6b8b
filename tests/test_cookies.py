"""Cutting cookies to the names that the first request had, as every framework would read them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.http.cookie import parse_cookie as django_cookies  # type: ignore[import-untyped]
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.requests import cookie_parser as starlette_cookies
from werkzeug.http import parse_cookie as werkzeug_cookies

from gatepost.origin import Provenance, cut_cookies
from gatepost.protocols import Headers


@pytest.mark.parametrize(
    ("sent", "allowed", "left"),
    [
        (["a=1; b=2"], {"a": 1}, "a=1"),
        (["a=1; b=2"], {"a": 1, "b": 1, "c": 1}, "a=1; b=2"),
        (["a=1; b=2"], {}, ""),
        (["b=2; a=1"], {"a": 1, "b": 1}, "b=2; a=1"),
        # A name that comes more often than it went is dropped whole: nobody knows which one is whose.
        (["a=1; a=2"], {"a": 1}, ""),
        (["a=1; a=2"], {"a": 2}, "a=1; a=2"),
        (["a=1; b=0; a=2"], {"a": 3, "b": 1}, "a=1; b=0; a=2"),
        (["a=1", "a=2"], {"a": 1}, ""),  # two fields, as HTTP/2 has it
        (["a=1", "b=2"], {"a": 1, "b": 1}, "a=1; b=2"),
        # Without a name: Werkzeug takes the text for the name, others the empty one.
        (["lone"], {}, ""),
        (["lone"], {"": 1}, ""),
        (["lone"], {"lone": 1}, ""),
        (["=x"], {"": 1}, ""),
        (["\x1c=x"], {"\x1c": 1}, ""),  # a blank to some
        (["\xc2\xa0=x"], {"\xc2\xa0": 1}, ""),  # one in UTF-8
        (["lone; a=1; =x"], {"": 2, "a": 1}, "a=1"),
        # Oddly spaced.
        (["  a = 1 ;b=2;; ;c"], {"a": 1, "": 1}, "a = 1"),
        ([" ; ;; "], {"": 9}, ""),
        (["a\t=1"], {"a": 1}, "a\t=1"),
        (["a=voil\xc3\xa0; b=\xc2\x85"], {"a": 1, "b": 1}, "a=voil\xc3\xa0; b=\xc2\x85"),  # UTF-8, byte by byte
        ([""], {"": 1}, ""),
        # Names are compared with their case, values are never looked into.
        (["A=1"], {"a": 1}, ""),
        (["a=b=c"], {"a": 1}, "a=b=c"),
        (['a="x; session=1"'], {"a": 1}, 'a="x'),
        (["a=1,session=2"], {"a": 1}, "a=1,session=2"),
        (["__Host-a=1; __host-a=2"], {"__Host-a": 1}, "__Host-a=1"),
    ],
)
def test_i3_cookies_are_cut(sent: list[str], allowed: dict[str, int], left: str) -> None:
    """Only cookies of allowed names, and no more often than allowed, are left, in their order and as they were."""
    assert cut_cookies(Headers(("cookie", field) for field in sent), tuple(allowed.items())) == left


# Non-ASCII bytes are Latin-1 to a server, and UTF-8 to some frameworks; a no-break space may be stripped, or not.
raw_cookies = st.lists(
    st.sampled_from(["a", "A", "session", "=", ";", '"', " ", "\t", ",", "\\", "\xc2\xa0", "\xc3\xa9", "\x1c", "$Path"])
).map("".join)
PARSERS: dict[str, Callable[[str], object]] = {
    "starlette": starlette_cookies,
    "django": lambda text: django_cookies(text.encode("latin-1").decode()),
    "werkzeug": lambda text: werkzeug_cookies(text).to_dict(),
}


def _names(framework: str, text: str) -> set[str]:
    """The names that a framework finds, as if all of them read UTF-8 and stripped blanks."""
    found = PARSERS[framework](text)
    assert isinstance(found, dict)
    return {_decoded(name).strip() for name in found}


def _decoded(name: str) -> str:
    try:
        return name.encode("latin-1").decode()
    except UnicodeError:
        return name


@pytest.mark.parametrize("framework", PARSERS)
def test_i3_frameworks_find_no_further_cookie(framework: str) -> None:
    """However odd the fields are, no framework finds a name after the cut that the first request did not have.

    It had those that any of them finds: Werkzeug passes over a cookie whose value is malformed, but it came.
    """

    @settings(deadline=None)
    @example("\x1c=", "\x1c=a")
    @example("\xc2\xa0=", "\xc2\xa0=a")
    @example('a="', "a=")
    @given(raw_cookies, raw_cookies)
    def cut(first: str, second: str) -> None:
        left = cut_cookies(Headers([("cookie", second)]), Provenance.of(Headers([("cookie", first)])).cookies)
        assert _names(framework, left) <= set().union(*(_names(each, first) for each in PARSERS))

    cut()
