"""Programs for a terminal, run in one that a test can read and type into."""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyte
import pytest

from browsers import PATIENCE

LINES, COLUMNS = 60, 100


def program(name: str) -> str:
    """The path of a program; where there is none the test is skipped."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed; tests in a text browser need it")
    return path


def environment(home: Path) -> dict[str, str]:
    """What a program is told of a terminal, and of a home without any configuration."""
    return {"TERM": "linux", "HOME": str(home), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}


class Terminal:
    """One program in its terminal.

    :param home: an empty folder; the program starts there.
    """

    def __init__(self, command: list[str], home: Path) -> None:
        self._screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self._screen)
        self._ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self._process = subprocess.Popen(  # noqa: S603 - our own words
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(home),
            cwd=home,
            start_new_session=True,
        )
        os.close(theirs)

    @property
    def text(self) -> str:
        """What can be read on the screen, with single blanks."""
        return " ".join(" ".join(self._screen.display).split())

    def wait_for(self, words: str) -> None:
        """Wait until these words stand on the screen.

        :raises TimeoutError: if they do not come.
        """
        self._wait(lambda: words in self.text, f"for {words!r}")

    def wait_while(self, words: str) -> None:
        """Wait as long as these words stand on the screen.

        :raises TimeoutError: if they stay.
        """
        self._wait(lambda: words not in self.text, f"while there was {words!r}")

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            ready, _, _ = select.select([self._ours], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"waited {what}, and there was: {self.text}")
            self._stream.feed(os.read(self._ours, 65536))

    def type(self, keys: str) -> None:
        """Press these keys, one after the other."""
        os.write(self._ours, keys.encode())

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)


@contextmanager
def terminal(command: list[str], home: Path) -> Iterator[Terminal]:
    """Run a program in a terminal, and end it."""
    opened = Terminal(command, home)
    try:
        yield opened
    finally:
        opened.close()
