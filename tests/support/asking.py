"""One question for all evaluators of queries: each person in memory, everybody in SQL, and in columns where they hold what is asked."""

import json
from typing import Any

from collector.domain import facts, people, segments
from collector.domain.audiences import matches
from collector.domain.compiled_audiences import compiled
from collector.domain.explanation import explain
from collector.domain.selection import select
from collector.values.queries import parse
from collector.values.query_tree import AttributeRule, Node, needs, walk
from tests.support.world import World, user

LEFT_TO_SQL = frozenset({"id", "external_id", "updated_at", "email_domain"})
"""Fields that columns do not hold; what is measured over the timeline and messages are others of that kind."""


class Asking:
    """The people of a world, by what they are called: a lead's or a user's id."""

    def __init__(self, world: World) -> None:
        self.world = world

    def found(self, raw: Any) -> set[str]:
        """Return whom a query describes. All evaluators, and the explanation of each verdict, have to agree."""
        node = parse(raw, retention_days=self.world.services.settings.retention_days, time_zone=self.world.site.zone)
        with self.world.services.database.read() as connection:
            node = segments.expand(connection, self.world.site.id, node)
        names = self._names()
        in_memory = [number for number in names if self._holds(node, number)]
        assert self._in_sql(node) == in_memory, "SQL and memory differ"
        in_columns = self.world.services.columns.ids(self.world.site, node, self.world.clock())
        assert (in_columns is not None) is _held_in_columns(node), "columns answer what they hold, and nothing else"
        assert in_columns is None or in_columns == in_memory, "columns and memory differ"
        return {names[number] for number in in_memory}

    def having(self, field: str, **values: Any) -> "Asking":
        """Let there be a user for each of these values of an attribute; None leaves it unknown."""
        for name, value in values.items():
            self.world.set(user(name), {} if value is None else {field: value}, browser=False)
        return self

    def doing(self, event: str, **happenings: Any) -> "Asking":
        """Let there be a user for each: it sends the event with each of these metadata, or so many ms ago where that is a number."""
        for name, all_of_one in happenings.items():
            for one in all_of_one:
                at = self.world.clock() - (one if isinstance(one, int) else 0)
                metadata = None if isinstance(one, int) else json.dumps(one, ensure_ascii=False)
                self.world.send(user(name), self.world.event(event, at=at, metadata=metadata), browser=False)
            if not all_of_one:
                self.world.set(user(name), {}, browser=False)
        return self

    def _names(self) -> dict[int, str]:
        sql = "SELECT id, value FROM identities WHERE site = ? AND principal_id = id ORDER BY id"
        return dict(self.world.rows(sql, self.world.site.id))

    def _holds(self, node: Node, number: int) -> bool:
        world, services = self.world, self.world.services
        with services.database.read() as connection:
            person = people.load(connection, world.site.id, number)
            retention = services.settings.retention
            known = facts.load(connection, world.site, services.names, person, needs(node), world.clock(), retention)
        holds = matches(node, known, world.clock(), world.site.zone)
        assert compiled(node)(known, world.clock(), world.site.zone) is holds
        assert explain(node, known, world.clock(), world.site.zone).holds is holds
        return holds

    def _in_sql(self, node: Node) -> list[int]:
        world, services = self.world, self.world.services
        with (
            services.database.read() as connection,
            select(connection, world.site, services.names, node, world.clock(), services.settings.retention) as (selection, _),
        ):
            found = selection.ids(connection)
            assert selection.count(connection) == len(found)
            return found


def _held_in_columns(node: Node) -> bool:
    asked = needs(node)
    if asked.measures or asked.messages:
        return False
    return all(not isinstance(rule, AttributeRule) or rule.field not in LEFT_TO_SQL for rule in walk(node))
