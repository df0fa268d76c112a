"""Room in the pages of PostgreSQL's tables whose rows change all day, so that the next version of a row finds a place beside the last one.

Where it does, no index has to be told (a heap-only tuple); identities have four. Pages that are full already get room as rows leave them.
"""

from collector.storage.database import Engine

_ROOM = {"identities": 60, "totals": 80, "visits": 80}
"""How full a page is made by new rows, in percent."""


def statements(engine: Engine) -> list[str]:
    """Return the statements; SQLite changes rows in their places anyway."""
    if engine == "sqlite":
        return []
    return [f"ALTER TABLE {table} SET (fillfactor = {percent})" for table, percent in _ROOM.items()]
