"""Acknowledged means durable and counted once, whatever happens to the process."""

import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from collector import serving
from collector.values.ids import event_id_text
from tests.support.clock import FakeClock
from tests.support.load import Load, check_acknowledged, check_ledger, reading, stored
from tests.support.power import forgetful_disk
from tests.support.processes import STOP_SECONDS, Program, free_port, members
from tests.support.servers import ORIGIN, Collector
from tests.support.world import World, lead, world

ROUNDS = 3
CUTS = 20
VISITORS = 4
FULL = 2


def test_whoever_kills_the_collector_loses_and_doubles_nothing(
    start_collector: Callable[..., Collector], often: Callable[[int], int]
) -> None:
    collector = start_collector()
    load = Load(collector, [collector.site, collector.init("Second shop", [ORIGIN])])
    for _ in range(often(ROUNDS)):
        load.wait_for_acknowledged(random.randint(1, 400))
        collector.kill()
        load.wait_for_lost()
        collector.start()
    load.wait_for_acknowledged(1)
    load.finish()
    check_ledger(collector, load)


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


@pytest.mark.parametrize("handler", ["signal_handler_interrupt", "signal_handler_reload"])
def test_an_order_never_waits_for_what_it_interrupts(handler: str) -> None:
    """A signal's handler runs in the midst of whatever the main thread does, and that may be waking from the order before."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    server = serving._Server("collector.serving:application", factory=True)
    try:
        with server.main_loop_interrupt._cond:
            getattr(server, handler)(signal.SIGTERM, None)
        assert server.main_loop_interrupt.wait(30)
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_a_request_that_waits_without_end_does_not_keep_a_collector_from_ending(start_collector: Callable[..., Collector]) -> None:
    collector = start_collector()
    collector.stop()
    collector.start("from collector import serving\nserving._END_SECONDS = 1")
    with psycopg.connect(collector.database_url, autocommit=True) as watching, psycopg.connect(collector.database_url) as holding:
        holding.execute("LOCK TABLE identities IN ACCESS EXCLUSIVE MODE")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(collector.client.api, "GET", "/contacts/nobody")
            while not watching.execute("SELECT 1 FROM pg_locks WHERE NOT granted AND mode = 'AccessShareLock'").fetchall():
                time.sleep(0.02)
            assert collector.stop() == 0
            assert waiting.exception(30) is not None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after_ms", [0, 100, 200, 300, 400])
def test_an_order_to_end_ends_a_start_too(tmp_path: Path, number: signal.Signals, after_ms: int) -> None:
    """Ctrl-C goes to the workers as well, which may not be ready for it."""
    program = Program("collector", ["collector", "init", "--site", "Shop", "--origin", ORIGIN, "--json"], tmp_path, {})
    assert program.process.wait(60) == 0
    program = Program("collector", ["collector", "serve", "--port", str(free_port())], tmp_path, {})
    while "serving on" not in program.errors and program.running:
        time.sleep(0.01)
    try:
        time.sleep(after_ms / 1_000)
        os.killpg(program.process.pid, number)
        program.process.wait(STOP_SECONDS)
        deadline = time.monotonic() + STOP_SECONDS
        while members(program.process.pid):  # what its worker had started ends when that is gone
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        program.kill()


def test_the_writer_commits_for_good(database_url: str, clock: FakeClock) -> None:
    """What every server and file is told on the writer's own connections; that it helps is for the tests above and below to show."""
    with world(database_url, clock) as shop:
        asked = (
            ("PRAGMA journal_mode", "PRAGMA synchronous")
            if shop.services.database.engine == "sqlite"
            else ("SHOW synchronous_commit", "SHOW fsync", "SHOW full_page_writes")
        )
        said = shop.services.writer.run(shop.site.id, lambda tx: [tx.value(one) for one in asked])
        assert said == (["wal", FULL] if shop.services.database.engine == "sqlite" else ["on", "on", "on"])


def test_a_power_cut_takes_nothing_acknowledged_from_the_file(tmp_path: Path, clock: FakeClock, often: Callable[[int], int]) -> None:
    """At every moment, whatever unsynced sectors reach the disk: on SQLite, where the collector itself has to have them synced."""
    file, chance = tmp_path / "leadlight.db", random.Random(0)
    acknowledged: set[str] = set()
    enough = threading.Event()

    def visit(shop: World, number: int) -> None:
        while not enough.is_set():
            event = shop.event("saved")
            shop.send(lead(f"lead-{number}"), event)
            acknowledged.add(event_id_text(event.id))

    with forgetful_disk() as disk, world(f"sqlite:///{file}", clock) as shop, ThreadPoolExecutor(VISITORS) as pool:
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
