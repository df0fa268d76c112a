"""Segments: saved queries with a name. A rule about `segment_id` stands for the segment's query, as it is at that moment."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, tzinfo
from typing import Any

import msgspec

from collector.domain import definitions
from collector.storage.database import Connection
from collector.values.errors import Reason, Refusal
from collector.values.fields import shown
from collector.values.ids import RowIds, new_public_id
from collector.values.queries import parse
from collector.values.query_tree import AttributeRule, Extent, Group, MessageMeasure, Node, extent, placed, to_json, walk
from collector.values.text import normalise, storable

FIELD = "segment_id"
LONGEST_NAME = 255
MOST_NODES = 1_000
"""Rules, groups and conditions of a query with those of its segments: what a statement may be asked for, and a thread be held by."""
DEEPEST = 200
"""Rules and groups inside each other in a query with those of its segments."""
_TABLES = {"segment": "segments", "message": "auto_messages"}
_ANY_RETENTION = 36_500
"""Days: what was valid when it was stored is read whatever the retention is now."""


Query = tuple[str, Any]
"""A message's name, and a query of it as it was written, or None."""
Queries = Callable[[Connection, int], Iterable[Query]]
"""Reads the queries of a site's messages that could be shown (again); called once nobody else can change them."""


class NoSegment(LookupError):
    """There is no such segment (any more)."""


class SegmentInUse(Exception):
    """A message asks for the segment; `name` is the message's."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class SegmentExists(Exception):
    """There is a segment of this name."""


class Segment(msgspec.Struct, frozen=True):
    """One segment. Times in ms; `public_id` is what the API knows."""

    id: int
    public_id: str
    name: str
    query: Node
    created_at: int
    updated_at: int


def clean_name(raw: object) -> str:
    """Return the name of a segment, trimmed. Raises Refusal."""
    if isinstance(raw, str) and storable(raw):
        name = normalise(raw)
        if 1 <= len(name) <= LONGEST_NAME:
            return name
    raise Refusal(Reason.FIELD_INVALID, "name", f"expected text of 1 to {LONGEST_NAME} characters, not {shown(raw)}")


def clean_query(raw: object, retention_days: int, time_zone: tzinfo = UTC) -> Node:
    """Return the query of a segment, which asks for no other segment; `time_zone` is the site's. Raises Refusal."""
    node = parse(raw, retention_days=retention_days, time_zone=time_zone)
    if asks_for_segments(node):
        raise Refusal(Reason.QUERY_INVALID, "query", "A segment does not ask for segments: write its rules out.")
    return node


def all_of(connection: Connection, site: int) -> list[Segment]:
    """Return every segment of a site, by name."""
    return [_segment(row) for row in connection.rows(f"SELECT {_COLUMNS} FROM segments WHERE site = ? ORDER BY name", (site,))]


def stored(connection: Connection, site: int) -> list[tuple[Any, ...]]:
    """Return what queries that name segments depend on: as long as it is the same, they are."""
    return connection.rows("SELECT public_id, query FROM segments WHERE site = ? ORDER BY public_id", (site,))


def get(connection: Connection, site: int, public_id: str) -> Segment | None:
    """Return one segment."""
    row = connection.row(f"SELECT {_COLUMNS} FROM segments WHERE site = ? AND public_id = ?", (site, public_id))
    return None if row is None else _segment(row)


def create(tx: Connection, site: int, row_ids: RowIds, name: str, query: Node, queries: Queries, now_ms: int) -> Segment:
    """Store a new segment.

    Raises:
        SegmentExists: the name is taken.
        Refusal: it asks for a message that there is not, or a message that asks for every segment becomes too large.
    """
    definitions.hold(tx, site)
    made = Segment(row_ids.mint(now_ms), new_public_id(), name, query, now_ms, now_ms)
    _check(tx, site, made, queries)
    row = (site, made.id, made.public_id, name, _text(query), now_ms, now_ms)
    columns = ("site", "id", "public_id", "name", "query", "created_at", "updated_at")
    if not tx.insert("segments", columns, [row], "ON CONFLICT DO NOTHING RETURNING id"):
        raise SegmentExists
    return made


def update(tx: Connection, site: int, public_id: str, name: str | None, query: Node | None, queries: Queries, now_ms: int) -> Segment:
    """Change name or query, whichever is given.

    Raises:
        NoSegment: there is no such segment.
        SegmentExists: the name is taken.
        Refusal: it asks for a message that there is not, or a message that asks for the segment becomes too large.
    """
    definitions.hold(tx, site)
    present = get(tx, site, public_id)
    if present is None:
        raise NoSegment(public_id)
    if name is not None and tx.row("SELECT 1 FROM segments WHERE site = ? AND name = ? AND id <> ?", (site, name, present.id)):
        raise SegmentExists
    changed = msgspec.structs.replace(present, name=name or present.name, query=query or present.query, updated_at=now_ms)
    if query is not None:
        _check(tx, site, changed, queries)
    tx.run(
        "UPDATE segments SET name = ?, query = ?, updated_at = ? WHERE site = ? AND id = ?",
        (changed.name, _text(changed.query), now_ms, site, present.id),
    )
    return changed


def delete(tx: Connection, site: int, public_id: str, queries: Queries) -> None:
    """Delete a segment that nobody asks for: "not in it" would hold for everybody from then on.

    Raises:
        NoSegment: there is no such segment.
        SegmentInUse: a message asks for it.
    """
    definitions.hold(tx, site)
    for name, asked in queries(tx, site):
        if asked is not None and public_id in _asked(parse(asked, retention_days=_ANY_RETENTION)):
            raise SegmentInUse(name)
    if not tx.run("DELETE FROM segments WHERE site = ? AND public_id = ?", (site, public_id)):
        raise NoSegment(public_id)


