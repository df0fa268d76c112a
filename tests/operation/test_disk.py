"""The disk is full, or refuses writes, under load: what was acknowledged stays, meanwhile the answer is 503, and then it goes on.

Half of the faults each meet a collector that has what browsers send written apart, and one that writes where it serves.
"""

import os
import random
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from collector.storage.database import Connection
from collector.storage.writer import Overloaded
from tests.support.acting import Acts, check_acts
from tests.support.clock import FakeClock
from tests.support.disks import SmallDisk, immutable, small_disk
from tests.support.load import Load, both_ways, check_acknowledged, check_ledger
from tests.support.postgres import PostgresServer, Servers, hand_over, postgres_servers
from tests.support.processes import free_port, run_command
from tests.support.servers import APART, Collector
from tests.support.world import lead, world

ROUNDS = 2
"""Each way."""
ROOM = 200
"""Of the small disk, in megabytes."""

StartCollector = Callable[..., Collector]
Often = Callable[[int], int]
on_sqlite = pytest.mark.parametrize("engine", ["sqlite"])
on_postgresql = pytest.mark.parametrize("engine", ["postgresql"])


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    """A disk that can be filled. There is room for what PostgreSQL makes at its start."""
    with small_disk(ROOM) as made:
        yield made


@pytest.fixture
def on_a_disk() -> Iterator[Path]:
    """A folder that is not in memory: few file systems in memory can make files immutable."""
    with tempfile.TemporaryDirectory(prefix="leadlight-disk-", dir="/var/tmp") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """Servers that tests may break."""
    with postgres_servers() as made:
        yield made


@pytest.fixture
def server(servers: Servers) -> PostgresServer:
    """A server of this test's own."""
    return servers.new()


def on_small_disk(server: PostgresServer, disk: SmallDisk) -> str:
    """Return the address of a new database whose tables lie on the small disk; the server's log does not."""
    tables = disk.folder / "tables"
    tables.mkdir()
    hand_over(tables)
    server.execute(f"CREATE TABLESPACE small LOCATION '{tables}'")
    server.execute("CREATE DATABASE leadlight TABLESPACE small")
    return f"{server.url}/leadlight"


def through_full_disks(collector: Collector, disk: SmallDisk, rounds: int) -> None:
    acts, load = Acts.beside(collector), Load(collector)
    for way, _ in enumerate(both_ways(collector, load)):
        lost = load.lost.total()
        for _ in range(rounds):
            load.wait_for_acknowledged(50)
            acts.wait_for(random.randint(1, 20))
            disk.fill()
            load.wait_for_answers(503, 50)
            acts.wait_for_put_off()
            disk.free()
            load.wait_for_acknowledged(50)
            acts.wait_for(1)
        load.wait_for_everybody(202)
        assert load.lost.total() == lost, load.summary()
        assert way or acts.lost == 0, acts.summary()
    load.finish()
    acts.finish()
    check_acts(collector, acts)
    check_ledger(collector, load)


def readiness(collector: Collector) -> tuple[int, bool]:
    """What a load balancer is told, and whether commits are taken."""
    answer = collector.client.get("/readyz")
    return answer.status, answer.json["checks"]["commits"]


def out_while_full_and_in_by_itself(collector: Collector, disk: SmallDisk) -> None:
    load = Load(collector)
    load.wait_for_acknowledged(100)
    assert readiness(collector) == (200, True)
    disk.fill()
    load.wait_for_answers(503, 50)
    load.abandon()  # as a load balancer keeps everybody away
    loads = [load]
    while readiness(collector)[0] == 200 and len(loads) < 20:  # the last commit may have found room that was left in a page
        loads.append(Load(collector))
        loads[-1].wait_for_answers(503, 20)
        loads[-1].abandon()
    for _ in range(3):
        assert readiness(collector) == (503, False)
    assert collector.client.get("/healthz").status == 200
    disk.free()
    assert readiness(collector) == (200, True)
    for one in loads:
        check_acknowledged(collector, one)


