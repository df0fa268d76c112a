"""The group commit: acknowledged means committed, and one failure costs nobody else."""

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import psycopg
import pytest

from collector.ingest.failures import described
from collector.storage.database import Connection, Database
from collector.storage.writer import Overloaded, Writer
from tests.support.postgres import new_database


class Rows:
    """A bulk that inserts numbers; a negative one is poison."""

    def __init__(self) -> None:
        self.groups: list[int] = []
        self.heard = 0

    def prepare(self, site, payloads) -> None:
        pass

    def committed(self, site, results) -> None:
        self.heard += len(results)

    def halves(self, payload) -> None:
        return None

    def write(self, tx: Connection, site: int, payloads, prepared) -> list[int]:
        self.groups.append(len(payloads))
        for number in payloads:
            tx.run("INSERT INTO numbers (number) VALUES (?)", (number,))
        return list(payloads)


@pytest.fixture
def database(database_url: str):
    database = Database(database_url)
    with database.write() as tx:
        tx.run("CREATE TABLE numbers (number BIGINT PRIMARY KEY CHECK (number >= 0))")
    yield database
    database.close()


@contextmanager
def busy(writer: Writer, threads: int) -> Iterator[tuple[ThreadPoolExecutor, Callable[[], None]]]:
    """Keep the writer at work, so that what is submitted waits, until the given call releases it."""
    entered, gate = threading.Event(), threading.Event()

    def hold(tx: Connection) -> None:
        entered.set()
        gate.wait(30)

    with ThreadPoolExecutor(threads) as pool:
        pool.submit(writer.run, 1, hold)
        entered.wait(30)
        try:
            yield pool, gate.set
        finally:
            gate.set()


def wait_for(writer: Writer, units: int) -> None:
    """Wait until so many units stand in the queue."""
    deadline = time.monotonic() + 30
    while writer.waiting() < units:
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


def stored(database: Database) -> list[int]:
    with database.read() as connection:
        return [row[0] for row in connection.rows("SELECT number FROM numbers ORDER BY number")]


def test_what_is_answered_is_committed(database: Database) -> None:
    writer = Writer(database, Rows(), queue_limit=10, group_limit=10)
    assert writer.record(1, 7) == 7
    assert stored(database) == [7]
    writer.close()


def test_waiting_requests_share_a_commit(database: Database) -> None:
    bulk = Rows()
    writer = Writer(database, bulk, queue_limit=1_000, group_limit=100)
    with busy(writer, 51) as (pool, release):
        answers = [pool.submit(writer.record, 1, number) for number in range(50)]
        wait_for(writer, 50)
        release()
        assert sorted(answer.result() for answer in answers) == list(range(50))
    assert bulk.groups == [50]
    writer.close()


def test_on_postgresql_another_thread_goes_on_while_one_commits(postgres_url: str) -> None:
    with new_database(postgres_url) as url:
        database = Database(url)
        with database.write() as tx:
            tx.run("CREATE TABLE numbers (number BIGINT PRIMARY KEY)")
        writer = Writer(database, Rows(), queue_limit=10, group_limit=10, threads=2)
        with busy(writer, 1) as (_, release):
            assert writer.record(1, 7) == 7
            release()
        writer.close()
        assert not writer.alive()
        database.close()


def test_several_threads_write_all_that_was_queued_before_they_stop(database: Database) -> None:
    writer = Writer(database, Rows(), queue_limit=1_000, group_limit=7, threads=3)
    with ThreadPoolExecutor(60) as pool:
        answers = [pool.submit(writer.record, 1, number) for number in range(60)]
        assert sorted(answer.result() for answer in answers) == list(range(60))
    writer.close()
    assert stored(database) == list(range(60))


def test_one_poisonous_request_fails_alone(database: Database) -> None:
    bulk = Rows()
    writer = Writer(database, bulk, queue_limit=1_000, group_limit=100)
    with busy(writer, 51) as (pool, release):
        answers = {number: pool.submit(writer.record, 1, number) for number in [*range(30), -1]}
        wait_for(writer, 31)
        release()
        assert answers[-1].exception() is not None
        assert [answers[number].result() for number in range(30)] == list(range(30))
    assert stored(database) == list(range(30))
    assert bulk.heard == 30
    writer.close()


def test_work_that_raises_undoes_its_own_part_only(database: Database) -> None:
    writer = Writer(database, Rows(), queue_limit=10, group_limit=10)

    def fail(tx: Connection) -> None:
        tx.run("INSERT INTO numbers (number) VALUES (1)")
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        writer.run(1, fail)
    writer.run(1, lambda tx: tx.run("INSERT INTO numbers (number) VALUES (2)"))
    assert stored(database) == [2]
    writer.close()


