"""What the engines' own catalogues say of tables and indices."""

import re
from typing import NamedTuple

from tests.support.statements import plain
from tests.support.world import World

_COLUMNS = {
    "sqlite": (
        "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%'"
    ),
    "postgresql": "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'",
}
_KEYS = {
    "sqlite": (
        'SELECT m.name, l.name, l."unique", i.name FROM sqlite_master m, pragma_index_list(m.name) l, pragma_index_info(l.name) i '
        "WHERE m.type = 'table' ORDER BY m.name, l.name, i.seqno"
    ),
    "postgresql": (
        "SELECT t.relname, i.relname, x.indisunique, a.attname FROM pg_index x JOIN pg_class t ON t.oid = x.indrelid "
        "JOIN pg_class i ON i.oid = x.indexrelid CROSS JOIN unnest(x.indkey) WITH ORDINALITY AS k (number, place) "
        "JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.number "
        "WHERE t.relnamespace = 'public'::regnamespace ORDER BY t.relname, i.relname, k.place"
    ),
}
_DEFINITIONS = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL",
    "postgresql": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
}
# A key of one whole number needs no index of its own on SQLite.
_ROW_NUMBERS = (
    "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' AND c.pk AND c.type = 'INTEGER' "
    "AND (SELECT count(*) FROM pragma_table_info(m.name) o WHERE o.pk) = 1"
)


class Index(NamedTuple):
    """An index, or the key of a table; tables of weeks are all called `events`."""

    table: str
    unique: bool
    columns: tuple[str, ...]
    asked: frozenset[str] = frozenset()
    """Columns that decide whether a row is in it."""


def columns(world: World) -> dict[str, set[str]]:
    """The columns of each table."""
    found: dict[str, set[str]] = {}
    for table, column in world.rows(_COLUMNS[world.services.database.engine]):
        found.setdefault(plain(table), set()).add(column)
    return found


def of_sites(world: World) -> set[str]:
    """The tables whose rows belong to a site."""
    return {table for table, names in columns(world).items() if "site" in names}


def indices(world: World) -> set[Index]:
    """Every index there is, unique or not."""
    engine = world.services.database.engine
    known, definitions = columns(world), dict(world.rows(_DEFINITIONS[engine]))
    parts: dict[tuple[str, str, bool], list[str]] = {}
    for table, name, unique, column in world.rows(_KEYS[engine]):
        parts.setdefault((plain(table), name, bool(unique)), []).append(column)
    found = set()
    for (table, name, unique), key in parts.items():
        condition = definitions.get(name, "").partition(" WHERE ")[2]
        found.add(Index(table, unique, tuple(key), frozenset(re.findall(r"\w+", condition)) & known.get(table, set())))
    if engine == "sqlite":
        found |= {Index(table, True, (column,)) for table, column in world.rows(_ROW_NUMBERS)}
    return found
