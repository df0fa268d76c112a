"""The sums: own totals against the timeline, persons' totals, attributes and activity against the fold of their identities."""

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any

from collector.domain import attributes, visits
from collector.domain.checks.findings import Finding, Part


def own_totals(part: Part) -> Iterator[Finding]:
    """An identity's own total is what was imported, what was pruned, and the events of its timeline."""
    arms, parameters = [_STORED], [*part.bounds]
    for one in part.slices:
        after = max(part.after, one.moved.get(part.site, part.after))
        if after < part.upto:
            arms.append(_TIMELINE.format(one.number))
            parameters += [part.site, one.number, after, part.upto]
    for identity, name, known, *sums in part.rows(_RECOUNT.format(" UNION ALL ".join(arms)), (*parameters, part.site, part.site)):
        counted, stored = _total(sums[:3]), _total(sums[3:])
        yield part.finding("own_total" if known is not None else "event_without_identity", counted, stored, identity, name)


_STORED = """SELECT identity, name, own_count, own_first, own_last, base_count + imported_count AS counted,
lesser(coalesce(base_first, imported_first), coalesce(imported_first, base_first)) AS earliest,
larger(coalesce(base_last, imported_last), coalesce(imported_last, base_last)) AS latest
FROM totals WHERE site = ? AND identity > ? AND identity <= ?"""
_TIMELINE = """SELECT identity, name, 0, NULL, NULL, count(*), min(at), max(at)
FROM events_{} WHERE site = ? AND slice = ? AND identity > ? AND identity <= ? GROUP BY identity, name"""
# The events of a deleted identity are wiped after it is gone; till then they belong to nobody.
_RECOUNT = """SELECT r.identity, r.name, i.id, r.counted, r.earliest, r.latest, r.own, r.own_first, r.own_last FROM (
SELECT identity, name, sum(own_count) AS own, min(own_first) AS own_first, max(own_last) AS own_last,
sum(counted) AS counted, min(earliest) AS earliest, max(latest) AS latest FROM ({}) a GROUP BY identity, name) r
LEFT JOIN identities i ON i.site = ? AND i.id = r.identity
WHERE (r.own <> r.counted OR coalesce(r.own_first, -1) <> coalesce(r.earliest, -1) OR coalesce(r.own_last, -1) <> coalesce(r.latest, -1))
AND r.identity NOT IN (SELECT identity FROM deletions WHERE site = ?)"""


def person_totals(part: Part) -> Iterator[Finding]:
    """A person's total is the sum, the earliest and the latest of its identities' own ones."""
    for person, name, *sums in part.rows(_FOLD.format(by=part.by("totals_identity"))):
        yield part.finding("person_total", _total(sums[:3]), _total(sums[3:]), person, name)


_FOLD = """SELECT principal_id, name, own, own_first, own_last, stored, first, last FROM (
SELECT i.principal_id, t.name, sum(t.own_count) AS own, min(t.own_first) AS own_first, max(t.own_last) AS own_last,
coalesce(sum(CASE WHEN i.id = i.principal_id THEN t.count END), 0) AS stored,
min(CASE WHEN i.id = i.principal_id THEN t.first END) AS first, max(CASE WHEN i.id = i.principal_id THEN t.last END) AS last
FROM identities i JOIN totals t{by} ON t.site = i.site AND t.identity = i.id
WHERE i.site = ? AND i.principal_id > ? AND i.principal_id <= ? GROUP BY i.principal_id, t.name) f
WHERE own <> stored OR coalesce(own_first, -1) <> coalesce(first, -1) OR coalesce(own_last, -1) <> coalesce(last, -1)"""


def absorbed_totals(part: Part) -> Iterator[Finding]:
    """An identity that another person has taken in has no person's total of its own."""
    for identity, name, count in part.rows(_ABSORBED.format(by=part.by("totals_identity"))):
        yield part.finding("absorbed_total", "none", "none but times" if count is None else count, identity, name)


_ABSORBED = """SELECT i.id, t.name, t.count FROM identities i JOIN totals t{by} ON t.site = i.site AND t.identity = i.id
WHERE i.site = ? AND i.id > ? AND i.id <= ? AND i.principal_id <> i.id
AND (t.count IS NOT NULL OR t.first IS NOT NULL OR t.last IS NOT NULL)"""


