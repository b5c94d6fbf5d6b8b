"""Settings that cannot be: each stops the start with one sentence, before the first request."""

from __future__ import annotations

from typing import Any

import pytest

from gatepost import Gate, Rate, Rule, Settings
from gatepost.challenges import ImageKind
from gatepost.settings import KIB, MIB
from gatepost.stores import MemoryStore
from gatepost.testing import KnownChallenge
from twins import SECRET

NAN, INF = float("nan"), float("inf")


def gate(**options: Any) -> Gate:
    return Gate(Settings(**({"secret": SECRET, "protect": "/contact"} | options)))


def one_sentence(error: ValueError) -> None:
    text = str(error)
    assert "\n" not in text
    assert text.endswith(".")
    assert ". " not in text


NO_RATES = [
    *(
        "",
        "20",
        "20/",
        "/minute",
        "20/fortnight",
        "20 per minute",
        "-1/minute",
        "0/minute",
        "2.5/minute",
        "1/0 minutes",
    ),
    *("1/2 days", "20/minute/hour", "9" * 40 + "/minute", 20, 2.5, b"20/minute"),
    *(Rate(0, 60), Rate(1, 0), Rate(1, NAN), Rate("1", 60), Rate(1, "60")),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("value", NO_RATES, ids=repr)
@pytest.mark.parametrize("option", ["above", "above_per_client", "below", "issue_limit", "failure_limit"])
def test_what_is_no_rate(option: str, value: Any) -> None:
    """Whatever is no rate is refused with the option's name, what it got, and what a rate looks like."""
    with pytest.raises(ValueError, match=f"^{option}: got .*(wanted a rate|wanted at least 1)") as caught:
        gate(**{option: value})
    one_sentence(caught.value)


BAD: list[tuple[dict[str, Any], list[str]]] = [
    # protect
    ({"protect": ()}, ["protect", "got nothing", "'/contact'"]),
    ({"protect": ""}, ["protect", "''", "begins with '/'"]),
    ({"protect": "contact"}, ["protect", "'contact'", "begins with '/'"]),
    ({"protect": ["/a", 5]}, ["protect", "5", "begins with '/'"]),
    ({"protect": b"/a"}, ["protect", "b'/a'"]),
    ({"protect": None}, ["protect", "got nothing"]),
    ({"protect": ["/a", "/a"]}, ["protect", "two rules named '/a'", "set name=..."]),
    ({"protect": [Rule("/a", name="x"), Rule("/b", name="x")]}, ["two rules named 'x'"]),
    ({"protect": Rule("/a", name="x" * 201)}, ["name of '/a'", "at most 200"]),
    ({"protect": Rule("/a", name=5)}, ["name of '/a'", "5", "string"]),  # type: ignore[arg-type]
    *(
        ({"protect": Rule("/a", methods=(method,))}, ["methods of '/a'", repr(method), "POST, PUT, PATCH, DELETE"])
        for method in ("GET", "HEAD", "OPTIONS", "TRACE", "post", "")
    ),
    ({"protect": Rule("/a", methods=())}, ["methods of '/a'", "none"]),
    # Rules that can match nothing.
    ({"protect": "/a?b=c"}, ["'/a?b=c' can match nothing", "query string", "leave it out"]),
    ({"protect": "/a#b"}, ["can match nothing", "fragment"]),
    ({"protect": "/a\\b"}, ["can match nothing", "backslash"]),
    ({"protect": "/a%20b"}, ["can match nothing", "decoded"]),
    ({"protect": "/a/../b"}, ["can match nothing", "resolved"]),
    ({"protect": "/./a"}, ["can match nothing", "resolved"]),
    ({"protect": ["/{page}", "/contact"]}, ["'/contact' can match nothing", "'/{page}' stands before it", "narrower"]),
    ({"protect": ["/{p:path}", "/a/{id:int}"]}, ["'/a/{id:int}' can match nothing"]),
    ({"protect": ["/a/{x}", "/a/{id:int}"]}, ["can match nothing"]),
    ({"protect": ["/a/", "/a"]}, ["'/a' can match nothing"]),
    ({"protect": ["/a", "//a//"]}, ["can match nothing"]),
    ({"protect": [Rule("/{x}", methods=["POST", "PUT"]), Rule("/a", methods=["PUT"])]}, ["'/a' can match nothing"]),
    ({"protect": ["/a{x:nonsense}"]}, ["'/a{x:nonsense}' is no pattern", "nonsense"]),
    ({"protect": ["/{x}/{x}"]}, ["is no pattern"]),
    ({"protect": ["/{x"]}, ["brace too many"]),
    ({"protect": ["/x}"]}, ["brace too many"]),
    ({"protect": ["/{}"]}, ["brace too many"]),
    ({"protect": ["/{x y}"]}, ["brace too many"]),
    # Thresholds.
    ({"above": []}, ["above", "got none", "'20/minute'"]),
    ({"above": None}, ["above", "got none"]),
    ({"above": ["20/minute", "10/minute"]}, ["above", "each above the one before"]),
    ({"above": ["20/minute", "20/minute"]}, ["above", "each above the one before"]),
    ({"above": ["20/minute", "2000/hour"]}, ["above", "same period"]),
    ({"above_per_client": ["5/minute", "4/minute"]}, ["above_per_client", "each above the one before"]),
    ({"below": "20/minute"}, ["below", "20/60 seconds", "lower than above", "raise above"]),
    ({"below": "30/minute"}, ["below", "30/60 seconds", "20/60 seconds"]),
    ({"below": "1201/hour"}, ["below", "1201/3600 seconds"]),
    ({"below": ["5/minute", "6/minute"]}, ["below", "2 rates", "at most as many as above has (1)"]),
    ({"above": ["20/minute", "30/minute"], "below": ["1/minute", "30/minute"]}, ["below", "30/60 seconds"]),
    ({"mode": "on"}, ["mode", "'on'", "adaptive, always, off, observe"]),
    ({"mode": None}, ["mode", "None"]),
    # Challenges.
    ({"challenge": ()}, ["challenge", "got none", "'image'"]),
    ({"challenge": None}, ["challenge", "got none"]),
    ({"challenge": "imge"}, ["challenge", "'imge'", "image"]),
    ({"challenge": ["image", "image"]}, ["challenge", "each kind once"]),
    ({"challenge": 5}, ["challenge", "5", "'image'"]),
    ({"challenge": ImageKind}, ["challenge", "a kind itself"]),
    ({"challenge": object()}, ["challenge", "a kind itself"]),
    (
        {"protect": [Rule("/a", challenge=KnownChallenge("x")), Rule("/b", challenge=KnownChallenge("y"))]},
        ["challenge", "two kinds named 'known'"],
    ),
    # What hangs together.
    ({"lifetime": 600, "carry_lifetime": 599}, ["lifetime", "600", "at most carry_lifetime (599 s)"]),
    ({"min_time": 60, "lifetime": 60}, ["min_time", "60", "less than lifetime (60 s)"]),
    ({"keep_total": 8 * MIB - 1}, ["keep_total", "at least keep_limit (8388608)", "raise it or lower keep_limit"]),
    ({"keep_per_client": 1}, ["keep_per_client", "got 1 bytes", "keep_limit"]),
    ({"buffer_limit": 8 * MIB - 1}, ["buffer_limit", "at least 8388608", "carry_limit and keep_limit"]),
    ({"buffer_limit": 9, "keep_limit": 9, "carry_limit": 10}, ["buffer_limit", "at least 10"]),
    # Things of another type.
    ({"client": "peer"}, ["client", "'peer'", "callable"]),
    ({"on_event": 5}, ["on_event", "5", "callable"]),
    ({"clock": 5.0}, ["clock", "5.0", "callable"]),
    ({"clock": None}, ["clock", "None", "callable"]),
    ({"exempt": "10.0.0.1/8"}, ["exempt", "'10.0.0.1/8'", "'10.0.0.0/8'"]),
    ({"exempt": ["10.0.0.0/8", "localhost"]}, ["exempt", "'localhost'"]),
    ({"exempt": 5}, ["exempt", "5", "callable or a network"]),
    ({"exempt": True}, ["exempt", "True"]),
    ({"templates": "no/such/folder"}, ["templates", "'no/such/folder'", "a folder that exists"]),
    ({"templates": __file__}, ["templates", "a folder that exists"]),
    ({"templates": 5}, ["templates", "'5'", "a folder that exists"]),
    ({"locale": "english please"}, ["locale", "'english please'", "'pt-BR'"]),
    ({"store": "redis"}, ["store", "'redis'", "'memory://'"]),
    ({"store": None}, ["store", "None", "the methods of a store"]),
    ({"store": 5}, ["store", "5"]),
    ({"store": MemoryStore}, ["store", "the methods of a store"]),
    *(({option: 5}, [option, "5", "string"]) for option in ("site", "site_name", "contact", "locale")),
    *(({option: None}, [option, "None", "string"]) for option in ("site", "site_name", "contact", "locale")),
]
NUMBERS: dict[str, tuple[Any, Any]] = {
    "leeway": (0, 300),
    "carry_limit": (0, 512 * KIB),
    "keep_limit": (0, 1024 * MIB),
    "keep_total": (0, 1 << 40),
    "keep_count": (0, 10_000_000),
    "keep_per_client": (0, 1 << 40),
    "buffer_limit": (0, 1 << 40),
    "drain_limit": (0, 1 << 40),
    "read_timeout": (0.01, 3600),
    "spent_size": (1, 100_000_000),
    "delivered_size": (1, 100_000_000),
    "clients_size": (1, 100_000_000),
    "pool_size": (2, 100_000),
    "render_rate": (0.01, 100_000),
    "hold": (0, 86400),
    "lifetime": (10, 86400),
    "carry_lifetime": (10, 7 * 86400),
    "min_time": (0, 60),
    "status": (400, 599),
    "permit_uses": (0, 100),
    "permit_lifetime": (1, 86400),
}
WHOLE = set(NUMBERS) - {
    "hold",
    "lifetime",
    "carry_lifetime",
    "min_time",
    "leeway",
    "read_timeout",
    "render_rate",
    "permit_lifetime",
}


@pytest.mark.parametrize(("options", "words"), BAD, ids=lambda value: str(value)[:60])
def test_one_sentence_for_what_cannot_be(options: dict[str, Any], words: list[str]) -> None:
    """Whatever cannot be stops the start with one sentence: which option, what it got, what it wants."""
    with pytest.raises(ValueError, match=r"^[a-z_]+(?: of '/a')?: .*") as caught:
        gate(**options)
    one_sentence(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("option", NUMBERS)
def test_numbers_have_bounds(option: str) -> None:
    """A number beyond its bounds, of another type, or none at all is refused, with its bounds; those are allowed."""
    low, high = NUMBERS[option]
    for value in (low - 1, high + 1, NAN, INF, -INF, "5", None, True, [5], *([2.5] if option in WHOLE else [])):
        with pytest.raises(ValueError, match=f"^{option}: got .*, wanted a .*number from .* to ") as caught:
            gate(**{option: value})
        one_sentence(caught.value)
    roomy: dict[str, Any] = {"keep_total": 1 << 40, "keep_per_client": 1 << 40, "buffer_limit": 1 << 40}
    roomy |= {"lifetime": 86400} if option == "min_time" else {"carry_lifetime": 7 * 86400}
    if option in ("keep_total", "keep_per_client", "buffer_limit"):
        roomy |= {"keep_limit": 0, "carry_limit": 0}
    roomy |= {"lifetime": 10} if option == "carry_lifetime" else {}
    roomy |= {"carry_lifetime": 7 * 86400}
    for value in (low, high):
        gate(**(roomy | {option: value}))
