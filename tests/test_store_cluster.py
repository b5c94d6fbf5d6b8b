"""Redis clients of the user's own making pass the contract: of a cluster of three nodes, and of a sentinel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gatepost import Settings, Store
from gatepost.protocols import Claim
from gatepost.stores import make_store
from gatepost.stores.redis import RedisStore
from server_clients import HOST, PATIENCE
from store_servers import MASTER, PROGRAMS, cluster, sentinel
from test_store_shared import SharedContract
from twins import settings


@pytest.fixture(scope="module", params=PROGRAMS)
def cluster_port(request: pytest.FixtureRequest) -> Iterator[int]:
    """A port of a cluster of three nodes."""
    with cluster(request.param) as port:
        yield port


class TestRedisCluster(SharedContract):
    """The store of several hosts, on a cluster, through a client as ``store``."""

    @pytest.fixture
    def open_store(self, cluster_port: int) -> Iterator[Callable[[Settings], Store]]:
        redis = pytest.importorskip("redis", reason="redis-py is not installed")
        clients = [redis.RedisCluster(host=HOST, port=cluster_port) for _ in range(2)]
        clients[0].flushall(target_nodes=clients[0].ALL_NODES)
        fresh = iter(clients * 5)

        def open_one(settings: Settings) -> Store:
            return RedisStore(next(fresh), "0123456789abcdef", settings)

        yield open_one
        for client in clients:
            client.close()

    def test_client_is_taken_as_a_store(self, cluster_port: int, store_of: Callable[..., Store]) -> None:  # noqa: ARG002
        """The setting takes the client as it is, and what the store has in the cluster is on one node."""
        import redis

        client: Any = redis.RedisCluster(host=HOST, port=cluster_port)
        store = make_store(settings(store=client))
        assert isinstance(store, RedisStore)
        assert store.keep(b"s" * 16, b"body", int(store._settings.clock() * 1000) + 60_000, "client")
        store.identity()
        sizes = [client.dbsize(target_nodes=node) for node in client.get_primaries()]
        assert sorted(sizes) == [0, 0, 3]
        store.close()


@pytest.mark.parametrize("program", PROGRAMS)
def test_i4_client_of_a_sentinel_claims_once(program: str) -> None:
    """A client that asks a sentinel for the server is a store like any other: two of them share what was claimed."""
    redis_sentinel = pytest.importorskip("redis.sentinel", reason="redis-py is not installed")
    with sentinel(program) as port:
        watch = redis_sentinel.Sentinel([(HOST, port)], socket_timeout=PATIENCE)
        stores = [RedisStore(watch.master_for(MASTER), "0123456789abcdef", settings()) for _ in range(2)]
        later = int(settings().clock() * 1000) + 60_000
        assert [store.claim(bytes(16), later, None, 0) for store in stores] == [Claim.NEW, Claim.SPENT]
        for store in stores:
            store.close()
        for client in watch.sentinels:
            client.close()
