"""What goes wrong with a shared SQLite file under load is survived by four real workers, as the policy says."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleet import Fleet, Place, place
from servers import wait_until
from visitors import suffer

POLICIES = ("local", "refuse")
PAUSE = 5.0  # seconds
KEPT = 8192  # bytes: its first pages


@dataclass
class Site:
    """Four workers whose gates have a file for each policy, and two more on a disk of their own."""

    place: Place
    host: Fleet
    disk: Path
    small: bool  # the disk is a small one that only the workers see

    def files(self) -> list[Path]:
        """The files of all policies, but for those on the disk."""
        return [self.place.folder / f"{policy}.db" for policy in POLICIES]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A :class:`Site`."""
    folder = tmp_path_factory.mktemp("sqlite")
    disk = folder / "disk"
    disk.mkdir()
    gates = {}
    for policy in POLICIES:
        gates[f"/{policy}"] = {"store": f"sqlite:///{folder}/{policy}.db", "on_store_error": policy}
        gates[f"/disk-{policy}"] = {"store": f"sqlite:///{disk}/{policy}.db", "on_store_error": policy}
    under = _small_disk(disk)
    with place(folder) as here:
        host = here.fleet("uvicorn", gates, under=under)
        yield Site(here, host, Path(f"/proc/{host.process.pid}/root{disk}") if under else disk, bool(under))


def _small_disk(folder: Path) -> list[str]:
    """Words in front of a command that let it see a small disk in this place; none if nothing can be mounted here."""
    for way in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        words = [*way, "sh", "-c", f'mount -t tmpfs -o size=32m gatepost {folder} && exec "$@"', "sh"]
        if shutil.which("unshare") and not subprocess.run([*words, "true"], capture_output=True).returncode:  # noqa: S603
            return words
    return []


# --- the faults ---


@contextmanager
def locked(site: Site) -> Iterator[None]:
    """Another process writes for five seconds."""
    end = time.monotonic() + PAUSE
    others = [sqlite3.connect(file, isolation_level=None) for file in site.files()]
    for other in others:
        other.execute("BEGIN EXCLUSIVE")
    try:
        yield
        wait_until(lambda: time.monotonic() > end, "the five seconds are over")
    finally:
        for other in others:
            other.execute("ROLLBACK")
            other.close()


@contextmanager
def full(site: Site) -> Iterator[None]:
    """There is not a byte left on the disk."""
    with _filled(site.disk / "filler") if site.small else _limited(site):
        yield


@contextmanager
def _filled(filler: Path) -> Iterator[None]:
    with open(filler, "wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def _limited(site: Site) -> Iterator[None]:
    """No worker can make a file longer than what SQLite has on the disk; all other files are shorter than that."""
    longest = min(file.stat().st_size for file in site.disk.glob("*-wal"))
    workers = {line.pid for line in site.place.diary.lines("started")}
    for pid in workers:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (longest, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        for pid in workers:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@contextmanager
def deleted(site: Site) -> Iterator[None]:
    """Somebody tidies up."""
    for file in site.files():
        for found in file.parent.glob(f"{file.name}*"):
            found.unlink()
    yield


@contextmanager
def deleted_in_part(site: Site) -> Iterator[None]:
    """Somebody tidies up, and leaves behind what SQLite has put beside the file."""
    for file in site.files():
        file.unlink()
    yield


@contextmanager
def truncated(site: Site) -> Iterator[None]:
    """What the file holds is gone, but for its beginning."""
    for file in site.files():
        with closing(sqlite3.connect(file, timeout=PAUSE)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # so that there is nothing anywhere else
            os.truncate(file, KEPT)
    yield


Fault = Callable[[Site], AbstractContextManager[None]]


@pytest.mark.parametrize(("fault", "prefix"), [(locked, "/"), (full, "/disk-")])
def test_i10_fault_that_passes(site: Site, fault: Fault, prefix: str) -> None:
    """Nothing is lost or delivered twice beyond the policy, no request waits for the file, and all recover."""
    paths = [prefix + policy for policy in POLICIES]
    counts = suffer(site.place, [site.host], paths, lambda: fault(site))
    assert [count.again for count in counts.values()] == [0, 0]


@pytest.mark.parametrize("fault", [truncated, deleted, deleted_in_part])
def test_i10_file_that_is_gone(site: Site, fault: Fault) -> None:
    """The same where what was claimed and kept before is gone, and who had sent that is told so."""
    paths = [f"/{policy}" for policy in POLICIES]
    counts = suffer(site.place, [site.host], paths, lambda: fault(site))
    assert [count.again for count in counts.values()] == [3, 3]
