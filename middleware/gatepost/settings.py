"""Settings and rules: frozen values, checked when they are made, so that a mistake stops the start and not a request.

Every complaint is a :class:`ValueError` of one sentence: which option, what it got, what it wants.
"""

from __future__ import annotations

import difflib
import ipaddress
import math
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, TypedDict

from .protocols import Clock, Event, Kind, Mode, Request, Store

KIB = 1024
MIB = 1024 * KIB
CARRY_CEILING = 512 * KIB  # the most that `carry_limit` may be; answers of open pages stay readable when it is lowered
SECRET_BYTES = 32
SECRET_HINT = "python -c 'import secrets; print(secrets.token_urlsafe(32))'"  # noqa: S105 - a command, not a secret

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Exemption = Callable[[Request], bool]

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_RATE = re.compile(r"\s*(\d{1,9})\s*/\s*(\d{1,6})?\s*(second|minute|hour|day)s?\s*")
_METHODS = ("POST", "PUT", "PATCH", "DELETE")
_LOCALE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8})*")


@dataclass(frozen=True, slots=True)
class Rate:
    """So many submissions in so many seconds: ``Rate(20, 60)``, or ``Rate.of("20/minute")``."""

    count: int
    period: float

    @classmethod
    def of(cls, value: str | Rate, option: str = "rate") -> Rate:
        """Read ``"20/minute"`` or ``"100/5 minutes"``; units are second, minute, hour and day.

        :raises ValueError: if the text is no rate, or less than 1.
        """
        if isinstance(value, Rate):
            rate = value
        else:
            match = _RATE.fullmatch(value) if isinstance(value, str) else None
            if match is None:
                raise ValueError(f"{option}: got {value!r}, wanted a rate such as '20/minute' or '100/5 minutes'.")
            rate = cls(int(match[1]), int(match[2] or 1) * _UNITS[match[3]])
        if rate.count < 1 or not 1 <= rate.period <= 86400:
            raise ValueError(f"{option}: got {value!r}, wanted at least 1 in a period between 1 second and 1 day.")
        return rate


Rates = str | Rate | Sequence[str | Rate]
Exempt = str | Network | Exemption | Sequence[str | Network | Exemption]


@dataclass(frozen=True, kw_only=True)
class _Choices:
    """What a rule may set for itself; left out, it comes from the settings."""

    above: Rates | None = None
    above_per_client: Rates | None = None
    below: Rates | None = None
    hold: float | None = None
    mode: str | None = None
    challenge: str | Kind | Sequence[str | Kind] | None = None
    lifetime: float | None = None
    carry_lifetime: float | None = None
    min_time: float | None = None
    status: int | None = None
    permit_uses: int | None = None
    permit_lifetime: float | None = None
    exempt: Exempt | None = None


@dataclass(frozen=True)
class Rule(_Choices):
    """One protected path, with options of its own.

    :param path: a pattern in Starlette's notation: ``/contact``, ``/posts/{id:int}/comments``, ``/files/{path:path}``.
    :param name: shown in logs, events and :meth:`Gate.stats`, and kept while pages are open; the path if empty.
    :param methods: among ``POST``, ``PUT``, ``PATCH`` and ``DELETE``; only ``POST`` gets a page, the others JSON.

    The other parameters are settings of the same name; ``None`` takes the value of the settings.
    """

    path: str
    name: str = field(default="", kw_only=True)
    methods: Sequence[str] = field(default=("POST",), kw_only=True)


