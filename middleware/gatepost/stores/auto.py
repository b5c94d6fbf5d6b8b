"""The store of those who configure none: a file of this user's own, which all workers of the host find by themselves.

Facts
    Anybody may write to the temporary folder. So the file lies in a folder of mode 0700, and whose that is, is looked
    at whenever the file is opened: nobody else can put a file, or a log for SQLite to read, beside it.

    A server may construct the gate as one user and work as another. So the place is found at each opening, too.

    A test with a clock of its own is by itself: what other processes tell would be of another time.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
import time
from pathlib import Path

from ..protocols import StoreError

NAME = "gatepost.db"
_BESIDE = ("", "-wal", "-shm", ".broken")
_OLD = 7 * 86400  # seconds; nothing in a store is of use for as long
_FOLDER = re.compile(r"gatepost-\d+-[0-9a-f]{16}")


def place(fingerprint: str) -> Path:
    """The file for applications of this fingerprint; its folder is there, and nobody else's.

    :raises StoreError: if somebody else was there first, or there is no temporary folder.
    """
    folder = _folder(_user(), fingerprint)
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
    except OSError as error:
        raise StoreError(f"'{folder}' cannot be made ({error.strerror})") from error
    if not stat.S_ISDIR(found.st_mode):
        raise StoreError(f"'{folder}' is no folder")
    if not _is_mine(found) or (hasattr(os, "geteuid") and found.st_mode & 0o077):
        raise StoreError(f"'{folder}' is not of this user alone")
    return folder / NAME


def absence(fingerprint: str) -> str:
    """Why the file cannot be looked at, if it is not there: one sentence for who would look. Makes nothing."""
    user = _user()
    if os.path.lexists(_folder(user, fingerprint) / NAME):
        return ""
    said = f"user {_name(user)} has no store of this secret and site in '{tempfile.gettempdir()}' yet"
    folders = Path(tempfile.gettempdir()).glob(f"gatepost-*-{fingerprint}")
    others = sorted({folder.lstat().st_uid for folder in folders} - {user})
    if others:
        return f"{said}, but user {' and user '.join(map(_name, others))} has: run the command as that user."
    return (
        f"{said}; the application makes it when it starts, or has it elsewhere: with a temporary folder of its own "
        f"(systemd's PrivateTmp, a container), its 'store' has to name a file or a server."
    )


def _folder(user: int, fingerprint: str) -> Path:
    try:
        return Path(tempfile.gettempdir()) / f"gatepost-{user}-{fingerprint}"
    except OSError as error:  # a container whose file systems are all read-only
        raise StoreError(error.strerror) from error


def _name(user: int) -> str:
    try:
        import pwd  # not on every platform

        return repr(pwd.getpwuid(user).pw_name)
    except (ImportError, KeyError):
        return str(user)


def _user() -> int:
    return os.geteuid() if hasattr(os, "geteuid") else 0


def tidy(mine: Path, now: float | None = None) -> None:
    """Remove what secrets of the past have left: files that nobody has written to for a week.

    :param mine: the file that this process is about to use; other workers may be making it in this moment.
    :param now: seconds since the epoch.
    """
    now = time.time() if now is None else now
    for folder in mine.parent.parent.glob(f"gatepost-{_user()}-*"):
        if folder == mine.parent or not _FOLDER.fullmatch(folder.name):
            continue
        # Whatever is in the way, another process that tidies, a folder that is not ours: it stays.
        with contextlib.suppress(OSError):
            # Anybody may put a link here, or a folder to change for one, and what it leads to is nothing of ours.
            if _is_mine(folder.lstat()) and _is_old(folder, now):
                for suffix in _BESIDE:
                    (folder / f"{NAME}{suffix}").unlink(missing_ok=True)
                folder.rmdir()


def _is_mine(found: os.stat_result) -> bool:
    return stat.S_ISDIR(found.st_mode) and (not hasattr(os, "geteuid") or found.st_uid == os.geteuid())


def _is_old(folder: Path, now: float) -> bool:
    return all(now - file.lstat().st_mtime > _OLD for file in (folder, *folder.iterdir()))
