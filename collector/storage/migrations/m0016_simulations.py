"""Simulations of messages: those under way, and what came of the others, for a while."""

from collector.storage.database import Connection
from collector.storage.migrations import translated

_STATEMENTS = [
    # Times in ms. `beat_at` is when its process was last heard of, `result` JSON.
    """CREATE TABLE simulations (
        site BIGINT NOT NULL, id STRING NOT NULL, message BIGINT NOT NULL, version INTEGER NOT NULL, days INTEGER NOT NULL,
        state STRING NOT NULL, progress INTEGER NOT NULL, started_at BIGINT NOT NULL, beat_at BIGINT NOT NULL, ended_at BIGINT,
        reason STRING, result STRING, PRIMARY KEY (site, id)) CLUSTERED""",
    "CREATE INDEX simulations_message ON simulations (site, message, started_at)",
    "CREATE UNIQUE INDEX simulations_running ON simulations (site) WHERE state = 'running'",
]
# What SQLite's planner is told of table and indices, as of the day this step was released.
_SHAPES = (("simulations", "1000 1000 1"), ("simulations_message", "1000 1000 5 1"), ("simulations_running", "1 1"))


def apply(tx: Connection) -> None:
    """Make the table, and tell SQLite's planner of it."""
    for statement in translated(_STATEMENTS, tx.engine):
        tx.run(statement)
    if tx.engine == "sqlite":
        for index, shape in _SHAPES:
            tx.run("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('simulations', ?, ?)", (index, shape))
        tx.run("ANALYZE sqlite_schema")
