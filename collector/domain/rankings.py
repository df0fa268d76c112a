"""Who did something most often: of all time from the totals, lately from the timeline. The same counts as in queries; without staff.

Several statements belong together here: read in one moment (`Database.snapshot`).
"""

from collections.abc import Iterable, Sequence
from contextlib import closing

import msgspec

from collector.domain.identities import marks
from collector.domain.names import EVENT, Names
from collector.domain.staff import others
from collector.storage.database import Connection

_CHUNK = 500


class Place(msgspec.Struct, frozen=True):
    """A person (the principal's row id) and how often, first and last (ms) it did the event."""

    person: int
    count: int
    first_ms: int
    last_ms: int


class Sum(msgspec.Struct, frozen=True):
    """How often an event happened in all, and how many people did it."""

    count: int = 0
    people: int = 0


def of_all_time(connection: Connection, site: int, names: Names, event: str, *, limit: int, offset: int = 0) -> list[Place]:
    """Return who did an event most often ever; of equals, who did it last comes first.

    Reads one row for everybody who ever did it, and keeps `limit + offset` of them.
    """
    number = names.number(site, EVENT, event)
    if number is None:
        return []
    sql = (
        f"SELECT identity, count, first, last FROM totals WHERE site = ? AND name = ? AND count > 0 AND {others('identity')} "
        "ORDER BY count DESC, last DESC, identity LIMIT ? OFFSET ?"
    )
    return [Place(*row) for row in connection.rows(sql, (site, number, site, limit, offset))]


def since(connection: Connection, site: int, names: Names, event: str, after_ms: int, *, limit: int, offset: int = 0) -> list[Place]:
    """Return who did an event most often after a time that the timeline still holds; order as in `of_all_time`.

    Nobody did it more often lately than ever. So people are counted in the order of their totals, until those who follow cannot come
    before the last one that is asked for: where a few do most, few are read.
    """
    number = names.number(site, EVENT, event)
    if number is None:
        return []
    wanted = limit + offset
    best: list[Place] = []
    sql = (
        f"SELECT identity, count FROM totals WHERE site = ? AND name = ? AND count > 0 AND last > ? AND {others('identity')} "
        "ORDER BY count DESC, identity"
    )
    with closing(connection.chunks(sql, (site, number, after_ms, site), _CHUNK)) as candidates:
        for rows in candidates:
            if len(best) == wanted and rows[0][1] < best[-1].count:
                break
            best = sorted([*best, *_counted(connection, site, number, after_ms, [row[0] for row in rows])], key=_order)[:wanted]
    return best[offset:]


def sums(connection: Connection, site: int, names: Names, events: Iterable[str]) -> dict[str, Sum]:
    """Return the sums of events over everybody and all time. Reads one row for everybody who did any of them."""
    numbers = {names.number(site, EVENT, event): event for event in events}
    known = [number for number in numbers if number is not None]
    found = dict.fromkeys(numbers.values(), Sum())
    for start in range(0, len(known), _CHUNK):
        some = known[start : start + _CHUNK]
        sql = (
            f"SELECT name, sum(count), count(*) FROM totals WHERE site = ? AND name IN ({marks(some)}) AND count > 0 "
            f"AND {others('identity')} GROUP BY name"
        )
        found.update({numbers[name]: Sum(int(count), people) for name, count, people in connection.rows(sql, (site, *some, site))})
    return found


def _counted(connection: Connection, site: int, number: int, after_ms: int, people: Sequence[int]) -> list[Place]:
    """Return what these people did after a time; those are missing of whom the timeline holds none (an imported total, say)."""
    sql = f"SELECT id, principal_id FROM identities WHERE site = ? AND principal_id IN ({marks(people)})"
    owner = dict(connection.rows(sql, (site, *people)))
    members, made = list(owner), dict[int, Place]()
    for start in range(0, len(members), _CHUNK):
        some = members[start : start + _CHUNK]
        sql = (
            "SELECT identity, count(*), min(at), max(at) FROM events "
            f"WHERE site = ? AND identity IN ({marks(some)}) AND at > ? AND name = ? GROUP BY identity"
        )
        for identity, count, first, last in connection.rows(sql, (site, *some, after_ms, number)):
            one = made.get(owner[identity], Place(owner[identity], 0, first, last))
            made[one.person] = Place(one.person, one.count + count, min(one.first_ms, first), max(one.last_ms, last))
    return list(made.values())


def _order(place: Place) -> tuple[int, int, int]:
    return (-place.count, -place.last_ms, place.person)
