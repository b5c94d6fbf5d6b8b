"""The store of several hosts: Redis 7 or Valkey, through redis-py (``gatepost[redis]``).

Facts
    A script runs as one step. All keys bear one hash tag, so a cluster keeps them on one node, and scripts may use
    several of them. A replica that takes over may lack the last claims, and tells by its ``run_id`` that it is another
    server. So the store's id is made of a random key *and* of the ``run_id``, and every claim compares both, in the
    same step: after a failover, a restart or a flush tokens get a fresh challenge.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..protocols import Claim, StoreError, Sums, Told, Totals
from ..settings import Settings
from ..window import estimate, wait_for

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
_MARGIN = 60_000  # milliseconds that counts outlive their use

_IDENTITY = """
local function identity(key)
  return (redis.call('GET', key) or '') .. string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
end
"""

_OPEN = (
    _IDENTITY
    + """
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return identity(KEYS[1])
"""
)

_CLAIM = (
    _IDENTITY
    + """
if identity(KEYS[1]) ~= ARGV[1] then return -1 end
if ARGV[3] ~= '' and redis.call('EXISTS', KEYS[3]) == 1 then return 2 end
if ARGV[2] ~= '' and not redis.call('SET', KEYS[2], '', 'NX', 'PX', ARGV[2]) then return 1 end
if ARGV[3] ~= '' then redis.call('SET', KEYS[3], ARGV[4], 'PX', ARGV[3]) end
return 0
"""
)

_UNDO = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""

# A hash tells of each kept body its end, size and client; the bodies have keys of their own, which expire.
_KEEP = """
local count, total, theirs = 0, 0, 0
local kept = redis.call('HGETALL', KEYS[1])
for index = 1, #kept, 2 do
  local ends, size, client = string.match(kept[index + 1], '(%d+):(%d+):(.*)')
  if tonumber(ends) <= tonumber(ARGV[1]) or kept[index] == ARGV[2] then
    redis.call('HDEL', KEYS[1], kept[index])
  else
    count, total = count + 1, total + size
    if client ~= '' and client == ARGV[5] then theirs = theirs + size end
  end
