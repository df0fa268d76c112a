"""What browsers send is written by processes of their own, which may end at any moment, and by whose ends nothing is lost."""

import contextlib
import os
import random
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import pytest

from collector import processes, writer_process
from collector.domain.identities import USER
from collector.domain.limits import NewPeople
from collector.domain.submissions import AttributeChange, Submission
from collector.services import WRITERS
from collector.settings import Settings
from collector.storage.database import Connection, Database
from collector.storage.faults import ElsewhereError, is_unavailable, reason
from collector.storage.occupancy import Occupancy, Occupied
from collector.storage.writer import Writer
from collector.writer_process import WriterProcess
from tests.support.clock import FakeClock
from tests.support.envelopes import envelope, new_event
from tests.support.load import Load, check_acknowledged, check_ledger, reading, stored
from tests.support.processes import STOP_SECONDS, children, members
from tests.support.servers import APART, Collector, writers

KILLS = 5
SECRET = "a secret of no installation"


def wait_until(holds: Callable[[], bool], otherwise: str = "") -> None:
    deadline = time.monotonic() + 90
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)


def test_there_are_as_many_as_the_database_takes_transactions_of_one_process(start_collector: Callable[..., Collector]) -> None:
    collector = start_collector(settings=APART)
    collector.program.wait_for(collector.url, "/readyz")
    engine = "sqlite" if collector.database_url.startswith("sqlite") else "postgresql"
    assert len(writers(collector)) == WRITERS[engine]
    collector.program.process.send_signal(signal.SIGTERM)
    assert collector.program.process.wait(STOP_SECONDS) == 0
    wait_until(lambda: members(collector.program.process.pid) == [])


def test_whoever_kills_one_loses_and_doubles_nothing(start_collector: Callable[..., Collector], often: Callable[[int], int]) -> None:
    collector = start_collector(settings=APART, changes="from collector import writer_process\nwriter_process._REST_SECONDS = 3600")
    load = Load(collector)
    wait_until(lambda: nobody_starts_more(collector))  # then who serves writes
    load.wait_for_acknowledged(random.randint(1, 200))
    assert writers(collector) == []
    collector.kill()
    load.wait_for_lost()
    collector.start()
    worker = children(collector.program.process.pid)
    for _ in range(often(KILLS)):
        load.wait_for_acknowledged(random.randint(1, 200))
        wait_until(lambda: writers(collector) != [])
        os.kill(random.choice(writers(collector)), signal.SIGKILL)
    load.wait_for_acknowledged(1)
    load.finish()
    assert children(collector.program.process.pid) == worker, "it was not started anew"
    check_ledger(collector, load)


def nobody_starts_more(collector: Collector) -> bool:
    """Kill those who write now, and say whether nobody will replace them for a while, as two ended over one group."""
    for number in writers(collector):
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    engine = "sqlite" if collector.database_url.startswith("sqlite") else "postgresql"
    return collector.program.errors.count("this process writes for the next") >= WRITERS[engine]


def test_what_one_was_at_that_is_killed_is_done_by_the_next(start_collector: Callable[..., Collector]) -> None:
    collector = start_collector(settings=APART)
    assert send(collector) == 202
    with ThreadPoolExecutor(1) as pool, holding(collector.database_url) as held:
        before = writers(collector)
        read = [read_by(number) for number in before]
        waiting = pool.submit(send, collector)
        wait_until(lambda: [read_by(number) for number in before] != read)  # one has been handed it
        if held.engine == "postgresql":
            wait_until(lambda: held.rows("SELECT 1 FROM pg_locks WHERE relation = 'identities'::regclass AND NOT granted") != [])
        for number in before:
            os.kill(number, signal.SIGKILL)
        wait_until(lambda: bool(set(writers(collector)) - set(before)), "none begins in its place")
        assert not waiting.done()
    assert waiting.result() == 202
    assert len(collector.client.api("GET", "/events/top?event_name=came").json["data"]) == 2