@on_sqlite
def test_a_collector_is_not_ready_while_the_disk_of_its_file_is_full(disk: SmallDisk, start_collector: StartCollector) -> None:
    out_while_full_and_in_by_itself(start_collector(database_url=f"sqlite:///{disk.folder / 'leadlight.db'}"), disk)


@on_postgresql
def test_a_collector_is_not_ready_while_the_disk_of_its_tables_is_full(
    server: PostgresServer, disk: SmallDisk, start_collector: StartCollector
) -> None:
    out_while_full_and_in_by_itself(start_collector(database_url=on_small_disk(server, disk)), disk)


@on_sqlite
def test_a_full_disk_under_the_file(disk: SmallDisk, start_collector: StartCollector, often: Often) -> None:
    collector = start_collector(database_url=f"sqlite:///{disk.folder / 'leadlight.db'}", settings=APART)
    through_full_disks(collector, disk, often(ROUNDS))
    assert "OperationalError SQLITE_FULL" in collector.program.errors


@on_sqlite
def test_a_disk_that_fills_up_in_the_middle_of_a_group(engine: str, disk: SmallDisk, clock: FakeClock) -> None:
    """SQLite undoes the whole transaction then, not the statement alone: nobody of the group may be told that it was written."""
    with world(f"sqlite:///{disk.folder / 'leadlight.db'}", clock) as shop, ThreadPoolExecutor(3) as pool:
        event = shop.event("saved")
        shop.send(lead())
        entered, gate = threading.Event(), threading.Event()

        def hold(tx: Connection) -> None:
            entered.set()
            gate.wait()

        def write_more_than_there_is(tx: Connection) -> None:
            tx.run("CREATE TABLE large (content BLOB)")
            for _ in range(3 * ROOM):
                tx.run("INSERT INTO large (content) VALUES (zeroblob(1048576))")

        pool.submit(shop.services.writer.run, shop.site.id, hold)
        entered.wait()
        sent = pool.submit(shop.send, lead(), event)
        large = pool.submit(shop.services.writer.run, shop.site.id, write_more_than_there_is)
        while shop.services.writer.waiting() < 2:
            gate.wait(0.001)
        gate.set()
        assert isinstance(large.exception(), Overloaded)
        assert isinstance(sent.exception(), Overloaded)
        assert shop.rows("SELECT id FROM events") == []
        shop.send(lead(), event)
        assert shop.counts(lead().key) == {"saved": 1}


@on_postgresql
def test_a_full_disk_under_the_tables(server: PostgresServer, disk: SmallDisk, start_collector: StartCollector, often: Often) -> None:
    through_full_disks(start_collector(database_url=on_small_disk(server, disk), settings=APART), disk, often(ROUNDS))


@on_postgresql
def test_a_full_disk_that_ends_the_server(servers: Servers, disk: SmallDisk, start_collector: StartCollector) -> None:
    server = servers.new(disk.folder)
    collector = start_collector(database_url=f"{server.url}/postgres")
    load = Load(collector)
    load.wait_for_acknowledged(100)
    disk.fill()
    with pytest.raises(psycopg.OperationalError):  # it panics where the log has no room
        while True:
            server.execute("SELECT pg_switch_wal() FROM pg_create_restore_point('another segment')")
    load.wait_for_answers(503, 50)
    disk.free()
    server.kill()
    server.start()
    load.wait_for_acknowledged(100)
    load.finish()
    check_ledger(collector, load)


@on_sqlite
def test_a_file_that_becomes_read_only(on_a_disk: Path, start_collector: StartCollector, often: Often) -> None:
    file = on_a_disk / "leadlight.db"
    collector = start_collector(database_url=f"sqlite:///{file}", settings=APART)
    load = Load(collector)
    for _ in both_ways(collector, load):
        lost = load.lost.total()
        for _ in range(often(ROUNDS)):
            load.wait_for_acknowledged(100)
            with immutable([file, file.with_name("leadlight.db-wal")]):
                load.wait_for_answers(503, 50)
            load.wait_for_acknowledged(100)
        load.wait_for_everybody(202)
        assert load.lost.total() == lost, load.summary()
    load.finish()
    check_ledger(collector, load)


