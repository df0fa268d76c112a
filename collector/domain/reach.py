"""What going live means: how many people a message's audience describes now, and how many of them could not be shown it."""

import msgspec

from collector.domain import counting
from collector.domain.columns import Columns
from collector.domain.content import EVENT
from collector.domain.names import Names
from collector.domain.sites import Site
from collector.storage.database import Connection
from collector.values.errors import Refusal
from collector.values.messages import AutoMessageDefinition
from collector.values.queries import parse
from collector.values.query_tree import Group, Node

EVERYBODY = Group("NOT", ())
"""Holds for everybody: nothing is asked."""
_MADE_OF = {"first_name": "name", "last_name": "name", "user_id": "external_id"}
"""What variables are made of that are no field by their own name."""


class Reach(msgspec.Struct, frozen=True):
    """The people a message would be for, now."""

    people: int
    without: int
    """How many of them lack a value without which it cannot be shown."""
    lacking: dict[str, int]
    """The same by variable."""
    of_event: list[str]
    """The variables that the triggering event has to bring."""
    impossible: bool
    """Whether nobody at all can be shown it."""


def impossible(definition: AutoMessageDefinition) -> bool:
    """Say whether a message can be shown to nobody: it opens without the event that has to bring what it cannot do without."""
    return definition.trigger.type != "event" and any(path.startswith(EVENT) for path in definition.content.required())


def reach(
    connection: Connection, columns: Columns, site: Site, names: Names, definition: AutoMessageDefinition, now_ms: int, retention_ms: int
) -> Reach:
    """Count the people of a message whose audience asks for no segment any more."""
    audience = definition.audience or EVERYBODY

    def count(node: Node) -> int:
        return counting.count(connection, columns, site, names, node, now_ms, retention_ms)

    required = sorted(definition.content.required())
    lacks = {path: _lacks(path) for path in required if not path.startswith(EVENT)}
    return Reach(
        people=count(audience),
        without=count(Group("AND", (audience, Group("OR", tuple(lacks.values()))))) if lacks else 0,
        lacking={path: count(Group("AND", (audience, node))) for path, node in lacks.items()},
        of_event=[path for path in required if path.startswith(EVENT)],
        impossible=impossible(definition),
    )


def _lacks(path: str) -> Node:
    """Return the query for who has no value for a variable, neither a field of ours nor one of the site's; an empty text is none."""
    lacks: list[Node] = []
    for field in (_MADE_OF.get(path, path), f"custom_attributes.{path}"):
        try:
            unknown = _rule(field, "is_unknown")
            if path == "last_name" and field == "name":
                lacks.append(_rule("name", "!~", " "))
            else:
                lacks.append(unknown if field.endswith("_at") else Group("OR", (unknown, _rule(field, "=", ""))))
        except Refusal:  # there is no such field
            continue
    return Group("AND", tuple(lacks)) if lacks else EVERYBODY


def _rule(field: str, operator: str, value: str | None = None) -> Node:
    rule = {"field": field, "operator": operator}
    return parse(rule if value is None else {**rule, "value": value}, retention_days=1)