def test_one_that_was_stopped_is_given_up(start_collector: Callable[..., Collector]) -> None:
    collector = start_collector(settings=APART, changes="from collector import writer_process\nwriter_process.PATIENCE_SECONDS = 3")
    before = writers(collector)
    for number in before:
        os.kill(number, signal.SIGSTOP)
    for _ in range(4):  # whichever of them each is handed to
        assert send(collector) == 202
    assert set(before) - set(writers(collector))


@contextlib.contextmanager
def holding(url: str) -> Iterator[Connection]:
    """Keep everybody from writing, by the connection that is returned."""
    database = Database(url)
    try:
        with database.write() as tx:
            if tx.engine == "postgresql":
                tx.run("LOCK TABLE identities IN EXCLUSIVE MODE")
            yield tx
    finally:
        database.close()


def read_by(process: int) -> str:
    """How much a process has read so far (proc(5), `rchar`): who waits for work reads nothing."""
    return Path(f"/proc/{process}/io").read_text("ascii").splitlines()[0]


def test_they_end_with_whoever_started_them(start_collector: Callable[..., Collector]) -> None:
    collector = start_collector(settings=APART)
    load = Load(collector)
    load.wait_for_acknowledged(random.randint(1, 200))
    before = writers(collector)
    for number in [collector.program.process.pid, *children(collector.program.process.pid)]:
        os.kill(number, signal.SIGKILL)
    otherwise = "they go on, and nobody is there who started them"
    wait_until(lambda: not set(before) & set(members(collector.program.process.pid)), otherwise)
    load.wait_for_lost()
    collector.kill()
    collector.start()
    load.finish()
    check_ledger(collector, load)


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_nobody_replaces_the_file_while_one_may_still_write(start_collector: Callable[..., Collector]) -> None:
    collector = start_collector(settings=APART)
    (writer,) = writers(collector)
    os.kill(writer, signal.SIGSTOP)
    for number in [collector.program.process.pid, *children(collector.program.process.pid)]:
        os.kill(number, signal.SIGKILL)
    wait_until(lambda: members(collector.program.process.pid) == [writer])
    with pytest.raises(Occupied, match="is in use"):
        Occupancy(collector.database_url, alone=True)
    os.kill(writer, signal.SIGCONT)
    wait_until(lambda: members(collector.program.process.pid) == [])
    Occupancy(collector.database_url, alone=True).close()


def test_an_order_to_all_processes_at_once_costs_nothing_that_was_taken(start_collector: Callable[..., Collector]) -> None:
    """As supervisors give it, and a terminal's Ctrl-C."""
    collector = start_collector(settings=APART)
    load = Load(collector)
    load.wait_for_acknowledged(300)
    os.killpg(collector.program.process.pid, signal.SIGTERM)
    assert collector.program.process.wait(STOP_SECONDS) == 0
    load.abandon()
    assert members(collector.program.process.pid) == []
    assert load.statuses[503] == 0, load.summary()
    check_acknowledged(collector, load)
    with reading(collector.database_url) as connection:
        assert stored(connection).keys() == load.acknowledged


def test_one_that_ended_while_nobody_asked_costs_nobody_an_answer(start_collector: Callable[..., Collector]) -> None:
    collector = start_collector(settings=APART)
    send(collector)
    before = writers(collector)
    for number in before:
        os.kill(number, signal.SIGKILL)
    wait_until(lambda: not set(before) & set(members(collector.program.process.pid)))
    for _ in range(4):
        assert send(collector) == 202


def test_the_bound_on_new_visitors_holds_whoever_writes(start_collector: Callable[..., Collector]) -> None:
    collector = start_collector(settings={**APART, "LEADLIGHT_NEW_LEADS_PER_MINUTE": "5"})
    answers = [send(collector) for _ in range(11)]
    assert answers.count(202) in range(5, 11), "a new minute may have begun once"
    assert set(answers) == {202, 429}


def send(collector: Collector) -> int:
    sender = f"{secrets.token_urlsafe(16)}.{secrets.token_urlsafe(16)}"
    return collector.client.post_json("/collect", envelope(collector.site_key, sender, new_event("came"))).status


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


