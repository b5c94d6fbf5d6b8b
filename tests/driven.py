"""The flow of a gate whose effects the test answers by hand: no store, no pool, no I/O."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from gatepost import Challenge, Gate, Headers, Media, Reason, Request
from gatepost.effects import Body, Effect, Read, Show, Verdict
from gatepost.flow import Flow
from gatepost.guard import Demand
from gatepost.interstitial import Steps
from gatepost.testing import Answer, ManualClock
from gatepost.tokens import Token
from twins import ANSWER, BROWSER, URLENCODED, settings

ORIGINAL = b"name=Ada&message=hello"
QUESTION = Challenge(ANSWER, Media("text/plain", b"?"))
HERE, ELSEWHERE = b"this store's id.", b"another store id"
DEMAND = Demand(1, Reason.RULE_ENGAGED, counted=True)


def body_of(data: bytes) -> Body:
    return Body(Read.WHOLE, data, len(data), hashlib.sha256(data).digest())


def request(content_type: str | None = URLENCODED, peer: str | None = "203.0.113.7", **fields: str) -> Request:
    headers = [*BROWSER, *((name.replace("_", "-"), value) for name, value in fields.items())]
    if content_type is not None:
        headers.append(("content-type", content_type))
    return Request("POST", "/contact", Headers(headers), peer, {})


@dataclass
class Site:
    """A flow whose effects the test answers."""

    options: dict[str, Any] = field(default_factory=dict)
    store: bytes = HERE
    strangers: list[Token] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate = Gate(settings(**self.options))
        self.guard = self.gate.guards[0]
        tokens, permits = self.gate.tokens, self.gate.permits
        self.flow = Flow(
            self.gate.settings, tokens, permits, lambda: self.store, lambda c: f"<{c}>", self.strangers.append
        )

    @property
    def clock(self) -> ManualClock:
        clock = self.gate.settings.clock
        assert isinstance(clock, ManualClock)
        return clock

    def submit(self, *results: Any, demand: Demand = DEMAND, **asked: Any) -> tuple[list[Effect], Verdict]:
        return drive(self.flow.submit(self.guard, request(**asked), demand), *results)

    def page(self, body: Body | None = None, *keeping: Any) -> Answer:
        """The fields of a right answer, two seconds after the page."""
        _, shown = self.submit(body or body_of(ORIGINAL), *keeping, QUESTION, 0.0)
        assert isinstance(shown, Show)
        self.clock.tick(2)
        fields = {"gatepost_token": shown.token, "gatepost_carry": shown.carry, "gatepost_answer": ANSWER}
        return Answer(fields, {})

    def answer(self, fields: Answer, *results: Any, **asked: Any) -> tuple[list[Effect], Verdict]:
        return drive(self.flow.answer(self.guard, request(**asked)), body_of(fields.body), *results)


def drive(steps: Steps, *results: Any) -> tuple[list[Effect], Verdict]:
    """Answer the effects with these results in turn; all of them have to be asked for."""
    left, effects = list(results), []
    try:
        effect = next(steps)
        while True:
            effects.append(effect)
            assert left, f"asked for {effect} beyond the script"
            effect = steps.send(left.pop(0))
    except StopIteration as stop:
        assert not left, f"never asked for what {left} are"
        return effects, stop.value


def kinds(effects: list[Effect]) -> list[type]:
    return [type(effect) for effect in effects]
