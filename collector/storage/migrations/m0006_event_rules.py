"""Events without code: named events that rules make of page views."""

from collector.storage.database import Engine


def statements(engine: Engine) -> list[str]:  # noqa: ARG001 (the same on both)
    """Return the statements in order."""
    return [
        # backfilled_at is NULL until the rule was applied to the timeline there was; slice and view say how far that came.
        """CREATE TABLE event_rules (
            site BIGINT NOT NULL, id BIGINT NOT NULL, public_id STRING NOT NULL, event STRING NOT NULL, page STRING NOT NULL,
            created_at BIGINT NOT NULL, archived_at BIGINT, backfilled_at BIGINT, slice BIGINT, view BYTES,
            PRIMARY KEY (site, id))""",
        "CREATE UNIQUE INDEX event_rules_public ON event_rules (site, public_id)",
    ]
