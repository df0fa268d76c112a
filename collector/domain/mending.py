"""What a person adds up to, worked out anew where it does not stand as it has to.

Such rows are left when something new is added up, and by a collector of the version before, which did not know it.
"""

import functools
from collections.abc import Callable, Iterator, Sequence

from collector.domain import attributes, changes, visits
from collector.domain.identities import by_ids
from collector.domain.names import ATTRIBUTE, STANDARD_ATTRIBUTES
from collector.storage import migrations
from collector.storage.database import Connection, Database
from collector.values.clock import DAY

Transact = Callable[[Callable[[Connection], int]], int]
"""Runs work in a transaction and returns what it returns."""

LATELY = 14 * DAY
"""How long after a change of the schema collectors of the version before may still have been writing (ms): what they left is mended."""
_CHUNK = 400


def is_due(connection: Connection, now_ms: int) -> bool:
    """Say whether the schema was changed lately, so that there may be something to mend, also of a mending that was interrupted."""
    return migrations.newest_at(connection) > now_ms - LATELY


def mend(database: Database, transact: Transact, site: int, now_ms: int) -> Iterator[int]:
    """Fold visits and attributes of those people anew whose rows do not say what they add up to; yields how many, step by step."""
    last = -1
    while True:
        with database.read() as connection:
            stored = {
                row[0]: (row[1] or 0, *row[2:])
                for row in connection.rows(
                    "SELECT id, visit_count, visit_started_at, visit_ended_at, previous_visit_ended_at FROM identities "
                    "WHERE site = ? AND id > ? AND principal_id = id ORDER BY id LIMIT ?",
                    (site, last, _CHUNK),
                )
            }
            people = list(stored)
            wrong = {
                person for person, spans in visits.of_people(connection, site, people).items() if visits.folded(spans) != stored[person]
            }
            attrs = _attrs(connection, site)
            wrong |= {one.person for one in attributes.standing(connection, site, people, attrs) if one.folded != one.stored}
        yield transact(functools.partial(_mend, site=site, people=sorted(wrong), now_ms=now_ms)) if wrong else 0
        if len(stored) < _CHUNK:
            return
        last = max(stored)


def _mend(tx: Connection, site: int, people: Sequence[int], now_ms: int) -> int:
    present = [one.id for one in by_ids(tx, site, people, lock=True).values() if not one.absorbed]
    visits.fold(tx, site, present)
    attributes.refold(tx, site, present, _attrs(tx, site))
    changes.note(tx, site, present, now_ms)
    return len(present)


def _attrs(connection: Connection, site: int) -> set[int]:
    """Return every attribute that anybody of the site may have."""
    named = connection.rows("SELECT id FROM names WHERE site = ? AND kind = ?", (site, ATTRIBUTE))
    return {*STANDARD_ATTRIBUTES.values(), *attributes.OF_VISITS, *(row[0] for row in named)}