end
local size = tonumber(ARGV[4])
if count >= tonumber(ARGV[6]) or total + size > tonumber(ARGV[7]) or theirs + size > tonumber(ARGV[8]) then return 0 end
redis.call('SET', KEYS[2], ARGV[9], 'PX', ARGV[3] - ARGV[1])
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3] .. ':' .. ARGV[4] .. ':' .. ARGV[5])
return 1
"""

_LIMIT = """
local current = tonumber(redis.call('GET', KEYS[1]) or 0)
local previous = tonumber(redis.call('GET', KEYS[2]) or 0)
if ARGV[3] == '1' and current + previous * tonumber(ARGV[1]) + 1 <= tonumber(ARGV[2]) then
  redis.call('INCR', KEYS[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return {current, previous}
"""

_EXCHANGE = """
local mine = cjson.decode(ARGV[1])
for index, count in ipairs({mine.fresh, mine.late}) do
  if count ~= 0 then
    redis.call('INCRBY', KEYS[index], count)
    redis.call('PEXPIRE', KEYS[index], mine.expire)
  end
end
for name, value in pairs(mine.counts) do redis.call('HINCRBY', KEYS[4], name, value) end
redis.call('SADD', KEYS[5], mine.rule)
local known = redis.call('HMGET', KEYS[3], 'until', 'turn')
local ends, turn = cjson.decode(known[1] or '[]'), tonumber(known[2] or 0)
local was, is = false, false
for _, value in ipairs(ends) do was = was or value > mine.now end
if mine.turn > turn then ends, turn = {}, mine.turn end
if mine.turn == turn then
  for index, value in ipairs(mine.ends) do ends[index] = math.max(ends[index] or 0, value) end
end
for _, value in ipairs(ends) do is = is or value > mine.now end
redis.call('HSET', KEYS[3], 'until', #ends > 0 and cjson.encode(ends) or '[]', 'turn', turn, 'period', mine.period)
if is ~= was or not known[1] then
  redis.call('HSET', KEYS[3], 'since', ARGV[2], 'cause', is and mine.cause or '')
end
local totals = redis.call('MGET', KEYS[1], KEYS[2])
return {totals[1] or '0', totals[2] or '0', #ends > 0 and cjson.encode(ends) or '[]', turn}
"""


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
        except (redis.RedisError, OSError) as error:
            raise StoreError(f"{type(error).__name__}: {error}") from error

    def _script(self, script: str, keys: Sequence[bytes], *values: Any) -> Any:
        return self._run(lambda client: client.eval(script, len(keys), *keys, *values))

    def _now(self) -> int:
        return int(self._settings.clock() * 1000)

    # --- claims ---

    def identity(self) -> bytes:
        """See :meth:`gatepost.Store.identity`."""
        return hashlib.sha256(self._known_id()).digest()[:16]

    def _known_id(self) -> bytes:
        known = self._raw_id  # once: another thread may forget it
        if not known:
            known = self._raw_id = self._script(_OPEN, [self._key("id")], secrets.token_hex(16))
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

    def claim(self, nonce: bytes | None, expires: int, submission: bytes | None, end: int) -> Claim:
        """See :meth:`gatepost.Store.claim`."""
        known, now = self._known_id(), self._now()
        if submission is not None and end + self._leeway <= now:
            return self.delivered(submission, end)
        if nonce is not None and expires + self._leeway <= now:
            return Claim.SPENT
        tag = secrets.token_bytes(_TAG)
        try:
            result = self._script(
                _CLAIM,
                [self._key("id"), self._key("n", nonce or b""), self._key("d", submission or b"")],
                known,
                expires + self._leeway - now if nonce is not None else "",
                end + self._leeway - now if submission is not None else "",
                tag,
            )
        except StoreError:
            if submission is not None and self._settings.on_store_error == "refuse":
                self._doubtful.append((submission, tag))
            raise
        self._undo()
        if result == -1:
            log.error("The store's server is another one, or has lost what it knew; who was challenged is asked again.")
            self._raw_id = b""
            return Claim.SPENT  # it could have been
        return (Claim.NEW, Claim.SPENT, Claim.DELIVERED)[result]

    def _undo(self) -> None:
        """Take back claims that failed here, and were made all the same by a server that was only late."""
        while self._doubtful:
            submission, tag = entry = self._doubtful[0]
            self._script(_UNDO, [self._key("d", submission)], tag)
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
            _KEEP,
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

    def limit(self, name: str, client: str, spend: bool) -> float:
        """See :meth:`gatepost.Store.limit`."""
        rate, now = self._rates[name], self._settings.clock()
        bucket = int(now // rate.period)
        keys = [self._key("l", name, client, str(number)) for number in (bucket, bucket - 1)]
        share = 1.0 - (now - bucket * rate.period) / rate.period
        expire = int(2 * rate.period * 1000) + _MARGIN
        current, previous = self._script(_LIMIT, keys, share, rate.count, int(spend), expire)
        return wait_for(rate.count, current, previous, bucket * rate.period, rate.period, now)

    def exchange(self, sums: Sequence[Sums]) -> list[Totals]:
        """See :meth:`gatepost.Store.exchange`."""
        now = self._settings.clock()

        def work(client: Any) -> Any:
            pipeline = client.pipeline(transaction=False)
            for mine in sums:
                keys = [
                    self._key("s", mine.rule, str(mine.bucket)),
                    self._key("s", mine.rule, str(mine.bucket - 1)),
                    self._key("state", mine.rule),
                    self._key("counts", mine.rule),
                    self._key("rules"),
                ]
                values = {
                    "rule": mine.rule,
                    "fresh": mine.fresh,
                    "late": mine.late,
                    "expire": int(3 * mine.period * 1000) + _MARGIN,
                    "counts": dict(mine.counts),
                    "ends": mine.until,
                    "turn": mine.turn,
                    "period": mine.period,
                    "cause": mine.cause,
                    "now": now,
                }
                pipeline.eval(_EXCHANGE, len(keys), *keys, json.dumps(values), repr(now))
            return pipeline.execute()

        answers = self._run(work) if sums else []
        return [
            Totals(mine.rule, mine.bucket, int(current), int(previous), tuple(json.loads(until)), int(turn))
            for mine, (current, previous, until, turn) in zip(sums, answers, strict=True)
        ]

    def command(self, rule: str, until: float | None, cause: str) -> None:
        """See :meth:`gatepost.Store.command`."""
        key, now = self._key("state", rule), self._settings.clock()
        ends = [until] if until is not None else []

        def work(client: Any) -> None:
            client.sadd(self._key("rules"), rule)
            client.hset(key, mapping={"until": json.dumps(ends), "since": repr(now), "cause": cause})
            client.hincrby(key, "turn", int(until is None))

        self._run(work)

    def status(self) -> list[Told]:
        """See :meth:`gatepost.Store.status`."""
        return self._run(self._status)

    def _status(self, client: Any) -> list[Told]:
        told, now = [], self._settings.clock()
        for rule in sorted(name.decode() for name in client.smembers(self._key("rules"))):
            state = {name.decode(): value.decode() for name, value in client.hgetall(self._key("state", rule)).items()}
            counts = {name.decode(): int(value) for name, value in client.hgetall(self._key("counts", rule)).items()}
            period = float(state.get("period", 60))
            bucket = int(now // period)
            current, previous = (int(client.get(self._key("s", rule, str(bucket - age))) or 0) for age in (0, 1))
            told.append(
                Told(
                    rule,
                    period,
                    estimate(current, previous, bucket * period, period, now),
                    tuple(json.loads(state.get("until", "[]"))),
                    float(state.get("since", 0)),
                    state.get("cause", ""),
                    counts,
                )
            )
        return told

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
    return redis.Redis.from_pool(pool)  # which closes the pool with the client


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"


def _decodes(client: Any) -> bool:
    encoder = client.get_encoder() if hasattr(client, "get_encoder") else None
    return bool(getattr(encoder, "decode_responses", False))