@dataclass(frozen=True, slots=True)
class Bound:
    """A rule with every option filled in and checked."""

    path: str
    name: str
    methods: tuple[str, ...]
    above: tuple[Rate, ...]
    below: tuple[float, ...]
    above_per_client: tuple[Rate, ...]
    hold: float
    mode: Mode
    challenge: tuple[str | Kind, ...]
    lifetime: float
    carry_lifetime: float
    min_time: float
    status: int
    permit_uses: int
    permit_lifetime: float
    networks: tuple[Network, ...]
    exemptions: tuple[Exemption, ...]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that a gate can be told. The README lists each setting with its unit and default.

    :raises ValueError: one sentence about the first option that cannot be.
    """

    secret: str | bytes | Sequence[str | bytes] = field(default="", repr=False)
    protect: str | Rule | Sequence[str | Rule] = ()
    site: str = ""
    above: Rates = "20/minute"
    above_per_client: Rates = ()
    below: Rates | None = None
    hold: float = 60
    mode: str = "adaptive"
    challenge: str | Kind | Sequence[str | Kind] = ("image",)
    lifetime: float = 600
    carry_lifetime: float = 3600
    min_time: float = 1
    leeway: float = 5
    status: int = 429
    carry_limit: int = 48 * KIB
    keep_limit: int = 8 * MIB
    keep_total: int = 64 * MIB
    keep_count: int = 1000
    keep_per_client: int = 16 * MIB
    buffer_limit: int = 64 * MIB
    drain_limit: int = 32 * MIB
    read_timeout: float = 30
    spent_size: int = 20_000
    delivered_size: int = 20_000
    clients_size: int = 10_000
    pool_size: int = 64
    render_rate: int = 50
    issue_limit: str | Rate = "30/minute"
    failure_limit: str | Rate = "10/minute"
    permit_uses: int = 0
    permit_lifetime: float = 300
    client: Callable[[Request], str | None] | None = None
    exempt: Exempt = ()
    on_event: Callable[[Event], None] | None = None
    templates: str | os.PathLike[str] | None = None
    locale: str = ""
    site_name: str = ""
    contact: str = ""
    clock: Clock = time.time
    store: str | Store = "memory://"

    secrets: tuple[bytes, ...] = field(init=False, repr=False)
    rules: tuple[Bound, ...] = field(init=False, repr=False)
    issue_rate: Rate = field(init=False, repr=False)
    failure_rate: Rate = field(init=False, repr=False)

    def __post_init__(self) -> None:
        put = object.__setattr__  # how a frozen dataclass fills its own derived fields
        put(self, "secrets", _secrets(self.secret))
        for option, (kind, low, high) in _NUMBERS.items():
            _number(option, getattr(self, option), kind, low, high)
        self._check_sizes()
        for option in ("site", "locale", "site_name", "contact"):
            if not isinstance(getattr(self, option), str):
                raise ValueError(f"{option}: got {getattr(self, option)!r}, wanted a string.")
        if self.locale and not _LOCALE.fullmatch(self.locale):
            raise ValueError(f"locale: got {self.locale!r}, wanted a language tag such as 'en' or 'pt-BR'.")
        for option in ("client", "on_event", "clock"):
            value = getattr(self, option)
            if value is not None and not callable(value):
                raise ValueError(f"{option}: got {value!r}, wanted a callable.")
        if self.templates is not None and not Path(self.templates).is_dir():
            raise ValueError(f"templates: got {str(self.templates)!r}, wanted a folder that exists.")
        if isinstance(self.store, str) and self.store != "memory://":
            raise ValueError(f"store: got {self.store!r}, wanted 'memory://' or an object with the methods of a store.")
        put(self, "issue_rate", Rate.of(self.issue_limit, "issue_limit"))
        put(self, "failure_rate", Rate.of(self.failure_limit, "failure_limit"))
        put(self, "rules", _rules(self))

    def _check_sizes(self) -> None:
        for option in ("keep_total", "keep_per_client"):
            if getattr(self, option) < self.keep_limit:
                raise ValueError(
                    f"{option}: got {getattr(self, option)} bytes, wanted at least keep_limit ({self.keep_limit}), "
                    f"or no submission of that size could be kept; raise it or lower keep_limit."
                )
        needed = max(self.carry_limit, self.keep_limit)
        if self.buffer_limit < needed:
            raise ValueError(
                f"buffer_limit: got {self.buffer_limit} bytes, wanted at least {needed}, the larger of carry_limit and "
                f"keep_limit; raise it or lower those."
            )

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Settings:
        """Settings from keyword arguments, with a hint where a name is misspelt.

        :raises ValueError: for a name that is no setting, too.
        """
        known = [item.name for item in fields(cls) if item.init]
        for name in options:
            if name not in known:
                close = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean {close[0]!r}" if close else f"wanted one of {', '.join(known)}"
                raise ValueError(f"{name}: there is no such setting; {hint}.")
        return cls(**options)


class Options(TypedDict, total=False):
    """The settings as keyword arguments of the middleware classes, for type checkers and editors."""

    secret: str | bytes | Sequence[str | bytes]
    protect: str | Rule | Sequence[str | Rule]
    site: str
    above: Rates
    above_per_client: Rates
    below: Rates | None
    hold: float
    mode: str
    challenge: str | Kind | Sequence[str | Kind]
    lifetime: float
    carry_lifetime: float
    min_time: float
    leeway: float
    status: int
    carry_limit: int
    keep_limit: int
    keep_total: int
    keep_count: int
    keep_per_client: int
    buffer_limit: int
    drain_limit: int
    read_timeout: float
    spent_size: int
    delivered_size: int
    clients_size: int
    pool_size: int
    render_rate: int
    issue_limit: str | Rate
    failure_limit: str | Rate
    permit_uses: int
    permit_lifetime: float
    client: Callable[[Request], str | None] | None
    exempt: Exempt
    on_event: Callable[[Event], None] | None
    templates: str | os.PathLike[str] | None
    locale: str
    site_name: str
    contact: str
    clock: Clock
    store: str | Store


# option: (type, smallest, largest). The largest values are far beyond use; they turn a slip of units into a sentence.
_NUMBERS: dict[str, tuple[type, float, float]] = {
    "leeway": (float, 0, 300),
    "carry_limit": (int, 0, CARRY_CEILING),
    "keep_limit": (int, 0, 1024 * MIB),
    "keep_total": (int, 0, 1 << 40),
    "keep_count": (int, 0, 10_000_000),
    "keep_per_client": (int, 0, 1 << 40),
    "buffer_limit": (int, 0, 1 << 40),
    "drain_limit": (int, 0, 1 << 40),
    "read_timeout": (float, 0.01, 3600),
    "spent_size": (int, 1, 100_000_000),
    "delivered_size": (int, 1, 100_000_000),
    "clients_size": (int, 1, 100_000_000),
    "pool_size": (int, 2, 100_000),
    "render_rate": (int, 1, 100_000),
}
_RULE_NUMBERS: dict[str, tuple[type, float, float]] = {
    "hold": (float, 0, 86400),
    "lifetime": (float, 10, 86400),
    "carry_lifetime": (float, 10, 7 * 86400),
    "min_time": (float, 0, 60),
    "status": (int, 400, 599),
    "permit_uses": (int, 0, 100),
    "permit_lifetime": (float, 1, 86400),
}


def _number(option: str, value: object, kind: type, low: float, high: float) -> None:
    accepted = (int,) if kind is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, accepted) or math.isnan(value) or not low <= value <= high:
        word = "a whole number" if kind is int else "a number"
        raise ValueError(f"{option}: got {value!r}, wanted {word} from {low:g} to {high:g}.")


def _secrets(value: object) -> tuple[bytes, ...]:
    values = [value] if isinstance(value, str | bytes) else value
    if not isinstance(values, Sequence) or not values or not all(isinstance(item, str | bytes) for item in values):
        raise ValueError(
            f"secret: wanted a string, bytes, or a list of them from oldest to newest; make one with {SECRET_HINT}"
        )
    raw = tuple(item.encode() if isinstance(item, str) else item for item in values)
    for item in raw:
        if not item:
            raise ValueError(
                f"secret: none was given, and the gate does not start without; make one with {SECRET_HINT}"
            )
        if len(item) < SECRET_BYTES or len(set(item)) < 8:
            raise ValueError(
                f"secret: got one of {len(item)} bytes with {len(set(item))} different ones, wanted at least "
                f"{SECRET_BYTES} random bytes; make one with {SECRET_HINT}"
            )
    return raw


def _listed(value: Any) -> tuple[Any, ...]:
    """One value or several, as a tuple."""
    if value is None:
        return ()
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return tuple(value)
    return (value,)


def _rates(option: str, value: Any) -> tuple[Rate, ...]:
    rates = tuple(Rate.of(item, option) for item in _listed(value))
    for gentler, harder in pairwise(rates):
        if harder.period != gentler.period or harder.count <= gentler.count:
            raise ValueError(f"{option}: got {value!r}, wanted rates over the same period, each above the one before.")
    return rates


def _below(above: tuple[Rate, ...], value: Any) -> tuple[float, ...]:
    """The count over the period of ``above`` under which each level ends."""
    given = tuple(Rate.of(item, "below") for item in _listed(value))
    if len(given) > len(above):
        raise ValueError(f"below: got {len(given)} rates, wanted at most as many as above has ({len(above)}).")
    counts = []
    for index, enter in enumerate(above):
        leave = given[index].count * enter.period / given[index].period if index < len(given) else enter.count / 2
        if leave >= enter.count:
            raise ValueError(
                f"below: got {given[index]}, wanted a rate lower than above ({enter}), or the rule would switch back "
                f"and forth; lower below or raise above."
            )
        counts.append(leave)
    return tuple(counts)


def _exempt(value: Any) -> tuple[tuple[Network, ...], tuple[Exemption, ...]]:
    networks: list[Network] = []
    exemptions: list[Exemption] = []
    # A network is iterable, address by address.
    for item in (value,) if isinstance(value, Network) else _listed(value):
        if callable(item):
            exemptions.append(item)
            continue
        try:
            networks.append(ipaddress.ip_network(item))
        except ValueError as error:
            raise ValueError(
                f"exempt: got {item!r}, wanted a callable or a network such as '10.0.0.0/8' ({error})."
            ) from error
    return tuple(networks), tuple(exemptions)


def _challenges(value: Any) -> tuple[str | Kind, ...]:
    kinds = (value,) if isinstance(value, Kind) else _listed(value)
    if not kinds:
        raise ValueError("challenge: got none, wanted at least one kind such as 'image'.")
    for kind in kinds:
        if not isinstance(kind, str | Kind) or isinstance(kind, type):
            raise ValueError(f"challenge: got {kind!r}, wanted the name of a kind such as 'image', or a kind itself.")
    names = [kind if isinstance(kind, str) else kind.name for kind in kinds]
    if len(set(names)) < len(names):
        raise ValueError(f"challenge: got {names!r}, wanted each kind once.")
    return kinds


def _methods(rule: Rule) -> tuple[str, ...]:
    methods = tuple(_listed(rule.methods))
    wrong = [method for method in methods if method not in _METHODS]
    if wrong or not methods:
        got = ", ".join(map(repr, wrong)) if wrong else "none"
        raise ValueError(f"methods of {rule.path!r}: got {got}, wanted some of {', '.join(_METHODS)}.")
    return methods


def _rules(settings: Settings) -> tuple[Bound, ...]:
    if isinstance(settings.protect, Rule):
        given: tuple[Any, ...] = (settings.protect,)
    else:
        given = _listed(settings.protect)
    if not given:
        raise ValueError("protect: got nothing, wanted at least one path such as '/contact'.")
    rules = tuple(_bind(item if isinstance(item, Rule) else Rule(item), settings) for item in given)
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"protect: got two rules named {name!r}, wanted a name of its own for each; set name=...")
    return rules


def _bind(rule: Rule, settings: Settings) -> Bound:
    if not isinstance(rule.path, str) or not rule.path.startswith("/"):
        raise ValueError(f"protect: got {rule.path!r}, wanted a path that begins with '/'.")
    name = rule.name or rule.path
    if not isinstance(name, str) or len(name) > 200:
        raise ValueError(f"name of {rule.path!r}: got {name!r}, wanted a string of at most 200 characters.")

    def option(key: str) -> Any:
        own = getattr(rule, key)
        return getattr(settings, key) if own is None else own

    for key, (kind, low, high) in _RULE_NUMBERS.items():
        _number(key, option(key), kind, low, high)
    if option("lifetime") > option("carry_lifetime"):
        raise ValueError(
            f"lifetime: got {option('lifetime')} s, wanted at most carry_lifetime ({option('carry_lifetime')} s)."
        )
    if option("min_time") >= option("lifetime"):
        raise ValueError(f"min_time: got {option('min_time')} s, wanted less than lifetime ({option('lifetime')} s).")
    modes = [mode.value for mode in Mode]
    if option("mode") not in modes:
        raise ValueError(f"mode: got {option('mode')!r}, wanted one of {', '.join(modes)}.")
    above = _rates("above", option("above"))
    if not above:
        raise ValueError("above: got none, wanted a rate such as '20/minute'.")
    networks, exemptions = _exempt(option("exempt"))
    return Bound(
        path=rule.path,
        name=name,
        methods=_methods(rule),
        above=above,
        below=_below(above, option("below")),
        above_per_client=_rates("above_per_client", option("above_per_client")),
        mode=Mode(option("mode")),
        challenge=_challenges(option("challenge")),
        networks=networks,
        exemptions=exemptions,
        **{key: option(key) for key in _RULE_NUMBERS},
    )