def test_a_full_queue_says_so_and_writes_nothing(database: Database) -> None:
    writer = Writer(database, Rows(), queue_limit=1, group_limit=10)
    with busy(writer, 2) as (pool, release):
        waiting = pool.submit(writer.record, 1, 1)
        wait_for(writer, 1)
        with pytest.raises(Overloaded):
            writer.record(1, 2)
        release()
        assert waiting.result() == 1
    assert stored(database) == [1]
    writer.close()


def test_closing_writes_what_is_queued_and_takes_no_more(database: Database) -> None:
    writer = Writer(database, Rows(), queue_limit=10, group_limit=10)
    writer.record(1, 1)
    writer.close()
    with pytest.raises(Overloaded):
        writer.record(1, 2)
    assert stored(database) == [1]


def test_settings_that_survive_a_power_cut_are_in_force(database: Database) -> None:
    with database.write() as tx:
        if tx.engine == "sqlite":
            assert tx.value("PRAGMA journal_mode") == "wal"
            assert tx.value("PRAGMA synchronous") == 2
            assert tx.value("PRAGMA busy_timeout") == 30_000
            with pytest.raises(sqlite3.OperationalError, match="within a transaction"):
                tx.run("BEGIN IMMEDIATE")
        else:
            assert tx.value("SHOW synchronous_commit") == "on"
            assert tx.value("SHOW fsync") == "on"
            assert tx.value("SHOW transaction_isolation") == "read committed"


@pytest.mark.parametrize(("usual", "kept"), [("off", "on"), ("local", "local"), ("remote_apply", "remote_apply")])
def test_a_role_that_does_not_wait_for_its_commits_does_so_here(postgres_url: str, usual: str, kept: str) -> None:
    with new_database(postgres_url) as url:
        name = url.rpartition("/")[2]
        with closing(Database(url)) as database:
            database.transact(lambda tx: tx.run(f'ALTER DATABASE "{name}" SET synchronous_commit = {usual}'))
        with closing(Database(url)) as database, database.write() as tx:
            assert tx.value("SHOW synchronous_commit") == kept


def test_a_writer_holds_the_write_lock_from_its_beginning(database: Database) -> None:
    if database.engine != "sqlite":
        return
    with database.write():
        other = sqlite3.connect(database.url.removeprefix("sqlite:///"), timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()


def test_a_value_the_database_cannot_take_fails_alone_and_is_no_outage(database: Database) -> None:
    with database.write() as tx:
        tx.run("CREATE TABLE long_keys (text TEXT PRIMARY KEY)")
    writer = Writer(database, Rows(), queue_limit=100, group_limit=100)
    incompressible = "".join(chr(0x4E00 + (number * 7919) % 20_000) for number in range(4_000))
    if database.engine == "postgresql":
        with pytest.raises(Exception, match="index row") as failed:
            writer.run(1, lambda tx: tx.run("INSERT INTO long_keys (text) VALUES (?)", (incompressible,)))
        assert not isinstance(failed.value, Overloaded)
        with pytest.raises(Exception, match="number of parameters") as failed:  # its driver does not even send that
            writer.run(1, lambda tx: tx.value(f"SELECT 1 WHERE 1 IN ({', '.join('?' * 70_000)})", list(range(70_000))))
        assert not isinstance(failed.value, Overloaded)
    with pytest.raises(Exception, match="no_such_table") as failed:
        writer.run(1, lambda tx: tx.run("INSERT INTO no_such_table (a) VALUES (1)"))
    assert not isinstance(failed.value, Overloaded)
    assert writer.record(1, 1) == 1
    writer.close()


@pytest.mark.parametrize("limit", ["statement_timeout", "transaction_timeout"])
def test_who_takes_longer_than_the_role_may_is_to_come_again(postgres_url: str, limit: str) -> None:
    with new_database(postgres_url) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f'ALTER DATABASE "{url.rpartition("/")[2]}" SET {limit} = 300'.encode())
        database = Database(url)
        writer = Writer(database, Rows(), queue_limit=10, group_limit=10)
        try:
            with pytest.raises(Overloaded):
                writer.run(1, lambda tx: tx.run("SELECT pg_sleep(30)"))
            assert writer.run(1, lambda tx: tx.value("SELECT 1")) == 1
        finally:
            writer.close()
            database.close()


def test_a_limit_of_ones_own_is_no_outage_and_costs_no_connection(postgres_url: str) -> None:
    """Guests give up after a moment: that is logged with its place, and the next one is lent the same connection."""
    with new_database(postgres_url) as url:
        database = Database(url, statement_ms=100)
        try:
            with database.read() as connection:
                number = connection.value("SELECT pg_backend_pid()")
            with pytest.raises(psycopg.errors.QueryCanceled) as raised, database.read() as connection:
                connection.run("SELECT pg_sleep(30)")
            assert described(raised.value).startswith("QueryCanceled\n")
            with database.read() as connection:
                assert connection.value("SELECT pg_backend_pid()") == number
        finally:
            database.close()


