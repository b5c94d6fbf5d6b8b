"""What it takes to pack a request into a page, and to make it out of the answer again."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable

from gatepost.asgi import request_of
from gatepost.carry import Carry, Where, make_head, rebuild, unpack
from gatepost.origin import Trust
from gatepost.protocols import Request
from gatepost.settings import KIB

from .tables import micro, middle, show
from .timing import Contender, Plan, loop, measure
from .traffic import form_post

SIZES = (1, 8, 48)


def pack(request: Request, body: bytes) -> Carry:
    """What a challenged submission of this body takes."""
    head = make_head(request, len(body), hashlib.sha256(body).digest(), Where.PAGE)
    return Carry.pack(head, body)


def deliver(request: Request, carry: Carry) -> None:
    """What its answer takes: every digest is checked."""
    unpacked = unpack(carry.text, carry.digest)
    if unpacked is None:
        raise ValueError("the carry is genuine and was not read")
    rebuild(request.headers, unpacked.head, Trust.FULL)


def packing(size: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """Packing and delivering a body of this size."""
    body = secrets.token_bytes(size * KIB)
    request = request_of(form_post("", "/contact", body).scope)
    carry = pack(request, body)
    return lambda: pack(request, body), lambda: deliver(request, carry)


def run(plan: Plan) -> None:
    """Measure and print."""
    contenders, sizes = [], {}
    for size in SIZES:
        for what, function in zip(("pack", "deliver"), packing(size), strict=True):
            name = f"{what} {size} KiB"
            contenders.append(Contender(name, loop(function)))
            sizes[name] = size
    results = measure(contenders, plan.of(0.2, 0.001))
    rows = [(name, *middle(result), micro(result.median / sizes[name])) for name, result in results.items()]
    show(
        "The carry: microseconds each",
        ("", "median", "quartiles", "a KiB"),
        sorted(rows, key=lambda row: row[0].startswith("deliver")),
        "Packing hashes the body; delivering checks both digests and makes the header fields.",
    )
