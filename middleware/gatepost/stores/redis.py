"""The store of several hosts: Redis 7 or Valkey, through redis-py (``gatepost[redis]``).

Facts
    A script runs as one step. All keys bear one hash tag, so a cluster keeps them on one node, and scripts may use
    several of them. A replica that takes over may lack the last claims, and tells by its ``run_id`` that it is another
    server. So the store's id is made of a random key *and* of the ``run_id``, and every claim compares both, in the
    same step: after a failover, a restart or a flush tokens get a fresh challenge. A server that slept goes on with
    what it was sent meanwhile; so every claim says until when somebody waits for it, by the server's own clock.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..protocols import Claim, StoreBusyError, StoreError, Sums, Told, Totals
from ..settings import Settings
from ..window import wait_for
from .patience import left
from .redis_scripts import CLAIM, GIVE_BACK, KEEP, LIMIT, OPEN, UNDO
from .redis_sums import command as command_sums
from .redis_sums import exchange as exchange_sums
from .redis_sums import status as status_of_sums

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError as error:  # pragma: no cover - depends on what is installed
    raise ValueError("store: got Redis, which needs the package 'redis'; install gatepost[redis].") from error

log = logging.getLogger("gatepost")

_Result = TypeVar("_Result")

_CONNECTIONS = 100
_TAG = 8  # bytes
_LATE = 4  # what a claim results in that nobody waits for
_MARGIN = 60_000  # milliseconds that counts outlive their use


class RedisStore:
    """Claims, limits, sums and bodies on a server.

    :param client: a redis-py client (also of a cluster or of sentinels), or the URL of a server.
    :param namespace: part of every key; applications with another secret or ``site`` have another.
    :raises ValueError: for a URL or a client that cannot be used. A server that is away is no mistake.
    """

    def __init__(self, client: Any, namespace: str, settings: Settings) -> None:
        self._settings = settings
        self._client = _connect(client, settings.store_timeout) if isinstance(client, str) else client
        self._prefix = f"gatepost:{{{namespace}}}:"
        self._leeway = int(settings.leeway * 1000)
        self._rates = {"issue": settings.issue_rate, "failure": settings.failure_rate}
        self._raw_id = b""  # as the scripts compare it
        self._ahead = 0.0  # milliseconds that the server's clock is ahead of our monotonic one, or a little more
        # Deliveries that were refused since their claim failed, with what tells that claim from any other.
        self._doubtful: deque[tuple[bytes, bytes]] = deque(maxlen=settings.delivered_size)
        if _decodes(self._client):
            raise ValueError(
                "store: got a Redis client with decode_responses=True, wanted one without: bodies are bytes."
            )

    def _key(self, *parts: str | bytes) -> bytes:
        return self._prefix.encode() + b":".join(part.encode() if isinstance(part, str) else part for part in parts)

    def _run(self, work: Callable[[Any], _Result]) -> _Result:
        try:
            return work(self._client)
        except (redis.TimeoutError, TimeoutError) as error:
            raise StoreBusyError(f"{type(error).__name__}: {error}") from error
        except (redis.RedisError, OSError) as error:
            raise StoreError(f"{type(error).__name__}: {error}") from error

    def _script(self, script: str, keys: Sequence[bytes], *values: Any) -> Any:
        return self._run(lambda client: client.eval(script, len(keys), *keys, *values))

    def _now(self) -> int:
        return int(self._settings.clock() * 1000)

    # --- claims ---

    def identity(self) -> bytes:
        """See :meth:`gatepost.Store.identity`."""
        return _short(self._known_id())

    def _known_id(self) -> bytes:
        known = self._raw_id  # once: another thread may forget it
        if not known:
            sent = _monotonic()
            known, server = self._script(OPEN, [self._key("id")], secrets.token_hex(16))
            self._ahead = server - sent
            self._raw_id = known
            self._warn_of_eviction()
        return known

    def _warn_of_eviction(self) -> None:
        memory = self._run(lambda client: client.info("memory"))
        # A cluster answers for each node.
        for node in memory.values() if all(isinstance(item, dict) for item in memory.values()) else [memory]:
            policy = node.get("maxmemory_policy", "noeviction")
            if node.get("maxmemory") and policy != "noeviction":
                log.warning(
                    "The store's server drops keys when it is full (maxmemory-policy %s), and a claim that was dropped "
                    "can be made again. Set maxmemory-policy to noeviction, or give the gate a server of its own.",
                    policy,
                )
                return

    def delivered(self, submission: bytes, end: int) -> Claim:
        """See :meth:`gatepost.Store.delivered`."""
        if self._run(lambda client: client.exists(self._key("d", submission))):
            return Claim.DELIVERED
        return Claim.FORGOTTEN if end + self._leeway <= self._now() else Claim.NEW

    def claim(
        self, nonce: bytes | None, expires: int, submission: bytes | None, end: int, store: bytes | None = None
    ) -> Claim:
        """See :meth:`gatepost.Store.claim`."""
        found = self._claim(nonce, expires, submission, end, store)
        if found is Claim.RESTARTED:
            log.error("The store's server is another one, or has lost what it knew; who was challenged is asked again.")
            self._raw_id = b""
            if store is None:
                return self._claim(nonce, expires, submission, end, None)
        return found

    def _claim(
        self, nonce: bytes | None, expires: int, submission: bytes | None, end: int, store: bytes | None
    ) -> Claim:
        known, now = self._known_id(), self._now()
        if store is not None and store != _short(known):
            return Claim.RESTARTED
        if submission is not None and end + self._leeway <= now:
            return self.delivered(submission, end)
        if nonce is not None and expires + self._leeway <= now:
            return Claim.SPENT
        tag = secrets.token_bytes(_TAG)
        keys = [self._key("id"), self._key("n", nonce or b""), self._key("d", submission or b"")]
        values = (
            known,
            expires + self._leeway - now if nonce is not None else "",
            end + self._leeway - now if submission is not None else "",
            tag,
        )
        try:
            result = self._in_time(keys, values)
        except StoreError:
            if submission is not None:
                self._doubtful.append((submission, tag))
            raise
        with contextlib.suppress(StoreError):  # this claim is made all the same, and the others are tried again
            self._undo()
        return (Claim.NEW, Claim.SPENT, Claim.DELIVERED, Claim.RESTARTED)[result]

    def _in_time(self, keys: Sequence[bytes], values: Sequence[Any]) -> int:
        """Claim, unless the server comes to it so late that its answer might not be waited for."""
        for _ in range(2):
            sent = _monotonic()
            # The answer has the other half to come back. Until a claim that nobody has heard of is taken back, its
            # visitor is told 'already sent'.
            half = left(self._settings.store_timeout) * 500
            result, server = self._script(CLAIM, keys, *values, int(sent + self._ahead + half))
            if result != _LATE:
                self._ahead = min(self._ahead, server - sent)
                return int(result)
            if _monotonic() - sent > half:
                break
            self._ahead = server - sent  # it was not late: its clock was set
        raise StoreBusyError("the server was late")

    def _undo(self) -> None:
        """Take back claims that failed here, and were made all the same by a server that was only late."""
        while self._doubtful:
            submission, tag = entry = self._doubtful[0]
            self._script(UNDO, [self._key("d", submission)], tag)
            with contextlib.suppress(ValueError):  # another thread was here
                self._doubtful.remove(entry)

    def withdraw(self, submission: bytes) -> None:
        """See :meth:`gatepost.Store.withdraw`."""
        self._run(lambda client: client.delete(self._key("d", submission)))

    # --- bodies ---

    def keep(self, submission: bytes, body: bytes, until: int, client: str) -> bool:
        """See :meth:`gatepost.Store.keep`."""
        limits = self._settings
        kept = self._script(
            KEEP,
            [self._key("kept"), self._key("b", submission)],
            self._now(),
            submission,
            until,
            len(body),
            client,
            limits.keep_count,
            limits.keep_total,
            limits.keep_per_client,
            body,
        )
        return bool(kept)

    def holds(self, submission: bytes) -> bool:
        """See :meth:`gatepost.Store.holds`."""
        entry = self._run(lambda client: client.hget(self._key("kept"), submission))
        if entry is None or int(entry.partition(b":")[0]) <= self._now():
            return False
        return bool(self._run(lambda client: client.exists(self._key("b", submission))))

    def read(self, submission: bytes) -> bytes | None:
        """See :meth:`gatepost.Store.read`."""
        body: bytes | None = self._run(lambda client: client.get(self._key("b", submission)))
        return body if self.holds(submission) else None

    def kept(self) -> tuple[int, int]:
        """How many bodies are kept, and how many bytes they have; for those who watch."""
        now = self._now()
        entries = [entry.split(b":", 2) for entry in self._run(lambda client: client.hvals(self._key("kept")))]
        sizes = [int(size) for until, size, _ in entries if int(until) > now]
        return len(sizes), sum(sizes)

    def drop(self, submission: bytes) -> None:
        """See :meth:`gatepost.Store.drop`."""
        self._run(lambda client: client.delete(self._key("b", submission)))
        self._run(lambda client: client.hdel(self._key("kept"), submission))

    # --- counts ---

    def limit(self, name: str, client: str) -> float:
        """See :meth:`gatepost.Store.limit`."""
        rate, now = self._rates[name], self._settings.clock()
        bucket = int(now // rate.period)
        keys = [self._key("l", name, client, str(number)) for number in (bucket, bucket - 1)]
        share = 1.0 - (now - bucket * rate.period) / rate.period
        expire = int(2 * rate.period * 1000) + _MARGIN
        current, previous = self._script(LIMIT, keys, share, rate.count, expire)
        return wait_for(rate.count, current, previous, bucket * rate.period, rate.period, now)

    def give_back(self, name: str, client: str) -> None:
        """See :meth:`gatepost.Store.give_back`."""
        bucket = int(self._settings.clock() // self._rates[name].period)
        self._script(GIVE_BACK, [self._key("l", name, client, str(bucket))])

    def exchange(self, sums: Sequence[Sums]) -> list[Totals]:
        """See :meth:`gatepost.Store.exchange`."""
        self._undo()  # here, too: who was asked to try again may do so at another process before this one claims again
        now = self._settings.clock()
        return self._run(lambda client: exchange_sums(client, self._key, sums, now)) if sums else []

    def command(self, rule: str, until: float | None, cause: str) -> None:
        """See :meth:`gatepost.Store.command`."""
        now = self._settings.clock()
        self._run(lambda client: command_sums(client, self._key, rule, until, cause, now))

    def status(self) -> list[Told]:
        """See :meth:`gatepost.Store.status`."""
        now = self._settings.clock()
        return self._run(lambda client: status_of_sums(client, self._key, now))

    def sweep(self) -> bool:
        """See :meth:`gatepost.Store.sweep`. Nearly all of it the server does by itself."""
        now = self._now()

        def work(client: Any) -> bool:
            kept = client.hgetall(self._key("kept"))
            over = [key for key, entry in kept.items() if int(entry.partition(b":")[0]) <= now]
            if over:
                client.hdel(self._key("kept"), *over)
            return len(kept) > len(over)

        return self._run(work)

    def close(self) -> None:
        """See :meth:`gatepost.Store.close`."""
        self._run(lambda client: client.close())


def _patient(base: Any, timeout: float) -> Any:
    """A class of connections that wait no longer than the request that uses one may.

    :param base: the class that the URL asks for.
    """

    class PatientConnection(base):  # type: ignore[misc]
        def connect(self, *arguments: Any, **options: Any) -> Any:
            self.socket_connect_timeout = self.socket_timeout = left(timeout)
            return super().connect(*arguments, **options)

        def send_packed_command(self, *arguments: Any, **options: Any) -> Any:
            if self._sock is not None:
                self._sock.settimeout(left(timeout))
            return super().send_packed_command(*arguments, **options)

    return PatientConnection


def _connect(url: str, timeout: float) -> Any:
    try:
        pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=timeout,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            # A connection that is made again in silence would hide that the server is another one.
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError as error:
        raise ValueError(
            f"store: got {_without_password(url)!r}, wanted a URL such as 'redis://host:6379/0'."
        ) from error
    pool.connection_class = _patient(pool.connection_class, timeout)
    return redis.Redis.from_pool(pool)  # which closes the pool with the client


def _monotonic() -> float:
    return time.monotonic() * 1000


def _short(raw: bytes) -> bytes:
    """The id of a store, of what the scripts compare."""
    return hashlib.sha256(raw).digest()[:16]


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"


def _decodes(client: Any) -> bool:
    encoder = client.get_encoder() if hasattr(client, "get_encoder") else None
    return bool(getattr(encoder, "decode_responses", False))
