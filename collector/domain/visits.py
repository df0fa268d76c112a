"""Visits: what somebody did without idling for 30 minutes, as the browser numbers it.

Each identity has rows of its own, widened by every event whatever the order of arrival; visits of two identities with one number are
one (a lead that signed up in the middle). What they add up to for the person stands on its principal's row: how many, the latest, and
when the one before ended. Ends are kept to the minute, so that a page view in the middle of a visit writes nothing here.
Each keeps the context of its first event (`values.visit_context`): what the first and the latest visit say are attributes.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from collector.domain import identities
from collector.storage.database import Connection
from collector.values import visit_context
from collector.values.clock import MINUTE

IDLE = 30 * MINUTE
"""A visit has ended after this much idle time (ms)."""

MOST = 10_000
"""How many visits one person has at most: whoever invents numbers must not make what is read of them grow without end.

What a lead began while its person had so many is not among its own visits after the merge was undone either. Leads that would bring more
do not merge by themselves. Only who is proved, or somebody who knows what they do, brings a person beyond that.
"""

PARTS_EACH = 2
"""Where somebody signs in, the lead and the user each have a part of the visit. Whoever lets many leads name the same visits, which count
once, has no more parts of them kept than so many times `MOST`.
"""

Key = tuple[int, bytes]
"""An identity's row id and the visit's 16 bytes."""

Whole = tuple[int, int, bytes]
"""A person's visit: its end to the minute, its start (ms), its 16 bytes."""

Part = tuple[int, bytes, int, int]
"""An identity's part of a visit: its row id, the visit's 16 bytes, start (ms), end to the minute."""

NONE = identities.Visits(None, None, None, None)
"""What stands for a person's visits where there is nothing to say of them."""

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
        if at > self.start:
            self.end = max(self.end, at)
        elif at < self.start or (at == self.start and (visit_context.context(page, client) or "") > self.context):
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


class Said(NamedTuple):
    """What the first and the latest visit of a person say, as contexts; no first one where that is as it was."""

    first: str | None
    latest: str


Says = Callable[[identities.Members], Mapping[int, Said]]
"""Tells what the visits of these people say, by principal id, as far as they made any."""


class Followed(NamedTuple):
    """What visits add up to now, by principal id, where that is not what stands there; and of whom the first or latest one is another, or
    begins otherwise: what these say, and the identities of these people.
    """

    sums: dict[int, identities.Visits]
    said: dict[int, Said]
    members: identities.Members


def follow(tx: Connection, site: int, spans: Mapping[Key, Span], principals: Mapping[int, int]) -> Followed:
    """Widen the visits of identities, as far as that changes anything, and return what their people's visits add up to.

    The caller writes that down, with what else it has to say of these people. `principals` are the people of the identities; all are locked
    by the caller. A person's other visits are read only where they have to be: mostly one more begins when all the others have ended.
    """
    known = _stored(tx, site, sorted(spans))
    changes = {key: change for key, span in sorted(spans.items()) if (change := _changed(span, known.get(key))) is not None}
    members = identities.members(tx, site, {principals[identity] for identity, _ in changes})
    _keep_within_bounds(tx, site, changes, members, principals)
    rows = [(site, *key, *one.after[:2], one.after[2] or None) for key, one in changes.items()]
    tx.insert("visits", ("site", "identity", "visit", "started_at", "ended_at", "context"), rows, _WIDEN)
    people: dict[int, list[_Change]] = {}
    for person, visit in _whole_changes(tx, site, changes, members, principals):
        people.setdefault(person, []).append(visit)
    sums, said, unsure = {}, {}, set()
    for person, visits in people.items():
        stored = members[person].visits
        advanced = _advanced(stored, visits)
        if advanced is None:
            unsure.add(person)
        elif advanced != stored:
            sums[person] = advanced
        if any(visit.begins for visit in visits):
            found = _said(stored, visits)
            if found is None:
                unsure.add(person)
            else:
                said[person] = found
    if unsure:
        all_of_them = parts(tx, site, {number: member for number, member in members.items() if member.person in unsure})
        sums |= {person: folded(joined(made)) for person, made in all_of_them.items()}
        said |= contexts(tx, site, all_of_them)
    return Followed(sums, said, {number: member for number, member in members.items() if member.person in said})


