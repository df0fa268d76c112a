"""What going live means: how many people a message's audience describes now, and how many of them could not be shown it."""

from datetime import tzinfo

import msgspec

from collector.domain import counting
from collector.domain.columns import Columns
from collector.domain.content import EVENT, GIVEN_BY
from collector.domain.names import Names
from collector.domain.sites import Site
from collector.storage.database import Connection
from collector.values.errors import Reason, Refusal
from collector.values.messages import AutoMessageDefinition
from collector.values.queries import parse
from collector.values.query_tree import Group, Node

EVERYBODY = Group("NOT", ())
"""Holds for everybody: nothing is asked."""


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


def impossible(definition: AutoMessageDefinition, now_ms: int, zone: tzinfo) -> list[Refusal]:
    """Return why a message can be shown to nobody, whoever they are and whatever they do; nothing where it can."""
    found: list[Refusal] = []
    if definition.trigger.type != "event" and any(path.startswith(EVENT) for path in definition.content.required()):
        text = "Nobody can be shown it: it opens without an event, so its variables of one have no value; give them a fallback."
        found.append(Refusal(Reason.CONTENT_IMPOSSIBLE, "content", text))
    if definition.schedule.is_over(now_ms, zone):
        found.append(Refusal(Reason.SCHEDULE_OVER, "schedule", "Nobody can be shown it: its schedule is never open again."))
    return found


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
        impossible=bool(impossible(definition, now_ms, site.zone)),
    )


def _lacks(path: str) -> Node:
    """Return the query for who has no value for a variable, neither a field of ours nor one of the site's; an empty text is none."""
    lacks: list[Node] = []
    for field in (GIVEN_BY.get(path, path), f"custom_attributes.{path}"):
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
