"""The ``gatepost`` command: for those who see the flood before the meter does, and for those who want to look."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

from . import preview
from .protocols import Store, StoreError
from .settings import Settings
from .status import describe, level_of, moment
from .stores import absence, make_store

_DURATION = re.compile(r"(\d{1,6})\s*([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status.

    :param arguments: those after the command's name; of the process if left out.
    """
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (ValueError, StoreError) as error:
        print(f"gatepost: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gatepost",
        description="Look at the gate of a running application, engage or release its rules; preview its challenges.",
        epilog="All but preview read the secret from GATEPOST_SECRET: the application's own, or the first of its list.",
    )
    _add_store(parser, os.environ.get("GATEPOST_STORE") or "auto", os.environ.get("GATEPOST_SITE", ""))
    # Taken behind the command, too; there it must not undo what was said before it.
    common = argparse.ArgumentParser(add_help=False)
    _add_store(common, argparse.SUPPRESS, argparse.SUPPRESS)
    commands = parser.add_subparsers(title="commands", required=True)

    status = commands.add_parser("status", parents=[common], help="print each rule's state, rate and counts")
    status.add_argument("--json", action="store_true", help="for programs")
    status.set_defaults(run=_on_store(_status))

    engage = commands.add_parser("engage", parents=[common], help="demand a challenge now, whatever the rate is")
    engage.add_argument("rule", help="the rule's name")
    engage.add_argument("--for", dest="seconds", type=_seconds, default=600, metavar="TIME", help="10m if left out")
    engage.set_defaults(run=_on_store(_engage))

    release = commands.add_parser("release", parents=[common], help="demand none until the rate is too high again")
    release.add_argument("rule", help="the rule's name")
    release.set_defaults(run=_on_store(_release))

    preview.add_options(commands.add_parser("preview", help="write a sheet of pictures as visitors will see them"))
    return parser


def _on_store(command: Callable[[Store, argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """The command with the store that the options name."""
    return lambda options: command(_store(options.store, options.site), options)


def _add_store(parser: argparse.ArgumentParser, store: str, site: str) -> None:
    parser.add_argument(
        "--store", default=store, help="the application's 'store' setting (default: GATEPOST_STORE, else auto)"
    )
    parser.add_argument(
        "--site", default=site, help="the application's 'site' setting (default: GATEPOST_SITE, else empty)"
    )


def _seconds(text: str) -> int:
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"got {text!r}, wanted a time such as 90s, 10m or 2h")
    return int(match[1]) * _SECONDS[match[2]]


def _store(url: str, site: str) -> Store:
    secret = os.environ.get("GATEPOST_SECRET", "")
    settings = Settings(secret=secret, protect="/", site=site, store=url, store_timeout=2)
    absent = absence(settings)
    if absent:
        raise ValueError(absent)
    store = make_store(settings)
    if store is None:
        raise ValueError(f"--store: got {url!r}, which is of one process; wanted the store that workers share.")
    return store


def _known(store: Store, rule: str) -> None:
    names = [told.rule for told in store.status()]
    if rule not in names:
        known = ", ".join(map(repr, names)) or "none yet"
        raise ValueError(f"there is no rule {rule!r} in this store; it knows of {known}.")


def _engage(store: Store, options: argparse.Namespace) -> int:
    _known(store, options.rule)
    until = time.time() + options.seconds
    store.command(options.rule, until, "by hand")
    print(f"{options.rule} is engaged until {moment(until)}.")
    return 0


def _release(store: Store, options: argparse.Namespace) -> int:
    _known(store, options.rule)
    store.command(options.rule, None, "by hand")
    print(f"{options.rule} is released.")
    return 0


def _status(store: Store, options: argparse.Namespace) -> int:
    rules, now = store.status(), time.time()
    if options.json:
        print(json.dumps([asdict(told) | {"engaged": level_of(told, now) > 0} for told in rules], indent=2))
    elif rules:
        print("\n\n".join(describe(told, now) for told in rules))
    else:
        print("No rule has reported to this store yet. Are store, secret and site those of the application?")
    return 0
