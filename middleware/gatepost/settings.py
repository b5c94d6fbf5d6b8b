"""Settings: frozen values, checked when they are made, so that a mistake stops the start and not a request.

Every complaint is a :class:`ValueError` of one sentence: which option, what it got, what it wants.
"""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypedDict

from .languages import TAG
from .protocols import Clock, Event, Kind, Request
from .rules import Bound, Exempt, Rate, Rates, Rule, bind, check_number, listed

KIB = 1024
MIB = 1024 * KIB
CARRY_CEILING = 512 * KIB  # the most that `carry_limit` may be; answers of open pages stay readable when it is lowered
SECRET_BYTES = 32
SECRET_HINT = "python -c 'import secrets; print(secrets.token_urlsafe(32))'"  # noqa: S105 - a command, not a secret


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
    render_rate: float = 50
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
    store: Any = "auto"
    store_timeout: float = 0.25
    sync_interval: float = 0.25
    on_store_error: str = "local"

    secrets: tuple[bytes, ...] = field(init=False, repr=False)
    rules: tuple[Bound, ...] = field(init=False, repr=False)
    issue_rate: Rate = field(init=False, repr=False)
    failure_rate: Rate = field(init=False, repr=False)

    def __post_init__(self) -> None:
        put = object.__setattr__  # how a frozen dataclass fills its own derived fields
        put(self, "secrets", _secrets(self.secret))
        for option, (kind, low, high) in _NUMBERS.items():
            check_number(option, getattr(self, option), kind, low, high)
        self._check_sizes()
        for option in ("site", "locale", "site_name", "contact"):
            if not isinstance(getattr(self, option), str):
                raise ValueError(f"{option}: got {getattr(self, option)!r}, wanted a string.")
        if self.locale and not TAG.fullmatch(self.locale):
            raise ValueError(f"locale: got {self.locale!r}, wanted a language tag such as 'en' or 'pt-BR'.")
        for option in ("client", "on_event", "clock"):
            value = getattr(self, option)
            if not callable(value) and (value is not None or option == "clock"):
                raise ValueError(f"{option}: got {value!r}, wanted a callable.")
        templates = self.templates
        if templates is not None and not (isinstance(templates, str | os.PathLike) and Path(templates).is_dir()):
            raise ValueError(f"templates: got {str(templates)!r}, wanted a folder that exists.")
        if self.on_store_error not in ("local", "refuse"):
            raise ValueError(f"on_store_error: got {self.on_store_error!r}, wanted 'local' or 'refuse'.")
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
    render_rate: float
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
    store: Any
    store_timeout: float
    sync_interval: float
    on_store_error: str


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
    "render_rate": (float, 0.01, 100_000),
    "store_timeout": (float, 0.01, 60),
    "sync_interval": (float, 0.01, 60),
}


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


def _rules(settings: Settings) -> tuple[Bound, ...]:
    if isinstance(settings.protect, Rule):
        given: tuple[Any, ...] = (settings.protect,)
    else:
        given = listed(settings.protect)
    if not given:
        raise ValueError("protect: got nothing, wanted at least one path such as '/contact'.")
    rules = tuple(bind(item if isinstance(item, Rule) else Rule(item), settings) for item in given)
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"protect: got two rules named {name!r}, wanted a name of its own for each; set name=...")
    return rules