@pytest.mark.parametrize("broken", ["no such program", "no process", "another edition"])
def test_where_none_can_be_started_the_process_that_serves_writes(
    broken: str, database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    if broken == "no such program":
        monkeypatch.setattr(writer_process, "_MODULE", "collector.no_such_module")
    elif broken == "no process":
        monkeypatch.setattr(sys, "executable", "/no/such/python")
    else:
        monkeypatch.setattr(processes, "EDITION", "of yesterday")
    settings = settings_for(database.url)
    partner = WriterProcess(settings, database, Occupancy(database.url), clock, NewPeople(100))
    writer = Writer(database, Echo(), queue_limit=10, group_limit=10, partners=[partner])
    try:
        assert [writer.record(1, number) for number in range(3)] == [0, 1, 2]
    finally:
        writer.close()


def test_a_number_too_large_to_be_handed_over_is_written_by_the_process_that_serves(database: Database, clock: FakeClock) -> None:
    settings = settings_for(database.url)
    partner = WriterProcess(settings, database, Occupancy(database.url), clock, NewPeople(100))
    writer = Writer(database, Echo(), queue_limit=10, group_limit=10, partners=[partner])
    payload = [Submission(owner=(USER, "u"), changes=[AttributeChange({"large": 2**64}, 1)])]
    try:
        assert writer.record(1, payload) == payload
    finally:
        writer.close()


@pytest.mark.parametrize("engine", ["sqlite"])
def test_one_that_starts_while_the_file_is_away_makes_none_in_its_place(database: Database, clock: FakeClock, tmp_path: Path) -> None:
    partner = WriterProcess(settings_for(f"sqlite:///{tmp_path / 'away.db'}"), database, Occupancy(database.url), clock, NewPeople(100))
    try:
        with pytest.raises(ElsewhereError):
            partner.commit(1, [[]])
        assert not (tmp_path / "away.db").exists()
    finally:
        partner.close()


def test_a_database_that_cannot_be_opened_is_said_to_be_the_fault(database: Database, clock: FakeClock) -> None:
    elsewhere = "postgresql://127.0.0.1:1/nothing" if database.engine == "postgresql" else "sqlite:////no/such/folder/leadlight.db"
    settings = settings_for(elsewhere)
    partner = WriterProcess(settings, database, Occupancy(database.url), clock, NewPeople(100))
    try:
        with pytest.raises(ElsewhereError) as failed:
            partner.commit(1, [[]])
        assert is_unavailable(failed.value)
        assert reason(failed.value) == ("FileNotFoundError" if database.engine == "sqlite" else "OperationalError")
    finally:
        partner.close()


def test_what_ends_two_processes_is_written_by_the_process_that_serves(
    database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where there is no memory for them."""
    partner = WriterProcess(settings_for(database.url), database, Occupancy(database.url), clock, NewPeople(100))
    handed, ended = writer_process.send, 0

    def hand_over(target: IO[bytes], message: bytes) -> None:
        nonlocal ended
        if b"deadly" in message:
            ended += 1
            assert partner._process is not None
            partner._process.kill()
        else:
            handed(target, message)

    monkeypatch.setattr(writer_process, "send", hand_over)
    writer = Writer(database, Echo(), queue_limit=10, group_limit=10, partners=[partner])
    payload = [Submission(owner=(USER, "deadly"))]
    try:
        assert writer.record(1, payload) == payload
        assert ended == 2
        assert writer.record(1, payload) == payload
        assert ended == 2, "they rest"
    finally:
        writer.close()


def settings_for(url: str) -> Settings:
    return Settings(database_url=url, secret_key=(SECRET,))


class Echo:
    """A bulk whose results are its payloads."""

    def prepare(self, site, payloads) -> None:
        pass

    def write(self, tx, site, payloads, prepared) -> list[object]:
        return list(payloads)

    def committed(self, site, results) -> None:
        pass

    def halves(self, payload) -> None:
        return None
