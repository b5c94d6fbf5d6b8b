"""The interstitial: what goes out in place of the application's answer, the first time and every later one."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

from .carry import Carry, Where
from .effects import Busy, Delivered, Draw, Effect, Holds, Limit, PutBack, Refuse, Show, Verdict
from .guard import Guard
from .judge import kind_of
from .languages import asked, spoken
from .origin import Provenance, Trust, own
from .protocols import Challenge, Claim, Reason, Request
from .settings import Settings
from .tokens import Token, Tokens, digest, new_id

AWAY_RETRY = 5.0  # seconds; a lost store is tried again more often than that

Steps = Generator[Effect, Any, Verdict]


# The token of an answer that has not been read yet.
UNREAD = Token(path=b"", carry=None, submission=b"", store=b"", first=0, end=0)


@dataclass(frozen=True, slots=True)
class Case:
    """One answer, or one submission about to be challenged: what every step of it needs."""

    guard: Guard
    request: Request
    client: str  # a keyed hash, or empty
    token: Token  # of a first challenge: only the lineage
    carry: Carry | None = None
    trust: Trust = Trust.FULL
    closing: bool = False

    @property
    def json(self) -> bool:
        """An answer by header is answered by JSON; an answer by form always by a page."""
        return self.carry is None


class Interstitials:
    """Makes interstitials and refusals.

    :param identity: the store's id.
    """

    def __init__(self, settings: Settings, tokens: Tokens, identity: Callable[[], bytes]) -> None:
        self._settings = settings
        self._tokens = tokens
        self._identity = identity

    def reissue(
        self,
        case: Case,
        reason: Reason,
        level: int,
        *,
        kind: str = "",
        retry_after: float = 0,
        maybe_sent: bool = False,
    ) -> Steps:
        """A new interstitial for the same submission, unless its body is gone."""
        carry = case.carry
        if carry is not None and carry.head.where is Where.KEPT and not (yield Holds(case.token.submission)):
            return (yield from self.gone(case))
        kind = kind or kind_of(case.token, case.guard.kinds)
        return (yield from self.show(case, reason, level, kind=kind, retry_after=retry_after, maybe_sent=maybe_sent))

    def gone(self, case: Case, cookie: str = "") -> Generator[Effect, Any, Refuse]:
        """The body is not kept any more: it was too old, or another request has delivered it a moment ago."""
        if (yield Delivered(case.token.submission, case.token.end)) is Claim.DELIVERED:
            return self.refuse(case, Reason.ALREADY_SENT, 409)
        return self.refuse(case, Reason.LOST, 410, cookie=cookie)

    def show(
        self,
        case: Case,
        reason: Reason,
        level: int,
        *,
        kind: str = "",
        retry_after: float = 0,
        maybe_sent: bool = False,
    ) -> Steps:
        """An interstitial; with level 0, or when no challenge is to be had, the one with a 'Continue' button."""
        kind = kind or next(iter(case.guard.kinds))
        challenge: Challenge | None = None
        told = reason
        if level:
            now = int(self._settings.clock() * 1000)
            drawn, why = yield from self._draw(case, kind, level, (now - case.token.since) / 1000)
            if isinstance(drawn, Busy):
                # That it may have been sent already has to be said by every first page of another store, JSON too.
                told, retry_after = reason if reason is Reason.RESTARTED else why, drawn.retry_after
            else:
                challenge = drawn
        return self._make(case, told, level, kind, challenge, retry_after=retry_after, maybe_sent=maybe_sent)

    def away(self, case: Case) -> Show:
        """The 'Continue' page for when the store cannot be asked, and nothing may be claimed without it."""
        first = next(iter(case.guard.kinds))
        return replace(self._make(case, Reason.STORE_AWAY, 0, first, None, retry_after=AWAY_RETRY), status=503)

    def _make(
        self,
        case: Case,
        reason: Reason,
        level: int,
        kind: str,
        challenge: Challenge | None,
        *,
        retry_after: float = 0,
        maybe_sent: bool = False,
    ) -> Show:
        guard, now = case.guard, int(self._settings.clock() * 1000)  # drawing may have taken its time
        expires = min(now + int(guard.rule.lifetime * 1000), case.token.end)
        nonce = new_id()
        token = replace(
            case.token,
            store=self._identity(),
            nonce=nonce,
            kind=digest(kind) if challenge else bytes(8),
            rule=digest(guard.rule.name),
            method=digest(case.request.method),
            level=level if challenge else 0,
            issued=now,
            expires=expires,
            since=now if challenge else case.token.since,
            mac=self._tokens.mac(nonce, challenge.answer) if challenge else bytes(16),
            data=challenge.data if challenge else b"",
            known=True,
        )
        shown, demanded = (kind, level) if challenge else ("", 0)
        guard.challenged(reason, now / 1000, case.client, shown, demanded)
        head = case.carry.head if case.carry is not None else None
        return Show(
            reason=reason,
            token=self._tokens.issue(token),
            carry=case.carry.text if case.carry is not None else "",
            status=guard.rule.status,
            kind=kind,
            kinds=tuple(guard.kinds),
            lifetime=(expires - now) / 1000,
            remaining=(case.token.end - now) / 1000,
            challenge=challenge,
            retry_after=retry_after,
            length=head.length if head else 0,
            kept=head is None or head.where is not Where.NOWHERE,
            maybe_sent=maybe_sent,
            json=case.json,
            closing=case.closing,
        )

    def _draw(
        self, case: Case, kind: str, level: int, waited: float
    ) -> Generator[Effect, Any, tuple[Challenge | Busy, Reason]]:
        """A challenge within the budget and the client's limit, or why not.

        The budget comes first: in a flood hardly anyone gets past it, and the limit may be a round trip to the store.
        """
        forced = self._settings.locale
        language = spoken(case.guard.kinds[kind], asked(case.request.headers, forced), forced or "en")
        order = Draw(kind, level, language, case.client, waited, case.token.submission)
        drawn = yield order
        if case.client and not isinstance(drawn, Busy):
            wait: float = yield Limit("issue", case.client)
            if wait:
                yield PutBack(order, drawn)
                return Busy(wait), Reason.ISSUE_LIMIT
        return drawn, Reason.BUSY

    def refuse(
        self,
        case: Case,
        reason: Reason,
        status: int,
        *,
        retry_after: float = 0,
        cookie: str = "",
        closing: bool = False,
    ) -> Refuse:
        case.guard.refused(reason, self._settings.clock(), case.client)
        return Refuse(reason, status, retry_after, cookie, closing or case.closing, _referer(case))


def _referer(case: Case) -> str:
    """Where the form of this submission was, if it is known to come from the site itself.

    An answer that could not be read says only where our own page is, and that is no place to go to.
    """
    if case.token is UNREAD:
        return ""
    said = case.carry.head.provenance if case.carry is not None else Provenance.of(case.request.headers)
    return said.referers[0] if len(said.referers) == 1 and own(said, case.request) else ""
