"""Run the guestbook on this machine: ``python examples/guestbook``."""

from __future__ import annotations

import argparse
import errno
import logging
import socket
import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server

HOST = "127.0.0.1"

WELCOME = """
  The guestbook is open:  {address}

  1. Send three entries within a minute. Nothing special happens.
  2. Send a fourth, with a picture. Instead of the book you get a page with a challenge.
  3. Answer it wrong on purpose. You get another one, and nothing you wrote is lost.
  4. Answer it right. Your entry is there, with its picture.
  5. Press reload. The entry is still there once.

  Ctrl+C closes the book.
"""


class ThreadedServer(ThreadingMixIn, WSGIServer):
    """The standard library's WSGI server with a thread for each request, so that two clicks can meet."""

    daemon_threads = True


def serve_asgi(number: int) -> None:
    """Serve the Starlette application with uvicorn."""
    import uvicorn
    from app import create_app

    # Bound here, not by uvicorn, so that a port in use is told in the same words for both servers.
    with socket.create_server((HOST, number)) as listener:
        config = uvicorn.Config(create_app(), log_config=None)
        _welcome(listener.getsockname()[1])
        uvicorn.Server(config).run(sockets=[listener])


def serve_wsgi(number: int) -> None:
    """Serve the Flask application with the standard library's server."""
    from flask_app import create_app

    with make_server(HOST, number, create_app(), server_class=ThreadedServer) as server:
        _welcome(server.server_port)
        server.serve_forever()


def main() -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="guestbook", description="A guestbook behind a gate, to try Gatepost with.")
    parser.add_argument("--port", type=port, default=8000, help="default: 8000; 0 takes any free one")
    parser.add_argument("--wsgi", action="store_true", help="run the Flask application instead of the Starlette one")
    options = parser.parse_args()

    # The gate says here when it engages and when it is calm again. The server's own greeting would only hide ours.
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    try:
        (serve_wsgi if options.wsgi else serve_asgi)(options.port)
    except KeyboardInterrupt:
        print("\nThe book is closed.")
    except ModuleNotFoundError as error:
        print(f"The package {error.name!r} is missing. Use make demo, or pip install '.[demo]'.", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
            raise
        why = "in use already" if error.errno == errno.EADDRINUSE else "not open to you"
        print(f"Port {options.port} is {why}. Choose another one with --port.", file=sys.stderr)
        return 1
    return 0


def _welcome(number: int) -> None:
    print(WELCOME.format(address=f"http://{HOST}:{number}/"), flush=True)


def port(text: str) -> int:
    """A port number from the command line."""
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return number


if __name__ == "__main__":
    sys.exit(main())
