"""``python -m benchmarks``"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable

from . import carrying, drawing, flood, passing_asgi, passing_wsgi, pooling, showing, stores, submitting, verifying
from .timing import Plan

SUBJECTS: dict[str, tuple[Callable[[Plan], None], str]] = {
    "asgi": (passing_asgi.run, "requests that pass, under ASGI"),
    "wsgi": (passing_wsgi.run, "requests that pass, under WSGI"),
    "tokens": (verifying.run, "issuing tokens and verifying answers"),
    "carry": (carrying.run, "packing and delivering what was sent"),
    "page": (showing.run, "rendering pages and drawing pictures"),
    "stores": (stores.run, "calm requests, claims under load, and room for claims, with each store"),
    "requests": (submitting.run, "whole submissions and answers"),
    "pictures": (drawing.run, "pictures and recordings, beside other generators"),
    "pool": (pooling.run, "the first challenges, many at once, and what drawing costs"),
    "flood": (flood.run, "a real server under a flood"),
}


def main() -> None:
    """Measure what was asked for, or everything."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure what Gatepost costs, side by side with others.",
        epilog="subjects: " + "; ".join(f"{name}: {what}" for name, (_, what) in SUBJECTS.items()),
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the rounds")
    parser.add_argument("subject", nargs="*", help="what to measure; everything if left out")
    options = parser.parse_args()
    unknown = [name for name in options.subject if name not in SUBJECTS]
    if unknown:
        parser.error(f"there is no subject {unknown[0]!r}; there are {', '.join(SUBJECTS)}")
    started = time.monotonic()
    plan = Plan(turns=150) if options.quick else Plan()
    python = f"{platform.python_implementation()} {platform.python_version()}"
    print(f"{python}, {os.cpu_count()} cores, {platform.machine()}")
    for name in options.subject or SUBJECTS:
        SUBJECTS[name][0](plan)
    print(f"\nTook {time.monotonic() - started:.0f} s.")


if __name__ == "__main__":
    main()
