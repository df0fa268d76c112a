"""Staff and testers: people whose attribute `internal` is true. REST sets it, and a browser where the site's own people are, which counts
less than what was said; no browser can say it.

What they do is stored like anybody's, and messages reach them by the same rules, so that a query has one meaning; but they stay out of the
numbers of messages and of events, and caps hold nothing back from them.
"""

from collector.domain.names import STANDARD_ATTRIBUTES
from collector.storage.database import Connection

_TOLD = f"attr = {STANDARD_ATTRIBUTES['internal']}"
_INTERNAL = f"{_TOLD} AND value = 'true'"


def others(column: str) -> str:
    """Return the condition that a column of principals' row ids holds nobody internal; its one parameter is the site."""
    return f"{column} NOT IN (SELECT identity FROM attributes WHERE site = ? AND {_INTERNAL})"


def is_internal(connection: Connection, site: int, person: int) -> bool:
    """Say whether a person is internal."""
    return connection.value(f"SELECT 1 FROM attributes WHERE site = ? AND {_INTERNAL} AND identity = ?", (site, person)) is not None


def said_of(connection: Connection, site: int, identity: int) -> str | None:
    """Return what was said of an identity by itself, as JSON: `null` where that was unset, None where nothing was."""
    sql = f"SELECT own_value FROM attributes WHERE site = ? AND {_TOLD} AND identity = ?"
    found: str | None = connection.value(sql, (site, identity))
    return found
