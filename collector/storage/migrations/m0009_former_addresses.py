"""Addresses that users were known by before, as keyed digests, so that a deletion covers those too."""

from collector.storage import statistics
from collector.storage.database import Connection
from collector.storage.migrations import translated


def apply(tx: Connection) -> None:
    """Make the table, and tell SQLite's planner of it."""
    for statement in translated(_STATEMENTS, tx.engine):
        tx.run(statement)
    statistics.seed(tx)


_STATEMENTS = [
    """CREATE TABLE former_addresses (
        site BIGINT NOT NULL, identity BIGINT NOT NULL, mac BYTES NOT NULL, PRIMARY KEY (site, identity, mac)) CLUSTERED""",
    "CREATE INDEX former_addresses_mac ON former_addresses (site, mac)",
]
