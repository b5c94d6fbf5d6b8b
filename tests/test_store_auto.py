"""``store="auto"``: the workers of one host find each other without configuration, and a restart forgets nothing."""

from __future__ import annotations

import errno
import logging
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gatepost import Gate, Settings
from gatepost.protocols import Claim, StoreError
from gatepost.stores import MemoryStore, auto, make_store
from gatepost.stores.sqlite import SqliteStore
from gatepost.testing import KnownChallenge, ManualClock
from twins import ANSWER, SECRET, WsgiTwin

NONCE = b"n" * 16
FINGERPRINT = "0123456789abcdef"

Open = Callable[..., WsgiTwin]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of this test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("GATEPOST_STORE")
    return tmp_path


@pytest.fixture
def start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Starts an application with nothing configured, whose exchange happens when the test says so."""
    assert folder.exists()
    monkeypatch.setattr("gatepost.exchange.Exchange.start", lambda _: None)
    started: list[WsgiTwin] = []

    def start(**options: Any) -> WsgiTwin:
        defaults: dict[str, Any] = {
            "secret": SECRET,
            "protect": "/contact",
            "challenge": KnownChallenge(ANSWER),
            "min_time": 0,
        }
        started.append(WsgiTwin(Gate(Settings(**(defaults | options)))))
        return started[-1]

    yield start
    for twin in started:
        twin.gate.store.close()


def answer(twin: WsgiTwin, body: bytes) -> int:
    return twin.send(body=body).status


def test_restart_forgets_nothing(start: Open) -> None:
    """What was claimed is claimed, what was kept is delivered, and who was engaged is, after all workers have ended."""
    before = start(above="2/minute")
    for _ in range(3):
        before.send(body=b"a=b")
    page, large = before.send(body=b"a=b"), before.send(body=b"x" * 200_000)
    assert answer(before, page.answered().body) == 200
    before.gate.exchange.once()
    before.gate.store.close()
    after = start(above="2/minute")
    assert answer(after, page.answered().body) == 409
    assert answer(after, large.answered().body) == 200
    assert len(after.received[0].body) == 200_000
    after.gate.exchange.once()
    assert after.gate.state("/contact") == "engaged"


@pytest.mark.parametrize(
    ("other", "shared"),
    [
        ({}, True),
        ({"above": "5/minute", "protect": ["/contact", "/more"]}, True),
        ({"secret": [SECRET, secrets.token_urlsafe(32)]}, True),
        ({"site": "another"}, False),
        ({"secret": secrets.token_urlsafe(32)}, False),
        ({"store": "memory://"}, False),
        ({"clock": ManualClock()}, False),
    ],
)
def test_who_shares_a_file(start: Open, other: dict[str, Any], shared: bool) -> None:
    """Gates of one oldest secret and site share a file; a test with a clock of its own is by itself."""
    one, two = start(), start(**other)
    later = int(time.time() * 1000) + 60_000
    assert one.gate.store.claim(NONCE, later, None, 0) is Claim.NEW
    later = int(two.gate.settings.clock() * 1000) + 60_000
    assert two.gate.store.claim(NONCE, later, None, 0) is (Claim.SPENT if shared else Claim.NEW)


def test_i9_place_is_for_this_user_alone(start: Open, folder: Path) -> None:
    """Folder and files can be entered and read by nobody else."""
    start().gate.store.open()
    [mine] = folder.iterdir()
    assert mine.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in mine.iterdir()} == {0o600}
    assert SECRET not in mine.name


def _link(place: Path) -> None:
    elsewhere = place.parent / "elsewhere"
    elsewhere.mkdir()
    place.symlink_to(elsewhere)


def _open_to_all(place: Path) -> None:
    place.mkdir()
    place.chmod(0o777)


@pytest.mark.parametrize("plant", [_link, _open_to_all, Path.touch])
def test_place_that_somebody_else_made_is_not_used(
    folder: Path, plant: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    """A link, a folder that others may write to, or a file: memory, with a warning, and nothing is put in."""
    settings = Settings(secret=SECRET, protect="/contact")
    place = folder / auto.place("0" * 16).parent.name.replace("0" * 16, _fingerprint(settings))
    plant(place)
    with caplog.at_level(logging.WARNING):
        assert make_store(settings) is None
    assert "for this process alone" in caplog.text
    assert not list(place.iterdir() if place.is_dir() else [])


def _fingerprint(settings: Settings) -> str:
    from gatepost.stores import fingerprint

    return fingerprint(settings)


def test_place_is_looked_at_whenever_it_is_opened(folder: Path) -> None:
    """What was right at the start is not believed for ever."""
    store = make_store(Settings(secret=SECRET, protect="/contact"))
    assert isinstance(store, SqliteStore)
    store.identity()
    store.close()
    [mine] = folder.iterdir()
    mine.chmod(0o777)
    with pytest.raises(StoreError, match="not of this user alone"):
        store.identity()
    mine.chmod(0o700)
    assert store.identity()
    store.close()


def test_place_goes_with_the_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that gives up the rights of the process that constructed it has a file that it can write to."""
    first = auto.place(FINGERPRINT)
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(StoreError, match="not of this user alone"):  # since it is this user's, in truth
        auto.place(FINGERPRINT)
    assert first.parent.exists()
    assert len(list(folder.iterdir())) == 2


