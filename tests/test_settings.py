"""Settings and rules: names, defaults, how they are given, and the secret."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import secrets
import time
import typing
from pathlib import Path
from typing import Any

import pytest

from gatepost import Gate, Rate, Rule, Settings
from gatepost.asgi import GatepostMiddleware as AsgiGate
from gatepost.settings import KIB, MIB, Options
from gatepost.testing import KnownChallenge
from gatepost.wsgi import GatepostMiddleware as WsgiGate
from twins import SECRET

DEFAULTS: dict[str, Any] = {
    "site": "",
    "above": "20/minute",
    "above_per_client": (),
    "below": None,
    "hold": 60,
    "mode": "adaptive",
    "challenge": ("image",),
    "lifetime": 600,
    "carry_lifetime": 3600,
    "min_time": 1,
    "leeway": 5,
    "status": 429,
    "carry_limit": 48 * KIB,
    "keep_limit": 8 * MIB,
    "keep_total": 64 * MIB,
    "keep_count": 1000,
    "keep_per_client": 16 * MIB,
    "buffer_limit": 64 * MIB,
    "drain_limit": 32 * MIB,
    "read_timeout": 30,
    "spent_size": 20_000,
    "delivered_size": 20_000,
    "clients_size": 10_000,
    "pool_size": 64,
    "render_rate": 50,
    "issue_limit": "30/minute",
    "failure_limit": "10/minute",
    "permit_uses": 0,
    "permit_lifetime": 300,
    "client": None,
    "exempt": (),
    "on_event": None,
    "templates": None,
    "locale": "",
    "site_name": "",
    "contact": "",
    "clock": time.time,
    "store": "auto",
    "store_timeout": 0.25,
    "sync_interval": 0.25,
    "on_store_error": "local",
}
RULE_OPTIONS = (
    "above",
    "above_per_client",
    "below",
    "hold",
    "mode",
    "challenge",
    "lifetime",
    "carry_lifetime",
    "min_time",
    "status",
    "permit_uses",
    "permit_lifetime",
    "exempt",
)


def test_defaults() -> None:
    """Every setting has the default that the design names, and there is none besides."""
    settings = Settings(secret=SECRET, protect="/contact")
    names = [item.name for item in dataclasses.fields(Settings) if item.init]
    assert names == ["secret", "protect", *DEFAULTS]
    assert {name: getattr(settings, name) for name in DEFAULTS} == DEFAULTS


def test_keyword_options_are_the_settings() -> None:
    """What type checkers know of the keywords of the middleware classes is what the settings are."""
    hints = typing.get_type_hints(Settings)
    fields = {item.name: hints[item.name] for item in dataclasses.fields(Settings) if item.init}
    assert typing.get_type_hints(Options) == fields


def test_rule_options_are_settings() -> None:
    """Every option of a rule but its path, name and methods is a setting of the same name, left out by default."""
    names = [item.name for item in dataclasses.fields(Rule)]
    assert sorted(names) == sorted(["path", "name", "methods", *RULE_OPTIONS])
    assert all(getattr(Rule("/a"), name) is None for name in RULE_OPTIONS)


@pytest.mark.parametrize(
    ("option", "value", "bound"),
    [
        ("above", "7/hour", (Rate(7, 3600),)),
        ("above_per_client", ["1/minute", "3/minute"], (Rate(1, 60), Rate(3, 60))),
        ("below", "5/minute", (5.0,)),
        ("hold", 1.5, 1.5),
        ("mode", "observe", "observe"),
        ("lifetime", 20, 20),
        ("carry_lifetime", 700, 700),
        ("min_time", 0, 0),
        ("status", 503, 503),
        ("permit_uses", 3, 3),
        ("permit_lifetime", 9, 9),
        ("exempt", "10.0.0.0/8", (ipaddress.ip_network("10.0.0.0/8"),)),
    ],
)
def test_rule_takes_its_own_option_or_the_setting(option: str, value: Any, bound: Any) -> None:
    """An option of a rule goes before the setting, which goes before the default."""
    name = "networks" if option == "exempt" else option
    for settings in (
        Settings(secret=SECRET, protect=Rule("/a", **{option: value})),
        Settings(secret=SECRET, protect="/a", **{option: value}),
    ):
        assert getattr(settings.rules[0], name) == bound


def test_below_is_half_of_above_unless_set() -> None:
    """Each level ends under half of its threshold, or under the rate that was given, over whatever period."""
    table: list[tuple[Any, Any, tuple[float, ...]]] = [
        ("20/minute", None, (10.0,)),
        ("1/minute", None, (0.5,)),
        ("20/minute", "19/minute", (19.0,)),
        ("20/minute", "600/hour", (10.0,)),
        (["20/minute", "60/minute"], "15/minute", (15.0, 30.0)),
        (["20/minute", "60/minute"], ["15/minute", "20/minute"], (15.0, 20.0)),
    ]
    for above, below, expected in table:
        assert Settings(secret=SECRET, protect="/a", above=above, below=below).rules[0].below == expected


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("20/minute", Rate(20, 60)),
        ("20 / minute", Rate(20, 60)),
        (" 1/second ", Rate(1, 1)),
        ("100/5 minutes", Rate(100, 300)),
        ("3/2hours", Rate(3, 7200)),
        ("5/day", Rate(5, 86400)),
        (Rate(2, 1.5), Rate(2, 1.5)),
    ],
)
def test_rates(text: Any, rate: Rate) -> None:
    """Rates are read as people write them, and written so that they can be read again."""
    assert Rate.of(text) == rate
    assert rate.period % 1 or Rate.of(str(rate)) == rate


SHORT = "wanted at least 32 random bytes"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "none was given"),
        ({"secret": ""}, "none was given"),
        ({"secret": b""}, "none was given"),
        ({"secret": [SECRET, ""]}, "none was given"),
        ({"secret": None}, "wanted a string, bytes, or a list of them"),
        ({"secret": []}, "wanted a string, bytes, or a list of them"),
        ({"secret": 5}, "wanted a string, bytes, or a list of them"),
        ({"secret": {SECRET}}, "wanted a string, bytes, or a list of them"),
        ({"secret": [SECRET, 5]}, "wanted a string, bytes, or a list of them"),
        ({"secret": SECRET[:31]}, SHORT),
        ({"secret": "a" * 64}, SHORT),
        ({"secret": "abcdefg" * 9}, SHORT),
        ({"secret": [SECRET, "changeme"]}, SHORT),
    ],
    ids=str,
)
@pytest.mark.parametrize("middleware", [AsgiGate, WsgiGate])
def test_secret_comes_with_the_command_that_makes_one(middleware: Any, options: dict[str, Any], words: str) -> None:
    """A missing, short or repetitive secret stops the start with the command that makes a good one."""
    with pytest.raises(ValueError, match=f"^secret: .*{words}") as caught:
        middleware(None, protect="/contact", **options)
    text = str(caught.value)
    assert "\n" not in text
    command = text[text.index("python -c '") + len("python -c '") : -1]
    program = re.fullmatch(r"import secrets; print\((.*)\)", command)
    assert program is not None
    middleware(None, protect="/contact", secret=eval(program[1], {"secrets": secrets}))  # noqa: S307 - our own words
    assert SECRET[:20] not in text
    assert "changeme" not in text


@pytest.mark.parametrize("secret", [SECRET, SECRET.encode(), [SECRET], (SECRET.encode(), SECRET[::-1]), SECRET[:32]])
def test_secrets_that_will_do(secret: Any) -> None:
    """A string, bytes, or a list of them, of 32 bytes each, is a secret."""
    assert all(isinstance(item, bytes) for item in Settings(secret=secret, protect="/a").secrets)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("secrets", "did you mean 'secret'"),
        ("protects", "did you mean 'protect'"),
        ("abov", "did you mean 'above'"),
        ("above_by_client", "did you mean 'above_per_client'"),
        ("carry_life_time", "did you mean 'carry_lifetime'"),
        ("rate_limit", "did you mean 'render_rate'|did you mean '[a-z]+_limit'"),
        ("zzz", "wanted one of secret, protect, site"),
    ],
)
@pytest.mark.parametrize("middleware", [AsgiGate, WsgiGate])
def test_misspelt_name_gets_a_hint(middleware: Any, name: str, words: str) -> None:
    """A keyword that is no setting stops the start with the nearest one, or the list of all."""
    with pytest.raises(ValueError, match=f"^{name}: there is no such setting; ({words})"):
        middleware(None, **{"secret": SECRET, "protect": "/a", name: 1})


def test_one_way_of_configuration_at_a_time() -> None:
    """A gate, settings and keywords exclude each other, and the sentence names what was given."""
    settings = Settings(secret=SECRET, protect="/a")
    with pytest.raises(ValueError, match="got gate and settings, wanted one"):
        AsgiGate(None, gate=Gate(settings), settings=settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="got settings and above, hold, wanted one"):
        WsgiGate(None, settings=settings, above="1/minute", hold=5)  # type: ignore[arg-type]
    made = Gate(settings)
    assert AsgiGate(None, gate=made).gate is made  # type: ignore[arg-type]


def test_i9_secret_is_in_no_repr() -> None:
    """Neither the secret nor what is made of it can be read in the repr of anything that a log may show."""
    gate = Gate(Settings(secret=[SECRET, SECRET[::-1]], protect=[Rule("/a")]))
    shown = " ".join(map(repr, (gate.settings, gate, gate.tokens, gate.permits, gate.flow, gate.guards, vars(gate))))
    assert SECRET not in shown
    assert SECRET[::-1] not in shown
    assert "hold=60" in repr(gate.settings)


def test_settings_are_frozen() -> None:
    """Neither settings nor rules change once they are made."""
    settings = Settings(secret=SECRET, protect="/a")
    for value, name in ((settings, "hold"), (settings.rules[0], "hold"), (Rule("/a"), "hold"), (Rate(1, 1), "count")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, 5)


def test_whatever_is_one_or_many(tmp_path: Path) -> None:
    """Where several can be given, one may stand alone, and any collection of them will do."""
    network = ipaddress.ip_network("10.0.0.0/30")
    for exempt in (network, [network], "10.0.0.0/30", ("10.0.0.0/30",), {network}, ipaddress.ip_network("10.0.0.0/30")):
        assert Settings(secret=SECRET, protect="/a", exempt=exempt).rules[0].networks == (network,)  # type: ignore[arg-type]
    for protect in ("/a", Rule("/a"), ["/a"], (Rule("/a"),), iter(["/a"])):
        assert [rule.path for rule in Settings(secret=SECRET, protect=protect).rules] == ["/a"]  # type: ignore[arg-type]
    kind = KnownChallenge("x")
    for challenge in (kind, [kind], (kind,)):
        assert Settings(secret=SECRET, protect="/a", challenge=challenge).rules[0].challenge == (kind,)
    assert Settings(secret=SECRET, protect="/a", templates=tmp_path).templates == tmp_path