@on_sqlite
def test_a_collector_that_starts_while_nothing_can_be_written_goes_on_by_itself(on_a_disk: Path, start_collector: StartCollector) -> None:
    file = on_a_disk / "leadlight.db"
    collector = start_collector(database_url=f"sqlite:///{file}")
    load = Load(collector)
    load.wait_for_acknowledged(100)
    collector.kill()
    load.abandon()
    with immutable([file, file.with_name("leadlight.db-wal")]):
        collector.start()
        assert "the database takes no commits now" in collector.program.errors
        refused = Load(collector)
        refused.wait_for_answers(503, 20)
        refused.abandon()
        assert readiness(collector) == (503, False)
    assert readiness(collector) == (200, True)
    again = Load(collector)
    again.wait_for_acknowledged(100)
    again.finish()
    for one in (load, refused, again):
        check_acknowledged(collector, one)


@on_sqlite
def test_a_file_that_is_served_is_not_written_under_another_name(tmp_path: Path, start_collector: StartCollector) -> None:
    """SQLite keeps its log beside the name: two processes that know the file by two names would destroy it."""
    file, other = tmp_path / "leadlight.db", tmp_path / "other.db"
    collector = start_collector(database_url=f"sqlite:///{file}")
    os.link(file, other)
    for command in (["serve", "--port", str(free_port())], ["upgrade"], ["rekey"]):
        done = run_command(["collector", *command], collector.folder, {"DATABASE_URL": f"sqlite:///{other}"})
        assert done.returncode == 1, command
        assert "hard links" in done.stderr
        assert "Traceback" not in done.stderr
    load = Load(collector)
    load.wait_for_acknowledged(100)
    load.finish()
    check_ledger(collector, load)


@on_sqlite
def test_a_file_that_another_takes_the_place_of(tmp_path: Path, start_collector: StartCollector, often: Often) -> None:
    """Or that is moved away: nothing is acknowledged that the next start would not find."""
    file, aside = tmp_path / "leadlight.db", tmp_path / "aside.db"
    collector = start_collector(database_url=f"sqlite:///{file}", settings=APART)
    load = Load(collector)
    for _ in both_ways(collector, load):
        lost = load.lost.total()
        for other in (b"not even a database", None) * often(1):
            load.wait_for_acknowledged(100)
            file.rename(aside)
            if other is not None:
                file.write_bytes(other)
            load.wait_for_answers(503, 50)
            assert collector.client.get("/readyz").status == 503
            assert collector.client.api("GET", "/contacts").status == 503
            assert other is None or file.read_bytes() == other
            aside.rename(file)
            load.wait_for_acknowledged(100)
        load.wait_for_everybody(202)
        assert load.lost.total() == lost, load.summary()
    load.finish()
    check_ledger(collector, load)


def test_a_file_that_is_taken_away_during_a_commit(tmp_path: Path, clock: FakeClock) -> None:
    """It is on disk then, but not under the name that the next start looks for: nobody is told that it was written."""
    file = tmp_path / "leadlight.db"
    with world(f"sqlite:///{file}", clock) as shop:
        with pytest.raises(Overloaded):
            shop.services.writer.run(shop.site.id, lambda _: file.rename(tmp_path / "aside.db"))
        (tmp_path / "aside.db").rename(file)
        assert shop.services.writer.run(shop.site.id, lambda _: "written") == "written"


@on_postgresql
def test_a_server_that_becomes_read_only(server: PostgresServer, start_collector: StartCollector, often: Often) -> None:
    collector = start_collector(database_url=f"{server.url}/postgres", settings=APART)
    load = Load(collector)
    for _ in both_ways(collector, load):
        lost = load.lost.total()
        for _ in range(often(ROUNDS)):
            load.wait_for_acknowledged(100)
            server.set("default_transaction_read_only", "on")
            load.wait_for_answers(503, 50)
            server.set("default_transaction_read_only", "off")
            load.wait_for_acknowledged(100)
        load.wait_for_everybody(202)
        assert load.lost.total() == lost, load.summary()
    load.finish()
    check_ledger(collector, load)
