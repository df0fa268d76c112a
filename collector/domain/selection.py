"""Everybody whom a query describes, as SQL: the same tree and the same meaning as `audiences`, for all people of a site at once.

A person is the row `p` of its principal identity; what rules ask about is joined to it: totals and attributes by their keys, what has
to be measured over the timeline as a table of its own. SQL is three-valued and the query language two-valued: where a comparison
gives NULL it does not hold, and its negation (`IS NOT TRUE`) does. Texts are compared as they were folded in Python when stored.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import msgspec

from collector.domain import selection_parts, visits
from collector.domain.audiences import measure_over
from collector.domain.deliveries import SHOWN
from collector.domain.measured import Measured
from collector.domain.names import ATTRIBUTE, EVENT, Names
from collector.domain.selection_rules import Column, compare_counts, compare_measures, compare_times, compare_values
from collector.domain.sites import Site
from collector.storage.database import Connection
from collector.values.attributes import FALSE_UNTIL_SET
from collector.values.clock import DAY
from collector.values.query_tree import (
    AttributeRule,
    EventMeasure,
    Group,
    MessageMeasure,
    Node,
)

_EMPTY = {"AND": "TRUE", "OR": "FALSE", "NOT": "FALSE"}
"""What stands for the one child of a group that has none."""
_NOBODY = -1
"""The number of a name that nobody ever used."""
EVENTS = 2_000
"""Most events in memory at once where conditions on metadata are measured."""


class Selection(msgspec.Struct, frozen=True):
    """The people of a query as SQL: what follows FROM, with its parameters. `p` is the person's principal identity."""

    sql: str
    parameters: tuple[Any, ...]

    def count(self, connection: Connection) -> int:
        """Return how many people there are."""
        return int(connection.value(f"SELECT count(*) FROM {self.sql}", self.parameters))

    def page(
        self, connection: Connection, order: "Order", after: Sequence[Any] | None, limit: int, offset: int = 0
    ) -> list[tuple[Any, ...]]:
        """Return (principal id, contact id, ...sort keys) of up to `limit` people in order, those behind the row whose keys are `after`."""
        columns = ", ".join(["p.id", "p.public_id", *order.keys])
        condition, parameters = order.behind(after)
        sql = f"SELECT {columns} FROM {self.sql}{condition} ORDER BY {order.sql} LIMIT ? OFFSET ?"
        return connection.rows(sql, (*self.parameters, *parameters, limit, offset))

    def ids(self, connection: Connection) -> list[int]:
        """Return the principal ids of everybody, in ascending order."""
        return [row[0] for row in connection.rows(f"SELECT p.id FROM {self.sql} ORDER BY p.id", self.parameters)]


class Order(msgspec.Struct, frozen=True):
    """An order of people: keys as SQL expressions that are never NULL, each rising or falling; the last one is unique."""

    keys: tuple[str, ...]
    falling: tuple[bool, ...]

    @property
    def sql(self) -> str:
        """What follows ORDER BY."""
        return ", ".join(f"{key} {'DESC' if falls else 'ASC'}" for key, falls in zip(self.keys, self.falling, strict=True))

    def behind(self, after: Sequence[Any] | None) -> tuple[str, list[Any]]:
        """Return the condition that a row stands behind the one with these keys, and its parameters."""
        if after is None:
            return "", []
        parts: list[str] = []
        parameters: list[Any] = []
        for place, (key, falls) in enumerate(zip(self.keys, self.falling, strict=True)):
            equal = [f"{earlier} = ?" for earlier in self.keys[:place]]
            parts.append(" AND ".join([*equal, f"{key} {'<' if falls else '>'} ?"]))
            parameters += after[: place + 1]
        return f" AND ({' OR '.join(f'({part})' for part in parts)})", parameters


EVERYBODY = Group("AND", ())
"""The query that holds for everybody."""

_OF_MESSAGE = (
    "FROM deliveries d JOIN identities i ON i.site = d.site AND i.id = d.identity "
    "WHERE d.site = ? AND d.message = (SELECT id FROM auto_messages WHERE site = ? AND public_id = ?)"
)


@contextmanager
def select(
    connection: Connection,
    site: Site,
    names: Names,
    node: Node,
    now_ms: int,
    retention_ms: int,
    *,
    sort: str | None = None,
    falling: bool = True,
) -> Iterator[tuple[Selection, Order]]:
    """Make the selection of a query and the order by a field (unknown last; without one the newest first).

    Both are good until the end of the context: tables of measures live as long.
    """
    builder = _Builder(connection, site, names, now_ms, retention_ms, {})
    try:
        condition = builder.condition(node)
        order = builder.order(sort, falling=falling)
        yield builder.selection(condition), order
    finally:
        builder.close()