def test_a_writer_that_dies_leaves_nobody_waiting(database: Database) -> None:
    writer = Writer(database, Rows(), queue_limit=100, group_limit=100)

    def die(tx: Connection) -> None:
        raise SystemExit

    threading.excepthook, before = (lambda _: None), threading.excepthook
    try:
        with pytest.raises(Overloaded):
            writer.run(1, die)
    finally:
        threading.excepthook = before
    with pytest.raises(Overloaded):
        writer.record(1, 1)
    assert not writer.alive()


def test_whether_commits_are_taken_is_told_by_a_trial_that_ran_not_by_a_group_that_failed_before_it(database: Database) -> None:
    writer = Writer(database, Rows(), queue_limit=100, group_limit=100)
    entered, gate = threading.Event(), threading.Event()

    def full(tx: Connection) -> None:
        entered.set()
        gate.wait(30)
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    with ThreadPoolExecutor(2) as pool:
        gate.set()
        with pytest.raises(Overloaded):
            writer.run(1, full)
        assert not writer.takes(full), "what a trial meets itself counts"
        entered.clear()
        gate.clear()
        late = pool.submit(writer.run, 1, full)
        entered.wait(30)
        taken = pool.submit(writer.takes, lambda tx: tx.run("INSERT INTO numbers (number) VALUES (?)", (7,)))
        wait_for(writer, 1)
        gate.set()
        assert taken.result(30)
        assert isinstance(late.exception(30), Overloaded)
    assert stored(database) == [7]
    assert writer.takes(full), "nothing was refused since"
    writer.close()