def test_environment_says_where(start: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is configured ``GATEPOST_STORE`` decides; what is configured stands."""
    monkeypatch.setenv("GATEPOST_STORE", f"sqlite:///{tmp_path}/named.db")
    start()
    assert (tmp_path / "named.db").exists()
    monkeypatch.setenv("GATEPOST_STORE", "memory://")
    assert make_store(start().gate.settings) is None
    assert isinstance(make_store(start(store=f"sqlite:///{tmp_path}/other.db").gate.settings), SqliteStore)
    monkeypatch.setenv("GATEPOST_STORE", "mysql://x")
    with pytest.raises(ValueError, match="store: got 'mysql'"):
        start()
    assert isinstance(start(store=MemoryStore(Settings(secret=SECRET, protect="/"))).gate.store.local, MemoryStore)


def test_i6_what_old_secrets_left_is_removed(folder: Path) -> None:
    """Files that nobody wrote to for a week go; those in use, and what is not ours, stay."""
    now = time.time()
    old, busy, strange = (folder / f"gatepost-{os.geteuid()}-{name}" for name in ("a" * 16, "b" * 16, "mine"))
    for place in (old, busy, strange):
        place.mkdir()
        for name in ("gatepost.db", "gatepost.db-wal"):
            (place / name).touch()
            os.utime(place / name, (now - 8 * 86400, now - 8 * 86400))
        os.utime(place, (now - 8 * 86400, now - 8 * 86400))
    (busy / "gatepost.db-wal").touch()
    auto.tidy(folder / "mine" / auto.NAME, now)
    assert sorted(folder.iterdir()) == sorted([busy, strange])
    (busy / "somebody's").touch()
    auto.tidy(folder / "mine" / auto.NAME, now + 9 * 86400)
    assert (busy / "somebody's").exists()


def _old(place: Path, now: float) -> None:
    for path in (*place.iterdir(), place):
        os.utime(path, (now - 8 * 86400, now - 8 * 86400))


def test_old_file_of_ones_own_stays(start: Open, folder: Path) -> None:
    """After a week's rest all workers start at once; none of them removes what another has just found."""
    start().gate.store.close()
    [mine] = folder.iterdir()
    _old(mine, time.time())
    start()
    [file] = [file for file in mine.iterdir() if file.name == auto.NAME]
    assert time.time() - file.stat().st_mtime > 7 * 86400  # it is the one of before


@pytest.mark.parametrize("foreign", [False, True])
def test_nothing_is_removed_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch, foreign: bool) -> None:
    """A link among the old folders, or one of somebody else's, leads to no file that is removed."""
    elsewhere, now = folder / "elsewhere", time.time()
    elsewhere.mkdir()
    (elsewhere / auto.NAME).touch()
    link = folder / f"gatepost-{os.geteuid() + foreign}-{'a' * 16}"
    if foreign:
        elsewhere = elsewhere.rename(link)
        monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    else:
        link.symlink_to(elsewhere)
        os.utime(link, (now - 8 * 86400, now - 8 * 86400), follow_symlinks=False)
    _old(elsewhere, now)
    auto.tidy(folder / "mine" / auto.NAME, now)
    assert (elsewhere / auto.NAME).exists()


def test_without_a_temporary_folder(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Where nothing can be written to, as in some containers, the gate starts, counts for itself, and says so."""
    monkeypatch.delenv("GATEPOST_STORE")
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_get_default_tempdir", _no_tempdir)
    assert make_store(Settings(secret=SECRET, protect="/contact")) is None
    assert "No usable temporary directory" in caplog.text


def _no_tempdir() -> str:
    raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")


def test_i11_process_ends_by_itself(folder: Path) -> None:
    """A process that has counted, with its thread at work on the file, ends without a word."""
    program = (
        "from gatepost import Gate, Settings; from gatepost.wsgi import GatepostMiddleware\n"
        f"gate = Gate(Settings(secret={SECRET!r}, protect='/contact', sync_interval=0.01))\n"
        "app = GatepostMiddleware(lambda e, s: [b''], gate=gate)\n"
        "for _ in range(5): list(app({'REQUEST_METHOD': 'POST', 'PATH_INFO': '/contact'}, print))\n"
        "print(gate.store.blocking)"
    )
    environ = os.environ | {"TMPDIR": str(folder)}
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-W", "error", "-c", program],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("True\n", "")
