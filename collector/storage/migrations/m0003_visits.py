"""What a person's visits add up to, on the principal's row, so that everybody's can be asked for at once."""

from collector.storage.database import Connection

_COLUMNS = ("visit_count", "visit_started_at", "visit_ended_at", "previous_visit_ended_at")


def apply(tx: Connection) -> None:
    """Change the schema. A collector of the version before leaves the new columns as they are; `domain.visits.mend` sees to them.

    The visits there are are folded at once on SQLite, whose only collector is about to start. On PostgreSQL others are writing, and
    every person would be locked until the last one is done.
    """
    for column in _COLUMNS:
        tx.run(f"ALTER TABLE identities ADD COLUMN {column} BIGINT")
    if tx.engine == "sqlite":
        tx.run(_FOLD)


_FOLD = """
WITH whole AS (
    SELECT i.site, i.principal_id AS person, v.visit, min(v.started_at) AS started_at,
        max(max(v.ended_at) / 60000 * 60000, min(v.started_at)) AS ended_at
    FROM visits v JOIN identities i ON i.site = v.site AND i.id = v.identity GROUP BY i.site, i.principal_id, v.visit),
ranked AS (
    SELECT whole.*, row_number() OVER (PARTITION BY site, person ORDER BY ended_at DESC, started_at DESC, visit DESC) AS place FROM whole),
folded AS (
    SELECT site, person, count(*) AS visits, max(CASE WHEN place = 1 THEN started_at END) AS started_at,
        max(CASE WHEN place = 1 THEN ended_at END) AS ended_at, max(CASE WHEN place = 2 THEN ended_at END) AS before
    FROM ranked GROUP BY site, person)
UPDATE identities SET visit_count = folded.visits, visit_started_at = folded.started_at, visit_ended_at = folded.ended_at,
    previous_visit_ended_at = folded.before
FROM folded WHERE identities.site = folded.site AND identities.id = folded.person"""
