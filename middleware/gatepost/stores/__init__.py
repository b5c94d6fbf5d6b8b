"""Stores: where claims, limits, shared sums and kept bodies live."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..protocols import Store, StoreError
from ..settings import Settings
from .auto import absence as absence_of_auto
from .auto import place, tidy
from .front import Front
from .memory import MemoryStore

__all__ = ["Front", "MemoryStore", "absence", "make_store"]

log = logging.getLogger("gatepost")

_METHODS = [name for name in dir(Store) if not name.startswith("_")]


def make_store(settings: Settings) -> Store | None:
    """The store that the settings name and processes share; ``None`` for one process by itself.

    :raises ValueError: for one that cannot be used.
    """
    store = settings.store
    if type(store) is MemoryStore:
        return None
    if not isinstance(store, str):
        return _given(store, settings)
    if store == "memory://":
        return None
    if store == "auto":
        return _auto(settings)
    scheme = store.partition("://")[0] if "://" in store else ""
    if scheme == "sqlite":
        return _sqlite(_path(store), settings)
    if scheme in ("redis", "rediss", "unix"):
        from .redis import RedisStore

        return RedisStore(store, fingerprint(settings), settings)
    raise ValueError(
        f"store: got {store.partition('://')[0]!r}, wanted 'auto', 'memory://', 'sqlite:////path/to/file', "
        f"'redis://host:6379/0', or an object with the methods of a store."
    )


def absence(settings: Settings) -> str:
    """That the file of the store that the settings name is not there yet, in one sentence; empty if that is not so.

    For those who only look: :func:`make_store` would make the file, as a user whose files the application may not open.

    :raises ValueError: for the URL of a file that cannot be.
    """
    store = settings.store
    if store == "auto":
        said = os.environ.get("GATEPOST_STORE") or "auto"
        return absence_of_auto(fingerprint(settings)) if said == "auto" else absence(replace(settings, store=said))
    if not isinstance(store, str) or not store.startswith("sqlite:"):
        return ""
    path = _path(store)
    try:
        path.lstat()
    except FileNotFoundError:
        return f"there is no file '{path}' yet; the application makes it when it starts."
    except OSError:
        pass  # it may be there
    return ""


def _given(store: object, settings: Settings) -> Store:
    if all(callable(getattr(store, name, None)) for name in _METHODS):
        return store  # type: ignore[return-value]
    if callable(getattr(store, "execute_command", None)) and callable(getattr(store, "pipeline", None)):
        from .redis import RedisStore

        return RedisStore(store, fingerprint(settings), settings)
    missing = [name for name in _METHODS if not callable(getattr(store, name, None))]
    raise ValueError(
        f"store: got {store!r}, wanted a URL, a redis-py client, or an object with the methods of a store; it lacks "
        f"{', '.join(missing)}."
    )


def fingerprint(settings: Settings) -> str:
    """What tells applications apart that share a store. Of the oldest secret, so that adding one changes nothing."""
    return hmac.digest(settings.secrets[0], f"gatepost.store:{settings.site}".encode(), hashlib.sha256).hex()[:16]


def _path(url: str) -> Path:
    path = unquote(urlsplit(url).path)
    if urlsplit(url).netloc or not path.startswith("//"):
        raise ValueError(
            f"store: got {url!r}, wanted four slashes and a path, such as 'sqlite:////var/lib/app/gatepost.db'."
        )
    return Path(path[1:])


def _sqlite(path: Path, settings: Settings, locate: Callable[[], Path] | None = None) -> Store:
    from .sqlite import SqliteStore

    return SqliteStore(path, settings, locate)


def _auto(settings: Settings) -> Store | None:
    """What ``GATEPOST_STORE`` says, else a file of this user's own."""
    if settings.clock is not time.time:
        return None  # a test's clock: what other processes tell of would be of another time
    said = os.environ.get("GATEPOST_STORE") or "auto"
    if said != "auto":
        return make_store(replace(settings, store=said))
    name = fingerprint(settings)
    try:
        path = place(name)
        tidy(path)
        return _sqlite(path, settings, lambda: place(name))
    except (StoreError, ValueError) as error:
        log.warning(
            "The gate counts for this process alone, since its file in the temporary folder cannot be used (%s). With "
            "several workers, set 'store'.",
            error,
        )
        return None
