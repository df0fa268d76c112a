"""What messages were before they were edited."""

from collector.storage.database import Connection
from collector.storage.migrations import translated

_STATEMENTS = [
    """CREATE TABLE auto_message_versions (
        site BIGINT NOT NULL, message BIGINT NOT NULL, version INTEGER NOT NULL, definition STRING NOT NULL, until BIGINT NOT NULL,
        PRIMARY KEY (site, message, version)) CLUSTERED""",
]
_SHAPE = "1000 1000 5 1"
"""What SQLite's planner is told of the table, as of the day this step was released."""


def apply(tx: Connection) -> None:
    """Make the table, and tell SQLite's planner of it."""
    for statement in translated(_STATEMENTS, tx.engine):
        tx.run(statement)
    if tx.engine == "sqlite":
        tx.run("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('auto_message_versions', 'auto_message_versions', ?)", (_SHAPE,))
        tx.run("ANALYZE sqlite_schema")
