"""Rules and rates: what ``protect`` and ``above`` are made of, checked and filled in with the settings' own values.

Every complaint is a :class:`ValueError` of one sentence: which option, what it got, what it wants.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from .protocols import Kind, Mode, Request

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Exemption = Callable[[Request], bool]

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_RATE = re.compile(r"\s*(\d{1,9})\s*/\s*(\d{1,6})?\s*(second|minute|hour|day)s?\s*")
_METHODS = ("POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True, slots=True)
class Rate:
    """So many submissions in so many seconds: ``Rate(20, 60)``, or ``Rate.of("20/minute")``."""

    count: int
    period: float

    def __str__(self) -> str:
        return f"{self.count}/{self.period:g} seconds"

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
        if (
            not isinstance(rate.count, int)
            or not isinstance(rate.period, int | float)
            or rate.count < 1
            or not 1 <= rate.period <= 86400
        ):
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


_RULE_NUMBERS: dict[str, tuple[type, float, float]] = {
    "hold": (float, 0, 86400),
    "lifetime": (float, 10, 86400),
    "carry_lifetime": (float, 10, 7 * 86400),
    "min_time": (float, 0, 60),
    "status": (int, 400, 599),
    "permit_uses": (int, 0, 100),
    "permit_lifetime": (float, 1, 86400),
}


def check_number(option: str, value: object, kind: type, low: float, high: float) -> None:
    accepted = (int,) if kind is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, accepted) or math.isnan(value) or not low <= value <= high:
        word = "a whole number" if kind is int else "a number"
        raise ValueError(f"{option}: got {value!r}, wanted {word} from {low:g} to {high:g}.")


def listed(value: Any) -> tuple[Any, ...]:
    """One value or several, as a tuple."""
    if value is None:
        return ()
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return tuple(value)
    return (value,)


def _rates(option: str, value: Any) -> tuple[Rate, ...]:
    rates = tuple(Rate.of(item, option) for item in listed(value))
    for gentler, harder in pairwise(rates):
        if harder.period != gentler.period or harder.count <= gentler.count:
            raise ValueError(f"{option}: got {value!r}, wanted rates over the same period, each above the one before.")
    return rates


def _below(above: tuple[Rate, ...], value: Any) -> tuple[float, ...]:
    """The count over the period of ``above`` under which each level ends."""
    given = tuple(Rate.of(item, "below") for item in listed(value))
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
    for item in (value,) if isinstance(value, Network) else listed(value):
        if callable(item):
            exemptions.append(item)
            continue
        try:
            if isinstance(item, int | bytes):  # would be taken for the bits of an address
                raise ValueError("that is neither")
            networks.append(ipaddress.ip_network(item))
        except ValueError as error:
            raise ValueError(
                f"exempt: got {item!r}, wanted a callable or a network such as '10.0.0.0/8' ({error})."
            ) from error
    return tuple(networks), tuple(exemptions)


def _challenges(value: Any) -> tuple[str | Kind, ...]:
    kinds = (value,) if isinstance(value, Kind) else listed(value)
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
    methods = tuple(listed(rule.methods))
    wrong = [method for method in methods if method not in _METHODS]
    if wrong or not methods:
        got = ", ".join(map(repr, wrong)) if wrong else "none"
        raise ValueError(f"methods of {rule.path!r}: got {got}, wanted some of {', '.join(_METHODS)}.")
    return methods


def bind(rule: Rule, settings: object) -> Bound:
    """The rule with every option filled in from ``settings`` and checked.

    :raises ValueError: about the first option that cannot be.
    """
    if not isinstance(rule.path, str) or not rule.path.startswith("/"):
        raise ValueError(f"protect: got {rule.path!r}, wanted a path that begins with '/'.")
    name = rule.name or rule.path
    if not isinstance(name, str) or len(name) > 200:
        raise ValueError(f"name of {rule.path!r}: got {name!r}, wanted a string of at most 200 characters.")

    def option(key: str) -> Any:
        own = getattr(rule, key)
        return getattr(settings, key) if own is None else own

    for key, (kind, low, high) in _RULE_NUMBERS.items():
        check_number(key, option(key), kind, low, high)
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
