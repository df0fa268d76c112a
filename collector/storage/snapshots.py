"""The whole database as it stands at one moment, read while collectors write."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg

from collector.storage.database import Connection, Database
from collector.storage.slices import with_tables

_ATTEMPTS = 6
_MOST_LINES = 100


@contextmanager
def snapshot(database: Database) -> Iterator[Connection]:
    """Lend a connection that sees one moment; the tables of the slices there are then stay until it is given back."""
    with ExitStack() as stack:
        for attempt in range(_ATTEMPTS):
            with database.read() as connection:
                hold = [f"events_{number}" for number in with_tables(connection)]
            try:
                connection = stack.enter_context(database.snapshot(hold))
            except psycopg.errors.UndefinedTable:  # dropped between the two looks
                if attempt + 1 == _ATTEMPTS:
                    raise
            else:
                break
        yield connection


def event_tables(connection: Connection) -> set[int]:
    """Return the slices that have a table, by the catalogue and not by what is written down about them."""
    catalogue = (
        "SELECT name FROM sqlite_master WHERE type = 'table'"
        if connection.engine == "sqlite"
        else "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'events'::regclass::oid::text::oid"
    )
    if connection.engine == "postgresql":
        catalogue = (
            "SELECT c.relname FROM pg_class c JOIN pg_class p ON p.relnamespace = c.relnamespace "
            "WHERE p.oid = 'events'::regclass AND c.relkind = 'r'"
        )
    names = [str(row[0]) for row in connection.rows(catalogue)]
    return {int(name[7:]) for name in names if name.startswith("events_") and name[7:].isdigit()}
