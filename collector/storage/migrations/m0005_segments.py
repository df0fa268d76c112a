"""Segments: queries with a name."""

from collector.storage.database import Engine


def statements(engine: Engine) -> list[str]:  # noqa: ARG001 (the same on both)
    """Return the statements in order."""
    return [
        """CREATE TABLE segments (
            site BIGINT NOT NULL, id BIGINT NOT NULL, public_id STRING NOT NULL, name STRING NOT NULL, query STRING NOT NULL,
            created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, PRIMARY KEY (site, id))""",
        "CREATE UNIQUE INDEX segments_public ON segments (site, public_id)",
        "CREATE UNIQUE INDEX segments_name ON segments (site, name)",
    ]
