"""Which rule a request falls under, and that no spelling which a router takes slips past the gate."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import pytest
from django.urls import path as django_path  # type: ignore[import-untyped]
from django.urls.resolvers import RegexPattern, URLResolver  # type: ignore[import-untyped]
from hypothesis import example, given, settings
from hypothesis import strategies as st
from litestar import Litestar, post
from litestar._asgi.asgi_router import ASGIRouter
from litestar.exceptions import HTTPException as LitestarError
from litestar.utils import normalize_path
from starlette.routing import Match, Route
from werkzeug.exceptions import HTTPException as WerkzeugError
from werkzeug.routing import Map
from werkzeug.routing import Rule as WerkzeugRule

from gatepost import Rule, Settings
from gatepost.routes import Routes, strip_prefix
from twins import SECRET

UUID = "0e9d6d0a-0000-4000-8000-00000000e000"


def routes(*rules: str | Rule) -> Routes:
    return Routes(Settings(secret=SECRET, protect=rules).rules)


TABLE: list[tuple[str, str, str, bool]] = [
    # pattern, path, root_path, protected
    ("/contact", "/contact", "", True),
    ("/contact", "/contact/", "", True),
    ("/contact/", "/contact", "", True),
    ("/contact", "//contact", "", True),
    ("/contact", "contact", "", True),
    ("/contact", "/contact\n", "", True),
    ("/contact", "/contact/\n", "", True),
    ("/contact", "/contact\r", "", False),
    ("/contact", "/Contact", "", False),
    ("/contact", "/contacts", "", False),
    ("/contact", "/contact/x", "", False),
    ("/contact", "/a/contact", "", False),
    ("/contact", "/contact;a=b", "", False),
    ("/contact", "/contact%2F", "", False),
    ("/contact", "", "", False),
    ("/contact", "*", "", False),
    ("/", "", "", True),
    ("/", "/", "", True),
    ("/", "//", "", True),
    ("/", "/a", "", False),
    ("/a/b", "/a//b", "", True),
    ("/a/b", "/a/./b", "", False),
    ("/a.b", "/a.b", "", True),
    ("/a.b", "/axb", "", False),
    ("/a+b(c)[d]", "/a+b(c)[d]", "", True),
    ("/a|/b", "/b", "", False),
    ("/كتاب", "/كتاب", "", True),
    ("/100%", "/100%", "", True),
    # Prefixes.
    ("/contact", "/shop/contact", "/shop", True),
    ("/contact", "/contact", "/shop", True),
    ("/contact", "/shop", "/shop", False),
    ("/", "/shop", "/shop", True),
    ("/", "/shop/", "/shop", True),
    ("/apiary", "/apiary", "/api", True),
    ("/ary", "/apiary", "/api", False),
    ("/contact", "/shop/shop/contact", "/shop", False),
    ("/shop/contact", "/shop/shop/contact", "/shop", True),
    ("/contact", "/contact", "/contact", False),
    # Absolute addresses, which some servers hand on as they came.
    ("/contact", "http://site.example/contact", "", True),
    ("/contact", "HTTPS://site.example:443/contact;a?b#c", "", True),
    ("/contact", "http://site.example/elsewhere", "", False),
    ("/contact", "http://[/contact", "", False),
    ("/contact", "://contact", "", False),
    # Parameters.
    ("/posts/{id:int}/comments", "/posts/12/comments", "", True),
    ("/posts/{id:int}/comments", "/posts/12/comments/", "", True),
    ("/posts/{id:int}/comments", "/posts/-12/comments", "", True),
    ("/posts/{id:int}/comments", "/posts/+1_2/comments", "", True),
    ("/posts/{id:int}/comments", "/posts/ 12 /comments", "", True),
    ("/posts/{id:int}/comments", "/posts/١٢/comments", "", True),
    ("/posts/{id:int}/comments", "/posts/x/comments", "", False),
    ("/posts/{id:int}/comments", "/posts/1.5/comments", "", False),
    ("/posts/{id:int}/comments", "/posts//comments", "", False),
    ("/posts/{id:int}/comments", "/posts/_12/comments", "", False),
    ("/posts/{id:int}/comments", "/posts/12", "", False),
    ("/at/{x:float}", "/at/1.5", "", True),
    ("/at/{x:float}", "/at/-1.5e-3", "", True),
    ("/at/{x:float}", "/at/NaN", "", True),
    ("/at/{x:float}", "/at/-Infinity", "", True),
    ("/at/{x:float}", "/at/7", "", True),
    ("/at/{x:float}", "/at/.5", "", True),
    ("/at/{x:float}", "/at/.", "", False),
    ("/at/{x:float}", "/at/e5", "", False),
    ("/at/{x:float}", "/at/", "", False),
    ("/at/{x:float}", "/at/1.5.2", "", False),
    ("/of/{id:uuid}", f"/of/{UUID}", "", True),
    ("/of/{id:uuid}", f"/of/{UUID.upper().replace('-', '')}", "", True),
    ("/of/{id:uuid}", f"/of/urn:uuid:{{{UUID}}}", "", True),
    ("/of/{id:uuid}", f"/of/{UUID[:-1]}", "", True),  # a hyphen for a digit does no harm
    ("/of/{id:uuid}", "/of/" + UUID.replace("-", "")[:-1], "", False),
    ("/of/{id:uuid}", f"/of/{UUID[:-1]}x/y", "", False),
    ("/of/{id:uuid}", "/of/new", "", False),
    ("/{name}", "/any thing", "", True),
    ("/{name}", "/a/b", "", False),
    ("/{name}", "/", "", False),
    ("/{name}", "/\n", "", True),
    ("/{name:str}-{id:int}", "/a-b-7", "", True),
    ("/files/{path:path}", "/files/a/b/c", "", True),
    ("/files/{path:path}", "/files/", "", True),
    ("/files/{path:path}", "/files", "", False),
    ("/files/{path:path}/edit", "/files/a/b/edit", "", True),
    ("/files/{path:path}/edit", "/files//edit", "", True),
    ("/files/{path:path}/edit", "/files///a//edit//", "", True),
    ("/files/{path:path}/edit", "//files/a/edit", "", True),
    ("/{path:path}/edit", "/a/edit", "", True),
    ("/{path:path}/edit", "a/edit", "", True),
    ("/{path:path}/edit", "//edit", "", True),
    ("/{path:path}/edit", "/edits", "", False),
    ("/files/{path:path}/edit", "/files/a/b", "", False),
    ("/{path:path}", "/", "", True),
    ("/{path:path}", "", "", True),
]


@pytest.mark.parametrize(("pattern", "path", "root", "protected"), TABLE)
def test_paths(pattern: str, path: str, root: str, protected: bool) -> None:
    """Whether a decoded path under a prefix falls under a pattern."""
    assert (routes(pattern).find("POST", strip_prefix(path, root)) is not None) is protected


def test_first_rule_wins() -> None:
    """Of several rules the first that takes the method and the path is the one, whatever groups their patterns have."""
    found = routes(
        Rule("/a/{x:float}", methods=["POST", "PUT"]),
        Rule("/a/{id:int}/{rest:path}"),
        Rule("/b", methods=["PUT"], name="put b"),
        Rule("/{one}/{two}"),
        Rule("/{rest:path}", methods=["PUT", "PATCH"]),
        Rule("/b"),
    )
    table = [
        ("POST", "/a/1.5", 0),
        ("PUT", "/a/1.5", 0),
        ("POST", "/a/1/b/c", 1),
        ("PUT", "/b", 2),
        ("POST", "/b", 5),
        ("POST", "/a/x", 3),
        ("POST", "/a/x/y", None),
        ("PATCH", "/b", 4),
        ("PUT", "/a/x/y", 4),
        ("DELETE", "/b", None),
        ("GET", "/b", None),
    ]
    for method, path, index in table:
        assert found.find(method, path) == index, (method, path)


def test_methods_in_any_case() -> None:
    """Django, Flask and Quart take a method in any case for the one in upper case, and so does the gate."""
    found = routes(Rule("/a", methods=["POST", "DELETE"]))
    for method in ("POST", "post", "Post", "pOsT", "delete", "DeLeTe"):
        assert found.find(method, "/a") == 0
    for method in ("GET", "get", "PUT", "POSTS", "P\u0131ST", "", "POST "):
        assert found.find(method, "/a") is None


@pytest.mark.parametrize("pattern", dict.fromkeys(pattern for pattern, _, _, _ in TABLE if "{" in pattern))
@pytest.mark.parametrize("unit", ["/", "1", " ", "_", "-", "a", "1/", ".", "\n", "urn:", "e1"])
def test_i8_no_path_takes_long(pattern: str, unit: str) -> None:
    """A path as long as servers take costs no more than a few times its length."""
    finder = routes(pattern).finders["POST"]
    begin = pattern.partition("{")[0]
    started = time.thread_time()  # of no matter but for a pattern that goes back and forth: that takes hours
    for end in ("", "!", "/comments", "/edit!", "\n\n"):
        finder(begin + unit * (8192 // len(unit)) + end)
    assert time.thread_time() - started < 5


# --- what other routers take ---

PATTERNS = [
    "/contact",
    "/a/b/c",
    "/",
    "/posts/{id:int}/comments",
    "/at/{x:float}",
    "/of/{id:uuid}",
    "/{name:str}",
    "/{name:str}/edit",
    "/files/{rest:path}",
]
PLAIN = {"int": "12", "float": "1.5", "uuid": UUID, "str": "ada", "path": "a/b"}


def starlette_takes(pattern: str) -> Callable[[str, str], bool]:
    route = Route(pattern, lambda _: None, methods=["POST"])

    def takes(method: str, path: str) -> bool:
        scope = {"type": "http", "method": method, "path": path, "root_path": ""}
        return route.matches(scope)[0] is Match.FULL

    return takes


def werkzeug_takes(pattern: str) -> Callable[[str, str], bool]:
    rule = re.sub(r"{(\w+):(\w+)}", lambda m: f"<{m[2].replace('str', 'string')}:{m[1]}>", pattern)
    signed = re.sub(r"<(int|float):", r"<\1(signed=True):", rule)
    maps = [
        Map([WerkzeugRule(one, endpoint="x", methods=["POST"], strict_slashes=strict)], merge_slashes=merge)
        for one in (rule, signed)
        for strict in (True, False)
        for merge in (True, False)
    ]

    def takes(method: str, path: str) -> bool:
        for urls in maps:
            try:
                urls.bind("site.example").match(path, method)
            except WerkzeugError:
                continue
            else:
                return True
        return False

    return takes


def django_takes(pattern: str) -> Callable[[str, str], bool]:
    route = re.sub(r"{(\w+):(?:float|(\w+))}", lambda m: f"<{m[2] or 'str'}:{m[1]}>", pattern.removeprefix("/"))
    resolver = URLResolver(RegexPattern(r"^/"), [django_path(route, lambda _: None)])

    def takes(method: str, path: str) -> bool:
        try:
            found = resolver.resolve(path or "/")
        except Exception:
            return False
        # Django has no float; only what a view would read as one counts.
        return method.upper() == "POST" and ("float" not in pattern or is_float(found.kwargs["x"]))

    return takes


def is_float(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d+)?", text) is not None


def litestar_takes(pattern: str) -> Callable[[str, str], bool]:
    @post(pattern)
    async def handler() -> None: ...

    router: ASGIRouter = Litestar([handler], openapi_config=None, logging_config=None).asgi_router

    def takes(method: str, path: str) -> bool:
        try:
            router.handle_routing(path=normalize_path(path), method=method)
        except LitestarError:
            return False
        return True

    return takes


ROUTERS = {"starlette": starlette_takes, "werkzeug": werkzeug_takes, "django": django_takes, "litestar": litestar_takes}
TAKES = {(router, pattern): make(pattern) for router, make in ROUTERS.items() for pattern in PATTERNS}
FINDS = {pattern: routes(pattern).find for pattern in PATTERNS}

VALUES = {
    "int": st.from_regex(r"\A[ \n]?[-+]?[0-9_٣５]{1,5}[ \n]?\Z"),
    "float": st.from_regex(r"\A ?[-+]?([0-9_٣]{1,3}\.?[0-9_]{0,2}(e-?[0-9]{1,2})?|nan|INF|infinity|\.5) ?\Z"),
    "uuid": st.from_regex(r"\A(urn:)?(uuid:)?{?[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F+ _]{20}}?\Z"),
    "str": st.text(st.characters(codec="utf-8"), min_size=1, max_size=5),
    "path": st.text(st.sampled_from("a/.\n%;٣"), max_size=6),
}
SPELLINGS = (
    "/",
    "//",
    "///",
    "\n",
    "%2F",
    "%0A",
    "%2f%2F",
    "",
    ";a=b",
    "/.",
    "%20",
    " ",
    "/..",
    "?",
    "\r",
    "\0",
    "%00",
)


@st.composite
def spelt(draw: st.DrawFn) -> tuple[str, str, str]:
    """A pattern, a method, and a path that looks like it, spelt in an odd way here and there, decoded as servers do."""
    pattern = draw(st.sampled_from(PATTERNS))
    values = {kind: draw(st.just(plain) | VALUES[kind]) for kind, plain in PLAIN.items()}
    path = re.sub(r"{\w+:(\w+)}", lambda m: values[m[1]], pattern)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(path)))
        away = draw(st.integers(0, 1))
        path = path[:at] + draw(st.sampled_from(SPELLINGS)) + path[at + away :]
    path = draw(
        st.sampled_from([path, path, path, path.swapcase(), path + "/", "/" + path, path.lstrip("/"), path + "\n"])
    )
    return pattern, draw(st.sampled_from(["POST", "POST", "POST", "post", "Post"])), unquote(path)


@settings(max_examples=600, deadline=None)
@given(spelt())
@example(("/contact", "POST", "contact"))
@example(("/contact", "post", "/contact"))
@example(("/posts/{id:int}/comments", "POST", "/posts/+1_0/comments"))
@example(("/posts/{id:int}/comments", "POST", "/posts/ 1/comments"))
@example(("/at/{x:float}", "POST", "/at/-inf"))
@example(("/of/{id:uuid}", "POST", f"/of/urn:uuid:{UUID}"))
@example(("/of/{id:uuid}", "POST", "/of/0x" + "0" * 30))
def test_whatever_a_router_takes_is_found(case: tuple[str, str, str]) -> None:
    """A path and method that a framework's router takes for a pattern fall under the rule of the same pattern."""
    pattern, method, path = case
    for router in ROUTERS:
        if TAKES[router, pattern](method, path):
            assert FINDS[pattern](method, path) is not None, router


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("router", ROUTERS)
def test_the_routers_take_the_plain_path(router: str, pattern: str) -> None:
    """Each router takes the plain spelling, so that the property above is about something."""
    path = re.sub(r"{\w+:(\w+)}", lambda m: PLAIN[m[1]], pattern)
    assert TAKES[router, pattern]("POST", path)
    assert FINDS[pattern]("POST", path) is not None


@given(spelt(), st.sampled_from(["", "/shop", "/shop/", "/shöp", "/"]))
def test_prefix_is_taken_off_once(case: tuple[str, str, str], prefix: str) -> None:
    """A path under a prefix is found as it is without one, and what is left never begins elsewhere than at a slash."""
    _, _, path = case
    if path.startswith("/") and not prefix.endswith("/"):
        assert strip_prefix(prefix + path, prefix) == path
    rest: Any = strip_prefix(path, prefix)
    assert rest == path or (path == prefix + rest and rest[:1] in ("", "/")) or "://" in path
