"""What a site has defined: messages, segments, rules. One may rest on another, so whoever changes one keeps the others as they are."""

from collector.storage.database import Connection


def hold(tx: Connection, site: int) -> None:
    """Let nobody else change a definition of this site before the end of the transaction; called before anything is looked at.

    What is found then stays true: a segment that a message asks for is there when the message is, and nobody asks for one that went.
    SQLite's one writer holds everything anyway.
    """
    tx.rows(f"SELECT 1 FROM sites WHERE id = ?{tx.lock_suffix()}", (site,))
