"""The events that open messages: each waits for a day, whichever side sent it, for the person's next contact."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from collector.domain.audiences import Total
from collector.domain.delivery import TRIGGER_LIFE, TriggerEvent
from collector.domain.identities import Key, marks
from collector.domain.names import Names
from collector.domain.people import Person
from collector.storage.database import Connection
from collector.storage.slices import OVERFLOW, WEEK
from collector.values.ids import event_id_time

MOST = 100
"""Events of a name that are looked at, the newest of those that may open messages."""
_COLUMNS = "id, identity, name, at, unverified, page IS NULL, metadata"


def lately(connection: Connection, site: int, names: Names, person: int, events: Collection[str], now_ms: int) -> set[str]:
    """Return which of these events the person's totals have within a day: of the others the timeline need not be asked."""
    numbers = names.events(connection, site, events)
    if not numbers:
        return set()
    sql = f"SELECT name FROM totals WHERE site = ? AND name IN ({marks(list(numbers))}) AND identity = ? AND count > 0 AND last > ?"
    return {numbers[name] for (name,) in connection.rows(sql, (site, *numbers, person, now_ms - TRIGGER_LIFE))}


def lately_of(totals: Mapping[str, Total], events: Collection[str], now_ms: int) -> set[str]:
    """Return the same where the person's totals are known."""
    return {event for event in events if event in totals and (totals[event].last_ms or 0) > now_ms - TRIGGER_LIFE}


def waiting(
    connection: Connection, site: int, names: Names, person: Person, events: Collection[str], now_ms: int, only: Key | None
) -> Mapping[str, Sequence[TriggerEvent]]:
    """Return what could open messages, by name, the newest first.

    `only` is the lead of a browser that is to learn of nothing but what browsers like itself sent; None lets all be known.
    """
    numbers = names.events(connection, site, events)
    if not numbers:
        return {}
    of_person, members = connection.among([identity.id for identity in person.identities])
    of_names, known = connection.among(list(numbers))
    may, whose = ("", ()) if only is None else (_MAY_OPEN, (_of(person, only),))
    sql = (
        f"SELECT {_COLUMNS} FROM events WHERE site = ? AND identity {of_person} AND at > ? AND name {of_names}{may} "
        f"ORDER BY at DESC, id DESC LIMIT {MOST}"
    )
    rows = connection.rows(sql, (site, *members, now_ms - TRIGGER_LIFE, *known, *whose))
    if len(rows) == MOST and len(numbers) > 1:  # one that is done often must not hide another
        each = [waiting(connection, site, names, person, [event], now_ms, only) for event in numbers.values()]
        return {event: found for one in each for event, found in one.items()}
    found: dict[str, list[TriggerEvent]] = {}
    for row in rows:
        found.setdefault(numbers[row[2]], []).append(_event(row, numbers[row[2]]))
    return found


def named(
    connection: Connection, site: int, names: Names, person: Person, event_id: bytes, oldest: int, only: Key | None
) -> TriggerEvent | None:
    """Return one of this person's events as stored, where it is not older than `oldest` (ms) and may open messages (`only` as above)."""
    row = connection.row(
        f"SELECT {_COLUMNS} FROM events WHERE site = ? AND slice IN (?, ?) AND id = ? AND at >= ?",
        (site, event_id_time(event_id) // WEEK, OVERFLOW, event_id, oldest),
    )
    if row is None or row[1] not in {identity.id for identity in person.identities}:
        return None
    if not may_open(row[1], person, only, unverified=bool(row[4]), without_page=bool(row[5])):
        return None
    return _event(row, names.text(site, row[2]))


def may_open(identity: int, person: Person, only: Key | None, *, unverified: bool, without_page: bool) -> bool:
    """Say whether an event of an identity may open messages: any of them, or with `only` what unverified browsers of this user or the
    lead itself did.

    An event of REST has no page. What is said there of a user is not for whoever merely says to be that user.
    """
    return only is None or unverified or (not without_page and identity == _of(person, only))


_MAY_OPEN = " AND (unverified = 1 OR (page IS NOT NULL AND identity = ?))"
"""The same as a condition, where there is such a lead."""


def _of(person: Person, key: Key) -> int | None:
    """Return the row id of one of a person's identities."""
    return next((one.id for one in person.identities if (one.kind, one.value) == key), None)


def _event(row: tuple[Any, ...], name: str) -> TriggerEvent:
    event_id, _, _, at, _, _, metadata = row
    return TriggerEvent(bytes(event_id), name, at, msgspec.json.decode(metadata) if metadata else {})
