"""The events that open messages: each waits for a day, whichever side sent it, for the person's next contact."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from collector.domain.audiences import Total
from collector.domain.delivery import TRIGGER_LIFE, TriggerEvent
from collector.domain.identities import Key, marks
from collector.domain.names import EVENT, Names
from collector.domain.people import Person
from collector.storage.database import Connection
from collector.storage.slices import OVERFLOW, WEEK
from collector.values.ids import event_id_time

_MOST = 100  # events looked at, the newest first
_COLUMNS = "id, identity, name, at, unverified, page IS NULL, metadata"


def lately(connection: Connection, site: int, names: Names, person: int, events: Collection[str], now_ms: int) -> set[str]:
    """Return which of these events the person's totals have within a day: of the others the timeline need not be asked."""
    numbers = names.known(site, EVENT, events)
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
    numbers = names.known(site, EVENT, events)
    members = [identity.id for identity in person.identities]
    sql = (
        f"SELECT {_COLUMNS} FROM events WHERE site = ? AND identity IN ({marks(members)}) AND at > ? AND name IN ({marks(list(numbers))}) "
        f"ORDER BY at DESC, id DESC LIMIT {_MOST}"
    )
    rows = connection.rows(sql, (site, *members, now_ms - TRIGGER_LIFE, *numbers)) if numbers else []
    found: dict[str, list[TriggerEvent]] = {}
    for row in rows:
        if may_open(row[1], person, only, unverified=bool(row[4]), without_page=bool(row[5])):
            found.setdefault(numbers[row[2]], []).append(_event(row, numbers[row[2]]))
    return found


def named(connection: Connection, site: int, names: Names, person: Person, event_id: bytes, only: Key | None) -> TriggerEvent | None:
    """Return one event as stored, where it is one of this person's and may open messages (`only` as above)."""
    row = connection.row(
        f"SELECT {_COLUMNS} FROM events WHERE site = ? AND slice IN (?, ?) AND id = ?",
        (site, event_id_time(event_id) // WEEK, OVERFLOW, event_id),
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
    if only is None or unverified:
        return True
    return not without_page and any(one.id == identity and (one.kind, one.value) == only for one in person.identities)


def _event(row: tuple[Any, ...], name: str) -> TriggerEvent:
    event_id, _, _, at, _, _, metadata = row
    return TriggerEvent(bytes(event_id), name, at, msgspec.json.decode(metadata) if metadata else {})
