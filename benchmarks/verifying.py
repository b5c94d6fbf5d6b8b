"""What it takes to verify an answer and to issue a token."""

from __future__ import annotations

import secrets
import time

from gatepost import Settings
from gatepost.challenges import ImageKind
from gatepost.form import AnswerForm
from gatepost.judge import judge
from gatepost.protocols import Claim, Reason
from gatepost.stores.memory import MemoryStore
from gatepost.testing import ManualClock
from gatepost.tokens import FORM, Token, Tokens, digest, new_id, path_digest

from .tables import middle, show, verdict
from .timing import Contender, Plan, Round, loop, measure

#: Microseconds for verifying an answer, however many claims the store holds.
TARGET = 40.0
CLAIMS = 100_000

_SPENT_SIZE = 10 * CLAIMS


class Desk:
    """Tokens, a store with some claims, and answers to verify."""

    def __init__(self, claims: int = 0, secret_count: int = 1) -> None:
        self.clock = ManualClock()
        keys = [secrets.token_urlsafe(32) for _ in range(secret_count)]
        self.settings = Settings(
            secret=keys,
            protect="/contact",
            clock=self.clock,
            min_time=0,
            spent_size=_SPENT_SIZE,
            delivered_size=_SPENT_SIZE,
        )
        self.rule = self.settings.rules[0]
        self.kinds = {"image": ImageKind()}
        self.word = self.kinds["image"].draw(1, "en").answer
        self.tokens = Tokens(self.settings.secrets)
        # Signed with the oldest secret: with several that is the one that is tried last.
        self.issuer = Tokens(self.settings.secrets[:1])
        self._claims = claims
        self.store = self._stocked()

    def _stocked(self) -> MemoryStore:
        store, now = MemoryStore(self.settings), self.now
        for place in range(self._claims):
            store.claim(new_id(), now + 1000 * place, new_id(), now + 3_600_000 + place)
        return store

    def clear(self) -> None:
        """Begin a round: a store that was empty at first is empty again."""
        if not self._claims:
            self.store = self._stocked()

    @property
    def now(self) -> int:
        """The time in milliseconds."""
        return int(self.clock() * 1000)

    def token(self) -> Token:
        """What a new token says."""
        now, nonce = self.now, new_id()
        return Token(
            path=path_digest("/contact", ""),
            carry=bytes(range(32)),
            submission=new_id(),
            store=bytes(16),
            first=now,
            end=now + 3_600_000,
            nonce=nonce,
            kind=digest("image"),
            rule=digest(self.rule.name),
            method=digest("POST"),
            level=1,
            issued=now,
            expires=now + 600_000,
            since=now,
            mac=self.issuer.mac(nonce, self.word),
        )

    def issue(self) -> str:
        """A new token."""
        return self.issuer.issue(self.token())

    def verify(self, text: str) -> None:
        """What an answer takes from its token's text to its claim."""
        token = self.tokens.read(FORM, text)
        if token is None:
            raise ValueError("the token is genuine and was not read")
        form = AnswerForm(text, "", {"answer": f" {self.word.upper()}"})
        judgement = judge(token, form, self.rule, self.kinds, self.tokens, self.now, 5000)
        if judgement.reason is not Reason.SOLVED:
            raise ValueError(f"the answer is right and was judged {judgement.reason}")
        claimed = self.store.claim(token.nonce, token.expires, token.submission, token.end)
        if claimed is not Claim.NEW:
            raise ValueError(f"the token is new and the store said {claimed}")


def verifying(desk: Desk) -> Round:
    """Rounds of verifying right answers, each of a token of its own."""

    def run(count: int) -> float:
        desk.clear()
        texts = [desk.issue() for _ in range(count)]
        started = time.perf_counter()
        for text in texts:
            desk.verify(text)
        return time.perf_counter() - started

    return run


def claiming(desk: Desk) -> Round:
    """Rounds of claims."""

    def run(count: int) -> float:
        desk.clear()
        tokens = [desk.token() for _ in range(count)]
        started = time.perf_counter()
        for token in tokens:
            desk.store.claim(token.nonce, token.expires, token.submission, token.end)
        return time.perf_counter() - started

    return run


def run(plan: Plan) -> None:
    """Measure and print."""
    empty, full = Desk(), Desk(CLAIMS)
    old = Desk(secret_count=2)
    token = empty.token()
    text = empty.issuer.issue(token)
    forged = text[:-2] + ("AA" if text[-2:] != "AA" else "BB")
    contenders = [
        Contender("issue a token", loop(lambda: empty.issuer.issue(token))),
        Contender("verify an answer, no claims", verifying(empty), target=TARGET),
        Contender(f"verify an answer, {CLAIMS:,} claims", verifying(full), target=TARGET),
        Contender("verify one of the older of two secrets", verifying(old)),
        Contender("  read the token", loop(lambda: empty.tokens.read(FORM, text))),
        Contender("  compare the answer's MAC", loop(lambda: empty.tokens.right(token, empty.word))),
        Contender("  claim, no claims", claiming(empty)),
        Contender(f"  claim, {CLAIMS:,} claims", claiming(full)),
        Contender("refuse a forged token", loop(lambda: empty.tokens.read(FORM, forged))),
    ]
    results = measure(contenders, plan.of(0.2, 0.001))
    rows = [(name, *middle(result), *verdict(result)) for name, result in results.items()]
    show(
        "Tokens: microseconds each",
        ("", "median", "quartiles", "target", ""),
        rows,
        f"A token has {len(empty.issue())} characters. Verifying is all but the carry's digest.",
    )
