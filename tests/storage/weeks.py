"""How versions that prune end weeks, kept as it was like all that earlier versions write."""

from collector.storage.database import Connection
from tests.storage.earlier import DAY, RETENTION, WEEK, make_view


def close_due(tx: Connection, now_ms: int) -> list[int]:
    """Let every week that is older than the timeline take no event any more, and return which were closed."""
    rows = tx.rows("SELECT slice FROM slices WHERE state = 'open' AND slice > 0 ORDER BY slice")
    due = [week for (week,) in rows if (week + 1) * WEEK + 2 * DAY <= now_ms - RETENTION]
    for week in due:
        if tx.engine == "postgresql":
            tx.run(f"ALTER TABLE events_{week} ADD CONSTRAINT slice_closed CHECK (false) NOT VALID")
        else:
            tx.run(f"CREATE TRIGGER events_{week}_closed BEFORE INSERT ON events_{week} BEGIN SELECT RAISE(ABORT, 'slice_closed'); END")
        tx.run("UPDATE slices SET state = 'closed' WHERE slice = ?", (week,))
    return due


def add_to_base(tx: Connection, site: int, week: int, after: int, upto: int) -> None:
    """Add what identities did in a closed week to the pruned part of their totals: those above a row id, up to another."""
    rows = tx.rows(
        f"SELECT name, identity, count(*), max(at), min(at) FROM events_{week} WHERE site = ? AND identity > ? AND identity <= ? "
        "GROUP BY name, identity ORDER BY name, identity",
        (site, after, upto),
    )
    for name, identity, count, last, first in rows:
        tx.run(
            "UPDATE totals SET base_count = base_count + ?, base_last = larger(coalesce(base_last, ?), ?), "
            "base_first = lesser(coalesce(base_first, ?), ?) WHERE site = ? AND name = ? AND identity = ?",
            (count, last, last, first, first, site, name, identity),
        )


def drop_week(tx: Connection, week: int) -> None:
    """Take a closed week's table away."""
    tx.run("UPDATE slices SET state = 'pruned' WHERE slice = ? AND state = 'closed'", (week,))
    if tx.engine == "sqlite":
        make_view(tx)
    tx.run(f"DROP TABLE IF EXISTS events_{week}")