def _check(tx: Connection, site: int, changed: Segment, queries: Queries) -> None:
    """Refuse a segment's query where it asks for a message that there is not, or makes one of these queries too large."""
    check(tx, site, changed.query, "query")
    known = {segment.public_id: segment.query for segment in all_of(tx, site)} | {changed.public_id: changed.query}
    for name, asked in queries(tx, site):
        if asked is None:
            continue
        node = parse(asked, retention_days=_ANY_RETENTION)
        if asks_for_segments(node) and (why := _too_much(node, known)) is not None:
            raise Refusal(Reason.QUERY_INVALID, "query", f"The message “{name}” asks for this segment. {why}")


def check(connection: Connection, site: int, node: Node, field: str, own: str | None = None) -> None:
    """Refuse a query that is to be kept and names a segment or a message that the site does not have, or is too large with its segments.

    `own` is the id of a message that may name itself. Raises Refusal (QUERY_INVALID) with the path; `field` is the query's own name.
    """
    named = list(_named(node, field))
    kinds = {kind for kind, _, _ in named}
    known = {
        kind: {row[0] for row in connection.rows(f"SELECT public_id FROM {table} WHERE site = ?", (site,))}
        for kind, table in _TABLES.items()
        if kind in kinds
    }
    for kind, path, public_id in named:
        if public_id not in known[kind] and public_id != own:
            raise Refusal(Reason.QUERY_INVALID, path, f"There is no {kind} {shown(public_id)} on this site.")
    expand(connection, site, node, field)


def _named(node: Node, field: str) -> Iterator[tuple[str, str, str]]:
    """Yield what a query names: what kind of thing it is, the path, its id."""
    for path, rule in placed(node, field):
        if isinstance(rule, AttributeRule) and rule.field == FIELD:
            if isinstance(rule.test.value, tuple):
                yield from (("segment", f"{path}.value[{place}]", str(one)) for place, one in enumerate(rule.test.value))
            elif rule.test.operand is not None:
                yield "segment", f"{path}.value", str(rule.test.operand)
        measures = {path: None if isinstance(rule, AttributeRule) else rule.measure, f"{path}.value": rule.test.operand}
        yield from (("message", f"{at}.message", one.message) for at, one in measures.items() if isinstance(one, MessageMeasure))


def asks_for_segments(node: Node) -> bool:
    """Say whether a query asks for segments."""
    return any(isinstance(rule, AttributeRule) and rule.field == FIELD for rule in walk(node))


def expand(connection: Connection, site: int, node: Node, field: str = "query") -> Node:
    """Return a query with the segments' own queries in place of the rules that ask for them.

    Raises Refusal (QUERY_INVALID, `field`) where that is more than MOST_NODES, or deeper than DEEPEST.
    """
    if not asks_for_segments(node):
        return node
    known = {segment.public_id: segment.query for segment in all_of(connection, site)}
    if (why := _too_much(node, known)) is not None:
        raise Refusal(Reason.QUERY_INVALID, field, why)
    return expanded(node, known)


def expanded(node: Node, segments: Mapping[str, Node]) -> Node:
    """Return a query with these segments, by public id, in place of the rules that ask for them; nobody is in an unknown one."""
    if isinstance(node, Group):
        return Group(node.operator, tuple([expanded(child, segments) for child in node.value]))
    if not isinstance(node, AttributeRule) or node.field != FIELD:
        return node
    queries = tuple([segments[one] for one in _wanted(node, segments)])
    if node.test.operator in {"!=", "NIN", "is_unknown"}:
        return Group("NOT", queries)
    return queries[0] if len(queries) == 1 else Group("OR", queries)


def _wanted(rule: AttributeRule, segments: Mapping[str, Node]) -> list[str]:
    """Return which of these segments a rule asks for."""
    operator, operand = rule.test.operator, rule.test.operand
    if operator in {"is_unknown", "has_any_value"}:
        return sorted(segments)
    return [one for one in sorted(map(str, [operand] if operator in {"=", "!="} else operand)) if one in segments]


def _too_much(node: Node, segments: Mapping[str, Node]) -> str | None:
    """Return why a query is too large with these segments, without putting them in: each may be named very often."""
    extents = {name: extent(query) for name, query in segments.items()}

    def of_rule(rule: AttributeRule) -> Extent:
        found = [extents[one] for one in _wanted(rule, segments)] if rule.field == FIELD else []
        return Extent(1 + sum(one.nodes for one in found), 1 + max([one.depth for one in found], default=0))

    nodes, depth = extent(node, of_rule)
    if nodes > MOST_NODES:
        return f"With its segments’ own rules a query would have {nodes:,} rules, groups and conditions; allowed are {MOST_NODES:,}."
    if depth > DEEPEST:
        return f"With its segments’ own rules a query would have {depth:,} rules and groups inside each other; allowed are {DEEPEST:,}."
    return None


def _asked(node: Node) -> set[Any]:
    """Return the ids of the segments a query names."""
    found: set[Any] = set()
    for rule in walk(node):
        if isinstance(rule, AttributeRule) and rule.field == FIELD:
            operand = rule.test.operand
            found |= set(operand) if isinstance(operand, frozenset) else set() if operand is None else {operand}
    return found


def _segment(row: tuple[Any, ...]) -> Segment:
    number, public_id, name, query, created, updated = row
    return Segment(number, public_id, name, parse(json.loads(query), retention_days=_ANY_RETENTION), created, updated)


def _text(query: Node) -> str:
    return json.dumps(to_json(query), ensure_ascii=False)


_COLUMNS = "id, public_id, name, query, created_at, updated_at"
