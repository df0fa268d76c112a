"""Pruning and deletion: how far a closed slice has been added to the totals, when an overflow event arrived, what is still to be wiped.

The journal of merges can be asked for a lead, and says who undid a merge.
"""

from collector.storage.database import Connection
from collector.storage.migrations import translated


def apply(tx: Connection) -> None:
    """Change the schema. Collectors of the version before may go on writing meanwhile: everything here is new to them."""
    for statement in translated(_STATEMENTS, tx.engine):
        tx.run(statement)
    if tx.engine == "postgresql":
        tx.run("ALTER TABLE events ADD COLUMN arrived_at BIGINT")
    elif tx.row("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'events_0'"):
        tx.run("ALTER TABLE events_0 ADD COLUMN arrived_at BIGINT")


_STATEMENTS = [
    # The counts of a closed slice stand in base_* for the identities up to `moved`, included; for the others in its rows.
    """CREATE TABLE slice_sites (
        site BIGINT NOT NULL, slice BIGINT NOT NULL, moved BIGINT NOT NULL, PRIMARY KEY (site, slice)) CLUSTERED""",
    # Deleted identities whose events are still being wiped.
    """CREATE TABLE deletions (
        site BIGINT NOT NULL, identity BIGINT NOT NULL, at BIGINT NOT NULL, PRIMARY KEY (site, identity)) CLUSTERED""",
    "CREATE INDEX merges_of_lead ON merges (site, lead)",
    "ALTER TABLE merges ADD COLUMN undone_by STRING",
]
