"""Several worker processes of real servers that share a store, and what they tell of themselves in a diary."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server_clients import HOST, PATIENCE, Connection
from servers import free_port, wait_until

SECRET = secrets.token_urlsafe(32)
_COMMON = {
    "secret": SECRET,
    "mode": "always",
    "min_time": 0,
    "render_rate": 100_000,
    "issue_limit": "1000000/minute",
    "failure_limit": "1000000/minute",
}
_UVICORN = ["uvicorn", "--host={host}", "--port={port}", "--workers={workers}", "--factory", "fleet_app:make_asgi"]
_GUNICORN = [
    *("gunicorn", "--no-control-socket", "--bind={host}:{port}", "--workers={workers}", "--worker-class=gthread"),
    *("--threads=16", "--preload", "fleet_app:make_wsgi()"),
]
COMMANDS = {"uvicorn": _UVICORN, "gunicorn": _GUNICORN}


@dataclass(frozen=True)
class Line:
    """One line of the diary; ``at`` is in seconds since the epoch."""

    pid: int
    at: float
    what: str
    path: str
    about: str


@dataclass(frozen=True)
class Diary:
    """What all workers have written down so far."""

    file: Path

    def lines(self, what: str = "", path: str = "") -> list[Line]:
        """The lines of one kind and path, or all."""
        if not self.file.exists():
            return []
        lines = [Line(**json.loads(text)) for text in self.file.read_text("utf-8").splitlines()]
        return [line for line in lines if what in ("", line.what) and path in ("", line.path)]

    def away(self, path: str) -> set[int]:
        """The processes that have lost this path's store and not told that it is back."""
        last = {line.pid: line.what for line in self.lines(path=path) if line.what.startswith("store-")}
        return {pid for pid, what in last.items() if what == "store-lost" and _lives(pid)}

    def deliveries(self, path: str) -> Counter[str]:
        """How often the application got each submission."""
        return Counter(line.about for line in self.lines("delivered", path))

    def deliveries_of_one(self, path: str) -> Counter[tuple[int, str]]:
        """How often each process delivered each submission."""
        return Counter((line.pid, line.about) for line in self.lines("delivered", path))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@dataclass
class Fleet:
    """The workers of one server on one port."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def connect(self) -> Connection:
        """A new connection to one of the workers; which of them, nobody can say."""
        return Connection(self.port)

    @property
    def output(self) -> str:
        """What the workers have printed so far."""
        return self.log.read_text("utf-8", "replace")

    def stop(self) -> None:
        """Ask it to end, as a supervisor does."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)  # its own session: its workers are in it, and nothing else
            self.process.wait()
            raise


@dataclass
class Place:
    """Where fleets run: a folder with their diary, their logs and the causes of their deaths."""

    folder: Path
    stack: ExitStack

    @property
    def diary(self) -> Diary:
        """What the workers of all fleets here have written down."""
        return Diary(self.folder / "diary")

    def kill_one(self, where: str) -> None:
        """Let the worker die that gets to this point next: ``before`` or ``after`` a claim, or ``inside``."""
        (self.folder / "deaths" / where).touch()

    def fleet(
        self,
        server: str,
        gates: dict[str, dict[str, Any]],
        *,
        workers: int = 4,
        offset: float = 0,
        under: Sequence[str] = (),
        environ: dict[str, str] | None = None,
    ) -> Fleet:
        """Start workers, and wait until all are there.

        :param server: ``"uvicorn"`` (ASGI) or ``"gunicorn"`` (WSGI, forked).
        :param gates: the settings of each path.
        :param offset: how many seconds the clock of this host is ahead.
        :param under: words in front of the command.
        """
        config = {
            "gates": {path: _COMMON | own for path, own in gates.items()},
            "diary": str(self.diary.file),
            "deaths": str(self.folder / "deaths"),
            "offset": offset,
        }
        before, port = len(self.diary.lines("started")), free_port()
        words = [word.format(host=HOST, port=port, workers=workers) for word in COMMANDS[server]]
        log = self.folder / f"{server}-{port}.log"
        with open(log, "wb") as output:
            process = subprocess.Popen(  # noqa: S603 - our own commands
                [*under, sys.executable, "-m", *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={
                    # What a test is told to take for a store is not for these.
                    **{name: value for name, value in os.environ.items() if name != "GATEPOST_STORE"},
                    **(environ or {}),
                    "GATEPOST_FLEET": json.dumps(config),
                    "PYTHONPATH": str(Path(__file__).parent),
                },
                cwd=self.folder,
                start_new_session=True,
            )
        fleet = Fleet(port, process, log)
        self.stack.callback(fleet.stop)

        def has_started() -> bool:
            if process.poll() is not None or "Traceback" in fleet.output:
                raise RuntimeError(f"{server} did not start: {fleet.output}")
            return len(self.diary.lines("started")) >= before + workers

        wait_until(has_started, f"{workers} workers of {server} have started")
        return fleet


@contextmanager
def place(folder: Path) -> Iterator[Place]:
    """A :class:`Place`, whose fleets end with the block. None of them may have printed a traceback of the gate's."""
    (folder / "deaths").mkdir()
    with ExitStack() as stack:
        yield Place(folder, stack)
    for log in folder.glob("*.log"):
        text = log.read_text("utf-8", "replace")
        assert "Traceback" not in text, text
