"""The front: what a process knows itself, before the store that it shares with others.

Contract
    A token that was seen here is refused without a round trip. While the shared store is away, this process claims by
    itself (``on_store_error="local"``) or not at all (``"refuse"``). When the store is back, what was claimed here
    meanwhile is written to it before its ``new`` is trusted again.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TypeVar

from ..protocols import Claim, Store, StoreBusyError, StoreError, Sums, Totals
from ..settings import Settings
from .ledger import Entry, Ledger
from .memory import MemoryStore
from .patience import left, spent, waiting

log = logging.getLogger("gatepost")

_Result = TypeVar("_Result")

_PROBE = 1000  # milliseconds that the claim lives by which a lost store is tried
_STRAIN = 4  # times ``store_timeout`` in which nobody is answered: then it is not the crowd that makes them wait
_ROUNDS = 20  # times that what was claimed meanwhile is looked through before the next try


class Front:
    """Claims, limits and bodies, here and in the shared store, if there is one.

    :param shared: a store that other processes use as well; ``None`` for a process by itself.
    :param lost: called with what happened when the shared store is lost, with nothing when it is back.
    """

    def __init__(self, settings: Settings, shared: Store | None, lost: Callable[[str], None]) -> None:
        self._settings = settings
        # Gates of one process may share a memory store.
        self.local = settings.store if type(settings.store) is MemoryStore else MemoryStore(settings)
        self._shared = shared
        self._lost = lost
        self._lock = threading.Lock()
        self._identity = b""
        self._away_since: float | None = None
        self._jumps = 0  # of the clock, as they were when the shared store was last asked
        # Since when nothing was answered in time; of reading and writing apart, as a file may be held for one of them.
        self._strained: dict[bool, float] = {}
        # Submissions whose claims are on their way to the shared store: what is known of them here may be withdrawn.
        self._flying: set[bytes] = set()
        self._landed = threading.Condition()
        # What was claimed here while the shared store was away.
        self._unwritten = Ledger(settings.spent_size + settings.delivered_size)

    @property
    def blocking(self) -> bool:
        """Whether calls may wait for a disk or a server."""
        return self._shared is not None

    @property
    def ready(self) -> bool:
        """Whether :meth:`identity` can be told without asking anybody."""
        return self._shared is None or bool(self._identity)

    @property
    def away(self) -> bool:
        """Whether the shared store is lost at the moment."""
        return self._away_since is not None

    def open(self) -> None:
        """Get to know the shared store. Without it the process goes by itself until it appears."""
        if not self.ready:
            with suppress(StoreBusyError):
                self._ask(lambda _: None)
            self._identity = self._identity or self._alone(b"", 0)

    def identity(self) -> bytes:
        """The id of the store that claims go to.

        While the shared store is away it stays what it was. Processes that have never seen the store have an id in
        common, made of the secret, so that the pages of one are good at the others.
        """
        if self._shared is None:
            return self.local.identity()
        known = self._identity or self._alone(b"", 0)
        if not self.away:
            return known
        self.local.identity()  # notices a clock that went back, after which claims of before are forgotten here
        jumps = self.local.jumps - self._jumps
        return self._alone(known, jumps) if jumps else known

    def _alone(self, known: bytes, jumps: int) -> bytes:
        text = f"gatepost.alone:{self._settings.site}:{jumps}:".encode()
        return hmac.digest(self._settings.secrets[0], text + known, hashlib.sha256)[:16]

    # --- claims ---

    def delivered(self, submission: bytes, end: int) -> Claim:
        """See :meth:`gatepost.Store.delivered`.

        :raises StoreError: if the shared store is away, and its policy is to refuse; if it is busy.
        """
        found = self.local.delivered(submission, end)
        if found is Claim.DELIVERED and self._shared is not None:
            with self._landed:
                self._land(submission)
            found = self.local.delivered(submission, end)
        if found is Claim.DELIVERED or self._shared is None:
            return found
        told = self._ask(lambda store: store.delivered(submission, end), writing=False)
        if told is None:
            self._may_go_alone()
            return found
        return told

    def _land(self, submission: bytes) -> None:
        """Wait until no claim of this submission is on its way: it may be withdrawn. Under the condition's lock.

        :raises StoreBusyError: if that takes too long. Whatever the policy, the claim may be withdrawn yet, and nobody
            can say what becomes of the submission.
        """
        if submission not in self._flying:
            return
        timeout = left(self._settings.store_timeout)
        with waiting():
            landed = self._landed.wait_for(lambda: submission not in self._flying, timeout)
        if not landed:
            raise StoreBusyError("another claim of the same submission waits for it")

    @contextmanager
    def _flight(self, submission: bytes) -> Iterator[None]:
        """In this process one claim of a submission after the other."""
        with self._landed:
            self._land(submission)
            self._flying.add(submission)
        try:
            yield
        finally:
            with self._landed:
                self._flying.discard(submission)
                self._landed.notify_all()

    def claim(
        self, nonce: bytes | None, expires: int, submission: bytes | None, end: int, store: bytes | None = None
    ) -> Claim:
        """See :meth:`gatepost.Store.claim`.

        :raises StoreError: if the shared store is away, and its policy is to refuse, or if it is busy; then nothing is
            claimed but the nonce.
        """
        if self._shared is None:
            return self.local.claim(nonce, expires, submission, end, store)
        if submission is None:
            return self._claim(nonce, expires, submission, end, store)
        with self._flight(submission):
            return self._claim(nonce, expires, submission, end, store)

    def _claim(
        self, nonce: bytes | None, expires: int, submission: bytes | None, end: int, store: bytes | None
    ) -> Claim:
        # What the process has forgotten matters only while it is by itself.
        found = self.local.claim_here(nonce, expires, submission, end, forgetful=not self.away)
        if found is not Claim.NEW:
            return found
        try:
            told = self._claim_for_all((nonce, expires, submission, end), store)
        except StoreError:
            if submission is not None:
                self.local.withdraw(submission)
            raise
        if told in (Claim.SPENT, Claim.RESTARTED) and submission is not None:
            self.local.withdraw(submission)
        return told

    def _claim_for_all(self, entry: Entry, store: bytes | None) -> Claim:
        """Claim in the shared store what is claimed here, or remember it until that can be done."""
        while (told := self._ask(lambda shared: shared.claim(*entry, store))) is None:
            self._may_go_alone()
            if store is not None and self.away and store != self.identity():
                return Claim.RESTARTED
            if self._remember(entry):
                return Claim.NEW
        return told

    def _remember(self, entry: Entry) -> bool:
        """Remember a claim until it can be written; false if the store has come back meanwhile, and can be asked."""
        with self._lock:
            if not self.away:
                return False
            self._unwritten.add(entry)
            return True

    def withdraw(self, submission: bytes) -> None:
        """See :meth:`gatepost.Store.withdraw`."""
        self.local.withdraw(submission)
        self._unwritten.withdraw(submission)
        with suppress(StoreBusyError):
            self._ask(lambda store: store.withdraw(submission))

    def _may_go_alone(self) -> None:
        if self._settings.on_store_error == "refuse":
            raise StoreError("the shared store is away")

    # --- bodies and limits: here, where the shared store cannot ---

    def keep(self, submission: bytes, body: bytes, until: int, client: str) -> bool:
        """See :meth:`gatepost.Store.keep`. What a busy store does not take is not kept: others could not deliver it."""
        try:
            told = self._ask(lambda store: store.keep(submission, body, until, client))
        except StoreBusyError:
            return False
        return self.local.keep(submission, body, until, client) if told is None else told

    def holds(self, submission: bytes) -> bool:
        """See :meth:`gatepost.Store.holds`. As long as the shared store cannot tell, the body is not given up."""
        if self.local.holds(submission):
            return True
        with suppress(StoreBusyError):
            told = self._ask(lambda store: store.holds(submission), writing=False)
            return self._shared is not None if told is None else told
        return True

    def read(self, submission: bytes) -> bytes | None:
        """See :meth:`gatepost.Store.read`.

        :raises StoreError: if the body is not here, and the shared store is away or busy.
        """
        body = self.local.read(submission)
        if body is None:
            body = self._ask(lambda store: store.read(submission), writing=False)
            if body is None and self.away:
                raise StoreError("the shared store is away")
        return body

    def drop(self, submission: bytes) -> None:
        """See :meth:`gatepost.Store.drop`."""
        self.local.drop(submission)
        with suppress(StoreBusyError):  # it goes when its time is up
            self._ask(lambda store: store.drop(submission))

    def limit(self, name: str, client: str) -> float:
        """See :meth:`gatepost.Store.limit`."""
        told = None
        with suppress(StoreBusyError):
            told = self._ask(lambda store: store.limit(name, client))
        return self.local.limit(name, client) if told is None else told

    def give_back(self, name: str, client: str) -> None:
        """See :meth:`gatepost.Store.give_back`."""
        if self._shared is None or self.away:
            self.local.give_back(name, client)
        else:
            with suppress(StoreBusyError):
                self._ask(lambda store: store.give_back(name, client))

    # --- the background ---

    def exchange(self, sums: Sequence[Sums]) -> list[Totals] | None:
        """See :meth:`gatepost.Store.exchange`; ``None`` if there is nobody to exchange with now."""
        with suppress(StoreBusyError):
            return self._ask(lambda store: store.exchange(sums))
        return None

    def sweep(self) -> bool:
        """Let go of what has expired here; whether bodies are still kept here."""
        return self.local.sweep()

    def sweep_shared(self) -> bool:
        """Let go of some of what has expired in the shared store; whether bodies are still kept there."""
        with suppress(StoreBusyError):
            return bool(self._ask(lambda store: store.sweep()))
        return True

    def close(self) -> None:
        """Close the connections of this process."""
        if self._shared is not None:
            self._shared.close()

    # --- losing the shared store, and coming back to it ---

    def _ask(self, question: Callable[[Store], _Result], *, writing: bool = True) -> _Result | None:
        """The shared store's answer; ``None`` if there is none, or it is away.

        :raises StoreBusyError: if it has not answered in time, and is not away by that.
        """
        store = self._shared
        if store is None or self.away:
            return None
        try:
            if spent():
                raise StoreBusyError(f"one request waited for it for {self._settings.store_timeout:g} s")
            with waiting():
                answer = question(store)
                with suppress(StoreError):  # the answer stands: what was claimed must not be said to have failed
                    self._identity = store.identity()
        except StoreBusyError as error:
            now = time.monotonic()
            if now - self._strained.setdefault(writing, now) < _STRAIN * self._settings.store_timeout:
                raise
            self._mark_lost(error)
            return None
        except StoreError as error:
            self._mark_lost(error)
            return None
        self._strained.pop(writing, None)
        return answer

    def _mark_lost(self, error: StoreError) -> None:
        with self._lock:
            if self._away_since is not None:
                return
            self._away_since = self._settings.clock()
            self._jumps = self.local.jumps
        policy = self._settings.on_store_error
        extra = {"gatepost_event": "store-lost", "gatepost_reason": str(error)}
        log.error("The store is lost (%s). Until it is back, on_store_error=%r holds.", error, policy, extra=extra)
        self._lost(str(error))

    def recover(self) -> bool:
        """Try a lost store, and write to it what was claimed here meanwhile; whether it is trusted again.

        For the background: after a long time this takes a while.
        """
        store, since = self._shared, self._away_since
        if store is None or since is None:
            return True
        written = 0
        try:
            # A claim, since that is what has to work: a full server still answers, and an id may be known from before.
            expires = int(self._settings.clock() * 1000) + _PROBE
            if store.claim(secrets.token_bytes(16), expires, None, 0) is not Claim.NEW:
                return False
            identity = store.identity()
            for _ in range(_ROUNDS):  # what is claimed while the others are written is fewer each time
                written += self._unwritten.write(store)
                with self._lock:
                    if not self._unwritten:
                        self._identity = identity
                        self._away_since = None
                        self._strained.clear()
                        break
            else:
                return False
        except StoreError:
            return False
        age = max(0.0, self._settings.clock() - since)
        extra = {"gatepost_event": "store-back", "gatepost_seconds": age}
        claims = "1 claim was" if written == 1 else f"{written} claims were"
        log.warning("The store is back after %.1f s; %s written to it.", age, claims, extra=extra)
        self._lost("")
        return True
