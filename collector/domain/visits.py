"""Visits: what somebody did without idling for 30 minutes, as the browser numbers it.

Each identity has rows of its own, widened by every event whatever the order of arrival; visits of two identities with one number are
one (a lead that signed up in the middle). What they add up to for the person stands on its principal's row: how many, the latest, and
when the one before ended. Ends are kept to the minute, so that a page view in the middle of a visit writes nothing here.
"""

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import msgspec

from collector.domain.identities import by_ids, marks
from collector.storage.database import Connection, Database
from collector.values.clock import MINUTE

IDLE = 30 * MINUTE
"""A visit has ended after this much idle time (ms)."""

Transact = Callable[[Callable[[Connection], int]], int]
"""Runs work in a transaction and returns what it returns."""

Key = tuple[int, bytes]
"""An identity's row id and the visit's 16 bytes."""

_CHUNK = 400


class Span(msgspec.Struct, frozen=True):
    """A visit as far as one identity knows: first and last event (ms), and the page it began with (JSON text)."""

    start: int
    end: int
    context: str | None

    def widened(self, at: int, context: str | None) -> "Span":
        """Return the visit with one more event."""
        return Span(min(self.start, at), max(self.end, at), context if at < self.start else self.context)


def last_seen(now_ms: int, started_at: int | None, ended_at: int | None, previous_ended_at: int | None) -> int | None:
    """Return when somebody was here last, in ms: for somebody here now the end of the visit before, on a first visit its start."""
    if ended_at is None:
        return None
    return (started_at if previous_ended_at is None else previous_ended_at) if ended_at > now_ms - IDLE else ended_at


def last_seen_sql(now_ms: int, alias: str) -> str:
    """Return `last_seen` as an SQL expression about a principal's row."""
    here = f"coalesce({alias}.previous_visit_ended_at, {alias}.visit_started_at)"
    return f"CASE WHEN {alias}.visit_ended_at > {now_ms - IDLE} THEN {here} ELSE {alias}.visit_ended_at END"


def widen(tx: Connection, site: int, spans: Mapping[Key, Span]) -> set[int]:
    """Widen the visits of identities, as far as that changes anything, and return the identities whose visits changed."""
    known: dict[Key, tuple[int, int]] = {}
    keys = sorted(spans)
    for start in range(0, len(keys), _CHUNK):
        chunk = keys[start : start + _CHUNK]
        pairs = ", ".join(["(?, ?)"] * len(chunk))
        sql = f"SELECT identity, visit, started_at, ended_at FROM visits WHERE site = ? AND (identity, visit) IN (VALUES {pairs})"
        for identity, visit, started, ended in tx.rows(sql, (site, *(value for key in chunk for value in key))):
            known[(identity, bytes(visit))] = (started, ended)
    rows = []
    for key, span in sorted(spans.items()):
        started, ended = known.get(key, (None, None))
        end = span.end // MINUTE * MINUTE
        if started is None or ended is None or span.start < started or end > ended:
            rows.append((site, *key, span.start, end, span.context))
    tx.insert("visits", ("site", "identity", "visit", "started_at", "ended_at", "context"), rows, _WIDEN)
    return {row[1] for row in rows}


def fold(tx: Connection, site: int, people: Collection[int]) -> None:
    """Work out anew what the visits of people (principal ids) add up to. They are locked by the caller."""
    wanted = sorted(people)
    for start in range(0, len(wanted), _CHUNK):
        visits = _of_people(tx, site, wanted[start : start + _CHUNK])
        tx.run_many(
            "UPDATE identities SET visit_count = ?, visit_started_at = ?, visit_ended_at = ?, previous_visit_ended_at = ? "
            "WHERE site = ? AND id = ?",
            [(*folded(spans), site, person) for person, spans in visits.items()],
        )


def mend(database: Database, transact: Transact, site: int) -> Iterator[int]:
    """Fold anew the visits of those people whose row does not say what they add up to; yields how many that were, step by step.

    Such rows are left when the columns were made, and by a collector that did not know them.
    """
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
            wrong = [person for person, spans in _of_people(connection, site, list(stored)).items() if folded(spans) != stored[person]]
        yield transact(functools.partial(_mend, site=site, people=wrong)) if wrong else 0
        if len(stored) < _CHUNK:
            return
        last = max(stored)


def _mend(tx: Connection, site: int, people: Sequence[int]) -> int:
    present = [one.id for one in by_ids(tx, site, people, lock=True).values() if not one.absorbed]
    fold(tx, site, present)
    return len(present)


def _of_people(connection: Connection, site: int, people: Sequence[int]) -> dict[int, list[tuple[int, int, bytes]]]:
    """Return the visits (end to the minute, start, number) of each of these people (principal ids)."""
    visits: dict[int, list[tuple[int, int, bytes]]] = {person: [] for person in people}
    sql = (
        "SELECT i.principal_id, v.visit, min(v.started_at), max(v.ended_at) FROM identities i "
        "JOIN visits v ON v.site = i.site AND v.identity = i.id "
        f"WHERE i.site = ? AND i.principal_id IN ({marks(people)}) GROUP BY i.principal_id, v.visit"
    )
    for person, visit, started, ended in connection.rows(sql, (site, *people)) if people else ():
        visits[person].append((ended // MINUTE * MINUTE, started, bytes(visit)))
    return visits


def folded(spans: list[tuple[int, int, bytes]]) -> tuple[int, int | None, int | None, int | None]:
    """Return what visits (end to the minute, start, number) add up to: count, start and end of the latest, end of the one before."""
    if not spans:
        return 0, None, None, None
    latest, *before = sorted(spans, reverse=True)[:2]
    return len(spans), latest[1], latest[0], before[0][0] if before else None


_WIDEN = """ON CONFLICT (site, identity, visit) DO UPDATE SET
context = CASE WHEN excluded.started_at < visits.started_at THEN excluded.context ELSE visits.context END,
started_at = lesser(visits.started_at, excluded.started_at), ended_at = larger(visits.ended_at, excluded.ended_at)"""
