"""The ledger: what one process claimed while the store that it shares with others was away."""

from __future__ import annotations

import threading
from collections import OrderedDict

from ..protocols import Claim, Store

#: Nonce, when it expires, submission, when it ends; as :meth:`gatepost.Store.claim` takes them.
Entry = tuple[bytes | None, int, bytes | None, int]


class Ledger:
    """Claims that the shared store has not been told of.

    :param size: claims that are remembered; past it the earliest goes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry) -> None:
        """Remember a claim."""
        with self._lock:
            self._entries[entry[0] or entry[2] or b""] = entry
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)

    def withdraw(self, submission: bytes) -> None:
        """Forget the claim of a submission, or the store would be told of a delivery that did not happen."""
        with self._lock:
            for key, (nonce, expires, claimed, _) in list(self._entries.items()):
                if claimed == submission:
                    self._entries[key] = (nonce, expires, None, 0)

    def write(self, store: Store) -> int:
        """Tell the store; how many claims it was told of.

        :raises StoreError: if it cannot be told; what it was not told of is still remembered.
        """
        with self._lock:
            keys = list(self._entries)
        for key in keys:
            with self._lock:
                entry = self._entries.get(key)
            if entry is None:
                continue
            told = store.claim(*entry) if entry[0] is not None or entry[2] is not None else Claim.SPENT
            with self._lock:
                withdrawn = self._entries.pop(key, entry) != entry
            if withdrawn and told is Claim.NEW and entry[2] is not None:
                store.withdraw(entry[2])
        return len(keys)
