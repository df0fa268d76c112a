"""How connections to a file are lent."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from peewee import OperationalError

from collector.storage.database import Database
from collector.storage.pools import FilePool


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[FilePool]:
    made = FilePool(str(tmp_path / "leadlight.db"), check_same_thread=False)
    yield made
    made.close_all()


def lent(pool: FilePool) -> sqlite3.Connection:
    """Borrow a connection and give it back."""
    assert pool.connect()
    found: sqlite3.Connection = pool.connection()
    assert pool.close()
    return found


def test_what_was_given_back_is_lent_again_to_any_thread(pool: FilePool) -> None:
    first = lent(pool)
    with ThreadPoolExecutor(1) as other:
        assert other.submit(lent, pool).result() is first
    assert lent(pool) is first


def test_threads_at_the_same_time_have_connections_of_their_own(pool: FilePool) -> None:
    together = Barrier(8)

    def borrow(_: int) -> sqlite3.Connection:
        pool.connect()
        together.wait()
        found: sqlite3.Connection = pool.connection()
        together.wait()
        pool.close()
        return found

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(borrow, range(8)))) == 8


def test_after_many_threads_at_the_same_time_a_few_connections_stay(pool: FilePool) -> None:
    together = Barrier(20)

    def borrow(_: int) -> sqlite3.Connection:
        pool.connect()
        together.wait()
        found: sqlite3.Connection = pool.connection()
        pool.close()
        return found

    def is_open(connection: sqlite3.Connection) -> bool:
        try:
            connection.execute("SELECT 1")
        except sqlite3.ProgrammingError:
            return False
        return True

    with ThreadPoolExecutor(20) as threads:
        assert sum(map(is_open, threads.map(borrow, range(20)))) == 8


def test_a_thread_that_has_one_keeps_it(pool: FilePool) -> None:
    assert pool.connect()
    assert not pool.connect(reuse_if_open=True)
    with pytest.raises(OperationalError):
        pool.connect()
    assert pool.close()
    assert not pool.close()


def test_what_was_ended_is_not_lent_again(pool: FilePool) -> None:
    first = lent(pool)
    pool.connect()
    assert pool.manual_close()
    with pytest.raises(sqlite3.ProgrammingError):
        first.execute("SELECT 1")
    assert lent(pool).execute("SELECT 1").fetchall() == [(1,)]


def test_none_is_given_back_in_the_middle_of_a_transaction(pool: FilePool) -> None:
    pool.connect()
    with pool.atomic(), pytest.raises(OperationalError):
        pool.close()
    assert pool.close()


def test_at_the_end_what_is_idle_ends(pool: FilePool) -> None:
    idle = lent(pool)
    pool.close_all()
    with pytest.raises(sqlite3.ProgrammingError):
        idle.execute("SELECT 1")


def test_at_the_end_what_another_thread_uses_is_left_to_it_and_ends_when_it_comes_back(pool: FilePool) -> None:
    with ThreadPoolExecutor(1) as other:
        other.submit(pool.connect).result()
        theirs = other.submit(pool.connection).result()
        pool.close_all()
        assert theirs.execute("SELECT 1").fetchone() == (1,)
        assert other.submit(pool.close).result()
    with pytest.raises(sqlite3.ProgrammingError):
        theirs.execute("SELECT 1")


def test_a_database_is_closed_while_threads_are_at_work_in_it(database_url: str) -> None:
    database = Database(database_url)
    asked, closed = Barrier(5), Barrier(5)

    def work() -> object:
        with database.write() as tx:
            tx.value("SELECT 1")
            asked.wait(30)
            closed.wait(30)
            return tx.value("SELECT 2")

    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(work) for _ in range(1 if database.engine == "sqlite" else 4)]
        for _ in range(4 - len(answers)):
            threads.submit(lambda: (asked.wait(30), closed.wait(30)))
        asked.wait(30)
        database.close()
        closed.wait(30)
        assert [answer.result(30) for answer in answers] == [2] * len(answers)
