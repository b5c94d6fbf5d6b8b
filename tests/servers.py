"""Real servers as processes of their own.

Each server is started once in a test session, when it is first asked for, and stopped at the end.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from server_clients import HOST, PATIENCE, Connection

#: The protected paths, each with a gate of its own.
GATES: dict[str, dict[str, Any]] = {
    "/calm": {},
    "/rising": {"above": "3/hour"},
    "/always": {"mode": "always"},
    "/impatient": {"mode": "always", "read_timeout": 1},
    "/drained": {"mode": "always", "keep_limit": 65536, "drain_limit": 131072},
}
_COMMON = {
    "secret": secrets.token_urlsafe(32),
    "min_time": 0,
    "above": "1000000/minute",
    "render_rate": 100_000,
    "issue_limit": "1000000/minute",
    "failure_limit": "1000000/minute",
    "keep_per_client": 64 << 20,
}


# --- which servers there are ---


@dataclass(frozen=True)
class Program:
    """How one server is started.

    ``needs`` are the modules that it is made of. ``prefixed`` and ``environ`` are what mounts it under a prefix;
    ``stripped`` says that it expects a proxy to take the prefix off the path.
    """

    interface: str
    needs: Sequence[str]
    command: Sequence[str]
    prefixed: Sequence[str] = ()
    environ: tuple[str, str] | None = None
    stripped: bool = False


def _python(*words: str) -> list[str]:
    return [sys.executable, "-m", *words]


_UVICORN = _python("uvicorn", "--host={host}", "--port={port}", "server_apps:asgi")
_GRANIAN = _python("granian", "--host={host}", "--port={port}")
_GUNICORN = _python("gunicorn", "--no-control-socket", "--bind={host}:{port}", "server_apps:wsgi")
_WAITRESS = _python("waitress", "--threads=8", "--channel-timeout=5", "--cleanup-interval=1", "--listen={host}:{port}")
_ROOT_PATH = ("--root-path={prefix}",)
_URL_PATH = ("--url-path-prefix={prefix}",)
_SCRIPT_NAME = ("SCRIPT_NAME", "{prefix}")

PROGRAMS = {
    "uvicorn-h11": Program("asgi", ("uvicorn", "h11"), [*_UVICORN, "--http=h11"], _ROOT_PATH, stripped=True),
    "uvicorn-httptools": Program(
        "asgi", ("uvicorn", "httptools"), [*_UVICORN, "--http=httptools"], _ROOT_PATH, stripped=True
    ),
    "hypercorn": Program(
        "asgi",
        ("hypercorn",),
        _python("hypercorn", "--workers=0", "--bind={host}:{port}", "server_apps:asgi"),
        _ROOT_PATH,
    ),
    "granian-asgi": Program("asgi", ("granian",), [*_GRANIAN, "--interface=asgi", "server_apps:asgi"], _URL_PATH),
    "granian-wsgi": Program(
        "wsgi", ("granian",), [*_GRANIAN, "--interface=wsgi", "--blocking-threads=8", "server_apps:wsgi"], _URL_PATH
    ),
    "gunicorn-sync": Program("wsgi", ("gunicorn",), [*_GUNICORN, "--worker-class=sync"], environ=_SCRIPT_NAME),
    "gunicorn-gthread": Program(
        "wsgi", ("gunicorn",), [*_GUNICORN, "--worker-class=gthread", "--threads=8"], environ=_SCRIPT_NAME
    ),
    "waitress": Program("wsgi", ("waitress",), [*_WAITRESS, "server_apps:wsgi"], ("--url-prefix={prefix}",)),
}
#: Closes every connection after one answer.
CLOSES = ("gunicorn-sync",)
#: Takes one request at a time.
ONE_AT_A_TIME = ("gunicorn-sync",)
#: Calls the application only when it has the whole body.
WHOLE_FIRST = ("waitress",)
#: A read waits until all the bytes that it asks for are there.
BLOCKS = ("granian-wsgi", "gunicorn-sync", "gunicorn-gthread")


def missing(name: str) -> str:
    """Why a server cannot be started, or the empty string."""
    lacking = [module for module in PROGRAMS[name].needs if find_spec(module) is None]
    return f"{' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} not installed" if lacking else ""


INSTALLED = [name for name in PROGRAMS if not missing(name)]


# --- starting and stopping ---


@dataclass
class Server:
    """A server that runs."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    prefix: str = ""
    identity: str = ""

    @property
    def interface(self) -> str:
        return PROGRAMS[self.name].interface

    def target(self, path: str) -> str:
        """What a client, or the proxy in front, asks for to get to this path of the application."""
        return path if PROGRAMS[self.name].stripped else self.prefix + path

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text("utf-8", "replace")

    def connect(self) -> Connection:
        """A new connection."""
        return Connection(self.port)

    @contextmanager
    def line(self) -> Iterator[Connection]:
        """A connection that has to be good for another request when all is done, on every server that keeps any."""
        with self.connect() as line:
            yield line
            connection = line.last.get("connection")
            assert line.last.closes == (self.name in CLOSES), f"{self.name} said 'Connection: {connection}'"
            assert line.request("GET", self.target("/alive"), []).json()["name"] == self.identity, "another server"

    def get(self, path: str) -> Any:
        """The JSON of an unprotected path, on a connection of its own."""
        with self.connect() as line:
            return line.request("GET", self.target(path), []).json()

    def seen(self, case: str) -> dict[str, Any]:
        """What the process tells of the requests of one case."""
        told: dict[str, Any] = self.get(f"/seen?{case}")
        return told

    def settled(self, case: str, *, least: int = 1) -> list[dict[str, Any]]:
        """What the application got of a case, once all of its requests have left the gate.

        :param least: requests that certainly came to the gate. Of a server that takes one at a time, or wants the
            whole body first, that cannot be said, but the first is done with them when it answers another.
        """
        least = 0 if self.name in (*ONE_AT_A_TIME, *WHOLE_FIRST) else least
        records: list[dict[str, Any]] = []

        def is_settled() -> bool:
            told = self.seen(case)
            records[:] = told["records"]
            return bool(told["left"] == told["entered"] >= least)

        wait_until(is_settled, f"{self.name} is done with {case}")
        return records

    def stop(self) -> int:
        """Ask it to end, as a supervisor does; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)  # its own session: its workers are in it, and nothing else
            self.process.wait()
            raise


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Look again and again until something holds.

    :raises TimeoutError: if it does not in :data:`PATIENCE` seconds.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited for {PATIENCE} s until {what}")
        time.sleep(0.02)  # between two looks; nothing hangs on how long it is


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        port: int = taken.getsockname()[1]
        return port


def start(
    name: str, *, prefix: str = "", extra: Sequence[str] = (), gates: dict[str, Any] | None = None, warm: str = ""
) -> Server:
    """Start a server and wait until it answers.

    :param prefix: where it is mounted, by the server's own option.
    :param extra: more words for its command.
    :param warm: a protected path that gets a submission as soon as the application is imported.
    """
    environ = {
        "GATEPOST_TEST_GATES": json.dumps({path: _COMMON | own for path, own in (gates or GATES).items()}),
        "GATEPOST_TEST_WARM": warm,
    }
    for _ in range(5):  # another process may take the port between our look and the server's start
        server = _launch(name, prefix, extra, environ)
        if _answers(server):
            return server
        server.stop()
        output = server.output
        server.log.unlink()
    raise RuntimeError(f"{name} did not start: {output}")


def _launch(name: str, prefix: str, extra: Sequence[str], environ: dict[str, str]) -> Server:
    program = PROGRAMS[name]
    port = free_port()
    handle, log = tempfile.mkstemp(prefix="gatepost-", suffix=".log")
    identity = secrets.token_hex(8)
    # After 'python -m server': Waitress takes no option behind the application's name.
    words = [*program.command[:3], *(program.prefixed if prefix else ()), *extra, *program.command[3:]]
    environ = os.environ | environ | {"PYTHONPATH": str(Path(__file__).parent), "GATEPOST_TEST_NAME": identity}
    if prefix and program.environ:
        environ[program.environ[0]] = program.environ[1].format(prefix=prefix)
    with open(handle, "wb") as output:
        process = subprocess.Popen(  # noqa: S603 - the commands are those above
            [word.format(host=HOST, port=port, prefix=prefix) for word in words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environ,
            cwd=tempfile.gettempdir(),
            start_new_session=True,
        )
    return Server(name, port, process, Path(log), prefix, identity)


def _answers(server: Server) -> bool:
    deadline = time.monotonic() + PATIENCE
    while server.process.poll() is None and time.monotonic() < deadline:
        try:
            if server.get("/alive")["name"] == server.identity:
                return True
        except (OSError, ValueError):  # not yet, or not ours
            time.sleep(0.02)
    return False


_running: dict[tuple[str, str], Server] = {}
_OUR_FRAME = re.compile(r'File ".*gatepost.\w+\.py", line')


@pytest.fixture(scope="session", name="stopped_at_the_end")
def stopped_at_the_end_fixture() -> Iterator[None]:
    """Stops the servers of the session, and looks whether one has printed a traceback from within the gate.

    Every module has this fixture of its own; the first one to end does it all.
    """
    yield
    complaints = {}
    for key in list(_running):
        server = _running.pop(key)
        server.stop()
        if _OUR_FRAME.search(server.output):
            complaints[server.name] = server.output
        server.log.unlink()
    if complaints:
        raise AssertionError("\n\n".join(f"{name} complained: {output}" for name, output in complaints.items()))


def running(name: str, prefix: str = "") -> Server:
    """The session's server of this name."""
    key = (name, prefix)
    if key not in _running or _running[key].process.poll() is not None:
        _running[key] = start(name, prefix=prefix)
    return _running[key]


@pytest.fixture(params=INSTALLED, name="server")
def server_fixture(request: pytest.FixtureRequest, stopped_at_the_end: None) -> Server:  # noqa: ARG001
    """Each server that is installed."""
    return running(request.param)


@pytest.fixture(name="case")
def case_fixture() -> str:
    """A name of its own for what one test sends."""
    return secrets.token_hex(8)
