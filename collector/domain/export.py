"""Export: everything that is stored about a person, read to be given out.

What is bounded is read at one moment (`records`). Lines of the journal, visits and events may be many and are read in pages, each at a
moment of its own, so that a client who takes its time holds up nobody: neither pruning nor a checkpoint waits for it. They are those of
the identities that the person had at the first moment. Each stands there once, since a page begins where the one before ended and what
happened never changes hands; a merge or an undo meanwhile takes no visit and no event away. What arrives while it is being read may be
missing. Where the person is deleted meanwhile, reading ends with NoPerson.
"""

import contextlib
import heapq
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import msgspec

from collector.domain import decisions, deliveries, journal
from collector.domain.audiences import Total
from collector.domain.decisions import Decided
from collector.domain.deliveries import Delivery
from collector.domain.identities import Identity
from collector.domain.journal import Merge
from collector.domain.names import Names
from collector.domain.people import NoPerson, Person
from collector.storage.database import Connection, Database

PAGE = 1_000
"""Lines of the journal, visits, or events in memory at once, however many identities the person has."""
_NARROWEST, _WIDER = 1_000, 4  # spans of time, in ms, and how much wider the next one is where there is little
_AT_ONCE = 8_000  # identities: of more SQLite would read all the site's events
_LATEST = 2**62
_AFTER_ALL_IDS = b"\xff" * 17

_T = TypeVar("_T")


class OwnAttribute(msgspec.Struct, frozen=True):
    """What one identity has of an attribute: JSON text, `null` where it was unset; the time in ms, the source of domain.attributes."""

    identity: int
    name: str
    value: str
    set_at: int
    source: int


class OwnTotal(msgspec.Struct, frozen=True):
    """What one identity adds to a total: all of it, and what of it was pruned (base) and imported."""

    identity: int
    name: str
    own: Total
    base: Total
    imported: Total


class Received(msgspec.Struct, frozen=True):
    """One delivery, the message's public id and name, and the links clicked, each with when first (ms)."""

    delivery: Delivery
    message_id: str
    message_name: str
    links: list[tuple[str, int]]


class KeptDecision(msgspec.Struct, frozen=True):
    """What was decided within an hour, and the message's public id and name; None where the message is gone."""

    decided: Decided
    message_id: str | None
    message_name: str | None


class Records(msgspec.Struct, frozen=True):
    """What is stored about a person but for journal, visits and events."""

    attributes: list[OwnAttribute]
    totals: list[OwnTotal]
    received: list[Received]
    decisions: list[KeptDecision]


class Visit(msgspec.Struct, frozen=True):
    """One visit: its id, times in ms, the page it began with as JSON text."""

    identity: int
    id: bytes
    started_at: int
    ended_at: int
    context: str | None


class StoredEvent(msgspec.Struct, frozen=True):
    """One event of the timeline as it is stored: `at` in ms, page and metadata as JSON text."""

    identity: int
    id: bytes
    name: str
    at: int
    unverified: bool
    visit: bytes | None
    page: str | None
    metadata: str | None


def records(connection: Connection, site: int, names: Names, person: Person) -> Records:
    """Read what is bounded. The connection should see one moment only (`Database.snapshot`)."""
    return Records(
        attributes=_attributes(connection, site, names, person),
        totals=_totals(connection, site, names, person),
        received=_received(connection, site, person),
        decisions=_decisions(connection, site, person),
    )


def merges(database: Database, site: int, person: Person) -> Iterator[list[Merge]]:
    """Yield the lines of the journal about a person page by page, the newest first.

    Raises:
        NoPerson: an identity is gone.
    """
    before, members = None, [one.id for one in person.identities]
    while True:
        with _reading(database, site, members) as connection:
            page = journal.of_person(connection, site, person, limit=PAGE, before=before)
        if page:
            yield page
        if len(page) < PAGE:
            return
        before = page[-1].id


def visits(database: Database, site: int, of: Sequence[Identity]) -> Iterator[list[Visit]]:
    """Yield visits page by page: those of one identity after those of another, in the order of their ids.

    Raises:
        NoPerson: an identity is gone.
    """
    sql = (
        "SELECT identity, visit, started_at, ended_at, context FROM visits WHERE site = ? AND identity = ? AND visit > ? "
        "ORDER BY visit LIMIT ?"
    )

    def read(identity: int) -> Iterator[Visit]:
        last = b""
        while True:
            with _reading(database, site, [identity]) as connection:
                rows = connection.rows(sql, (site, identity, last, PAGE))
            yield from (Visit(number, bytes(visit), start, end, context) for number, visit, start, end, context in rows)
            if len(rows) < PAGE:
                return
            last = bytes(rows[-1][1])

    return _pages(visit for one in of for visit in read(one.id))