def test_where_the_database_never_answers_nobody_waits_for_long(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.storage.writer._STUCK_SECONDS", 0.5)
    monkeypatch.setattr("collector.storage.writer._WATCH_SECONDS", 0.05)
    writer = Writer(database, Rows(), queue_limit=100, group_limit=100)
    entered, gate = threading.Event(), threading.Event()

    def hang(tx: Connection) -> None:
        entered.set()
        gate.wait(30)
        tx.run("INSERT INTO numbers (number) VALUES (?)", (7,))

    with ThreadPoolExecutor(2) as pool:
        under_way = pool.submit(writer.run, 1, hang)
        entered.wait(30)
        queued = pool.submit(writer.record, 1, 8)
        wait_for(writer, 1)
        while writer.alive():
            threading.Event().wait(0.01)
        assert isinstance(under_way.exception(30), Overloaded)
        assert isinstance(queued.exception(30), Overloaded)
        with pytest.raises(Overloaded):
            writer.record(1, 9)
        assert not writer.takes(lambda _: None)
        monkeypatch.setattr("collector.storage.writer._STUCK_SECONDS", 30)
        gate.set()
        while not writer.alive():
            threading.Event().wait(0.01)
        assert writer.takes(lambda _: None)
        assert writer.record(1, 9) == 9
    writer.close()
    assert stored(database) == [7, 9], "what was under way was committed after all"


@pytest.mark.parametrize("threads", [1, 2])
def test_a_writer_that_waits_for_ever_does_not_keep_the_process_from_ending(
    database: Database, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr("collector.storage.writer._STUCK_SECONDS", 0.5)
    monkeypatch.setattr("collector.storage.writer._JOIN_SECONDS", 0.01)
    writer = Writer(database, Rows(), queue_limit=100, group_limit=100, threads=threads)
    with busy(writer, 2) as (pool, _):
        queued = pool.submit(writer.record, 1, 1) if threads == 1 else None
        writer.close()
        assert queued is None or isinstance(queued.exception(30), Overloaded)
        with pytest.raises(Overloaded):
            writer.settle()
    with pytest.raises(Overloaded):
        writer.record(1, 1)


def test_in_a_process_that_was_forked_from_it_a_writer_takes_nothing(database: Database) -> None:
    writer = Writer(database, Rows(), queue_limit=10, group_limit=10)
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        try:
            writer.record(1, 7)
        except RuntimeError:
            os._exit(17)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 17
    assert writer.record(1, 8) == 8
    writer.close()


def test_one_thread_that_waits_for_ever_costs_those_it_was_at_alone(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.storage.writer._STUCK_SECONDS", 0.5)
    monkeypatch.setattr("collector.storage.writer._WATCH_SECONDS", 0.05)
    with new_database(postgres_url) as url, closing(Database(url)) as database:
        database.transact(lambda tx: tx.run("CREATE TABLE numbers (number BIGINT PRIMARY KEY)"))
        writer = Writer(database, Rows(), queue_limit=10, group_limit=10, threads=2)
        entered, gate = threading.Event(), threading.Event()

        def hang(tx: Connection) -> None:
            entered.set()
            gate.wait(30)

        with ThreadPoolExecutor(1) as pool:
            hung = pool.submit(writer.run, 1, hang)
            entered.wait(30)
            assert isinstance(hung.exception(30), Overloaded)
            monkeypatch.setattr("collector.storage.writer._STUCK_SECONDS", 30)
            assert writer.alive()
            assert writer.record(1, 5) == 5
            gate.set()
        writer.close()


def test_a_thread_that_gathers_while_another_turns_everybody_away_goes_on(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.storage.writer._GATHER_SECONDS", 0.2)
    monkeypatch.setattr(Writer, "_enough", lambda _: 2)
    with new_database(postgres_url) as url, closing(Database(url)) as database:
        database.transact(lambda tx: tx.run("CREATE TABLE numbers (number BIGINT PRIMARY KEY)"))
        writer = Writer(database, Rows(), queue_limit=10, group_limit=10, threads=2)
        entered, gate = threading.Event(), threading.Event()

        def full(tx: Connection) -> None:
            entered.set()
            gate.wait(30)
            tx.run("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '53100'; END $$")

        with ThreadPoolExecutor(2) as pool:
            failed = pool.submit(writer.run, 1, full)
            entered.wait(30)
            gathered = pool.submit(writer.record, 2, 5)
            wait_for(writer, 1)
            gate.set()
            for one in (failed, gathered):
                assert isinstance(one.exception(30), Overloaded)
        threading.Event().wait(0.5)  # until there was time to gather
        assert writer.alive()
        assert writer.record(2, 6) == 6
        writer.close()


def test_a_row_that_is_held_for_too_long_costs_its_own_site_alone(postgres_url: str) -> None:
    with new_database(postgres_url) as url:
        database = Database(url)
        with database.write() as tx:
            tx.run("CREATE TABLE numbers (number BIGINT PRIMARY KEY)")
        writer = Writer(database, Rows(), queue_limit=10, group_limit=10)
        with ThreadPoolExecutor(4) as pool, busy(writer, 1) as (_, release):

            def meet(tx: Connection) -> None:
                tx.run("SET LOCAL lock_timeout = '50ms'")
                tx.rows("SELECT pg_advisory_xact_lock(7)")

            with database.write() as held:
                held.rows("SELECT pg_advisory_xact_lock(7)")
                waits = [pool.submit(writer.run, 1, meet)]
                wait_for(writer, 1)
                waits.append(pool.submit(writer.record, 2, 6))
                wait_for(writer, 2)
                release()
                assert isinstance(waits[0].exception(30), Overloaded)
                assert waits[1].result(30) == 6
                assert writer.record(2, 7) == 7
        writer.close()
        database.close()


def test_bytes_that_wait_are_bounded_too(database: Database) -> None:
    writer = Writer(database, Rows(), queue_limit=100, group_limit=10, byte_limit=1_000)
    with busy(writer, 2) as (pool, release):
        waiting = pool.submit(writer.record, 1, 1, 5_000)
        wait_for(writer, 1)
        with pytest.raises(Overloaded):
            writer.record(1, 2, 1)
        release()
        assert waiting.result() == 1
    writer.close()


def test_who_waits_until_all_is_settled_waits_for_what_is_at_work_and_for_what_is_queued(database: Database) -> None:
    writer = Writer(database, Rows(), queue_limit=10, group_limit=10)
    with busy(writer, 3) as (pool, release):
        queued = pool.submit(writer.record, 1, 7)
        wait_for(writer, 1)
        settled = pool.submit(writer.settle)
        with pytest.raises(TimeoutError):
            settled.result(0.1)
        release()
        settled.result(30)
        assert (stored(database), queued.result(30)) == ([7], 7)
    writer.close()


def test_on_postgresql_it_waits_for_the_thread_that_is_at_work_though_another_is_free(postgres_url: str) -> None:
    with new_database(postgres_url) as url:
        database = Database(url)
        writer = Writer(database, Rows(), queue_limit=10, group_limit=10, threads=2)
        with busy(writer, 2) as (pool, release):
            writer.run(1, lambda _: None)
            settled = pool.submit(writer.settle)
            with pytest.raises(TimeoutError):
                settled.result(0.1)
            release()
            settled.result(30)
        writer.close()
        database.close()


def test_nothing_at_work_is_settled(database: Database) -> None:
    writer = Writer(database, Rows(), queue_limit=10, group_limit=10)
    writer.run(1, lambda _: None)
    writer.settle()
    writer.close()
    writer.settle()
