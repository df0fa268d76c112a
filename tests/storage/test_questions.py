"""Several questions at once: each is answered as if it were asked alone."""

from collections.abc import Iterator

import pytest

from collector.storage.database import Database
from collector.storage.questions import Question

TEXTS = ("", "plain", "\\x41", "Éva <b> \u2028 \U0001f600", '"quoted" and \\')


@pytest.fixture
def things(database_url: str) -> Iterator[Database]:
    """A table with all that columns hold here."""
    database = Database(database_url)
    with database.write() as tx:
        blob, whole = ("bytea", "bigint") if database.engine == "postgresql" else ("BLOB", "INTEGER")
        tx.run(f"CREATE TABLE things (id {whole} PRIMARY KEY, text TEXT, bytes {blob}, number {whole})")
        for number, text in enumerate(TEXTS):
            tx.run(
                "INSERT INTO things VALUES (?, ?, ?, ?)",
                (number, text, text.encode() + (b"\x00\xff\\" if text else b""), 2**63 - 1 - number),
            )
        tx.run("INSERT INTO things VALUES (?, NULL, NULL, NULL)", (len(TEXTS),))
    yield database
    database.close()


ALL = Question("SELECT id, text, bytes, number FROM things WHERE id >= ? ORDER BY id", (0,), frozenset({"bytes"}))
NONE = Question("SELECT number, id FROM things WHERE id < ?", (0,))
ONE = Question("SELECT text FROM things WHERE id = ? AND text = ?", (1, "plain"))


def test_what_is_read_ahead_is_what_would_be_read(things: Database) -> None:
    with things.read() as connection:
        alone = [connection.asked(question) for question in (ALL, NONE, ONE)]
        connection.read_ahead(ALL, NONE, ONE)
        assert [connection.asked(question) for question in (ALL, NONE, ONE)] == alone
    assert alone[1:] == [[], [("plain",)]]


def test_a_server_that_writes_bytes_in_its_older_form_is_understood(things: Database) -> None:
    with things.read() as connection:
        if things.engine == "postgresql":
            connection.run("SET bytea_output = 'escape'")
        connection.read_ahead(ALL)
        assert connection.asked(ALL)[1][2] == b"plain\x00\xff\\"


def test_an_answer_serves_once(things: Database) -> None:
    with things.read() as connection:
        connection.read_ahead(ONE)
        with things.write() as tx:
            tx.run("DELETE FROM things WHERE id = 1")
        assert [connection.asked(ONE), connection.asked(ONE)] == [[("plain",)], []]


def test_another_question_is_asked_anew(things: Database) -> None:
    with things.read() as connection:
        connection.read_ahead(ONE)
        assert connection.asked(ONE._replace(parameters=(2, "plain"))) == []
