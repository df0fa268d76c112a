"""Staff and testers: people whose attribute `internal` is true, which REST alone sets.

What they do is stored like anybody's, and messages reach them by the same rules, so that a query has one meaning; but they stay out of the
numbers of messages and of events, and caps hold nothing back from them.
"""

from collector.domain.names import STANDARD_ATTRIBUTES
from collector.storage.database import Connection

_INTERNAL = f"attr = {STANDARD_ATTRIBUTES['internal']} AND value = 'true'"


def others(column: str) -> str:
    """Return the condition that a column of principals' row ids holds nobody internal; its one parameter is the site."""
    return f"{column} NOT IN (SELECT identity FROM attributes WHERE site = ? AND {_INTERNAL})"


def is_internal(connection: Connection, site: int, person: int) -> bool:
    """Say whether a person is internal."""
    return connection.value(f"SELECT 1 FROM attributes WHERE site = ? AND {_INTERNAL} AND identity = ?", (site, person)) is not None
