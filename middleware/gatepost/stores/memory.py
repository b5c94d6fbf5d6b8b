"""The store of one process: dictionaries behind a lock."""

from __future__ import annotations

import heapq
import secrets
import threading
from dataclasses import dataclass

from cachetools import Cache

from ..meter import Limiter
from ..protocols import Claim
from ..settings import Settings


class Ledger(Cache[bytes, int]):
    """Ids with the time at which what they guard ends; the soonest to end goes first when it is full.

    Nothing is forgotten that could still matter: whatever leaves, full or expired, raises :attr:`watermark` to its
    end, and the owner refuses all that ends at or before the watermark. So memory is bounded and a replay impossible,
    both at once.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.watermark = 0
        self._ends: list[tuple[int, bytes]] = []  # a heap; entries whose id was removed since are skipped

    def add(self, key: bytes, end: int) -> None:
        """Remember ``key``, at the cost of the entry that ends first, which may be this one."""
        if len(self) >= self.maxsize and self._ends and end <= self._soonest():
            self.watermark = max(self.watermark, end)
            return
        self[key] = end
        heapq.heappush(self._ends, (end, key))
        if len(self._ends) > 2 * self.maxsize:  # removed entries must not pile up
            self._ends = [(end, key) for key, end in self.items()]
            heapq.heapify(self._ends)

    def _soonest(self) -> int:
        while self._ends and self.get(self._ends[0][1]) != self._ends[0][0]:
            heapq.heappop(self._ends)
        return self._ends[0][0] if self._ends else 0

    def popitem(self) -> tuple[bytes, int]:
        """Remove the entry that ends first; the cache calls this when it is full."""
        end = self._soonest()
        _, key = heapq.heappop(self._ends)
        del self[key]
        self.watermark = max(self.watermark, end)
        return key, end

    def expire(self, until: int) -> None:
        """Let go of what ended at or before ``until``."""
        while self._ends and self._ends[0][0] <= until:
            if self.get(self._ends[0][1]) == self._ends[0][0]:
                self.popitem()
            else:
                heapq.heappop(self._ends)


@dataclass(frozen=True, slots=True)
class _Kept:
    body: bytes
    until: int
    client: str


class MemoryStore:
    """Claims, limits and bodies of one process. Another process knows nothing of them, and a restart forgets them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._leeway = int(settings.leeway * 1000)
        self._lock = threading.Lock()
        self._latest = 0
        self._delivered = Ledger(settings.delivered_size)
        self._limits = {
            "issue": Limiter(settings.issue_rate, settings.clients_size),
            "failure": Limiter(settings.failure_rate, settings.clients_size),
        }
        self._kept: dict[bytes, _Kept] = {}
        self._kept_bytes = 0
        #: How often the clock went back so far that nonces were forgotten.
        self.jumps = 0
        self._renew()

    def _renew(self) -> None:
        """Become a store of a new id, which knows of no nonce, since no token of the new id exists yet."""
        self._id = b""
        self._spent = Ledger(self._settings.spent_size)
        # Submissions that end before the mark belong to tokens of the old id, whose pages say 'may have been sent'.
        self._delivered.watermark = 0

    def _now(self) -> int:
        """The time, in milliseconds. Called under the lock."""
        now = int(self._settings.clock() * 1000)
        if now < self._latest - self._leeway:
            # What expired by the later time has been forgotten, and would be valid again.
            self._renew()
            self.jumps += 1
            self._latest = now
        elif now > self._latest:
            self._latest = now
        self._spent.expire(self._latest - self._leeway)
        self._delivered.expire(self._latest - self._leeway)
        return now

    def identity(self) -> bytes:
        """See :meth:`gatepost.protocols.Store.identity`."""
        with self._lock:
            self._now()
            if not self._id:  # made at first use, so that processes forked from one that was only set up differ
                self._id = secrets.token_bytes(16)
            return self._id

    def delivered(self, submission: bytes, end: int) -> Claim:
        """See :meth:`gatepost.protocols.Store.delivered`."""
        with self._lock:
            self._now()
            return self._is_delivered(submission, end)

    def _is_delivered(self, submission: bytes, end: int) -> Claim:
        if submission in self._delivered:
            return Claim.DELIVERED
        return Claim.FORGOTTEN if end <= self._delivered.watermark else Claim.NEW

    def claim(
        self, nonce: bytes | None, expires: int, submission: bytes | None, end: int, store: bytes | None = None
    ) -> Claim:
        """See :meth:`gatepost.Store.claim`."""
        return self.claim_here(nonce, expires, submission, end, store, forgetful=False)

    def claim_here(
        self,
        nonce: bytes | None,
        expires: int,
        submission: bytes | None,
        end: int,
        store: bytes | None = None,
        *,
        forgetful: bool,
    ) -> Claim:
        """Claim like :meth:`claim`, in front of another store.

        :param forgetful: what this one has forgotten does not matter, since the other remembers it.
        """
        with self._lock:
            self._now()
            if store is not None and store != self._id:
                return Claim.RESTARTED
            if submission is not None:
                found = self._is_delivered(submission, end)
                if found is Claim.DELIVERED or (found is Claim.FORGOTTEN and not forgetful):
                    return found
            if nonce is not None:
                forgotten = expires <= self._spent.watermark and not forgetful
                if nonce in self._spent or forgotten:
                    return Claim.SPENT
                self._spent.add(nonce, expires)
            if submission is not None:
                self._delivered.add(submission, end)
            return Claim.NEW

    def withdraw(self, submission: bytes) -> None:
        """See :meth:`gatepost.protocols.Store.withdraw`."""
        with self._lock:
            self._delivered.pop(submission, None)

    def keep(self, submission: bytes, body: bytes, until: int, client: str) -> bool:
        """See :meth:`gatepost.protocols.Store.keep`."""
        limits = self._settings
        with self._lock:
            self._sweep(self._now())
            theirs = sum(len(kept.body) for kept in self._kept.values() if client and kept.client == client)
            if (
                len(self._kept) >= limits.keep_count
                or self._kept_bytes + len(body) > limits.keep_total
                or theirs + len(body) > limits.keep_per_client
            ):
                return False
            self._drop(submission)
            self._kept[submission] = _Kept(body, until, client)
            self._kept_bytes += len(body)
            return True

    def holds(self, submission: bytes) -> bool:
        """See :meth:`gatepost.protocols.Store.holds`."""
        return self.read(submission) is not None

    def read(self, submission: bytes) -> bytes | None:
        """See :meth:`gatepost.protocols.Store.read`."""
        with self._lock:
            kept = self._kept.get(submission)
            return kept.body if kept is not None and kept.until > self._now() else None

    def drop(self, submission: bytes) -> None:
        """See :meth:`gatepost.protocols.Store.drop`."""
        with self._lock:
            self._drop(submission)

    def kept(self) -> tuple[int, int]:
        """How many bodies are kept, and how many bytes they have."""
        with self._lock:
            return len(self._kept), self._kept_bytes

    def sweep(self) -> bool:
        """See :meth:`gatepost.protocols.Store.sweep`."""
        with self._lock:
            self._sweep(self._now())
            return bool(self._kept)

    def _sweep(self, now: int) -> None:
        for key in [key for key, kept in self._kept.items() if kept.until <= now]:
            self._drop(key)

    def _drop(self, submission: bytes) -> None:
        kept = self._kept.pop(submission, None)
        if kept is not None:
            self._kept_bytes -= len(kept.body)

    def limit(self, name: str, client: str) -> float:
        """See :meth:`gatepost.protocols.Store.limit`."""
        return self._limits[name].wait(client, self._settings.clock(), spend=True)

    def give_back(self, name: str, client: str) -> None:
        """See :meth:`gatepost.protocols.Store.give_back`."""
        self._limits[name].give_back(client, self._settings.clock())
