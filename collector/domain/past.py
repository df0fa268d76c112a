"""What people did and what was known of them, read to be walked through again: a few people at a time, however many a site has.

Everything that happened is read since the beginning of the timeline. What stood before it is what is left when the timeline's events are
taken away from the totals, and the visits that had begun by then.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from collector.domain import identities
from collector.domain.attributes import Own
from collector.domain.audiences import Total
from collector.domain.auto_messages import AutoMessage
from collector.domain.identities import Identity
from collector.domain.names import ATTRIBUTE, EVENT, PAGE_VIEW, STANDARD_ATTRIBUTES, Names
from collector.domain.visits import Part
from collector.storage.database import Connection, Database
from collector.values.clock import MINUTE
from collector.values.query_tree import EventMeasure, united
from collector.values.visit_context import VISIT_FIELDS

PEOPLE = 200
"""Most people looked at together."""
EVENTS = 5_000
"""Most events in memory at once, unless one person has more."""
MOST = 20_000
"""Somebody who did more within the timeline is left out: no visitor does, and everything of one person has to be in memory."""

_OF_VISITS = VISIT_FIELDS | {"session_count", "last_seen_at"}


class Happened(msgspec.Struct, gc=False):
    """One event. `at` in ms; `url` is None where it happened in no page, `metadata` is JSON where somebody asks for it."""

    id: bytes
    identity: int
    name: str
    at: int
    unverified: bool
    visit: bytes | None
    url: str | None
    metadata: str | None

    @property
    def in_browser(self) -> bool:
        """Whether a browser sent it, which is then told what it may show."""
        return self.url is not None or self.visit is not None


class Past(msgspec.Struct):
    """One person as of today, and what has happened since the beginning of the timeline, in order of time."""

    identities: list[Identity]
    """The principal first."""
    joined: dict[int, int]
    """When leads became part of the person (ms), by row id; the other identities always were."""
    internal: bool
    events: list[Happened] = []
    totals: dict[tuple[int, str], Total] = {}
    """What each identity had done before, by row id and event."""
    visits: list[tuple[Part, str]] = []
    """The visits that each identity has made, with their contexts."""
    own: dict[int, list[tuple[str, Own]]] = {}
    """The attributes that each identity has of its own, by name."""

    @property
    def id(self) -> int:
        """The person's row id."""
        return self.identities[0].id


class Wanted:
    """What some messages ask of people, and so what has to be read."""

    def __init__(self, messages: Iterable[AutoMessage]) -> None:
        messages = list(messages)
        self.needs = united(message.needs for message in messages)
        self.everything = any(message.has_variables for message in messages)
        """Whether all attributes are asked for."""
        self.triggers = frozenset(message.definition.trigger.event or "" for message in messages) - {""}
        self.totals = self.needs.totals | {PAGE_VIEW}
        """The events whose totals are asked for."""
        self.attributes = self.needs.attributes | ({"email"} if "email_domain" in self.needs.attributes else set())
        """The attributes that somebody may have set."""
        self.visits = self.everything or not _OF_VISITS.isdisjoint(self.needs.attributes)
        """Whether visits are asked for."""
        self._by_key = {measure.key: measure for measure in self.needs.measures}
        self._by_event: dict[str, list[EventMeasure]] = {}
        for measure in self.needs.measures:
            self._by_event.setdefault(measure.event, []).append(measure)

    @property
    def metadata(self) -> frozenset[str]:
        """The events whose metadata is asked for."""
        return self.triggers | self._by_event.keys()

    def measures(self, event: str) -> Sequence[EventMeasure]:
        """Return what is measured of an event."""
        return self._by_event.get(event, ())

    def measure(self, key: str) -> EventMeasure:
        """Return a measure by its key."""
        return self._by_key[key]


