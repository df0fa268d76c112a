"""The standby takes over from its primary, under load: what was acknowledged is there, and the same process writes to the new one."""

from collections.abc import Callable, Iterator

import pytest

from tests.support.load import Load, check_ledger
from tests.support.postgres import PostgresServer, Servers, postgres_servers
from tests.support.proxy import Proxy
from tests.support.servers import Collector

pytestmark = pytest.mark.parametrize("engine", ["postgresql"])


@pytest.fixture
def servers() -> Iterator[Servers]:
    """Servers that this test may break."""
    with postgres_servers() as made:
        yield made


@pytest.fixture
def primary(servers: Servers) -> PostgresServer:
    """A server with its log far ahead of its tables, as in production."""
    return servers.new(wal_writer_delay="10s", wal_writer_flush_after="1GB")


@pytest.fixture
def standby(servers: Servers, primary: PostgresServer) -> PostgresServer:
    """A standby that has everything the primary says it committed."""
    return servers.standby_of(primary)


def test_a_standby_takes_over_from_a_primary_that_died(
    primary: PostgresServer, standby: PostgresServer, start_collector: Callable[..., Collector]
) -> None:
    """The address names both: postgresql://…@first,second/…?target_session_attrs=read-write."""
    both = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
    collector = start_collector(database_url=f"postgresql://postgres@{both}/postgres?target_session_attrs=read-write")
    load = Load(collector)
    load.wait_for_acknowledged(300)
    primary.kill()
    load.wait_for_answers(503, 20)
    standby.promote()
    load.wait_for_acknowledged(300)
    load.finish()
    assert load.lost.total() == 0, load.summary()
    check_ledger(collector, load)


def test_a_primary_that_is_the_standby_now_is_left(
    primary: PostgresServer, standby: PostgresServer, start_collector: Callable[..., Collector]
) -> None:
    """As behind an address that moves: connections to the old one stay open, and it refuses writes for good."""
    proxy = Proxy(primary.port)
    collector = start_collector(database_url=f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres")
    load = Load(collector)
    load.wait_for_acknowledged(300)
    primary.set("default_transaction_read_only", "on")
    load.wait_for_answers(503, 20)
    standby.promote()
    proxy.lead_to(standby.port)
    load.wait_for_acknowledged(300)
    load.finish()
    assert load.lost.total() == 0, load.summary()
    check_ledger(collector, load)
    proxy.close()
