"""What a genuine token and what came with it amount to. Pure: no clock, no store, nothing is claimed here."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from .form import AnswerForm
from .protocols import Kind, Reason
from .reports import place_of
from .rules import Bound
from .tokens import Token, Tokens, digest

log = logging.getLogger("gatepost")


@dataclass(frozen=True, slots=True)
class Judgement:
    """``reason`` is ``SOLVED`` or why there is a new challenge. With ``burn`` nothing of it may be used or shown
    before the token's nonce has been claimed."""

    reason: Reason
    burn: bool
    kind: str = ""


def kind_of(token: Token, kinds: Mapping[str, Kind]) -> str:
    """The name of the token's kind, if the rule has it; else the empty string."""
    return next((name for name in kinds if digest(name) == token.kind), "")


def up_to_date(token: Token, rule: Bound, kinds: Mapping[str, Kind]) -> bool:
    """Whether this process knows the token's version, rule, kind and level (during a rolling deploy it may not)."""
    levels = max(len(rule.above), len(rule.above_per_client))
    if not token.known or token.rule != digest(rule.name):
        return False
    return not token.mac or (bool(kind_of(token, kinds)) and 1 <= token.level <= levels)


def judge(
    token: Token, form: AnswerForm, rule: Bound, kinds: Mapping[str, Kind], tokens: Tokens, now: int, leeway: int
) -> Judgement:
    """Judge an answer to a token of this store.

    :param now: milliseconds since the epoch, taken after the body had arrived.
    :param leeway: how far the clocks of two hosts may differ, in milliseconds.
    """
    if not up_to_date(token, rule, kinds):
        return Judgement(Reason.OUTDATED, burn=False)
    kind = kind_of(token, kinds)
    if now >= token.expires or token.issued > now + leeway or token.expires - token.issued > rule.lifetime * 1000:
        return Judgement(Reason.EXPIRED, burn=False, kind=kind)
    if form.another:
        # A token without a challenge is never right. Claiming it would let anyone fill the set of nonces for nothing.
        burn = bool(token.mac)
        if form.kind in kinds and form.kind != kind:
            return Judgement(Reason.CHANGED, burn=burn, kind=form.kind)
        return Judgement(Reason.REFRESHED, burn=burn, kind=kind)
    if not token.mac:
        return Judgement(Reason.CONTINUED, burn=False)
    # A token can come from a host whose clock is ahead; without a min_time nothing is too fast.
    if max(0, now - token.issued) < rule.min_time * 1000:
        return Judgement(Reason.TOO_FAST, burn=True, kind=kind)
    try:
        answer = kinds[kind].normalise(form.fields, token.data)
    except Exception as error:  # a site's own kind; what it cannot read is wrong, and nothing is lost
        log.error("The kind %r could not normalise an answer: %s", kind, place_of(error))
        answer = ""
    right = tokens.right(token, answer)
    return Judgement(Reason.SOLVED if right else Reason.WRONG, burn=True, kind=kind)
