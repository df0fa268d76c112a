"""Addresses that users were known by before, as keyed digests, so that a deletion covers those too."""

from collector.storage.database import Connection
from collector.storage.migrations import translated

_STATEMENTS = [
    """CREATE TABLE former_addresses (
        site BIGINT NOT NULL, identity BIGINT NOT NULL, mac BYTES NOT NULL, PRIMARY KEY (site, identity, mac)) CLUSTERED""",
    "CREATE INDEX former_addresses_mac ON former_addresses (site, mac)",
]
# What SQLite's planner is told of table and index, as of the day this step was released.
_SHAPES = (("former_addresses", "10000 10000 2 1"), ("former_addresses_mac", "10000 10000 1"))


def apply(tx: Connection) -> None:
    """Make the table, and tell SQLite's planner of it."""
    for statement in translated(_STATEMENTS, tx.engine):
        tx.run(statement)
    if tx.engine == "sqlite":
        for index, shape in _SHAPES:
            tx.run("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('former_addresses', ?, ?)", (index, shape))
        tx.run("ANALYZE sqlite_schema")