def events(database: Database, site: int, names: Names, of: Sequence[Identity], oldest: int) -> Iterator[list[StoredEvent]]:
    """Yield the events of the timeline page by page, the newest first, not older than `oldest` (ms).

    All the identities are asked at once: were each asked for a page of its own, these would be in memory together. But for the first
    time they are asked for a span that ought to hold two pages: without, each page would read all that is left to find what comes next.

    Raises:
        NoPerson: an identity is gone.
    """

    def read(some: Sequence[int]) -> Iterator[StoredEvent]:
        at, last, span = _LATEST, _AFTER_ALL_IDS, _LATEST
        while at >= oldest:
            since = max(at - span, oldest)
            with _reading(database, site, some) as connection:
                among, members = connection.among(some)
                rows = connection.rows(_EVENTS.format(among), (site, *members, since, at, at, last, PAGE))
            yield from (_event(site, names, row) for row in rows)
            if len(rows) == PAGE:
                span = max(2 * (rows[0][3] - rows[-1][3]), _NARROWEST)
                at, last = rows[-1][3], bytes(rows[-1][0])
            else:
                at, last, span = since - 1, _AFTER_ALL_IDS, span * _WIDER

    numbers = [one.id for one in of]
    parts = (read(numbers[start : start + _AT_ONCE]) for start in range(0, len(numbers), _AT_ONCE))
    return _pages(heapq.merge(*parts, key=lambda event: (event.at, event.id), reverse=True))


_EVENTS = (
    "SELECT id, identity, name, at, unverified, visit, page, metadata FROM events WHERE site = ? AND identity {} AND at >= ? AND at <= ? "
    "AND (at < ? OR id < ?) ORDER BY at DESC, id DESC LIMIT ?"
)


def _event(site: int, names: Names, row: tuple[Any, ...]) -> StoredEvent:
    number, identity, name, at, unverified, visit, page, metadata = row
    visit_id = None if visit is None else bytes(visit)
    return StoredEvent(identity, bytes(number), names.text(site, name), at, bool(unverified), visit_id, page, metadata)


@contextlib.contextmanager
def _reading(database: Database, site: int, of: Sequence[int]) -> Iterator[Connection]:
    """Read a page of identities that are still there afterwards: of a deleted one some rows may be left, and nobody may see them."""
    with database.read() as connection:
        yield connection
        among, numbers = connection.among(of)
        there = connection.value(f"SELECT count(*) FROM identities WHERE site = ? AND id {among}", (site, *numbers))
        if there < len(of):
            raise NoPerson("somebody was deleted meanwhile")


def _pages(one_by_one: Iterable[_T]) -> Iterator[list[_T]]:
    source = iter(one_by_one)
    while page := list(islice(source, PAGE)):
        yield page


_MEMBERS = "IN (SELECT id FROM identities WHERE site = ? AND principal_id = ?)"


def _attributes(connection: Connection, site: int, names: Names, person: Person) -> list[OwnAttribute]:
    rows = connection.rows(
        f"SELECT identity, attr, own_value, own_at, own_source FROM attributes WHERE site = ? AND identity {_MEMBERS} "
        "AND own_value IS NOT NULL ORDER BY identity, attr",
        (site, site, person.id),
    )
    return [OwnAttribute(identity, names.text(site, attr), value, at, source) for identity, attr, value, at, source in rows]


def _totals(connection: Connection, site: int, names: Names, person: Person) -> list[OwnTotal]:
    rows = connection.rows(
        "SELECT identity, name, own_count, own_first, own_last, base_count, base_first, base_last, imported_count, imported_first, "
        f"imported_last FROM totals WHERE site = ? AND identity {_MEMBERS} AND own_count > 0 ORDER BY identity, name",
        (site, site, person.id),
    )
    return [OwnTotal(row[0], names.text(site, row[1]), Total(*row[2:5]), Total(*row[5:8]), Total(*row[8:11])) for row in rows]


def _received(connection: Connection, site: int, person: Person) -> list[Received]:
    found = deliveries.of_person(connection, site, person.id)
    if not found:
        return []
    messages = {number: (public, name) for number, public, name in connection.rows(_MESSAGES, (site,))}
    links: dict[tuple[int, int, int], list[tuple[str, int]]] = {}
    sql = f"SELECT identity, message, n, link, clicked_at FROM delivery_links WHERE site = ? AND identity {_MEMBERS}"
    for identity, message, n, link, at in connection.rows(f"{sql} ORDER BY clicked_at, link", (site, site, person.id)):
        links.setdefault((identity, message, n), []).append((link, at))
    return [Received(one, *messages[one.message], links.get((one.identity, one.message, one.n), [])) for one in found]


def _decisions(connection: Connection, site: int, person: Person) -> list[KeptDecision]:
    messages = {number: (public, name) for number, public, name in connection.rows(_MESSAGES, (site,))}
    return [KeptDecision(one, *messages.get(one.message, (None, None))) for one in decisions.of_person(connection, site, person.id)]


_MESSAGES = "SELECT id, public_id, name FROM auto_messages WHERE site = ?"