class _Change(NamedTuple):
    """A visit before and after: start (ms), end to the minute, context."""

    before: tuple[int, int, str] | None
    after: tuple[int, int, str]

    @property
    def begins(self) -> bool:
        """Whether it is new or begins otherwise."""
        return self.before is None or (self.before[0], self.before[2]) != (self.after[0], self.after[2])


def _changed(span: Span, stored: tuple[int, int, str] | None) -> _Change | None:
    end = span.end // MINUTE * MINUTE
    if stored is None:
        return _Change(None, (span.start, end, span.context))
    started, ended, context = stored
    if span.start < started or (span.start == started and span.context > context):
        return _Change(stored, (span.start, max(end, ended), span.context))
    return _Change(stored, (started, end, context)) if end > ended else None


def _keep_within_bounds(
    connection: Connection, site: int, changes: dict[Key, _Change], members: identities.Members, principals: Mapping[int, int]
) -> None:
    """Take visits that begin where their person has as many as one has out of the changes."""
    begun: dict[int, list[Key]] = {}
    for key, change in changes.items():
        if change.before is None:
            begun.setdefault(principals[key[0]], []).append(key)
    sizes = Counter(member.person for member in members.values())
    for person, keys in begun.items():
        number, room = members[person].visits.number or 0, MOST * PARTS_EACH
        if (number + len(keys)) * sizes[person] > room:  # else it has not so many parts, as nearly nobody has
            room -= count(connection, site, [person])[0]
        new: set[bytes] = set()
        for key in keys:
            if room > 0 and number + len(new) + (key[1] not in new) <= MOST:
                new.add(key[1])
                room -= 1
            else:
                del changes[key]


def count(connection: Connection, site: int, people: Sequence[int]) -> tuple[int, int]:
    """Return how many parts of visits these people (principal ids) have together, and of how many visits; not beyond what one may have."""
    among, parameters = connection.among(people)
    parts_of = (
        "SELECT v.visit FROM identities i CROSS JOIN visits v "
        f"WHERE i.site = ? AND i.principal_id {among} AND v.site = i.site AND v.identity = i.id LIMIT ?"
    )
    row = connection.row(f"SELECT count(*), count(DISTINCT visit) FROM ({parts_of}) p", (site, *parameters, MOST * PARTS_EACH + 1))
    return (0, 0) if row is None else (row[0], row[1])


def _whole_changes(
    connection: Connection, site: int, changes: Mapping[Key, _Change], members: identities.Members, principals: Mapping[int, int]
) -> Iterator[tuple[int, _Change]]:
    """Yield how each visit of a person changes, with what other identities of the person's have of it."""
    by_visit: dict[int, dict[bytes, list[int]]] = {}
    for identity, visit in changes:
        by_visit.setdefault(principals[identity], {}).setdefault(visit, []).append(identity)
    unchanged: dict[tuple[int, bytes], list[tuple[int, int, str]]] = {}
    elsewhere = _elsewhere(connection, site, changes, members, by_visit)
    for (identity, visit), part in _stored(connection, site, elsewhere).items():
        unchanged.setdefault((members[identity].person, visit), []).append(part)
    for person, visits in by_visit.items():
        for visit, changed in visits.items():
            others = unchanged.get((person, visit), [])
            before = [one for identity in changed if (one := changes[identity, visit].before) is not None]
            after = [changes[identity, visit].after for identity in changed]
            yield person, _Change(_together([*others, *before]), _together([*others, *after]) or after[0])


