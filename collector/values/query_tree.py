"""The typed tree of a query: what `queries.parse` makes and what every evaluator reads.

Each rule holds a `Test`, which keeps the value as it was written (for `to_json`) beside the operand made ready for comparing, so
that one person in memory and everybody in SQL start from the same thing.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple

import msgspec

Kind = Literal["any", "time", "count"]
"""What a rule compares: a stored value of whatever type, an instant (milliseconds), or the count of an event."""

EQUALITY = frozenset({"=", "!="})
SETS = frozenset({"IN", "NIN"})
ORDER = frozenset({">", "<", ">=", "<="})
TEXT = frozenset({"~", "!~", "^", "$"})
PRESENCE = frozenset({"is_unknown", "has_any_value"})
DAYS = frozenset({"before", "after", "on"})
_UNITS = {"days": 86_400_000, "hours": 3_600_000, "minutes": 60_000}
PAST_SPANS = {f"{how}_{unit}_ago": ms for unit, ms in _UNITS.items() for how in ("more_than", "less_than", "exactly")}
FUTURE_SPANS = {f"in_{how}_{unit}": ms for unit, ms in _UNITS.items() for how in ("more_than", "less_than")}
SPANS = PAST_SPANS | FUTURE_SPANS
"""The relative operators, each with the milliseconds of its unit."""

OPERATORS: dict[Kind, frozenset[str]] = {
    "any": EQUALITY | SETS | ORDER | TEXT | PRESENCE,
    "time": EQUALITY | SETS | ORDER | PRESENCE | DAYS | frozenset(SPANS),
    "count": EQUALITY | SETS | ORDER | PRESENCE,
}
NEGATIVE = frozenset({"!=", "NIN", "!~"})
"""The operators that hold for an unknown value."""

EVENT_FIELDS: dict[str, Kind] = {"count": "count", "first": "time", "last": "time"}
MESSAGE_FIELDS = ("seen", "clicked", "answered", "dismissed", "goal")


class Money(msgspec.Struct, frozen=True):
    """An operand in minor units; only the same currency (lower case) compares."""

    amount: int
    currency: str


class MessageMeasure(msgspec.Struct, frozen=True):
    """When a person first saw, clicked, answered or dismissed a message, or met its goal: an instant, else unknown."""

    message: str
    field: str


class Test(msgspec.Struct, frozen=True):
    """One comparison.

    `value` is what was written, in JSON types or as a measure. `operand` is the same made ready: a scalar or Money; for sets
    a frozenset of `typed` keys and Money; for `~ ^ $` the folded text; for instants milliseconds; for `before after on` a date; for
    relative times the span in milliseconds; a measure for a measure.
    """

    __test__ = False  # no test case, whatever pytest thinks of the name

    kind: Kind
    operator: str
    value: Any = None
    operand: Any = None

    @property
    def unit_ms(self) -> int:
        """The milliseconds of a relative operator's unit."""
        return SPANS[self.operator]


class WhereRule(msgspec.Struct, frozen=True):
    """A condition on the metadata of single events: `metadata.KEY`, or one part of money or of a rich link."""

    key: str
    part: str | None
    test: Test

    @property
    def field(self) -> str:
        """The field as it was written."""
        return f"metadata.{self.key}" + (f".{self.part}" if self.part else "")


class EventMeasure(msgspec.Struct, frozen=True):
    """Count, first or last of an event: over all time, or over the timeline where `where` or `within_days` is given."""

    event: str
    field: str
    where: tuple[WhereRule, ...] = ()
    within_days: int | None = None
    key: str = ""
    """Names what has to be counted, the same for count, first and last; empty for the all-time totals.

    A text, because rules with the values 1, 1.0 and true are equal to Python but count different events.
    """

    @property
    def over_timeline(self) -> bool:
        """Whether single events have to be read."""
        return bool(self.key)


Measure = EventMeasure | MessageMeasure


class AttributeRule(msgspec.Struct, frozen=True):
    """A rule about an attribute by its canonical name; dates are compared as instants."""

    field: str
    test: Test


class EventRule(msgspec.Struct, frozen=True):
    """A rule about the count, first or last of an event."""

    measure: EventMeasure
    test: Test


class MessageRule(msgspec.Struct, frozen=True):
    """A rule about what a person did with a message."""

    measure: MessageMeasure
    test: Test


class Group(msgspec.Struct, frozen=True):
    """AND: all hold; OR: one holds; NOT: none holds."""

    operator: str
    value: "tuple[Node, ...]"


Node = Group | AttributeRule | EventRule | MessageRule


class Needs(msgspec.Struct, frozen=True):
    """What has to be known about a person to evaluate a query."""

    attributes: frozenset[str]
    totals: frozenset[str]
    """Names of the events whose all-time totals are asked for."""
    measures: tuple[EventMeasure, ...]
    """What has to be measured over the timeline, one for each `key`."""
    messages: frozenset[str]


NOTHING = Needs(frozenset(), frozenset(), (), frozenset())
"""What is needed where nothing is asked."""


