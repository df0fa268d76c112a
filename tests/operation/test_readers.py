"""On PostgreSQL many who read share few connections: none of them may keep the others from theirs."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from collector.values.queries import parse
from tests.support.clock import FakeClock
from tests.support.world import World, lead
from tests.support.world import world as start

pytestmark = pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
CONNECTIONS = 2
QUERY = parse({"event": "page-view", "field": "count", "operator": ">", "value": 0}, retention_days=90)


@pytest.fixture
def world(database_url: str, clock: FakeClock) -> Iterator[World]:
    """A collector with few connections for reading; who asks for one waits for long."""
    with start(database_url, clock, database_connections=CONNECTIONS) as running:
        running.services.database._pool._wait_timeout = 300
        running.send(lead(), running.event())
        yield running


def test_who_has_a_connection_and_asks_the_columns_waits_for_nobody_who_has_none(world: World) -> None:
    services = world.services
    begun, enough = threading.Barrier(CONNECTIONS), threading.Event()

    def ask() -> list[int | None]:
        with services.database.read():
            begun.wait(30)
            counts = []
            while not enough.wait(0.01):
                counts.append(services.columns.count(world.site, QUERY, world.clock()))
            return counts

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        asked = [pool.submit(ask) for _ in range(CONNECTIONS)]
        enough.wait(2)
        enough.set()
        try:
            for one in asked:
                counts = one.result(30)
                assert counts
                assert set(counts) == {1}
        finally:
            services.database._pool._wait_timeout = 1


def test_while_reports_have_all_connections_the_tracker_and_readiness_find_theirs(world: World) -> None:
    services = world.services
    begun, enough = threading.Barrier(CONNECTIONS + 1), threading.Event()

    def report() -> None:
        with services.database.read():
            begun.wait(30)
            enough.wait(60)

    with ThreadPoolExecutor(CONNECTIONS + 1) as pool:
        for _ in range(CONNECTIONS):
            pool.submit(report)
        begun.wait(30)
        try:
            assert pool.submit(services.sites.by_key, world.site.key).result(30) is not None
            assert pool.submit(services.event_rules.active, world.site.id).result(30) is not None
        finally:
            services.database._pool._wait_timeout = 1
            enough.set()
