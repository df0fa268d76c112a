"""Goals of messages: what a recipient has not reached yet, so that it can be looked for without reading everybody."""

from collector.storage.database import Connection
from collector.storage.migrations import translated

_STATEMENTS = [
    # 1 where the goal held at the receipt already, which does not count; NULL where the message had none.
    "ALTER TABLE deliveries ADD COLUMN goal_before SMALLINT",
    "CREATE INDEX deliveries_goal ON deliveries (site, message, claimed_at) WHERE goal_before = 0 AND goal_at IS NULL",
]
_SHAPE = "2000000 2000000 100000 1"
"""What SQLite's planner is told of the index, as of the day this step was released."""


def apply(tx: Connection) -> None:
    """Add the column and the index, and tell SQLite's planner of it."""
    for statement in translated(_STATEMENTS, tx.engine):
        tx.run(statement)
    if tx.engine == "sqlite":
        tx.run("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('deliveries', 'deliveries_goal', ?)", (_SHAPE,))
        tx.run("ANALYZE sqlite_schema")
