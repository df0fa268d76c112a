"""What has a connection of its own, beside the pool: locks that one process holds, statements that no transaction may hold."""

import threading
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from collector.storage.database import Database
from tests.support.postgres import new_database
from tests.support.proxy import Proxy

LOCK = 1
SECONDS = 30


@pytest.fixture
def url(postgres_url: str) -> Iterator[str]:
    with new_database(postgres_url) as made:
        yield made


@pytest.fixture
def proxy(url: str) -> Iterator[Proxy]:
    made = Proxy(int(conninfo_to_dict(url)["port"]))
    yield made
    made.close()


@pytest.fixture
def far(url: str, proxy: Proxy) -> Iterator[Database]:
    """The database by way of a network that may fall silent."""
    made = Database(f"postgresql://postgres@127.0.0.1:{proxy.port}/{url.rpartition('/')[2]}")
    yield made
    made.close()


def ends(work: Callable[[], None], proxy: Proxy) -> bool:
    """Say whether a thread that does this ends by itself, whatever it raises; one that does not is helped out."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(SECONDS)
    ended = not thread.is_alive()
    proxy.cut()
    thread.join(SECONDS)
    return ended


def test_who_gives_a_lock_back_into_a_silent_network_does_not_wait_for_ever(far: Database, proxy: Proxy) -> None:
    held: list[bool] = []

    def hold() -> None:
        with far.alone(LOCK) as alone:
            held.append(alone)
            proxy.fall_silent()

    assert ends(hold, proxy)
    assert held == [True]


def test_a_statement_that_gets_no_answer_is_given_up(url: str, far: Database, proxy: Proxy) -> None:
    failed: list[Exception] = []

    def run() -> None:
        try:
            far.run_alone("SELECT pg_sleep(300)")
        except psycopg.OperationalError as error:
            failed.append(error)

    def silence() -> None:
        with psycopg.connect(url, autocommit=True) as near:
            while not near.execute(
                "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
            ).fetchall():
                time.sleep(0.01)
        proxy.fall_silent()

    threading.Thread(target=silence, daemon=True).start()
    assert ends(run, proxy)
    assert len(failed) == 1


def test_the_server_too_soon_notices_that_nobody_is_there_any_more(url: str) -> None:
    """Or it would keep a lock of whoever was cut off for two hours, by the default of Linux."""
    names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout")
    columns = ", ".join(f"current_setting('{name}') AS {name}" for name in names)
    database = Database(url)
    try:
        database.run_alone(f"CREATE TABLE found AS SELECT {columns}")
        with database.read() as connection:
            assert connection.rows("SELECT * FROM found") == [("10", "5", "3", "20000")]
    finally:
        database.close()


def test_a_statement_ends_at_the_time_that_it_has(url: str) -> None:
    database = Database(url)
    try:
        with pytest.raises(psycopg.errors.QueryCanceled):
            database.run_alone("SELECT pg_sleep(60)", seconds=1)
    finally:
        database.close()
