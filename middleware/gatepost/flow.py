"""The flow of a protected request, once for both twins and without I/O.

Each function is a generator: it yields the effects that it needs, is sent their results, and returns a verdict. The
ASGI driver awaits the effects, the WSGI driver calls them, a test answers with literals. Nothing of one request is kept
here.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from .carry import HEAD_LIMIT, Carry, Where, content_type_flaw, make_head, rebuild, unpack
from .effects import (
    Body,
    Claiming,
    Deliver,
    Delivered,
    Drop,
    Effect,
    Fetch,
    GiveBack,
    Gone,
    Keep,
    Limit,
    Pass,
    Read,
    ReadBody,
    Verdict,
)
from .form import ANSWER_LIMIT, BODY_LIMIT, URLENCODED, AnswerForm, parse
from .guard import Alias, Demand, Guard
from .interstitial import UNREAD, Case, Interstitials, Steps
from .judge import Judgement, judge, kind_of
from .negotiate import wants_json
from .origin import Provenance, Trust, formlike, judge_trust
from .permits import Permits
from .protocols import Claim, Event, Reason, Request, StoreError
from .settings import Settings
from .tokens import FORM, HEADER, Token, Tokens, digest, new_id, path_digest

# What is said of a claim that failed.
_REFUSED = {
    Claim.SPENT: Reason.USED,
    Claim.DELIVERED: Reason.ALREADY_SENT,
    Claim.FORGOTTEN: Reason.ALREADY_SENT,
    Claim.RESTARTED: Reason.RESTARTED,
}


class Flow:
    """The steps of submissions and answers.

    :param identity: the store's id.
    :param strangers: called with a token that another store has issued.
    """

    def __init__(
        self,
        settings: Settings,
        tokens: Tokens,
        permits: Permits,
        identity: Callable[[], bytes],
        alias: Alias,
        strangers: Callable[[Token], None],
    ) -> None:
        self._settings = settings
        self._tokens = tokens
        self._permits = permits
        self._identity = identity
        self._alias = alias
        self._strangers = strangers
        self._pages = Interstitials(settings, tokens, identity)
        self._leeway = int(settings.leeway * 1000)

    def _now(self) -> int:
        return int(self._settings.clock() * 1000)

    def _client(self, guard: Guard, request: Request) -> str:
        client = guard.client(request)
        return self._alias(client) if client else ""

    # --- a submission of which a challenge is demanded ---

    def submit(self, guard: Guard, request: Request, demand: Demand) -> Steps:
        """A submission that the meter has counted, and of which a challenge is demanded."""
        if (yield from self._permitted(guard, request)):
            guard.permitted(self._settings.clock(), self._client(guard, request))
            return Pass(Reason.PERMIT)
        client = self._client(guard, request)
        case = Case(guard, request, client, self._new_lineage(guard, request, demand))
        if "gatepost-token" in request.headers:
            return (yield from self._answer_by_header(case, demand))
        if request.method != "POST" or wants_json(request):
            return (yield from self._drain_and_show(case, demand.reason, demand.level))
        flawed = bool(content_type_flaw(request))
        # A body that is not wanted is drained all the same, or the page would not reach simple clients.
        body: Body = yield ReadBody(0 if flawed else max(self._settings.carry_limit, self._settings.keep_limit))
        if flawed and body.ended is not Read.GONE:
            return self._pages.refuse(case, Reason.CONTENT_TYPE, 400, closing=body.closing)
        trouble = self._trouble(case, body)
        if trouble is not None:
            return trouble
        carry = yield from self._pack(case, body)
        case = replace(case, carry=carry, closing=body.closing, token=replace(case.token, carry=carry.digest))
        return (yield from self._pages.show(case, demand.reason, demand.level))

    def _permitted(self, guard: Guard, request: Request) -> Generator[Effect, Any, bool]:
        longest = int(guard.rule.permit_lifetime * 1000) + self._leeway
        permit = self._permits.read(request.headers, guard.rule.name, self._identity(), self._now(), longest)
        for use in range(1, permit.uses + 1) if permit is not None else ():
            assert permit is not None
            try:
                if (yield Claiming(permit.nonce(use), permit.expires, permit.store)) is Claim.NEW:
                    return True
            except StoreError:
                return False
        return False

    def _new_lineage(self, guard: Guard, request: Request, demand: Demand) -> Token:
        now = self._now()
        return Token(
            path=path_digest(request.path, request.query),
            carry=None,
            submission=new_id(),
            store=b"",
            first=now,
            end=now + int(guard.rule.carry_lifetime * 1000),
            since=now,
            counted=demand.counted,
        )

    def _drain_and_show(
        self, case: Case, reason: Reason, level: int, *, kind: str = "", retry_after: float = 0
    ) -> Steps:
        """The JSON form: the client keeps the request itself, so the body is let go unread."""
        if _holds_back(case.request):
            # Whatever comes next on this connection would be taken for the body.
            case = replace(case, closing=True)
        else:
            body: Body = yield ReadBody(0)
            if body.ended is Read.GONE:
                return Gone()
            case = replace(case, closing=body.closing)
        return (yield from self._pages.show(case, reason, level, kind=kind, retry_after=retry_after))

    def _trouble(self, case: Case, body: Body) -> Verdict | None:
        if body.ended is Read.GONE:
            return Gone()
        if body.ended is Read.SLOW:
            return self._pages.refuse(case, Reason.TOO_SLOW, 408, closing=True)
        if body.ended is Read.OVERLOADED:
            return self._pages.refuse(case, Reason.OVERLOADED, 503, retry_after=5, closing=body.closing)
        return None

    def _pack(self, case: Case, body: Body) -> Generator[Effect, Any, Carry]:
        where = Where.NOWHERE
        if body.ended is Read.WHOLE and body.length <= self._settings.carry_limit:
            where = Where.PAGE
        elif body.ended is Read.WHOLE:
            where = Where.KEPT
        head = make_head(case.request, body.length, body.sha256, where)
        if head.where is Where.KEPT:
            kept = yield Keep(case.token.submission, body.data, case.token.end, case.client)
            if not kept:
                head = replace(head, where=Where.NOWHERE)
        return Carry.pack(head, body.data)

    # --- an answer by header ---

    def _answer_by_header(self, case: Case, demand: Demand) -> Steps:
        """The original request, sent again with a token and an answer in its header: delivered as it is."""
        guard, request = case.guard, case.request
        token = self._tokens.read(HEADER, request.headers.get("gatepost-token"))
        if token is None or not _same_target(token, request):
            return (yield from self._drain_and_show(case, Reason.FORGED, demand.level))
        mine = replace(case, token=token)
        # A token of another store is not compared, and its client has to be told that it may have been sent already.
        compared = token.mac and token.store == self._identity()
        wait = (yield from self._failing(mine)) if compared else 0.0
        if wait:
            return (yield from self._drain_and_show(mine, Reason.FAILURE_LIMIT, 0, retry_after=wait))
        try:
            judgement = yield from self._judge_by_header(mine, AnswerForm("", "", {"answer": _header_answer(request)}))
            if compared:
                yield from self._unless_failed(mine, judgement.reason)
        except StoreError:
            return self._pages.away(mine)
        if judgement.reason is Reason.SOLVED:
            guard.uncount(request, demand)
            self._handed_over(mine, Reason.SOLVED, late=not token.counted)
            return Pass(Reason.SOLVED)
        # The client still has the request: one that was delivered or has ended is a new submission from here on.
        over = judgement.reason in (Reason.ALREADY_SENT, Reason.ENDED)
        return (
            yield from self._drain_and_show(case if over else mine, judgement.reason, demand.level, kind=judgement.kind)
        )

    def _judge_by_header(self, case: Case, form: AnswerForm) -> Generator[Effect, Any, Judgement]:
        token, now = case.token, self._now()
        found = yield Delivered(token.submission, token.end)
        if found is Claim.DELIVERED:
            return Judgement(Reason.ALREADY_SENT, burn=False)
        if found is Claim.FORGOTTEN or now >= token.end:
            return Judgement(Reason.ENDED, burn=False)
        if token.store != self._identity():
            self._strangers(token)
            return Judgement(Reason.RESTARTED, burn=False)
        judgement = judge(token, form, case.guard.rule, case.guard.kinds, self._tokens, now, self._leeway)
        if judgement.burn:
            solved = judgement.reason is Reason.SOLVED
            submission = token.submission if solved else None
            found = yield Claiming(token.nonce, token.expires, token.store, submission, token.end)
            if found is not Claim.NEW:
                return replace(judgement, reason=_REFUSED[found])
        return judgement

    # --- an answer by form ---

    def answer(self, guard: Guard, request: Request) -> Steps:
        """A request whose body begins like an answer."""
        client = self._client(guard, request)
        case = Case(guard, request, client, UNREAD)
        body: Body = yield ReadBody(BODY_LIMIT)
        trouble = self._trouble(case, body)
        if trouble is not None:
            return trouble
        case = replace(case, closing=body.closing)
        form = parse(body.data) if body.ended is Read.WHOLE and not content_type_flaw(request) else None
        token = self._tokens.read(FORM, form.token) if form is not None else None
        if form is None or token is None or not _same_target(token, request):
            return self._pages.refuse(case, Reason.FORGED, 400)
        carry = unpack(form.carry, token.carry or b"")
        if carry is None:
            return self._pages.refuse(case, Reason.FORGED, 400)
        said = carry.head.provenance
        trust = judge_trust(said, request, formlike(carry.head.content_type, carry.head.content_encoding))
        if trust is Trust.NONE:
            return self._pages.refuse(case, Reason.FOREIGN, 400)
        if trust is Trust.NARROW:
            head = carry.head.narrowed(Provenance.of(request.headers))
            if len(head.encode()) > HEAD_LIMIT:  # what the answer says of itself is in it, and can be of any length
                return self._pages.refuse(case, Reason.FOREIGN, 400)
            carry = Carry.pack(head, carry.body)
        case = replace(case, token=replace(token, carry=carry.digest), carry=carry, trust=trust)
        return (yield from self._answered(case, form))

    def _answered(self, case: Case, form: AnswerForm) -> Steps:
        try:
            return (yield from self._judged(case, form))
        except StoreError:  # nothing may be claimed without the store; what was sent stays in the page
            return self._pages.away(case)

    def _judged(self, case: Case, form: AnswerForm) -> Steps:
        guard, request, token = case.guard, case.request, case.token
        now = self._now()  # taken after the body had arrived: a slow upload makes an earlier check stale
        found = yield Delivered(token.submission, token.end)
        if found is Claim.DELIVERED:
            return self._pages.refuse(case, Reason.ALREADY_SENT, 409)
        if found is Claim.FORGOTTEN or now >= token.end:
            return self._pages.refuse(case, Reason.ENDED, 410)
        demand = guard.demanded(request, now / 1000)
        if token.store != self._identity():
            self._strangers(token)
            return (yield from self._again(case, Reason.RESTARTED, demand.level if demand else 0))
        if demand is None:
            demand = guard.admit(request, now / 1000)
            if demand is None:
                return (yield from self._deliver(case, Reason.CALMED, None, token.level))
            return (yield from self._pages.reissue(case, demand.reason, demand.level))
        compared = bool(token.mac) and not form.another
        if compared:
            wait = yield from self._failing(case)
            if wait:
                return (yield from self._pages.reissue(case, Reason.FAILURE_LIMIT, 0, retry_after=wait))
        judgement = judge(token, form, guard.rule, guard.kinds, self._tokens, now, self._leeway)
        if judgement.reason is Reason.SOLVED:
            yield from self._unless_failed(case, Reason.SOLVED)
            return (yield from self._deliver(case, Reason.SOLVED, token.nonce, demand.level))
        reason: Reason = judgement.reason
        if judgement.burn:
            found = yield Claiming(token.nonce, token.expires, token.store)
            if found is not Claim.NEW:
                reason = _REFUSED[found]
        if compared:
            yield from self._unless_failed(case, reason)
        return (yield from self._again(case, reason, demand.level, judgement.kind))

    def _again(self, case: Case, reason: Reason, level: int, kind: str = "") -> Steps:
        """A new interstitial; if the store has lost what it knew, it says that this may have been sent already."""
        restarted = reason is Reason.RESTARTED
        return (yield from self._pages.reissue(case, reason, level, kind=kind, maybe_sent=restarted))

    def _failing(self, case: Case) -> Generator[Effect, Any, float]:
        """For how long this client's answers are not looked at, in seconds; if they are, this one counts as a failure
        until it is seen to be none: of many wrong ones at once no more are compared than one after the other."""
        if not case.client:
            return 0.0
        wait: float = yield Limit("failure", case.client)
        return wait

    def _unless_failed(self, case: Case, reason: Reason) -> Generator[Effect, Any, None]:
        if case.client and reason not in (Reason.WRONG, Reason.TOO_FAST):
            yield GiveBack("failure", case.client)

    # --- the ends ---

    def _deliver(self, case: Case, reason: Reason, nonce: bytes | None, level: int) -> Steps:
        """Claim and deliver. Nothing is claimed as delivered that cannot be handed over whole.

        :param nonce: of the right answer; ``None`` where none was needed.
        :param level: of another challenge, if it cannot be. For a used token that is the same after a wrong answer, or
            the page would tell one from the other.
        """
        token, carry, guard = case.token, case.carry, case.guard
        assert carry is not None
        body = carry.body
        if carry.head.where is Where.KEPT:
            body = yield Fetch(token.submission, carry.head.sha256)
        if body is None:
            if nonce is not None:
                found = yield Claiming(nonce, token.expires, token.store)
                if found is not Claim.NEW:
                    return (yield from self._again(case, _REFUSED[found], level))
            cookie = self._permit(case, 1) if nonce is not None else ""
            if carry.head.where is Where.KEPT:
                return (yield from self._pages.gone(case, cookie))
            return self._pages.refuse(case, Reason.NOT_KEPT, 413, cookie=cookie)
        found = yield Claiming(nonce, token.expires, token.store, token.submission, token.end)
        if found in (Claim.SPENT, Claim.RESTARTED):
            return (yield from self._again(case, _REFUSED[found], level))
        if found is not Claim.NEW:
            sent = found is Claim.DELIVERED
            return self._pages.refuse(case, *((Reason.ALREADY_SENT, 409) if sent else (Reason.ENDED, 410)))
        if carry.head.where is Where.KEPT:
            yield Drop(token.submission)
        # What came in through a calm gate has just been counted.
        late = not token.counted and reason is Reason.SOLVED
        self._handed_over(case, reason, late=late)
        uses = guard.rule.permit_uses
        cookie = self._permit(case, uses) if uses and reason is Reason.SOLVED else ""
        return Deliver(rebuild(case.request.headers, carry.head, case.trust), body, cookie)

    def _handed_over(self, case: Case, reason: Reason, *, late: bool) -> None:
        """Tell of a delivery. What was solved for it is known where something was."""
        token, now = case.token, self._settings.clock()
        kind, level = (kind_of(token, case.guard.kinds), token.level) if reason is Reason.SOLVED else ("", 0)
        waited = max(0.0, now - token.first / 1000)  # another host's clock may be ahead
        case.guard.delivered(
            Event("delivered", case.guard.rule.name, now, reason.value, case.client, level, kind, waited), late=late
        )

    def _permit(self, case: Case, uses: int) -> str:
        rule = case.guard.rule
        lifetime = int(rule.permit_lifetime * 1000)
        secure = case.request.scheme == "https"
        return self._permits.issue(rule.name, uses, self._identity(), self._now(), lifetime, secure)


def _same_target(token: Token, request: Request) -> bool:
    """Whether a form token was issued for this path, query and method."""
    if token.path != path_digest(request.path, request.query):
        return False
    return not token.known or token.method == digest(request.method)


def _holds_back(request: Request) -> bool:
    """Whether the client waits to be asked for the body. The look at an urlencoded one has asked for it already."""
    looked_at = request.method == "POST" and URLENCODED in request.headers.get("content-type").lower()
    return "expect" in request.headers and not looked_at


def _header_answer(request: Request) -> str:
    """The answer in the header: UTF-8, percent-encoded, since header fields are ASCII."""
    values = request.headers.all("gatepost-answer")
    if len(values) != 1 or len(values[0]) > 9 * ANSWER_LIMIT:
        return ""
    return unquote(values[0])[:ANSWER_LIMIT]
