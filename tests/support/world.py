"""A whole collector in the test's own process, with short words for what visitors do. The clock stands still until it is turned."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from collector.domain import people
from collector.domain.attributes import of_person
from collector.domain.audiences import Total
from collector.domain.identities import LEAD, USER, Key, NewIdentity
from collector.domain.people import Person, TimelineEvent
from collector.domain.secrets import digest
from collector.domain.sites import Site
from collector.domain.submissions import AttributeChange, Event, Outcome, Submission
from collector.services import Services, build
from collector.settings import Settings
from collector.values.ids import new_uuid7, uuid7_bytes
from tests.support.clock import FakeClock


def lead(name: str = "lead-1", secret: str = "secret") -> NewIdentity:
    """A browser's lead."""
    return NewIdentity((LEAD, name), digest(secret))


def user(name: str = "u-1") -> Key:
    """The key of a user id."""
    return (USER, name)


class World:
    """One site of a collector, and what happens on it."""

    def __init__(self, services: Services, clock: FakeClock) -> None:
        self.services = services
        self.clock = clock
        self.site: Site = self.new_site()

    def new_site(self, name: str = "Shop", origin: str = "https://shop.example") -> Site:
        made = self.services.writer.run(0, lambda tx: self.services.sites.create(tx, name, [origin], "Europe/Berlin", self.clock()))
        self.access_token: str = made.access_token
        site: Site = made.site
        return site

    def event(
        self,
        name: str = "page-view",
        *,
        at: int | None = None,
        visit: str | None = None,
        metadata: str | None = None,
        page: str | None = None,
    ) -> Event:
        """A new event, tracked now."""
        at = self.clock() if at is None else at
        return Event(id_at(at), name, at, None if visit is None else uuid7_bytes(visit), page, metadata)

    def send(self, who: NewIdentity | Key, *events: Event, **fields: Any) -> Outcome:
        """Record what an anonymous browser (its lead) or, with `lead=`, a signed-in one (its user key) sends."""
        owner = who.key if isinstance(who, NewIdentity) else who
        browser = who if isinstance(who, NewIdentity) else fields.pop("lead", None)
        outcomes: list[Outcome] = self.services.writer.record(
            self.site.id, [Submission(owner=owner, lead=browser, events=list(events), **fields)]
        )
        return outcomes[0]

    def set(self, who: NewIdentity | Key, values: dict[str, Any], *, at: int | None = None, **fields: Any) -> Outcome:
        """Set attributes."""
        return self.send(who, changes=[AttributeChange(values, self.clock() if at is None else at)], **fields)

    def person(self, key: Key) -> Person:
        with self.services.database.read() as connection:
            found = people.by_key(connection, self.site.id, key)
        assert found is not None
        return found

    def totals(self, key: Key) -> dict[str, Total]:
        with self.services.database.read() as connection:
            return people.totals(connection, self.site.id, self.services.names, self.person(key).id)

    def counts(self, key: Key) -> dict[str, int]:
        return {name: total.count for name, total in self.totals(key).items()}

    def attributes(self, key: Key) -> dict[str, Any]:
        with self.services.database.read() as connection:
            return of_person(connection, self.site.id, self.services.names, self.person(key).id)

    def timeline(self, key: Key) -> list[TimelineEvent]:
        with self.services.database.read() as connection:
            oldest = self.clock() - self.services.settings.retention
            return people.timeline(connection, self.site.id, self.services.names, self.person(key).identities, oldest)

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with self.services.database.read() as connection:
            return connection.rows(sql, parameters)


def id_at(at: int) -> bytes:
    """The bytes of a new UUIDv7 for a time."""
    made = uuid7_bytes(new_uuid7(at))
    assert made is not None
    return made


@contextmanager
def world(database_url: str, clock: FakeClock, **settings: Any) -> Iterator[World]:
    """Start a collector on an empty database and close it afterwards."""
    services = build(Settings(**{"database_url": database_url, "secret_key": (secrets.token_urlsafe(32),), **settings}), clock)
    try:
        yield World(services, clock)
    finally:
        services.close()