class _Builder:
    """Builds one statement. Parameters stand in the order in which their marks appear: those of joins first."""

    def __init__(self, connection: Connection, site: Site, names: Names, now_ms: int, retention_ms: int, tables: dict[str, str]) -> None:
        """`tables` are those made so far, by what they hold."""
        self.connection = connection
        self.site = site
        self.names = names
        self.now = now_ms
        self.retention = retention_ms
        self.joins = ""
        self.join_parameters: list[Any] = []
        self.parameters: list[Any] = []
        self._aliases: dict[Any, str] = {}
        self._tables = tables

    def close(self) -> None:
        """Drop the tables that were made."""
        for table in self._tables.values():
            self.connection.run(f"DROP TABLE IF EXISTS {table}")

    # Conditions

    def selection(self, condition: str) -> Selection:
        """Return the people of a condition."""
        sql = f"identities p{self.joins} WHERE p.site = ? AND p.principal_id = p.id AND ({condition})"
        return Selection(sql, (*self.join_parameters, self.site.id, *self.parameters))

    def condition(self, node: Node, depth: int = 0) -> str:
        """Return the condition of a node, `depth` groups inside the statement; NULL means that it does not hold."""
        if isinstance(node, Group):
            return self.group(node, depth)
        if isinstance(node, AttributeRule):
            return self.attribute(node)
        column = self.measured(node.measure)
        return self.compare(node.test, column, "count" if node.test.kind == "count" else "time")

    def group(self, group: Group, depth: int) -> str:
        """Return the condition of a group; where it is too heavy or too deep, its children are selected before."""
        apart = selection_parts.is_large(group)
        children = []
        for child in selection_parts.packed(group) if apart else group.value:  # no comprehension: each level of nesting costs one frame
            if apart or (depth == selection_parts.DEEPEST and isinstance(child, Group)):
                children.append(self.part(child))
            else:
                children.append(f"({self.condition(child, depth + 1)})")
        children = children or [_EMPTY[group.operator]]
        if group.operator == "NOT":
            return " AND ".join(f"{child} IS NOT TRUE" for child in children)
        return f" {group.operator} ".join(children)

    def part(self, node: Node) -> str:
        """Select the people of a node by a statement of its own, and return the condition that somebody is among them."""
        inner = _Builder(self.connection, self.site, self.names, self.now, self.retention, self._tables)
        chosen = inner.selection(inner.condition(node))
        table = self.table(f"part {len(self._tables)}", "person BIGINT PRIMARY KEY")
        self.connection.run(f"INSERT INTO {table} SELECT p.id FROM {chosen.sql}", chosen.parameters)
        return f"(p.id IN (SELECT person FROM {table}))"

    def table(self, key: str, columns: str) -> str:
        """Make a table that lives as long as the selection."""
        name = f"selected_{len(self._tables)}"
        self.connection.run(f"DROP TABLE IF EXISTS {name}")
        self.connection.run(f"CREATE TEMPORARY TABLE {name} ({columns})")
        self._tables[key] = name
        return name

    def attribute(self, rule: AttributeRule) -> str:
        """Return the condition of a rule about an attribute."""
        return self.compare(rule.test, self.field(rule.field), rule.test.kind)

    def compare(self, test: Any, column: Column, kind: str) -> str:
        """Return the comparison of a column."""
        if isinstance(test.operand, EventMeasure | MessageMeasure):
            return compare_measures(test, column, self.measured(test.operand))
        if kind == "count":
            return compare_counts(test, column, self.parameters)
        if kind == "time":
            return compare_times(test, column, self.now, self.site.zone, self.parameters)
        return compare_values(test, column, self.connection.engine, self.parameters)

    def order(self, field: str | None, *, falling: bool) -> Order:
        """Return the order by a field: numbers and instants before texts, unknown last either way."""
        if field is None:
            return Order(("p.id",), (falling,))
        column = self.field(field)
        instant = column.time is not None and field.endswith("_at")
        number = column.time if instant else column.number
        text = None if instant else column.folded
        kinds = [f"WHEN {one} IS NOT NULL THEN {rank}" for rank, one in enumerate((number, text)) if one is not None]
        keys = [f"CASE {' '.join(kinds)} ELSE 2 END"] if kinds else []
        keys += [] if number is None else [f"coalesce({number}, 0)"]
        keys += [] if text is None else [f"coalesce({text}, '')"]
        return Order((*keys, "p.id"), (*([False] if kinds else []), *([falling] * (len(keys) - bool(kinds))), falling))

    # What is compared

    def field(self, name: str) -> Column:
        """Return the columns of an attribute, set or computed."""
        computed = _COMPUTED.get(name)
        if computed is not None:
            return computed
        if name == "page_view_count":
            return Column(number=f"coalesce({self.total('page-view')}.count, 0)")
        if name == "last_seen_at":
            return Column(time=f"({visits.last_seen_sql(self.now, 'p')}) / 1000 * 1000")
        if name == "email_domain":
            email = f"{self.stored('email')}.folded"
            place = f"{'instr' if self.connection.engine == 'sqlite' else 'strpos'}({email}, '@')"
            domain = f"CASE WHEN {place} > 0 THEN nullif(substr({email}, {place} + 1), '') END"
            return Column(text=domain, folded=domain)
        alias = self.stored(name)
        return Column(
            json=f"coalesce({alias}.value, 'false')" if name in FALSE_UNTIL_SET else f"{alias}.value",
            number=f"{alias}.num",
            folded=f"{alias}.folded",
            time=f"CAST(round({alias}.num * 1000) AS BIGINT)",
        )

    def stored(self, name: str) -> str:
        """Join an attribute that was set, or that visits gave."""
        number = self.names.number(self.site.id, ATTRIBUTE, name)
        return self.join(
            ("attribute", name),
            "LEFT JOIN attributes {a} ON {a}.site = p.site AND {a}.attr = ? AND {a}.identity = p.id AND {a}.value <> 'null'",
            [_NOBODY if number is None else number],
        )

    def measured(self, measure: EventMeasure | MessageMeasure) -> Column:
        """Return the column of a measure."""
        if isinstance(measure, MessageMeasure):
            alias = self.goal(measure.message) if measure.field == "goal" else self.message(measure.message)
            return Column(time=f"{alias}.{measure.field}_at")
        alias = self.over_timeline(measure) if measure.over_timeline else self.total(measure.event)
        if measure.field == "count":
            return Column(count=f"{alias}.count")
        return Column(time=f"{alias}.{measure.field}")

    def total(self, event: str) -> str:
        """Join the all-time totals of an event."""
        number = self.names.number(self.site.id, EVENT, event)
        return self.join(
            ("total", event),
            "LEFT JOIN totals {a} ON {a}.site = p.site AND {a}.name = ? AND {a}.identity = p.id",
            [_NOBODY if number is None else number],
        )

    def message(self, public_id: str) -> str:
        """Join when each person did what with a message."""
        times = ", ".join(f"min(d.{field}_at) AS {field}_at" for field in ("seen", "clicked", "answered", "dismissed"))
        return self.join(
            ("message", public_id),
            f"LEFT JOIN (SELECT i.principal_id AS person, {times} {_OF_MESSAGE} GROUP BY i.principal_id) {{a}} ON {{a}}.person = p.id",
            [self.site.id, self.site.id, public_id],
        )

    def goal(self, public_id: str) -> str:
        """Join when each person reached the goal of a message; whoever was held out at first, to compare, reaches none of it."""
        return self.join(
            ("goal", public_id),
            f"LEFT JOIN (SELECT person, min(CASE WHEN first_arm = '{SHOWN}' THEN goal_at END) AS goal_at FROM ("
            "SELECT i.principal_id AS person, d.goal_at, "
            f"first_value(d.arm) OVER (PARTITION BY i.principal_id ORDER BY d.claimed_at, d.identity, d.n) AS first_arm {_OF_MESSAGE}) d "
            "GROUP BY person) {a} ON {a}.person = p.id",
            [self.site.id, self.site.id, public_id],
        )

    def join(self, key: Any, sql: str, parameters: Sequence[Any]) -> str:
        """Join a table once and return its alias."""
        if key not in self._aliases:
            alias = f"j{len(self._aliases)}"
            self._aliases[key] = alias
            self.joins += " " + sql.replace("{a}", alias)
            self.join_parameters += parameters
        return self._aliases[key]

    # Measures over the timeline

    def over_timeline(self, measure: EventMeasure) -> str:
        """Join what is measured over the timeline, for everybody."""
        if measure.key in self._aliases:
            return self._aliases[measure.key]
        days = self.retention if measure.within_days is None else min(measure.within_days * DAY, self.retention)
        number = self.names.number(self.site.id, EVENT, measure.event)
        number = _NOBODY if number is None else number
        if measure.where or self.connection.engine == "sqlite":
            measured = self._measure_in_memory if measure.where else self._measure_one_by_one
            table = self._tables.get(measure.key) or measured(measure, number, self.now - days)
            return self.join(measure.key, f"LEFT JOIN {table} {{a}} ON {{a}}.person = p.id", [])
        return self.join(
            measure.key,
            f"LEFT JOIN (SELECT i.principal_id AS person, count(*) AS count, min(e.at) AS first, max(e.at) AS last {_OF_EVENT} "
            "AND e.at > ? GROUP BY i.principal_id) {a} ON {a}.person = p.id",
            [self.site.id, number, self.now - days],
        )

    def _measure_in_memory(self, measure: EventMeasure, number: int, oldest: int) -> str:
        """Apply conditions on metadata in Python, the same as for one person, and return the table of what was measured.

        A site may have twenty million page views, so that no more than a few thousand are in memory at once. Nothing is written before the
        last one is read: on PostgreSQL the cursor's transaction would get a number then, and hold back everybody's feed of changes.
        """
        table = self.table(measure.key, "person BIGINT PRIMARY KEY, count BIGINT, first BIGINT, last BIGINT")
        measured = Measured()
        sql = f"SELECT i.principal_id, e.at, e.metadata {_OF_EVENT} AND e.at >= ?"
        with self.connection.cursors(), closing(self.connection.chunks(sql, (self.site.id, number, oldest), EVENTS)) as chunks:
            for rows in chunks:
                events: dict[int, list[tuple[int, Any]]] = {}
                for person, at, metadata in rows:
                    events.setdefault(person, []).append((at, msgspec.json.decode(metadata) if metadata else {}))
                for person, happened in events.items():
                    total = measure_over(happened, measure, self.now, self.site.zone)
                    if total.count:
                        measured.add(person, total)
        for portion in measured.portions():
            self.connection.insert(table, ("person", "count", "first", "last"), portion)
        return table

    def _measure_one_by_one(self, measure: EventMeasure, number: int, oldest: int) -> str:
        """Add up events one by one, and return the table: to group them, SQLite would sort them all, and in memory."""
        table = self.table(measure.key, "person INTEGER PRIMARY KEY, count BIGINT, first BIGINT, last BIGINT")
        self.connection.run(
            f"INSERT INTO {table} SELECT i.principal_id, 1, e.at, e.at {_OF_EVENT} AND e.at > ? {_ADDED.format(table)}",
            (self.site.id, number, oldest),
        )
        return table


