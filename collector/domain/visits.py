"""Visits: what somebody did without idling for 30 minutes, as the browser numbers it.

Each identity has rows of its own, widened by every event whatever the order of arrival; visits of two identities with one number are
one (a lead that signed up in the middle). What they add up to for the person stands on its principal's row: how many, the latest, and
when the one before ended. Ends are kept to the minute, so that a page view in the middle of a visit writes nothing here.
Each keeps the context of its first event (`values.visit_context`): what the first and the latest visit say are attributes.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from collector.domain import identities
from collector.storage.database import Connection
from collector.values import visit_context
from collector.values.clock import MINUTE

IDLE = 30 * MINUTE
"""A visit has ended after this much idle time (ms)."""

Key = tuple[int, bytes]
"""An identity's row id and the visit's 16 bytes."""

Whole = tuple[int, int, bytes]
"""A person's visit: its end to the minute, its start (ms), its 16 bytes."""

Part = tuple[int, bytes, int, int]
"""An identity's part of a visit: its row id, the visit's 16 bytes, start (ms), end to the minute."""

Parts = dict[int, list[Part]]
"""The visits of people, by principal id."""

_CHUNK = 400


class Span(msgspec.Struct):
    """A visit as far as one identity knows: first and last event (ms); the page of the first, and the browser (JSON texts)."""

    start: int
    end: int
    page: str | None
    client: str | None

    @property
    def context(self) -> str:
        """What the visit keeps of its first event; empty where nothing is known."""
        return visit_context.context(self.page, self.client) or ""

    def widen(self, at: int, page: str | None, client: str | None) -> None:
        """Take one more event in. Of two first ones at the same time the larger context counts, whichever came first."""
        self.end = max(self.end, at)
        if at < self.start or (at == self.start and (visit_context.context(page, client) or "") > self.context):
            self.start, self.page, self.client = at, page, client


def last_seen(now_ms: int, started_at: int | None, ended_at: int | None, previous_ended_at: int | None) -> int | None:
    """Return when somebody was here last, in ms: for somebody here now the end of the visit before, on a first visit its start."""
    if ended_at is None:
        return None
    return (started_at if previous_ended_at is None else previous_ended_at) if ended_at > now_ms - IDLE else ended_at


def last_seen_sql(now_ms: int, alias: str) -> str:
    """Return `last_seen` as an SQL expression about a principal's row."""
    here = f"coalesce({alias}.previous_visit_ended_at, {alias}.visit_started_at)"
    return f"CASE WHEN {alias}.visit_ended_at > {now_ms - IDLE} THEN {here} ELSE {alias}.visit_ended_at END"


class Widened(msgspec.Struct, frozen=True):
    """Identities whose visits changed, and those of them with a visit that is new or begins otherwise."""

    changed: set[int]
    begun: set[int]


def widen(tx: Connection, site: int, spans: Mapping[Key, Span]) -> Widened:
    """Widen the visits of identities, as far as that changes anything."""
    known = _stored(tx, site, sorted(spans))
    rows = []
    begun = set()
    for key, span in sorted(spans.items()):
        started, ended, context = known.get(key, (span.start + 1, -1, ""))
        end = span.end // MINUTE * MINUTE
        begins = span.start < started or (span.start == started and span.context > context)
        if begins:
            begun.add(key[0])
        if begins or end > ended:
            rows.append((site, *key, span.start, end, span.context or None if begins else None))
    tx.insert("visits", ("site", "identity", "visit", "started_at", "ended_at", "context"), rows, _WIDEN)
    return Widened({row[1] for row in rows}, begun)


def parts(connection: Connection, site: int, members: identities.Members) -> Parts:
    """Return the visits of each of these people, as their identities have them."""
    found: Parts = {member.person: [] for member in members.values()}
    numbers = sorted(members)
    for start in range(0, len(numbers), _CHUNK):
        among, parameters = connection.among(numbers[start : start + _CHUNK])
        sql = f"SELECT identity, visit, started_at, ended_at FROM visits WHERE site = ? AND identity {among}"
        for identity, visit, started, ended in connection.rows(sql, (site, *parameters)):
            found[members[identity].person].append((identity, bytes(visit), started, ended))
    return found


