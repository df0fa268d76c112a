"""The feed of changes: one row a commit, naming the people whose numbers it changed, for those who keep a copy of them in memory."""

from collector.storage.database import Engine


def statements(engine: Engine) -> list[str]:
    """Return the statements in order.

    `position` is what orders commits: on SQLite, which has one writer, a number counted on; on PostgreSQL the transaction's id, of
    which every reader can tell whether it saw it. `at` (ms) is when, `people` row ids of 8 bytes each, the least byte first.
    """
    position = "BIGINT NOT NULL" if engine == "sqlite" else "XID8 NOT NULL DEFAULT pg_current_xact_id()"
    return [
        f"""CREATE TABLE changes (
            site BIGINT NOT NULL, position {position}, at BIGINT NOT NULL, people BYTES NOT NULL,
            PRIMARY KEY (site, position)) CLUSTERED""",
        # Rows up to this position, included, are missing: whoever stands before it has to begin anew.
        f"""CREATE TABLE changes_purged (
            site BIGINT NOT NULL PRIMARY KEY, position {position.partition(" DEFAULT")[0]})""",
    ]
