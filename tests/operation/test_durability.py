"""Acknowledged means durable and counted once, whatever happens to the process."""

import random
import shutil
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from collector.domain.submissions import Submission
from collector.values.ids import event_id_text
from collector.writer_process import Group, encode
from collector.writing import Pen
from tests.support.clock import FakeClock
from tests.support.load import Load, check_acknowledged, check_ledger, reading, stored
from tests.support.power import forgetful_disk
from tests.support.servers import APART, WHERE_SERVED, Collector
from tests.support.world import World, lead, world

CUTS = 20
VISITORS = 4
FULL = 2


@pytest.fixture
def fleet(start_collector: Callable[..., Collector]) -> list[Collector]:
    """Three collectors on one database, on SQLite on one file; not all of them write in the same way."""
    first = start_collector(settings=APART)
    others = [start_collector(database_url=first.database_url, folder=first.folder, settings=way) for way in (WHERE_SERVED, APART)]
    return [first, *others]


def test_whoever_kills_collectors_loses_and_doubles_nothing(fleet: list[Collector], often: Callable[[int], int]) -> None:
    """One after the other, while the rest go on with the same people; each comes back to write in the other way. At last all of them."""
    load = Load(fleet[0], [one.site for one in fleet[:2]], others=fleet[1:])
    *earlier, last = [fleet[number % len(fleet)] for number in range(often(len(fleet)))]
    for one in earlier:
        load.wait_for_acknowledged(random.randint(1, 400))
        one.kill()
        load.wait_for_everybody(202, without=one)
        one.start_the_other_way()
    load.wait_for_acknowledged(random.randint(1, 400))
    last.kill()
    load.wait_for_everybody(202, without=last)
    assert load.statuses[503] == load.lost["TimeoutError"] == 0, load.summary()
    for one in fleet:
        one.kill()
    load.wait_for_lost()
    last.start_the_other_way()
    load.wait_for_acknowledged(1)
    load.finish()
    check_ledger(last, load)


def test_a_shutdown_in_order_answers_what_was_taken(start_collector: Callable[..., Collector]) -> None:
    collector = start_collector()
    load = Load(collector)
    load.wait_for_acknowledged(300)
    collector.program.process.send_signal(signal.SIGTERM)
    assert collector.stop() == 0
    load.abandon()
    check_acknowledged(collector, load)
    with reading(collector.database_url) as connection:
        assert stored(connection).keys() == load.acknowledged


@pytest.mark.parametrize("who", ["who serves", "who only writes"])
def test_the_writer_commits_for_good(who: str, database_url: str, clock: FakeClock) -> None:
    """What every server and file is told on the writer's own connections; that it helps is for the tests above and below to show."""
    with world(database_url, clock) as shop, closing(Pen(shop.services.settings)) as pen:
        asked = (
            ("PRAGMA journal_mode", "PRAGMA synchronous")
            if shop.services.database.engine == "sqlite"
            else ("SHOW synchronous_commit", "SHOW fsync", "SHOW full_page_writes")
        )
        if who == "who serves":
            said = shop.services.writer.run(shop.site.id, lambda tx: [tx.value(one) for one in asked])
        else:
            pen.open()
            assert pen.database is not None
            with pen.database.write(hurry=True) as tx:
                said = [tx.value(one) for one in asked]
        assert said == (["wal", FULL] if shop.services.database.engine == "sqlite" else ["on", "on", "on"])


@pytest.mark.parametrize("who", ["who serves", "who only writes"])
def test_a_power_cut_takes_nothing_acknowledged_from_the_file(
    who: str, tmp_path: Path, clock: FakeClock, often: Callable[[int], int]
) -> None:
    """At every moment, whatever unsynced sectors reach the disk: on SQLite, where the collector itself has to have them synced."""
    file, chance = tmp_path / "leadlight.db", random.Random(0)
    acknowledged: set[str] = set()
    enough, turn = threading.Event(), threading.Lock()

    def visit(shop: World, number: int) -> None:
        while not enough.is_set():
            event = shop.event("saved")
            if who == "who serves":
                shop.send(lead(f"lead-{number}"), event)
            else:
                one = lead(f"lead-{number}")
                group = Group(shop.site.id, 100, [[Submission(owner=one.key, lead=one, events=[event])]])
                with turn:
                    assert pen.write(encode(group)).failure is None
            acknowledged.add(event_id_text(event.id))

    with (
        forgetful_disk() as disk,
        world(f"sqlite:///{file}", clock) as shop,
        closing(Pen(shop.services.settings)) as pen,
        ThreadPoolExecutor(VISITORS) as pool,
    ):
        visits = [pool.submit(visit, shop, number) for number in range(VISITORS)]
        try:
            for number in range(often(CUTS)):
                wanted = len(acknowledged) + chance.randint(1, 30)
                while len(acknowledged) < wanted and not any(visit.done() for visit in visits):
                    enough.wait(0.001)
                if number % 5 == 2:
                    with shop.services.database.read() as connection:  # the log goes into the file, and begins anew
                        connection.rows("PRAGMA wal_checkpoint(RESTART)")
                known = set(acknowledged)
                left = disk.cut(file, tmp_path / f"cut-{number}", chance)
                with reading(f"sqlite:///{left}") as connection:
                    assert connection.rows("PRAGMA integrity_check") == [("ok",)]
                    found = stored(connection)
                    assert known <= found.keys(), f"{len(known - found.keys())} of {len(known)} acknowledged events are lost"
                    assert connection.value("SELECT sum(count) FROM totals") == len(found)
                shutil.rmtree(left.parent)
        finally:
            enough.set()
        for one in visits:
            one.result()
