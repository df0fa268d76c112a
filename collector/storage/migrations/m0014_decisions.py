"""What was decided about messages that were meant for somebody, hour by hour, for a while."""

from collector.storage.database import Connection
from collector.storage.migrations import translated

_STATEMENTS = [
    # `hour` is counted since 1970 UTC, `last_at` in ms.
    """CREATE TABLE decisions (
        site BIGINT NOT NULL, identity BIGINT NOT NULL, message BIGINT NOT NULL, outcome STRING NOT NULL, hour BIGINT NOT NULL,
        times BIGINT NOT NULL, last_at BIGINT NOT NULL, PRIMARY KEY (site, identity, message, outcome, hour)) CLUSTERED""",
    "CREATE INDEX decisions_hour ON decisions (site, hour)",
]
# What SQLite's planner is told of table and index, as of the day this step was released.
_SHAPES = (("decisions", "5000000 5000000 20 5 3 1"), ("decisions_hour", "5000000 5000000 7000"))


def apply(tx: Connection) -> None:
    """Make the table, and tell SQLite's planner of it."""
    for statement in translated(_STATEMENTS, tx.engine):
        tx.run(statement)
    if tx.engine == "sqlite":
        for index, shape in _SHAPES:
            tx.run("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('decisions', ?, ?)", (index, shape))
        tx.run("ANALYZE sqlite_schema")
