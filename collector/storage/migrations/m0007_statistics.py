"""SQLite's planner is told what a grown site looks like.

The figures are those of the day this step was released: `storage.statistics` may say something else by now.
"""

from collector.storage.database import Connection

_PEOPLE = 1_000_000
_TOTALS = 10 * _PEOPLE
_WEEK = 1_500_000

# By table and index: rows, then rows for each value of the first column, of the first two, and so on.
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
    ("delivery_links", "delivery_links"): (_PEOPLE // 10, _PEOPLE // 10, 2, 2, 1, 1),
    ("tombstones", "tombstones"): (10_000, 10_000, 1),
    ("deletions", "deletions"): (10, 10, 1),
    ("names", "names"): (1_000, 1_000, 1),
    ("names", "names_text"): (1_000, 1_000, 500, 1),
}


def apply(tx: Connection) -> None:
    """Write the statistics of every table there is, in the place of what was there. PostgreSQL keeps its own."""
    if tx.engine != "sqlite":
        return
    tx.run("ANALYZE sites")  # makes the table of statistics
    present = {row[0] for row in tx.rows("SELECT name FROM sqlite_master WHERE type IN ('table', 'index')")}
    shapes = {(table, index): shape for (table, index), shape in _SHAPES.items() if {table, index} <= present}
    for table in present:
        if table.removeprefix("events_").isdigit():
            shapes[table, table] = (_WEEK, _WEEK, _WEEK, 1)
            shapes[table, f"{table}_identity"] = (_WEEK, _WEEK, 14, 1)
    for (table, index), shape in sorted(shapes.items()):
        tx.run("DELETE FROM sqlite_stat1 WHERE tbl = ? AND idx = ?", (table, index))
        tx.run("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)", (table, index, " ".join(map(str, shape))))
    tx.run("ANALYZE sqlite_schema")  # reads them