def _elsewhere(
    connection: Connection,
    site: int,
    changes: Mapping[Key, _Change],
    members: identities.Members,
    by_visit: Mapping[int, Collection[bytes]],
) -> list[Key]:
    """Return where other identities of a person's may have a part of a visit that changes.

    Whoever has many and changes many has each asked for what it has, since most have no part in most of them.
    """
    of: dict[int, list[int]] = {}
    for number, member in members.items():
        of.setdefault(member.person, []).append(number)
    found: list[Key] = []
    for person, visits in by_visit.items():
        if len(visits) * len(of[person]) <= _CHUNK + (members[person].visits.number or 0):
            found += [(identity, visit) for visit in visits for identity in of[person] if (identity, visit) not in changes]
            continue
        made = parts(connection, site, {number: members[number] for number in of[person]})[person]
        found += [(identity, visit) for identity, visit, _, _ in made if visit in visits and (identity, visit) not in changes]
    return sorted(found)


def _together(found: Sequence[tuple[int, int, str]]) -> tuple[int, int, str] | None:
    """Return the whole of a visit: its end is never before its start, its context that of the part that began first."""
    if not found:
        return None
    start = min(started for started, _, _ in found)
    return start, max(start, *(ended for _, ended, _ in found)), max(context for started, _, context in found if started == start)


def _advanced(stored: identities.Visits, changes: Sequence[_Change]) -> identities.Visits | None:
    """Return what a person's visits add up to after some have changed; None where the others have to be asked."""
    count, started, ended, previous = stored
    if count is None:
        return None
    for before, (start, end, _) in changes:
        if before is None:
            count += 1
        elif start < before[0]:
            return None  # it may end earlier by that too, or another one be the latest
        if started is None or ended is None or (before is not None and (before[1], before[0]) == (ended, started)):
            started, ended = start, end
        elif (end, start) > (ended, started):
            started, ended, previous = start, end, ended
        else:
            previous = end if previous is None else max(previous, end)
    return identities.Visits(count, started, ended, previous)


def _said(stored: identities.Visits, changes: Sequence[_Change]) -> Said | None:
    """Return what a person's first and latest visit say now that some have changed; None where the others have to be asked."""
    if len(changes) > 1 or changes[0].before is not None:
        return None
    start, _, context = changes[0].after
    if not stored.number:
        return Said(context, context)
    # All the others had begun before the latest of them ended.
    return Said(None, context) if stored.ended_at is not None and start > stored.ended_at else None


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
    write(tx, site, parts(tx, site, identities.members(tx, site, people)))


def write(tx: Connection, site: int, found: Parts) -> None:
    """Write down what the visits of people add up to; these are all of theirs."""
    tx.update(
        "identities",
        site,
        "id",
        {"visit_count": "{1}", "visit_started_at": "{1}", "visit_ended_at": "{1}", "previous_visit_ended_at": "{1}"},
        [(person, *folded(joined(made))) for person, made in sorted(found.items())],
    )


def whole(visit: bytes, started: int, ended: int) -> Whole:
    """Return a person's visit. Its end to the minute may lie before its start within that minute; it ends when it began then."""
    return max(ended // MINUTE * MINUTE, started), started, bytes(visit)


def folded(spans: Collection[Whole]) -> identities.Visits:
    """Return what visits add up to."""
    if not spans:
        return identities.Visits(0, None, None, None)
    latest, *before = sorted(spans, reverse=True)[:2]
    return identities.Visits(len(spans), latest[1], latest[0], before[0][0] if before else None)


def contexts(connection: Connection, site: int, found: Parts) -> dict[int, Said]:
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
    return {person: Said(*(max(stored[key][2] for key in keys) for keys in pair)) for person, pair in ends.items()}


class Sayings:
    """What the visits of people say, read once for each of them: for as long as they do not change. A `Says`."""

    def __init__(self, connection: Connection, site: int) -> None:
        self._connection = connection
        self._site = site
        self._known: dict[int, Said | None] = {}

    def __call__(self, members: identities.Members) -> Mapping[int, Said]:
        """Return what the visits of these people say."""
        unknown = {number: member for number, member in members.items() if member.person not in self._known}
        if unknown:
            found = contexts(self._connection, self._site, parts(self._connection, self._site, unknown))
            self._known.update({member.person: found.get(member.person) for member in unknown.values()})
        people = {member.person for member in members.values()}
        return {person: said for person in people if (said := self._known[person]) is not None}


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
