"""Ending: whenever a collector is told to, whatever it is at."""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from collector import serving
from tests.support.envelopes import envelope, new_event
from tests.support.processes import STOP_SECONDS, Program, free_port, members
from tests.support.servers import ORIGIN, Collector


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
    collector = start_collector(changes="from collector import serving\nserving._END_SECONDS = 1")
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


def test_a_process_that_cannot_write_any_more_ends_so_that_it_is_replaced(start_collector: Callable[..., Collector]) -> None:
    """What the writer died of was no outage, and only a new process has another writer."""
    collector = start_collector(
        changes="from collector.storage.writer import Writer\n"
        "way = Writer._transactions\n"
        "def fail(self, group):\n"
        "    if any(unit.work is None for unit in group):\n"
        "        raise SystemExit('a fault of ours')\n"
        "    return way(self, group)\n"
        "Writer._transactions = fail\n"
    )
    body = envelope(collector.site_key, f"{'a' * 22}.{'b' * 22}", new_event())
    assert collector.client.post_json("/collect", body).status == 503
    assert collector.program.process.wait(STOP_SECONDS) == 1
    assert "the writer died" in collector.program.errors
