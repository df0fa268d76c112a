"""What the collector stored, read from its database with its own storage layer."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from collector.domain.names import Names
from collector.storage.database import Database
from collector.values.ids import event_id_text, event_id_time


@dataclass(frozen=True)
class StoredEvent:
    """One event. `kind` and `owner` are those of the identity that sent it; times in ms."""

    id: str
    name: str
    at: int
    tracked_at: int
    visit: bytes | None
    page: dict[str, str]
    metadata: dict[str, Any]
    kind: str
    owner: str

    @property
    def path(self) -> str:
        """The path of a page view."""
        return str(self.metadata.get("path"))


class Stored:
    """Reads one site's events and deliveries; writes nothing.

    Tests share a collector, so an event stored before this was made is another test's, and never seen here.
    """

    def __init__(self, database: Database, site_key: str) -> None:
        self._database = database
        with database.read() as connection:
            self._site = connection.value("SELECT id FROM sites WHERE site_key = ?", (site_key,))
            self._earlier = {bytes(event_id) for (event_id,) in connection.rows("SELECT id FROM events WHERE site = ?", (self._site,))}
        self._names = Names(database, database, 0)

    def events(self, name: str | None = None, *, lead: str | None = None, user: str | None = None) -> list[StoredEvent]:
        """Return events in the order of tracking, all or those of one name; of one identity where a lead or a user id is given."""
        conditions, parameters = ["e.site = ?"], [self._site]
        if name is not None:
            conditions.append("e.name = ?")
            parameters.append(self._names.number(self._site, "event", name) or -1)
        for kind, value in (("lead", lead), ("user", user)):
            if value is not None:
                conditions.append("i.kind = ? AND i.value = ?")
                parameters += [kind, value]
        sql = (
            "SELECT e.id, e.name, e.at, e.visit, e.page, e.metadata, i.kind, i.value FROM events e "
            f"JOIN identities i ON i.site = e.site AND i.id = e.identity WHERE {' AND '.join(conditions)} ORDER BY e.id"
        )
        with self._database.read() as connection:
            rows = connection.rows(sql, parameters)
        return [self._event(*row) for row in rows if bytes(row[0]) not in self._earlier]

    def _event(
        self, event_id: bytes, name: int, at: int, visit: bytes | None, page: str, metadata: str, kind: str, owner: str
    ) -> StoredEvent:
        event_id = bytes(event_id)
        return StoredEvent(
            id=event_id_text(event_id),
            name=self._names.text(self._site, name),
            at=at,
            tracked_at=event_id_time(event_id),
            visit=None if visit is None else bytes(visit),
            page=json.loads(page) if page else {},
            metadata=json.loads(metadata) if metadata else {},
            kind=kind,
            owner=owner,
        )

    def views(self, lead: str) -> list[StoredEvent]:
        """Return the page views of a lead."""
        return self.events("page-view", lead=lead)

    def delivery(self, message: str) -> dict[str, Any]:
        """Return the times (ms) of the only delivery of a message."""
        steps = ("claimed_at", "seen_at", "clicked_at", "dismissed_at")
        sql = f"SELECT {', '.join(steps)} FROM deliveries d JOIN auto_messages m ON m.site = d.site AND m.id = d.message "
        with self._database.read() as connection:
            rows = connection.rows(sql + "WHERE d.site = ? AND m.public_id = ?", (self._site, message))
        assert len(rows) == 1, rows
        return dict(zip(steps, rows[0], strict=True))


@contextmanager
def open_stored(database_url: str, site_key: str) -> Iterator[Stored]:
    """Open a collector's database, which may be in use."""
    database = Database(database_url)
    try:
        yield Stored(database, site_key)
    finally:
        database.close()
