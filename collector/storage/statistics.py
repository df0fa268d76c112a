"""What SQLite's planner is told about the tables: the shape of a grown site, whatever is stored yet.

Every key begins with the site, and without statistics SQLite takes a site to be ten rows: it then reads all that a site has instead of
using the index that names the person. Statistics of a grown site are written by hand when a table is made, so that plans are the same
on the first day and after a million people. PostgreSQL keeps its own.
"""

from collector.storage.database import Connection

_PEOPLE = 1_000_000
_TOTALS = 10 * _PEOPLE
_WEEK = 1_500_000

# By table and index (the table's own name for the key of a clustered one): rows, then rows for each value of the first column, of the
# first two, and so on.
_SHAPES: dict[tuple[str, str], tuple[int, ...]] = {
    ("identities", "identities"): (_PEOPLE, _PEOPLE, 1),
    ("identities", "identities_value"): (_PEOPLE, _PEOPLE, _PEOPLE // 2, 1),
    ("identities", "identities_public"): (_PEOPLE, _PEOPLE, 1),
    ("identities", "identities_principal"): (_PEOPLE, _PEOPLE, 2),
    ("totals", "totals"): (_TOTALS, _TOTALS, _PEOPLE // 4, 1),
    ("totals", "totals_identity"): (_TOTALS, _TOTALS, 10, 1),
    ("attributes", "attributes"): (_PEOPLE, _PEOPLE, _PEOPLE // 5, 1),
    ("attributes", "attributes_identity"): (_PEOPLE, _PEOPLE, 4, 1),
    ("attributes", "attributes_email"): (_PEOPLE // 5, _PEOPLE // 5, 1),
    ("visits", "visits"): (2 * _PEOPLE, 2 * _PEOPLE, 4, 1),
    ("merges", "sqlite_autoindex_merges_1"): (_PEOPLE // 4, _PEOPLE // 4, 1),
    ("merges", "merges_lead"): (_PEOPLE // 4, _PEOPLE // 4, 1),
    ("merges", "merges_of_lead"): (_PEOPLE // 4, _PEOPLE // 4, 1),
    ("merges", "merges_target"): (_PEOPLE // 4, _PEOPLE // 4, 2),
    ("deliveries", "deliveries"): (_PEOPLE, _PEOPLE, 4, 2, 1),
    ("deliveries", "deliveries_message"): (_PEOPLE, _PEOPLE, _PEOPLE // 20, 1),
    ("deliveries", "deliveries_goal"): (2 * _PEOPLE, 2 * _PEOPLE, _PEOPLE // 10, 1),
    ("delivery_links", "delivery_links"): (_PEOPLE // 10, _PEOPLE // 10, 2, 2, 1, 1),
    ("decisions", "decisions"): (5 * _PEOPLE, 5 * _PEOPLE, 20, 5, 3, 1),
    ("decisions", "decisions_hour"): (5 * _PEOPLE, 5 * _PEOPLE, 7_000),
    ("tombstones", "tombstones"): (10_000, 10_000, 1),
    ("deletions", "deletions"): (10, 10, 1),
    ("former_addresses", "former_addresses"): (10_000, 10_000, 2, 1),
    ("former_addresses", "former_addresses_mac"): (10_000, 10_000, 1),
    ("auto_message_versions", "auto_message_versions"): (1_000, 1_000, 5, 1),
    ("handovers", "handovers"): (1_000, 1_000, 1),
    ("handovers", "handovers_identity"): (1_000, 1_000, 2),
    ("simulations", "simulations"): (1_000, 1_000, 1),
    ("simulations", "simulations_message"): (1_000, 1_000, 5, 1),
    ("simulations", "simulations_running"): (1, 1),
    ("names", "names"): (1_000, 1_000, 1),
    ("names", "names_text"): (1_000, 1_000, 500, 1),
}


def seed(tx: Connection) -> None:
    """Write the statistics of every table there is, in the place of what was there. Does nothing on PostgreSQL."""
    if tx.engine != "sqlite":
        return
    tx.run("ANALYZE sites")  # makes the table of statistics
    present = {row[0] for row in tx.rows("SELECT name FROM sqlite_master WHERE type IN ('table', 'index')")}
    shapes = {(table, index): shape for (table, index), shape in _SHAPES.items() if {table, index} <= present}
    for table in present:
        if table.removeprefix("events_").isdigit():
            shapes |= _of_slice(int(table.removeprefix("events_")))
    _write(tx, shapes)


def seed_slice(tx: Connection, number: int) -> None:
    """Write the statistics of a slice that was just made."""
    if tx.engine == "sqlite" and tx.row("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_stat1'"):
        _write(tx, _of_slice(number))


def _of_slice(number: int) -> dict[tuple[str, str], tuple[int, ...]]:
    table = f"events_{number}"
    return {(table, table): (_WEEK, _WEEK, _WEEK, 1), (table, f"{table}_identity"): (_WEEK, _WEEK, 14, 1)}


def _write(tx: Connection, shapes: dict[tuple[str, str], tuple[int, ...]]) -> None:
    for (table, index), shape in sorted(shapes.items()):
        tx.run("DELETE FROM sqlite_stat1 WHERE tbl = ? AND idx = ?", (table, index))
        tx.run("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)", (table, index, " ".join(map(str, shape))))
    tx.run("ANALYZE sqlite_schema")  # reads them
