"""Processes that begin and end together, and leave nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Self

#: Seconds between two looks at the processes.
LOOK = 0.05
#: Seconds that a process has to end by itself when it is asked to.
GRACE = 10.0
_TAIL = 2000  # bytes of a log that are shown

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Asked(Exception):  # noqa: N818 - no error
    """Somebody wants all to end: Ctrl-C, SIGTERM, or the terminal was closed."""


class Failed(Exception):  # noqa: N818 - read as 'the crew failed'
    """A process ended that should not have, or did not come up in time. The text is a sentence for people."""


@dataclass
class _Member:
    name: str
    process: subprocess.Popen[bytes]
    log: Path | None


class Stop:
    """Whether somebody wants all to end. A flag and no exception, so that no moment of starting or ending is cut."""

    asked = False

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        self.asked = True


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Take the signals that end a program, from now until all is cleaned up."""
    stop = Stop()
    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Crew:
    """Processes that end when one of them does, or when somebody asks; the last to come is the first to go.

    :param stop: tells when somebody asks.
    """

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._members: list[_Member] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for member in reversed(self._members):
            _end(member.process)

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        folder: Path,
        environ: Mapping[str, str],
        pass_fds: Sequence[int] = (),
        log: Path | None = None,
    ) -> None:
        """Start a process.

        :param name: for people.
        :param folder: where it works.
        :param environ: what its environment has more than ours.
        :param pass_fds: open files that it inherits.
        :param log: where it writes what went wrong, if not to the terminal.
        """
        self.look()
        process = subprocess.Popen(  # noqa: S603 - the commands are those of the plans
            command,
            stdin=subprocess.DEVNULL,
            cwd=folder,
            env={**os.environ, **environ},
            pass_fds=pass_fds,
            # Ctrl-C goes to all processes of a terminal at once. Each in a session of its own gets it from here alone,
            # in order, and its own children can be found by it.
            start_new_session=True,
        )
        self._members.append(_Member(name, process, log))

    def look(self) -> None:
        """See that all is well.

        :raises Asked: if somebody wants all to end.
        :raises Failed: if a process has ended.
        """
        if self._stop.asked:
            raise Asked
        for member in self._members:
            if (status := member.process.poll()) is not None:
                raise Failed(f"{member.name} ended {_how(status)}, so all was ended.{_tail(member.log)}")

    def wait_until(self, condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
        """Wait for something that the processes do.

        :raises Asked: see :meth:`look`; and so :exc:`Failed`, which also comes when the time is up.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            self.look()
            if time.monotonic() > deadline:
                raise Failed(f"After {seconds:g} seconds {what}, so all was ended.")
            time.sleep(LOOK)

    def watch(self) -> None:
        """Stay until somebody asks.

        :raises Asked: then.
        :raises Failed: if a process ends before.
        """
        while True:
            self.look()
            time.sleep(LOOK)


def _how(status: int) -> str:
    return f"by signal {-status}" if status < 0 else f"with status {status}"


def _tail(log: Path | None) -> str:
    if log is None or not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        return "\n" + file.read().decode("utf-8", "replace").rstrip()


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
    # Workers whose master was killed stay in its group, and so does all that has not ended in time.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
