"""A machine that does to a gate whatever people, attackers, operators and clocks do, in any order.

It knows how often each submission was delivered, from what the application got, and which pages said that a submission
may have been sent already.
"""

from __future__ import annotations

import re
import string
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from gatepost import Challenge, Gate, Rule
from gatepost.effects import Draw
from gatepost.form import PREFIX
from gatepost.stores import MemoryStore
from gatepost.testing import Answer, KnownChallenge, ManualClock
from twins import ANSWER, HOST, AsgiTwin, Reply, Twin, WsgiTwin
from twins import settings as gate_settings

PROGRAM = (("host", HOST), ("accept", "application/json"))
CARRY_LIMIT, KEEP_LIMIT = 200, 400
SPENT = DELIVERED = KEPT = 5
#: A body that travels in the page, one that is kept in the store, and one that is too large for both.
SIZES = st.sampled_from([20, 100, CARRY_LIMIT, CARRY_LIMIT + 1, KEEP_LIMIT, KEEP_LIMIT + 1])
#: What the gate answers with, apart from what the application does.
STATUSES = {400, 409, 410, 413, 429}


ALPHABET = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
#: What can be done to the two parts of a token's text. Each does the same to every token, so that runs can be repeated.
RESPELLINGS: dict[str, Callable[[str, str], str]] = {
    "last character": lambda payload, sign: f"{payload}.{sign[:-1]}{ALPHABET[ALPHABET.index(sign[-1]) ^ 1]}",
    "padding": lambda payload, sign: f"{payload}.{sign}=",
    "other alphabet": lambda payload, sign: f"{payload}.{sign.translate(str.maketrans('-_', '+/'))}",
    "stray character": lambda payload, sign: f"{payload}.{sign[:9]}!{sign[9:]}",
    "changed payload": lambda payload, sign: f"{payload[:-1]}{ALPHABET[ALPHABET.index(payload[-1]) ^ 32]}.{sign}",
    "changed signature": lambda payload, sign: f"{payload}.{ALPHABET[ALPHABET.index(sign[0]) ^ 1]}{sign[1:]}",
    "cut off": lambda payload, sign: f"{payload}.{sign[:-4]}",
    "no signature": lambda payload, sign: payload + sign[:0],
}


class DirectGate(Gate):
    """Draws at once and not in a thread, so that a run hangs on nothing but its steps."""

    def draw(self, order: Draw) -> Challenge:
        return self._kinds[order.kind].draw(order.level, order.locale)


@dataclass
class Submission:
    """One form that somebody sent, and what became of it."""

    number: int
    body: bytes
    #: Deliveries under each id of the store.
    delivered: dict[bytes, int] = field(default_factory=lambda: defaultdict(int))
    #: The ids of the stores that have said of it that it may have been sent already.
    told: set[bytes] = field(default_factory=set)


@dataclass(frozen=True)
class Page:
    """An interstitial that is open somewhere, or the JSON that stands for one."""

    submission: Submission
    answer: Answer

    @property
    def by_header(self) -> bool:
        return bool(self.answer.headers)


CLOCK = ManualClock()
BEGIN = CLOCK()


@cache
def _twin(name: str) -> WsgiTwin | AsgiTwin:
    gate = DirectGate(gate_settings(clock=CLOCK))
    return WsgiTwin(gate) if name == "wsgi" else AsgiTwin(gate, backend="asyncio")