def of_people(connection: Connection, site: int, people: Collection[int]) -> dict[int, list[Whole]]:
    """Return the visits of each of these people (principal ids), those of several identities with one number as one."""
    return {person: joined(found) for person, found in parts(connection, site, identities.members(connection, site, people)).items()}


def joined(found: Iterable[Part]) -> list[Whole]:
    """Return the visits of a person from what its identities have of them."""
    spans: dict[bytes, tuple[int, int]] = {}
    for _, visit, started, ended in found:
        present = spans.get(visit, (started, ended))
        spans[visit] = min(present[0], started), max(present[1], ended)
    return [whole(visit, started, ended) for visit, (started, ended) in spans.items()]


def fold(tx: Connection, site: int, people: Collection[int]) -> None:
    """Work out anew what the visits of people (principal ids) add up to. They are locked by the caller."""
    refold(tx, site, parts(tx, site, identities.members(tx, site, people)))


def refold(tx: Connection, site: int, found: Parts) -> None:
    """Write down what the visits of people add up to."""
    rows = [(site, person, *folded(joined(visits))) for person, visits in sorted(found.items())]
    tx.update("identities", ("site", "id"), ("visit_count", "visit_started_at", "visit_ended_at", "previous_visit_ended_at"), rows)


def whole(visit: bytes, started: int, ended: int) -> Whole:
    """Return a person's visit. Its end to the minute may lie before its start within that minute; it ends when it began then."""
    return max(ended // MINUTE * MINUTE, started), started, bytes(visit)


def folded(spans: Collection[Whole]) -> tuple[int, int | None, int | None, int | None]:
    """Return what visits add up to: count, start and end of the latest, end of the one before."""
    if not spans:
        return 0, None, None, None
    latest, *before = sorted(spans, reverse=True)[:2]
    return len(spans), latest[1], latest[0], before[0][0] if before else None


def contexts(connection: Connection, site: int, found: Parts) -> dict[int, tuple[str, str]]:
    """Return the contexts of the first and the latest visit of those of these people who made any.

    The first began first, the latest began last; a visit of several identities has the context of the part that began first.
    """
    ends: dict[int, list[list[Key]]] = {}
    for person, visits in found.items():
        if not visits:
            continue
        began: dict[bytes, int] = {}
        for _, visit, started, _ in visits:
            began[visit] = min(began.get(visit, started), started)
        order = [(started, visit) for visit, started in began.items()]
        ends[person] = [
            [(identity, visit) for identity, visit, started, _ in visits if (started, visit) == end] for end in (min(order), max(order))
        ]
    stored = _stored(connection, site, sorted({key for pair in ends.values() for keys in pair for key in keys}))
    said = {person: [max(stored[key][2] for key in keys) for keys in pair] for person, pair in ends.items()}
    return {person: (first, latest) for person, (first, latest) in said.items()}


def _stored(connection: Connection, site: int, keys: Sequence[Key]) -> dict[Key, tuple[int, int, str]]:
    """Return start, end (ms) and context of those visits of identities that there are."""
    found: dict[Key, tuple[int, int, str]] = {}
    for start in range(0, len(keys), _CHUNK):
        chunk = keys[start : start + _CHUNK]
        with_keys, parameters = connection.pairs(chunk)
        columns = "v.identity, v.visit, v.started_at, v.ended_at, v.context"
        sql = f"WITH k (identity, visit) AS ({with_keys}) SELECT {columns} FROM k {_VISITS_BY_KEY}"
        for identity, visit, started, ended, context in connection.rows(sql, (*parameters, site)):
            found[(identity, bytes(visit))] = (started, ended, context or "")
    return found


# A cross join, so that SQLite, which knows no numbers of rows, begins on the left side and not with all visits of the site.
_VISITS_BY_KEY = "CROSS JOIN visits v WHERE v.site = ? AND v.identity = k.identity AND v.visit = k.visit"
_WIDEN = """ON CONFLICT (site, identity, visit) DO UPDATE SET
context = CASE WHEN excluded.started_at < visits.started_at OR (excluded.started_at = visits.started_at
AND coalesce(excluded.context, '') > coalesce(visits.context, '')) THEN excluded.context ELSE visits.context END,
started_at = lesser(visits.started_at, excluded.started_at), ended_at = larger(visits.ended_at, excluded.ended_at)"""
