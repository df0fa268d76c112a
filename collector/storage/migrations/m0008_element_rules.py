"""Events without code, of clicks and submits: rules by CSS selector."""

from collector.storage.database import Engine


def statements(engine: Engine) -> list[str]:  # noqa: ARG001 (the same on both)
    """Return the statements in order.

    They stand in a table of their own: a collector of the version before would take each for a rule about page views.
    """
    return [
        """CREATE TABLE element_rules (
            site BIGINT NOT NULL, id BIGINT NOT NULL, public_id STRING NOT NULL, event STRING NOT NULL, definition STRING NOT NULL,
            created_at BIGINT NOT NULL, archived_at BIGINT, PRIMARY KEY (site, id))""",
        "CREATE UNIQUE INDEX element_rules_public ON element_rules (site, public_id)",
    ]