class GateMachine(RuleBasedStateMachine):
    """Everything that can happen to a gate with an adaptive rule and very small sets."""

    twin_name = ""
    pages: Bundle[Page] = Bundle("pages")

    @initialize()
    def start(self) -> None:
        self.clock = CLOCK
        self.clock.now = BEGIN
        self.submissions: list[Submission] = []
        self.posted: list[tuple[Submission, bytes]] = []
        self.rule_name, self.mode = 0, "adaptive"
        self.twin = self.make(None)

    def make(self, store: MemoryStore | None) -> Twin:
        """A process with this configuration, and this store or an empty one.

        The templates of the driver are compiled once only: nothing here changes them, and it takes long.
        """
        options: dict[str, Any] = {} if store is None else {"store": store}
        protected = Rule("/contact", name=f"rule {self.rule_name}", mode=self.mode)
        gate = DirectGate(
            gate_settings(
                protect=protected,
                clock=self.clock,
                above="2/minute",
                hold=5,
                lifetime=60,
                carry_lifetime=300,
                spent_size=SPENT,
                delivered_size=DELIVERED,
                keep_count=KEPT,
                carry_limit=CARRY_LIMIT,
                keep_limit=KEEP_LIMIT,
                issue_limit="9/minute",
                failure_limit="4/minute",
                challenge=[KnownChallenge(ANSWER), KnownChallenge(ANSWER, "other")],
                **options,
            )
        )
        twin = _twin(self.twin_name)
        twin.gate = twin.middleware.gate = gate
        return twin

    @property
    def store(self) -> MemoryStore:
        return self.twin.gate.store.local

    # --- sending, and looking at what came of it ---

    def solved(self) -> int:
        [stats] = self.twin.gate.stats().values()
        return stats.reasons.get("solved", 0)

    def send(self, submission: Submission, body: bytes, **options: Any) -> Reply:
        """Send one request; whatever it is, it may do nothing that is forbidden."""
        store, solved = self.store.identity(), self.solved()
        reply = self.twin.send(body=body, **options)
        received = [self.twin.received.pop() for _ in range(len(self.twin.received))]
        assert len(received) == (reply.status == 200)
        assert reply.status == 200 or reply.status in STATUSES, reply.text
        for one in received:
            of_form = body.startswith(PREFIX)
            if of_form:
                assert not [name for name, _ in one.fields if name.startswith("gatepost")]
                assert not one.body.startswith(PREFIX)
            # A request with an answer in its header that passes since nothing is demanded is a new submission.
            if of_form or self.solved() > solved:
                self.count(submission, one.body, store)
        if reply.reason == "restarted":
            submission.told.add(store)
        return reply

    def count(self, submission: Submission, body: bytes, store: bytes) -> None:
        """A challenged submission has reached the application."""
        assert body == submission.body
        before = sum(submission.delivered.values())
        submission.delivered[store] += 1
        assert submission.delivered[store] == 1
        assert not before or store in submission.told

    def pages_of(self, submission: Submission, reply: Reply) -> Any:
        """The page in a reply, for later."""
        if reply.status != 429:
            return multiple()
        answer = reply.answered()
        if answer.headers and reply.reason in ("already-sent", "ended", "forged"):
            # A client that sends what is over once more has made a new submission.
            submission = Submission(submission.number, submission.body)
            self.submissions.append(submission)
        return Page(submission, answer)

    def post(self, page: Page, answer: str = ANSWER, button: str = "") -> Any:
        """Answer a page, whichever way it goes."""
        if page.by_header:
            headers = {**page.answer.headers, "Gatepost-Answer": quote(answer)}
            fields = [*PROGRAM, *((name.lower(), value) for name, value in headers.items())]
            return self.pages_of(page.submission, self.send(page.submission, page.submission.body, fields=fields))
        fields_of_form = dict(page.answer)
        if "gatepost_answer" in fields_of_form:
            fields_of_form["gatepost_answer"] = answer
        if button:
            fields_of_form["gatepost_do"] = button
        body = Answer(fields_of_form, {}).body
        self.posted.append((page.submission, body))
        return self.pages_of(page.submission, self.send(page.submission, body))

    # --- what people do ---

    @rule(target=pages, size=SIZES, by_header=st.booleans(), times=st.integers(1, 4))
    def submit(self, size: int, by_header: bool, times: int) -> Any:
        """Somebody sends a form, or several do, which engages the rule."""
        found = []
        for _ in range(times):
            number = len(self.submissions)
            submission = Submission(number, f"number={number}&rest=".encode().ljust(size, b"x"))
            self.submissions.append(submission)
            fields = {"fields": PROGRAM} if by_header else {}
            page = self.pages_of(submission, self.send(submission, submission.body, **fields))
            found += [page] if isinstance(page, Page) else []
        return multiple(*found)

    @rule(target=pages, page=pages, wait=st.sampled_from([0, 1, 1, 1]))
    def answer_right(self, page: Page, wait: float) -> Any:
        self.clock.tick(wait)
        return self.post(page)

    @rule(target=pages, page=pages, answer=st.sampled_from(["wrong", "", "\0" * 16, "x" * 300]))
    def answer_wrong(self, page: Page, answer: str) -> Any:
        self.clock.tick(1)
        return self.post(page, answer)

    @rule(target=pages, page=pages, button=st.sampled_from(["another", "kind-other", "kind-none", "continue", "?"]))
    def press(self, page: Page, button: str) -> Any:
        return self.post(page, button=button)

    @rule(target=pages, page=pages)
    def double_click(self, page: Page) -> Any:
        self.clock.tick(1)
        return multiple(*(found for found in (self.post(page), self.post(page)) if isinstance(found, Page)))

    # --- what attackers do ---

    @rule(target=pages, data=st.data())
    def replay(self, data: st.DataObject) -> Any:
        """Any answer request of before comes once more."""
        if not self.posted:
            return multiple()
        submission, body = data.draw(st.sampled_from(self.posted[-20:]))
        return self.pages_of(submission, self.send(submission, body))

    @rule(target=pages, page=pages, how=st.sampled_from(sorted(RESPELLINGS)))
    def respell(self, page: Page, how: str) -> Any:
        """The same token in other letters, or another token."""
        fields = page.answer.headers if page.by_header else dict(page.answer)
        name = "Gatepost-Token" if page.by_header else "gatepost_token"
        payload, _, signature = fields[name].rpartition(".")
        respelt = {**fields, name: RESPELLINGS[how](payload, signature)}
        return self.post(Page(page.submission, Answer({}, respelt) if page.by_header else Answer(respelt, {})))

    @rule(page=pages, other=pages)
    def swap(self, page: Page, other: Page) -> None:
        """The token of one page with the carry of another."""
        carries = [one.answer.get("gatepost_carry") for one in (page, other)]
        if None not in carries and carries[0] != carries[1]:
            mixed = Answer({**page.answer, "gatepost_carry": other.answer["gatepost_carry"]}, {})
            assert self.send(page.submission, mixed.body).reason == "forged"

    # --- what clocks and operators do ---

    @rule(seconds=st.sampled_from([1, 5, 30, 61, 130, 301]))
    def time_passes(self, seconds: float) -> None:
        self.clock.tick(seconds)

    @rule(seconds=st.sampled_from([1, 4, 4.9, 6, 60, 400]))
    def clock_steps_back(self, seconds: float) -> None:
        self.clock.tick(-seconds)

    @rule()
    def restart(self) -> None:
        """The process starts again, and its store is empty."""
        self.twin = self.make(None)

    @rule(mode=st.sampled_from(["adaptive", "always", "off", "observe"]), renamed=st.booleans())
    def reconfigure(self, mode: str, renamed: bool) -> None:
        """The rule is renamed, or its mode changed, and the store lives on."""
        self.mode = mode
        self.rule_name += renamed
        self.twin = self.make(self.store)

    @invariant()
    def memory_is_bounded(self) -> None:
        if not hasattr(self, "twin"):
            return
        store = self.store
        assert len(store._spent) <= SPENT
        assert len(store._delivered) <= DELIVERED
        assert max(len(ledger._ends) for ledger in (store._spent, store._delivered)) <= 2 * SPENT
        assert len(store._kept) <= KEPT
        assert store._kept_bytes == sum(len(kept.body) for kept in store._kept.values())
        assert self.twin.gate.buffer.held == 0

    @invariant()
    def what_is_kept_belongs_to_something_open(self) -> None:
        """A delivered body is no longer kept."""
        if not hasattr(self, "twin"):
            return
        kept = {re.match(rb"number=(\d+)", body.body)[1] for body in self.store._kept.values()}  # type: ignore[index]
        store = self.store.identity()
        delivered = {b"%d" % one.number for one in self.submissions if one.delivered.get(store)}
        assert not kept & delivered


class WsgiMachine(GateMachine):
    """The machine with the WSGI driver."""

    twin_name = "wsgi"


class AsgiMachine(GateMachine):
    """The machine with the ASGI driver."""

    twin_name = "asgi-asyncio"


@pytest.mark.parametrize("machine", [WsgiMachine, AsgiMachine])
def test_i4_no_sequence_of_steps_delivers_twice(machine: type[GateMachine]) -> None:
    """Whatever is done in whatever order, no submission is delivered twice, none is a crash, and memory is bounded."""
    options = settings(max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(machine, settings=options)
