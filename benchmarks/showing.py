"""What the page and its picture take, in time and in bytes."""

from __future__ import annotations

import gzip
import secrets
import statistics
from functools import partial

from gatepost.asgi import request_of
from gatepost.challenges import ImageKind
from gatepost.effects import Refuse, Show
from gatepost.page import Page
from gatepost.protocols import Challenge, Reason, Request
from gatepost.settings import KIB

from .carrying import pack
from .tables import middle, show
from .timing import Contender, Plan, loop, measure
from .traffic import form_post, settings
from .verifying import Desk

_LEVELS = (1, 4)


def interstitial(request: Request, size: int, challenge: Challenge | None) -> Show:
    """An interstitial for a body of so many KiB, which no compression makes smaller."""
    carry = pack(request, secrets.token_bytes(size * KIB))
    return Show(
        reason=Reason.RULE_ENGAGED,
        token=Desk().issue(),
        carry=carry.text,
        status=429,
        kind="image",
        kinds=("image",),
        lifetime=600,
        remaining=3600,
        challenge=challenge,
        retry_after=0 if challenge else 5,
        length=size * KIB,
    )


def run(plan: Plan) -> None:
    """Measure and print."""
    kind, page = ImageKind(), Page(settings())
    request = request_of(form_post("", "/contact").scope)
    challenge = kind.draw(1, "en")
    verdicts = {
        "page with a picture, 1 KiB carried": interstitial(request, 1, challenge),
        "page with a picture, 48 KiB carried": interstitial(request, 48, challenge),
        "'Continue' page, 1 KiB carried": interstitial(request, 1, None),
    }
    sizes = {name: [len(page.show(verdict, request).body)] for name, verdict in verdicts.items()}
    packed = {name: len(gzip.compress(page.show(verdict, request).body)) for name, verdict in verdicts.items()}
    contenders = [Contender(name, loop(partial(page.show, verdict, request))) for name, verdict in verdicts.items()]
    refusal = Refuse(Reason.ALREADY_SENT, 409)
    contenders.append(Contender("page without a form ('already sent')", loop(partial(page.refuse, refusal, request))))
    sizes["page without a form ('already sent')"] = [len(page.refuse(refusal, request).body)]
    for level in _LEVELS:
        name = f"draw a picture, level {level}"
        contenders.append(Contender(name, loop(partial(kind.draw, level, "en"))))
        sizes[name] = [len(kind.draw(level, "en").media.content) for _ in range(30)]
    results = measure(contenders, plan.of(0.1, 0.001))
    rows = [
        (name, *middle(result), f"{statistics.median(sizes[name]):,.0f}", f"{packed[name]:,}" if name in packed else "")
        for name, result in results.items()
    ]
    show("Pages and pictures: microseconds and bytes each", ("", "median", "quartiles", "bytes", "gzipped"), rows)
