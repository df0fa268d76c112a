"""PostgreSQL fails under load: what was acknowledged stays, meanwhile the answer is 503, and then the same process goes on.

Half of the faults each meet a collector that has what browsers send written apart, and one that writes where it serves.
"""

import random
from collections.abc import Callable, Iterator

import pytest

from tests.support.acting import Acts, check_acts
from tests.support.load import Load, both_ways, check_ledger
from tests.support.postgres import PostgresServer, Servers, postgres_servers
from tests.support.proxy import Proxy
from tests.support.servers import APART, Collector, signed_in

pytestmark = pytest.mark.parametrize("engine", ["postgresql"])
ROUNDS, MOST_ROUNDS = 2, 20
"""Each way."""

StartCollector = Callable[..., Collector]
Often = Callable[[int], int]


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """Servers that tests may kill."""
    with postgres_servers() as made:
        yield made


@pytest.fixture
def server(servers: Servers) -> PostgresServer:
    """A server of this test's own. A commit that does not wait for its log would be lost with it: nothing else writes the log soon."""
    return servers.new(wal_writer_delay="10s", wal_writer_flush_after="1GB")


@pytest.fixture
def proxy(server: PostgresServer) -> Iterator[Proxy]:
    """What stands between the collector and its server."""
    made = Proxy(server.port)
    yield made
    made.close()


def test_a_server_that_is_killed_and_comes_back(server: PostgresServer, start_collector: StartCollector, often: Often) -> None:
    collector = start_collector(database_url=f"{server.url}/postgres", settings=APART)
    acts, load = Acts.beside(collector), Load(collector)
    for _ in both_ways(collector, load):
        for _ in range(often(ROUNDS)):
            load.wait_for_acknowledged(random.randint(1, 150))
            acts.wait_for(random.randint(1, 20))
            server.kill()
            load.wait_for_answers(503)
            acts.wait_for_put_off()
            assert collector.client.api("GET", "/contacts").status == 503
            server.start()
            load.wait_for_acknowledged(1)
    load.finish()
    acts.finish()
    check_acts(collector, acts)
    check_ledger(collector, load)
    assert "failed: the database cannot be used: OperationalError" in collector.program.errors
    assert '  File "' not in collector.program.errors, "no place in the code is to blame, and there is a line for each request"


def test_pages_of_the_console_and_scripts_ask_to_come_again(server: PostgresServer, start_collector: StartCollector) -> None:
    collector = start_collector(database_url=f"{server.url}/postgres")
    browser = signed_in(collector)
    server.kill()
    page = collector.client.get("/console/people", browser)
    script = collector.client.get(f"/rules-{collector.site_key}-0123456789ab.js")
    for answer, kind in ((page, "text/html"), (script, "application/json")):
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5"), answer.text
        assert answer.headers["Content-Type"].startswith(kind)
        assert answer.headers["Cache-Control"] == "no-store"
    assert "The database cannot be used just now." in page.text
    assert "failed: the database cannot be used: OperationalError" in collector.program.errors
    assert str(server.port) not in collector.program.errors, "what the database says is not written down: it quotes what was handled"
    server.start()
    assert collector.client.get("/console/people", browser).status == 200


def test_connections_cut_at_random(proxy: Proxy, start_collector: StartCollector, often: Often) -> None:
    collector = start_collector(database_url=f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres", settings=APART)
    load = Load(collector)
    for _ in both_ways(collector, load):
        for _ in range(often(10)):
            load.wait_for_acknowledged(random.randint(1, 60))
            proxy.cut()
        load.wait_for_acknowledged(1)
    load.finish()
    check_ledger(collector, load)


def cut_at_commit(proxy: Proxy, **how: bool) -> None:
    """Cut a connection during its commit. A new one sends COMMIT in words, and soon has it prepared under a number: then once more."""
    proxy.cut()
    trap = proxy.cut_at(b"COMMIT\0", **how)
    for _ in range(10):
        if trap.sprung.wait(3):
            return
        proxy.cut()
    trap.wait()


@pytest.mark.parametrize("deliver", [False, True], ids=["before the server has it", "before its answer arrives"])
def test_a_connection_cut_during_the_commit(deliver: bool, proxy: Proxy, start_collector: StartCollector, often: Often) -> None:
    collector = start_collector(database_url=f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres", settings=APART)
    acts, load = Acts.beside(collector), Load(collector)
    for _ in both_ways(collector, load):
        refused, known, rounds = load.statuses[503], load.duplicates, 0
        met = False
        while rounds < often(ROUNDS) or (not met and rounds < often(MOST_ROUNDS)):  # until it was not the acts alone that met it
            load.wait_for_acknowledged(random.randint(1, 50))
            acts.wait_for(random.randint(1, 20))
            cut_at_commit(proxy, deliver=deliver)
            rounds += 1
            met = load.statuses[503] > refused and (load.duplicates > known or not deliver)
        load.wait_for_everybody(202)
        assert load.statuses[503] > refused
        if deliver:  # it was committed though nobody was told, and is known again
            assert load.duplicates > known
    load.finish()
    acts.finish()
    check_acts(collector, acts)
    check_ledger(collector, load)


def test_a_network_that_falls_silent(proxy: Proxy, start_collector: StartCollector, often: Often) -> None:
    """The silence itself is noticed: nobody turns away whoever waits for a commit of a server that may well be there."""
    patient = "from collector.storage import writer\nwriter._STUCK_SECONDS = 10**6"
    collector = start_collector(database_url=f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres", settings=APART, changes=patient)
    load = Load(collector)
    for _ in both_ways(collector, load, patient):
        lost = load.lost.total()
        for _ in range(often(1)):
            load.wait_for_acknowledged(100)
            proxy.fall_silent()
            load.wait_for_everybody(503)  # whose commit it was too, not only who came later and found nobody to connect to
            proxy.go_on()
        load.wait_for_everybody(202)
        assert load.lost.total() == lost, load.summary()
    load.finish()
    check_ledger(collector, load)


def test_a_network_that_forgets_to_tell_the_server(proxy: Proxy, server: PostgresServer, start_collector: StartCollector) -> None:
    """It goes on holding the locks of a transaction whose collector it cannot hear any more, nor what that does: another one meets them."""
    cut_off = start_collector(database_url=f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres")
    other = start_collector(database_url=f"{server.url}/postgres", folder=cut_off.folder)
    load = Load(cut_off, others=[other])
    load.wait_for_acknowledged(100)
    cut_at_commit(proxy, deliver=False, tell_server=False)
    load.wait_for_everybody(202, without=cut_off)
    assert load.lost.total() == 0, load.summary()
    load.finish()
    check_ledger(other, load)


def test_a_database_that_takes_no_connections(proxy: Proxy, start_collector: StartCollector) -> None:
    collector = start_collector(database_url=f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres")
    load = Load(collector)
    load.wait_for_acknowledged(100)
    proxy.refuse()
    load.wait_for_answers(503, 20)
    proxy.go_on()
    load.wait_for_acknowledged(100)
    load.finish()
    check_ledger(collector, load)


def test_a_restart_while_nobody_asks_is_not_noticed(server: PostgresServer, start_collector: StartCollector) -> None:
    collector = start_collector(database_url=f"{server.url}/postgres")
    load = Load(collector)
    load.wait_for_acknowledged(100)
    load.finish()
    server.kill()
    server.start()
    again = Load(collector)
    again.wait_for_acknowledged(100)
    again.finish()
    assert set(again.statuses) == {202}, again.summary()