def number_of_people(database: Database, site: int, since: int) -> int:
    """Return how many people were in a browser since a time (ms)."""
    sql = "SELECT count(*) FROM identities WHERE site = ? AND id > ? AND principal_id = id AND active_at >= ?"
    with database.read() as connection:
        return int(connection.value(sql, (site, 0, since // MINUTE * MINUTE)))


def everybody(database: Database, names: Names, site: int, wanted: Wanted, oldest: int, since: int) -> Iterator[list[Past] | int]:
    """Yield the people who were in a browser since a time, a few together, and how many of each round were left out for their number
    of events. Events are read since `oldest` (ms).
    """
    last = 0
    sql = "SELECT id FROM identities WHERE site = ? AND id > ? AND principal_id = id AND active_at >= ? ORDER BY id LIMIT ?"
    while True:
        with database.read() as connection:
            people = [row[0] for row in connection.rows(sql, (site, last, since // MINUTE * MINUTE, PEOPLE))]
        if not people:
            return
        last = people[-1]
        with database.snapshot() as connection:
            reader = _Reader(connection, names, site, wanted, oldest)
            parts, left_out = reader.parts(people)
            for part in parts:
                yield reader.read(part)
        yield left_out


class _Reader:
    """Reads about some people, as all stands at one moment."""

    def __init__(self, connection: Connection, names: Names, site: int, wanted: Wanted, oldest: int) -> None:
        self.connection = connection
        self.names = names
        self.site = site
        self.wanted = wanted
        self.oldest = oldest
        self.members: dict[int, list[Identity]] = {}

    def parts(self, people: Sequence[int]) -> tuple[list[list[int]], int]:
        """Return the people in parts that have so many events that all may be in memory; and how many have too many."""
        self.members = identities.of_people(self.connection, self.site, people)
        person_of = {one.id: person for person, members in self.members.items() for one in members}
        counts: dict[int, int] = dict.fromkeys(self.members, 0)
        among, parameters = self.connection.among(sorted(person_of))
        sql = f"SELECT identity, count(*) FROM events WHERE site = ? AND identity {among} AND at >= ? GROUP BY identity"
        for identity, count in self.connection.rows(sql, (self.site, *parameters, self.oldest)):
            counts[person_of[identity]] += count
        parts: list[list[int]] = []
        room = 0
        for person, count in counts.items():
            if count > MOST:
                continue
            if count > room or not parts:
                parts.append([])
                room = EVENTS
            parts[-1].append(person)
            room -= count
        return parts, sum(count > MOST for count in counts.values())

    def read(self, people: Sequence[int]) -> list[Past]:
        """Return people whole."""
        internal = self.internal(people)
        found = {person: Past(self.members[person], {}, person in internal) for person in people}
        of = {one.id: past for past in found.values() for one in past.identities}
        among, parameters = self.connection.among(sorted(of))
        self.merges(found)
        left = self.events(of, among, parameters)
        self.totals(of, among, parameters, left)
        if self.wanted.visits:
            sql = f"SELECT identity, visit, started_at, ended_at, context FROM visits WHERE site = ? AND identity {among}"
            for identity, visit, started, ended, context in self.connection.rows(sql, (self.site, *parameters)):
                of[identity].visits.append(((identity, bytes(visit), started, ended), context or ""))
        self.attributes(of, among, parameters)
        return list(found.values())

    def internal(self, people: Sequence[int]) -> set[int]:
        among, parameters = self.connection.among(sorted(people))
        sql = f"SELECT identity FROM attributes WHERE site = ? AND identity {among} AND attr = ? AND value = 'true'"
        return {row[0] for row in self.connection.rows(sql, (self.site, *parameters, STANDARD_ATTRIBUTES["internal"]))}

    def merges(self, found: Mapping[int, Past]) -> None:
        among, parameters = self.connection.among(sorted(found))
        sql = f"SELECT lead, target, at FROM merges WHERE site = ? AND outcome = 'merged' AND undone_at IS NULL AND target {among}"
        for lead, target, at in self.connection.rows(sql, (self.site, *parameters)):
            found[target].joined[lead] = at

    def events(self, of: Mapping[int, Past], among: str, parameters: Sequence[object]) -> dict[tuple[int, str], int]:
        """Read what happened; returns how often each identity did what is counted."""
        numbers = [number for name in self.wanted.metadata if (number := self.names.number(self.site, EVENT, name)) is not None]
        asked, names = self.connection.among(numbers or [0])
        sql = (
            f"SELECT id, identity, name, at, unverified, visit, page, CASE WHEN name {asked} THEN metadata END FROM events "
            f"WHERE site = ? AND identity {among} AND at >= ? ORDER BY at, id"
        )
        counted: dict[tuple[int, str], int] = {}
        for event_id, identity, number, at, unverified, visit, page, metadata in self.connection.rows(
            sql, (*names, self.site, *parameters, self.oldest)
        ):
            name = self.names.text(self.site, number)
            url = None if page is None else str(msgspec.json.decode(page).get("url", ""))
            visited = None if visit is None else bytes(visit)
            of[identity].events.append(Happened(bytes(event_id), identity, name, at, bool(unverified), visited, url, metadata))
            counted[identity, name] = counted.get((identity, name), 0) + 1
        return counted

    def totals(self, of: Mapping[int, Past], among: str, parameters: Sequence[object], happened: Mapping[tuple[int, str], int]) -> None:
        """Read what each identity had done before: what is left of its totals when what has happened since is taken away."""
        texts = {number: name for name in self.wanted.totals if (number := self.names.number(self.site, EVENT, name)) is not None}
        if not texts:
            return
        asked, names = self.connection.among(sorted(texts))
        sql = (
            "SELECT identity, name, own_count, own_first, own_last, base_last, imported_last FROM totals "
            f"WHERE site = ? AND identity {among} AND name {asked}"
        )
        rows = self.connection.rows(sql, (self.site, *parameters, *names))
        before = {
            (identity, name): count
            for identity, name, own_count, *_ in rows
            if (count := own_count - happened.get((identity, texts[name]), 0)) > 0
        }
        if not before:
            return
        # What is too old for the timeline but still stands there, so that it does not matter when it goes.
        sql = (
            f"SELECT identity, name, max(at) FROM events WHERE site = ? AND identity {among} AND at < ? AND name {asked} "
            "GROUP BY identity, name"
        )
        older = {(identity, name): at for identity, name, at in self.connection.rows(sql, (self.site, *parameters, self.oldest, *names))}
        for identity, name, _, first, last, *kept in rows:
            count = before.get((identity, name))
            if count is None:
                continue
            times = [at for at in (first, last, older.get((identity, name)), *kept) if at is not None and at < self.oldest]
            # Imported bases may say when only for a later time: then they were there all along.
            span = (min(times), max(times)) if times else (self.oldest - 1, self.oldest - 1)
            of[identity].totals[identity, texts[name]] = Total(count, *span)

    def attributes(self, of: Mapping[int, Past], among: str, parameters: Sequence[object]) -> None:
        which = ""
        numbers: Sequence[object] = []
        if not self.wanted.everything:
            known = [number for name in self.wanted.attributes if (number := self.names.number(self.site, ATTRIBUTE, name)) is not None]
            if not known:
                return
            asked, numbers = self.connection.among(sorted(known))
            which = f" AND attr {asked}"
        sql = (
            "SELECT identity, attr, own_value, own_at, own_source FROM attributes "
            f"WHERE site = ? AND identity {among} AND own_value IS NOT NULL{which}"
        )
        for identity, attr, value, at, source in self.connection.rows(sql, (self.site, *parameters, *numbers)):
            of[identity].own.setdefault(identity, []).append((self.names.text(self.site, attr), (value, at, source)))
