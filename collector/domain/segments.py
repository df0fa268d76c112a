"""Segments: saved queries with a name. A rule about `segment_id` stands for the segment's query, as it is at that moment."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from collector.storage.database import Connection
from collector.values.errors import Reason, Refusal
from collector.values.fields import shown
from collector.values.ids import RowIds, new_public_id
from collector.values.queries import parse
from collector.values.query_tree import AttributeRule, Group, Node, to_json, walk
from collector.values.text import normalise, storable

FIELD = "segment_id"
LONGEST_NAME = 255
_ANY_RETENTION = 36_500
"""Days: what was valid when it was stored is read whatever the retention is now."""


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


def clean_query(raw: object, retention_days: int) -> Node:
    """Return the query of a segment, which asks for no other segment. Raises Refusal."""
    node = parse(raw, retention_days=retention_days)
    if asks_for_segments(node):
        raise Refusal(Reason.QUERY_INVALID, "query", "A segment does not ask for segments: write its rules out.")
    return node


def all_of(connection: Connection, site: int) -> list[Segment]:
    """Return every segment of a site, by name."""
    return [_segment(row) for row in connection.rows(f"SELECT {_COLUMNS} FROM segments WHERE site = ? ORDER BY name", (site,))]


def get(connection: Connection, site: int, public_id: str) -> Segment | None:
    """Return one segment."""
    row = connection.row(f"SELECT {_COLUMNS} FROM segments WHERE site = ? AND public_id = ?", (site, public_id))
    return None if row is None else _segment(row)


def create(tx: Connection, site: int, row_ids: RowIds, name: str, query: Node, now_ms: int) -> Segment:
    """Store a new segment.

    Raises:
        SegmentExists: the name is taken.
    """
    made = Segment(row_ids.mint(now_ms), new_public_id(), name, query, now_ms, now_ms)
    row = (site, made.id, made.public_id, name, _text(query), now_ms, now_ms)
    columns = ("site", "id", "public_id", "name", "query", "created_at", "updated_at")
    if not tx.insert("segments", columns, [row], "ON CONFLICT DO NOTHING RETURNING id"):
        raise SegmentExists
    return made


def update(tx: Connection, site: int, public_id: str, name: str | None, query: Node | None, now_ms: int) -> Segment:
    """Change name or query, whichever is given.

    Raises:
        LookupError: there is no such segment.
        SegmentExists: the name is taken.
    """
    present = get(tx, site, public_id)
    if present is None:
        raise LookupError(public_id)
    if name is not None and tx.row("SELECT 1 FROM segments WHERE site = ? AND name = ? AND id <> ?", (site, name, present.id)):
        raise SegmentExists
    changed = msgspec.structs.replace(present, name=name or present.name, query=query or present.query, updated_at=now_ms)
    tx.run(
        "UPDATE segments SET name = ?, query = ?, updated_at = ? WHERE site = ? AND id = ?",
        (changed.name, _text(changed.query), now_ms, site, present.id),
    )
    return changed


def delete(tx: Connection, site: int, public_id: str, queries: Iterable[tuple[str, Any]]) -> None:
    """Delete a segment that nobody asks for: "not in it" would hold for everybody from then on.

    `queries` are those of the messages that could be shown (again), each with the message's name, as it was written.

    Raises:
        LookupError: there is no such segment.
        SegmentInUse: a message asks for it.
    """
    for name, asked in queries:
        if asked is not None and public_id in _asked(parse(asked, retention_days=_ANY_RETENTION)):
            raise SegmentInUse(name)
    if not tx.run("DELETE FROM segments WHERE site = ? AND public_id = ?", (site, public_id)):
        raise LookupError(public_id)


def asks_for_segments(node: Node) -> bool:
    """Say whether a query asks for segments."""
    return any(isinstance(rule, AttributeRule) and rule.field == FIELD for rule in walk(node))


def expand(connection: Connection, site: int, node: Node) -> Node:
    """Return a query with the segments' own queries in place of the rules that ask for them."""
    if not asks_for_segments(node):
        return node
    return expanded(node, {segment.public_id: segment.query for segment in all_of(connection, site)})


def expanded(node: Node, segments: Mapping[str, Node]) -> Node:
    """Return a query with these segments, by public id, in place of the rules that ask for them; nobody is in an unknown one."""
    if isinstance(node, Group):
        return Group(node.operator, tuple([expanded(child, segments) for child in node.value]))
    if not isinstance(node, AttributeRule) or node.field != FIELD:
        return node
    operator, operand = node.test.operator, node.test.operand
    wanted: Iterable[Any] = segments if operator in {"is_unknown", "has_any_value"} else [operand] if operator in {"=", "!="} else operand
    queries = tuple([segments[one] for one in sorted(map(str, wanted)) if one in segments])
    if operator in {"!=", "NIN", "is_unknown"}:
        return Group("NOT", queries)
    return queries[0] if len(queries) == 1 else Group("OR", queries)


def unknown(connection: Connection, site: int, node: Node) -> str | None:
    """Return the id of a segment that a query names and the site does not have: "not in it" would hold for everybody."""
    asked = sorted(map(str, _asked(node)))
    known = {segment.public_id for segment in all_of(connection, site)} if asked else set()
    return next((one for one in asked if one not in known), None)


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
