"""Stores: where claims, limits and kept bodies live."""

from __future__ import annotations

from ..protocols import Store
from ..settings import Settings
from .memory import MemoryStore

__all__ = ["MemoryStore", "make_store"]


def make_store(settings: Settings) -> Store:
    """The store that the settings name, or the one that they hold."""
    if isinstance(settings.store, str):
        return MemoryStore(settings)
    return settings.store
