"""Run the guestbook with several workers on this machine: ``python examples/workers sqlite``, or ``redis``."""

from __future__ import annotations

import argparse
import errno
import os
import re
import sys
import tempfile
from pathlib import Path

from crew import Asked, Crew, Failed, stop_on_signals
from plans import CHECK_NEEDS, PLANS, Plan, Site, secret

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args()
    needs = CHECK_NEEDS if options.what == "check" else PLANS[options.what].needs
    if missing := needs.missing():
        print(missing, file=sys.stderr)
        return 1
    if options.what == "check":
        return _check(options.url)
    try:
        return run(PLANS[options.what], options.port, checked=options.check)
    except OSError as error:
        if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
            raise
        why = "in use already" if error.errno == errno.EADDRINUSE else "not open to you"
        print(f"Port {options.port} is {why}. Choose another one with --port.", file=sys.stderr)
        return 1


def run(plan: Plan, port: int, *, checked: bool) -> int:
    """Start everything, stay until somebody asks, and end everything; the exit code.

    :param checked: do not stay, but check and end.
    """
    # Resolved, since sockets and servers compare paths as text.
    with stop_on_signals() as stop, tempfile.TemporaryDirectory(prefix="gatepost-workers-") as name:
        folder = Path(name).resolve()
        try:
            with Crew(stop) as crew:
                site = plan.start(crew, folder, port)
                if checked:
                    return _check(site.url)
                _welcome(site)
                crew.watch()
        except Asked:
            print("\nThe book is closed.")
        except Failed as failure:
            print(failure, file=sys.stderr)
            return 1
    return 0


def _check(url: str) -> int:
    from check import check  # here, where it is known that there is all it needs

    return 0 if check(url) else 1


def _welcome(site: Site) -> None:
    print(f"\n  The guestbook is open:  {site.url}\n")
    for number, instance in enumerate(site.instances, 1):
        print(f"  Instance {number}, behind it:  {instance}")
    python, here = _shortest(sys.executable), _shortest(HERE)
    print(f"  See that it is one gate:  {python} {here} check {site.url}")
    print(f"  Look at the gate:  {python} -m gatepost status --store {site.store}")
    if secret() != os.environ.get("GATEPOST_SECRET"):
        print("  (for that, set GATEPOST_SECRET before you start; now one was made up for this run)")
    print("\n  Ctrl+C closes the book.\n", flush=True)


def _shortest(path: str | Path) -> str:
    """A path as one would type it here."""
    return min(str(path), os.path.relpath(path), key=len)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="workers", description="The guestbook with several workers behind one gate.")
    commands = parser.add_subparsers(dest="what", required=True, title="commands")
    for name, about in (
        ("sqlite", "gunicorn with four uvicorn workers, and a SQLite file as the gate's store"),
        ("redis", "two instances with two workers each behind nginx, and Redis or Valkey as the gate's store"),
    ):
        command = commands.add_parser(name, help=about, description=f"Run {about}.")
        command.add_argument("--port", type=_port, default=0, help="default: 0, which takes any free one")
        command.add_argument("--check", action="store_true", help="check that it is one gate, and end")
    command = commands.add_parser("check", help="see that a running one is one gate")
    command.add_argument("url", type=_loopback, help="the address that was printed")
    return parser


def _loopback(url: str) -> str:
    """An address of this machine: nobody else's site is to be flooded."""
    if not re.fullmatch(r"http://(127(\.\d{1,3}){3}|localhost|\[::1\])(:\d{1,5})?/?", url):
        raise argparse.ArgumentTypeError(f"got {url!r}, wanted one of this machine, such as http://127.0.0.1:8000/")
    return url


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return number


if __name__ == "__main__":
    sys.exit(main())
