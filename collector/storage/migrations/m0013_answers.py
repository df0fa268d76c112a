"""Answers to the questions of messages."""

from collector.storage.database import Connection
from collector.storage.migrations import translated


def apply(tx: Connection) -> None:
    """Add the column: JSON text of what was answered first, NULL where nothing was, as older collectors leave it."""
    for statement in translated(["ALTER TABLE deliveries ADD COLUMN answer STRING"], tx.engine):
        tx.run(statement)
