"""The standby takes over from its primary, under load: what was acknowledged is there, and the same process writes to the new one."""

import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from collector.services import WRITERS
from tests.support.acting import Acts, check_acts
from tests.support.load import Load, check_ledger
from tests.support.postgres import PostgresServer, Servers, postgres_servers
from tests.support.proxy import Proxy
from tests.support.servers import APART, WHERE_SERVED, Collector, writers

pytestmark = pytest.mark.parametrize("engine", ["postgresql"])
MANY = 16  # at once


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
    acts, load = Acts.beside(collector), Load(collector)
    load.wait_for_acknowledged(150)
    acts.wait_for(20)
    primary.kill()
    load.wait_for_answers(503, 20)
    acts.wait_for_put_off()
    standby.promote()
    load.wait_for_acknowledged(150)
    acts.wait_for(10)
    load.finish()
    acts.finish()
    assert load.lost.total() == 0, load.summary()
    assert acts.lost == 0, acts.summary()
    check_acts(collector, acts)
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


def test_a_standby_without_which_nothing_is_committed_is_gone_and_comes_back(
    primary: PostgresServer, standby: PostgresServer, start_collector: Callable[..., Collector]
) -> None:
    """The server answers all the while, but never to a commit. Whoever waits for one there must not leave it waiting and ask again."""
    collector = start_collector(
        database_url=f"{primary.url}/postgres",
        settings=APART,
        changes="from collector import writer_process\nwriter_process.PATIENCE_SECONDS = 8",
    )
    load = Load(collector)
    load.wait_for_acknowledged(300)
    at_work = writers(collector)
    assert len(at_work) == WRITERS["postgresql"]
    standby.stop()
    load.wait_for_answers(503, 20)
    assert writers(collector) == at_work
    assert collector.client.get("/readyz").status == 503
    assert collector.client.get("/healthz").status == 200
    standby.start()
    load.wait_for_acknowledged(300)
    load.finish()
    assert collector.client.get("/readyz").status == 200
    assert load.lost.total() == 0, load.summary()
    check_ledger(collector, load)


def test_a_collector_ends_where_its_commits_wait_for_a_standby_that_is_gone(
    primary: PostgresServer, standby: PostgresServer, start_collector: Callable[..., Collector]
) -> None:
    collector = start_collector(database_url=f"{primary.url}/postgres")
    load = Load(collector)
    load.wait_for_acknowledged(300)
    standby.stop()
    load.wait_for_answers(503, 20)
    load.abandon()
    assert collector.program.stop() == 0


@pytest.mark.parametrize("way", [APART, WHERE_SERVED], ids=["written apart", "written where it is served"])
def test_a_standby_that_lacks_a_new_name_gives_its_number_to_no_other_events(
    primary: PostgresServer, standby: PostgresServer, start_collector: Callable[..., Collector], way: dict[str, str]
) -> None:
    """Replication that nobody waits for: the last commits of the primary are lost with it, and what a collector remembers of them."""
    both = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
    collector = start_collector(
        database_url=f"postgresql://postgres@{both}/postgres?target_session_attrs=read-write",
        settings=way,
    )
    assert send(collector, "before") == 202
    primary.set("synchronous_standby_names", "''")
    standby.set("primary_conninfo", "''")
    with ThreadPoolExecutor(MANY) as pool:  # so that whoever writes knows the name
        assert set(pool.map(lambda _: send(collector, "lost"), range(MANY))) == {202}
    primary.kill()
    standby.promote()
    for name in ("lost", "new", "before"):
        until(lambda name=name: send(collector, name) == 202)
    query = {"event": "before", "field": "count", "operator": "=", "value": 2}
    (person,) = collector.client.api("POST", "/contacts/search", {"query": query}).json["data"]
    export = collector.client.api("GET", f"/contacts/{person['id']}/export").json
    assert {total["event_name"]: total["count"] for total in export["totals"]} == {"before": 2, "new": 1, "lost": 1}


def send(collector: Collector, name: str) -> int:
    """Send an event of one user by REST, and return the status."""
    event_id = f"{name} {secrets.token_hex(8)}"
    event = {"event_name": name, "user_id": "ada", "create_contact": True, "event_id": event_id, "created_at": int(time.time())}
    return collector.client.api("POST", "/events", event).status


def until(holds: Callable[[], bool]) -> None:
    """Ask until it is so."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)