def person_attributes(part: Part) -> Iterator[Finding]:
    """A person's attribute is what the rule makes of its identities' own values; the values themselves are not told."""
    for (person, attr), rows in groupby(part.rows(_ATTRIBUTES.format(by=part.by("attributes_identity"))), key=itemgetter(0, 1)):
        own: list[tuple[str, attributes.Own]] = []
        stored = attributes.UNSET
        visited = attr in attributes.OF_VISITS  # the person's half is looked at by `visit_attributes`
        for _, _, identity, kind, value, at, source, *folded in rows:
            if value is not None:
                own.append((kind, (value, at, source)))
            if identity == person:
                stored = attributes.Folded(*folded)
            elif any(half is not None for half in folded):
                yield part.finding("absorbed_attribute", "none", "a value", identity, attr)
        if visited:
            continue
        try:
            expected = attributes.fold_own(own)
        except (ValueError, KeyError):  # no JSON, or no kind of identity that we know
            yield part.finding("person_attribute", "values as the collector writes them", "something else", person, attr)
            continue
        if expected != stored:
            yield part.finding("person_attribute", _told(expected), _told(stored, expected), person, attr)


_ATTRIBUTES = """SELECT i.principal_id, a.attr, i.id, i.kind, a.own_value, a.own_at, a.own_source,
a.value, a.num, a.folded, a.set_at, a.source FROM identities i JOIN attributes a{by} ON a.site = i.site AND a.identity = i.id
WHERE i.site = ? AND i.principal_id > ? AND i.principal_id <= ? ORDER BY i.principal_id, a.attr"""


def visit_attributes(part: Part) -> Iterator[Finding]:
    """What visits say about a person is what those of its identities say, unless it was set."""
    for chunk in part.connection.chunks(_PEOPLE, part.bounds, _CHUNK):
        people = [row[0] for row in chunk]
        for one in attributes.standing(part.connection, part.site, people, attributes.OF_VISITS):
            try:
                expected = one.folded
            except (ValueError, KeyError):
                yield part.finding("person_attribute", "values as the collector writes them", "something else", one.person, one.attr)
                continue
            if expected != one.stored:
                yield part.finding("person_attribute", _told(expected), _told(one.stored, expected), one.person, one.attr)


_CHUNK = 400
_PEOPLE = "SELECT id FROM identities WHERE site = ? AND id > ? AND id <= ? AND principal_id = id"


def activity(part: Part) -> Iterator[Finding]:
    """A person was last active when the latest of its identities was."""
    for person, expected, found in part.rows(_ACTIVE):
        yield part.finding("activity", expected, found, person)


_ACTIVE = """SELECT principal_id, own, stored FROM (
SELECT principal_id, max(own_active_at) AS own, max(CASE WHEN id = principal_id THEN active_at END) AS stored
FROM identities WHERE site = ? AND principal_id > ? AND principal_id <= ? GROUP BY principal_id) f
WHERE coalesce(own, -1) <> coalesce(stored, -1)"""


def person_visits(part: Part) -> Iterator[Finding]:
    """How many visits a person made, and the latest, follow from the visits of its identities."""
    for person, rows in groupby(part.rows(_VISITS), key=itemgetter(0)):
        spans: list[visits.Whole] = []
        for _, visit, started, ended, *columns in rows:
            stored = (columns[0] or 0, *columns[1:])
            if visit is not None:
                spans.append(visits.whole(visit, started, ended))
        if visits.folded(spans) != stored:
            yield part.finding("person_visits", visits.folded(spans), stored, person)


# The plus keeps SQLite from looking through the whole span for each person.
_VISITS = """SELECT p.id, v.visit, min(v.started_at), max(v.ended_at), p.visit_count, p.visit_started_at, p.visit_ended_at,
p.previous_visit_ended_at FROM identities p JOIN identities i ON i.site = p.site AND i.principal_id = +p.id
LEFT JOIN visits v ON v.site = i.site AND v.identity = i.id
WHERE p.site = ? AND p.id > ? AND p.id <= ? AND p.principal_id = p.id
GROUP BY p.id, v.visit, p.visit_count, p.visit_started_at, p.visit_ended_at, p.previous_visit_ended_at ORDER BY p.id"""


def _total(sums: list[Any]) -> str:
    count, first, last = sums
    return f"{int(count)} (first {first}, last {last})"


def _told(one: attributes.Folded, beside: attributes.Folded | None = None) -> str:
    if one.value is None:
        return "no value"
    same = beside is not None and (one.set_at, one.source) == (beside.set_at, beside.source)
    return f"{'another' if same else 'a'} value set at {one.set_at} by source {one.source}"