def walk(node: Node) -> Iterator[AttributeRule | EventRule | MessageRule]:
    """Yield the rules of a query from left to right."""
    stack: list[Node] = [node]
    while stack:
        top = stack.pop()
        if isinstance(top, Group):
            stack.extend(reversed(top.value))
        else:
            yield top


def placed(node: Node, field: str) -> Iterator[tuple[str, AttributeRule | EventRule | MessageRule]]:
    """Yield the rules of a query from left to right, each with its path, such as `query.value[1]`; `field` is the query's own name."""
    stack: list[tuple[str, Node]] = [(field, node)]
    while stack:
        path, top = stack.pop()
        if isinstance(top, Group):
            stack.extend((f"{path}.value[{place}]", top.value[place]) for place in reversed(range(len(top.value))))
        else:
            yield path, top


class Extent(NamedTuple):
    """How much a query is: its rules, groups and conditions, and how many of these stand inside each other."""

    nodes: int
    depth: int


def extent(node: Node, of_rule: Callable[[AttributeRule], Extent] = lambda _: Extent(1, 1)) -> Extent:
    """Return how much a query is; `of_rule` says it of a rule about an attribute, which may stand for more than itself."""
    nodes, deepest = 0, 0
    stack: list[tuple[Node, int]] = [(node, 1)]
    while stack:
        top, depth = stack.pop()
        more = Extent(1, 1)
        if isinstance(top, Group):
            stack.extend((child, depth + 1) for child in top.value)
        elif isinstance(top, AttributeRule):
            more = of_rule(top)
        else:
            measures = [one for one in (top.measure, top.test.operand) if isinstance(one, EventMeasure)]
            more = Extent(1 + sum(len(one.where) for one in measures), 1)
        nodes += more.nodes
        deepest = max(deepest, depth - 1 + more.depth)
    return Extent(nodes, deepest)


def needs(*nodes: Node) -> Needs:
    """Return what all these queries together need, so that it can be loaded in one go."""
    attributes: set[str] = set()
    totals: set[str] = set()
    measures: dict[str, EventMeasure] = {}
    messages: set[str] = set()
    for rule in (rule for node in nodes for rule in walk(node)):
        asked: list[Any] = [rule.test.operand]
        if isinstance(rule, AttributeRule):
            attributes.add(rule.field)
        else:
            asked.append(rule.measure)
        for measure in asked:
            if isinstance(measure, MessageMeasure):
                messages.add(measure.message)
            elif isinstance(measure, EventMeasure):
                if measure.over_timeline:
                    measures.setdefault(measure.key, measure)
                else:
                    totals.add(measure.event)
    return Needs(frozenset(attributes), frozenset(totals), tuple(measures.values()), frozenset(messages))


def united(parts: Iterable[Needs]) -> Needs:
    """Return what these need together."""
    attributes: set[str] = set()
    totals: set[str] = set()
    measures: dict[str, EventMeasure] = {}
    messages: set[str] = set()
    for part in parts:
        attributes |= part.attributes
        totals |= part.totals
        messages |= part.messages
        for measure in part.measures:
            measures.setdefault(measure.key, measure)
    return Needs(frozenset(attributes), frozenset(totals), tuple(measures.values()), frozenset(messages))


def to_json(node: Node) -> dict[str, Any]:
    """Return a query as JSON; parsing it again gives an equal tree."""
    if isinstance(node, Group):
        return {"operator": node.operator, "value": [to_json(child) for child in node.value]}
    subject = {"field": node.field} if isinstance(node, AttributeRule) else measure_json(node.measure)
    return subject | _test_json(node.test)


def where_json(where: tuple[WhereRule, ...]) -> list[dict[str, Any]]:
    """Return conditions on metadata as JSON."""
    return [{"field": rule.field} | _test_json(rule.test) for rule in where]


def measure_json(measure: Measure) -> dict[str, Any]:
    """Return a measure as JSON."""
    if isinstance(measure, MessageMeasure):
        return {"message": measure.message, "field": measure.field}
    body: dict[str, Any] = {"event": measure.event, "field": measure.field}
    if measure.where:
        body["where"] = where_json(measure.where)
    if measure.within_days is not None:
        body["within_days"] = measure.within_days
    return body


def measure_key(event: str, where: tuple[WhereRule, ...], within_days: int | None) -> str:
    """Return the `key` of an event measure."""
    if not where and within_days is None:
        return ""
    return msgspec.json.encode([event, within_days, where_json(where)]).decode()


def typed(value: Any) -> Any:
    """Return a scalar as it stands in the operand of IN and NIN, where true must not equal 1."""
    return (value,) if isinstance(value, bool) else value


def _money_json(money: Money) -> dict[str, Any]:
    return {"amount": money.amount, "currency": money.currency}


def _test_json(test: Test) -> dict[str, Any]:
    if test.operator in PRESENCE:
        return {"operator": test.operator}
    value = test.value
    if isinstance(value, EventMeasure | MessageMeasure):
        value = measure_json(value)
    elif isinstance(value, tuple):
        value = [_money_json(item) if isinstance(item, Money) else item for item in value]
    elif isinstance(value, Money):
        value = _money_json(value)
    return {"operator": test.operator, "value": value}
