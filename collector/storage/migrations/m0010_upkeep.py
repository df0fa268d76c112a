"""What upkeep writes down of its rounds."""

from collector.storage.database import Engine


def statements(engine: Engine) -> list[str]:  # noqa: ARG001 (the same on both)
    """Return the statements in order."""
    return [
        # `round`: when the last one was done whole. `clock`: which present was believed (upto) when. Others: a part that was not done.
        "CREATE TABLE upkeep (part STRING NOT NULL PRIMARY KEY, at BIGINT NOT NULL, upto BIGINT, trouble STRING)",
    ]
