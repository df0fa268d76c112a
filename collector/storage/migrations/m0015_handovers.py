"""Hand-overs of leads to other domains that were not used yet."""

from collector.storage.database import Connection
from collector.storage.migrations import translated

_STATEMENTS = [
    """CREATE TABLE handovers (
        site BIGINT NOT NULL, nonce BYTES NOT NULL, identity BIGINT NOT NULL, lead STRING NOT NULL, expires_at BIGINT NOT NULL,
        PRIMARY KEY (site, nonce)) CLUSTERED""",
    "CREATE INDEX handovers_identity ON handovers (site, identity)",
]
# What SQLite's planner is told of table and index, as of the day this step was released.
_SHAPES = (("handovers", "1000 1000 1"), ("handovers_identity", "1000 1000 2"))


def apply(tx: Connection) -> None:
    """Make the table, and tell SQLite's planner of it."""
    for statement in translated(_STATEMENTS, tx.engine):
        tx.run(statement)
    if tx.engine == "sqlite":
        for index, shape in _SHAPES:
            tx.run("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('handovers', ?, ?)", (index, shape))
        tx.run("ANALYZE sqlite_schema")