_OF_EVENT = "FROM events e JOIN identities i ON i.site = e.site AND i.id = e.identity WHERE e.site = ? AND e.name = ?"
_ADDED = (
    "ON CONFLICT (person) DO UPDATE SET count = {0}.count + excluded.count, first = lesser({0}.first, excluded.first), "
    "last = larger({0}.last, excluded.last)"
)
"""What becomes of what is measured of somebody of whom something was measured before."""

_EXTERNAL = (
    "CASE p.kind WHEN 'user' THEN p.{0} WHEN 'email' THEN (SELECT u.{0} FROM identities u WHERE u.site = p.site "
    "AND u.principal_id = p.id AND u.kind = 'user' ORDER BY u.created_at, u.id LIMIT 1) END"
)
_ROLE = "CASE WHEN p.kind = 'lead' THEN 'lead' ELSE 'user' END"
_CREATED = "(SELECT min(m.created_at) FROM identities m WHERE m.site = p.site AND m.principal_id = p.id)"
_CHANGED = "(SELECT max(c.set_at) FROM attributes c WHERE c.site = p.site AND c.identity = p.id)"
_COMPUTED = {
    "id": Column(text="p.public_id", folded="p.public_id"),
    "role": Column(text=_ROLE, folded=_ROLE),
    "external_id": Column(text=_EXTERNAL.format("value"), folded=_EXTERNAL.format("folded")),
    "created_at": Column(time=f"{_CREATED} / 1000 * 1000"),
    "updated_at": Column(time=f"larger(larger({_CREATED}, coalesce(p.active_at, 0)), coalesce({_CHANGED}, 0)) / 1000 * 1000"),
    "last_active_at": Column(time="p.active_at / 1000 * 1000"),
    "session_count": Column(number="coalesce(p.visit_count, 0)"),
}
COMPUTED = frozenset(_COMPUTED) | {"page_view_count", "last_seen_at", "email_domain"}
"""The attributes that are worked out; all others are stored."""
