"""Databases of every earlier schema, and what stands in one."""

import re
import secrets
from typing import Any

from collector.storage.database import Connection, Database
from collector.storage.migrations import steps
from collector.values.clock import system_clock
from tests.storage.grown import Grown
from tests.storage.later import grow

STEPS = [number for number, _ in steps()]
NEWEST = STEPS[-1]
Columns = dict[str, list[str]]
"""The columns of each table."""
_COLUMNS = {
    "sqlite": "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c "
    "WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY m.name, c.cid",
    "postgresql": "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' "
    "ORDER BY table_name, ordinal_position",
}
_WEEK = re.compile("events_[1-9][0-9]*")


def installation(url: str, schema: int) -> Grown:
    """Make an installation in an empty database, as it stood when the version of a schema had run for a while."""
    site = Grown(secrets.token_urlsafe(32), system_clock())
    database = Database(url)
    try:
        with database.write() as tx:
            grow(site, tx, schema)
    finally:
        database.close()
    return site


def columns(connection: Connection) -> Columns:
    """Return the tables of the schema with their columns."""
    found: Columns = {}
    for table, column in connection.rows(_COLUMNS[connection.engine]):
        found.setdefault(table, []).append(column)
    return found


def is_week(table: str) -> bool:
    """Say whether a table is the slice of a week."""
    return _WEEK.fullmatch(table) is not None


def rows(connection: Connection, of: Columns) -> dict[str, list[Any]]:
    """Return what stands in these columns of each table."""
    return {table: sorted(connection.rows(f"SELECT {', '.join(names)} FROM {table}"), key=repr) for table, names in of.items()}


def totals(connection: Connection, site: int) -> list[tuple[Any, ...]]:
    """Return everybody's totals: the person's, and each identity's own."""
    return connection.rows(
        "SELECT name, identity, count, last, first, own_count, own_last, own_first FROM totals WHERE site = ? ORDER BY name, identity",
        (site,),
    )


def people(connection: Connection, site: int) -> list[tuple[Any, ...]]:
    """Return who is who."""
    return connection.rows("SELECT id, kind, value, principal_id, public_id FROM identities WHERE site = ? ORDER BY id", (site,))


def events(connection: Connection, site: int) -> dict[bytes, tuple[int, int]]:
    """Return identity and time of each event of somebody who is there, by id."""
    found = connection.rows(
        "SELECT e.id, e.identity, e.at FROM events e JOIN identities i ON i.site = e.site AND i.id = e.identity WHERE e.site = ?", (site,)
    )
    return {bytes(number): (identity, at) for number, identity, at in found}
