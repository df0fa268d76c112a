"""SQLite's planner is told what a grown site looks like."""

from collector.storage import statistics
from collector.storage.database import Connection


def apply(tx: Connection) -> None:
    """Write the statistics."""
    statistics.seed(tx)
