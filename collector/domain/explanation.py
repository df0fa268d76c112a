"""Why a query holds for a person, or does not: the query's tree with each verdict, what was expected and what was found beside it.

The verdicts are those of `audiences.matches`, asked node by node; nothing is compared here.
"""

from collections.abc import Mapping
from datetime import tzinfo
from typing import Any

import msgspec

from collector.domain.audiences import PersonFacts, matches, measured
from collector.values import query_words
from collector.values.fields import seconds
from collector.values.metadata import date_text
from collector.values.query_tree import (
    AttributeRule,
    EventMeasure,
    EventRule,
    Group,
    Measure,
    MessageMeasure,
    Node,
    to_json,
)
from collector.values.query_words import NO_NAMES
from collector.values.wording import ago, counted

Rule = Any
"""A rule of a query: about an attribute, an event or a message."""


NO_SEGMENT = "There is no such segment, so nobody is in it."
"""What a group of no rules says: no query has one but where it asks for segments."""


class Found(msgspec.Struct, frozen=True):
    """A value that a rule met: `type` is `count`, `time`, `number`, `text`, `boolean`, `list` or `unknown`; times in unix seconds."""

    type: str
    value: Any
    text: str


class Explained(msgspec.Struct, frozen=True):
    """The verdict on a group or a rule. `expected`, `actual` and `compared_with` are those of a rule; `children` a group's."""

    node: Node
    holds: bool
    in_words: str
    expected: str = ""
    actual: Found | None = None
    compared_with: Found | None = None
    """The other measure's value, where a rule compares two."""
    children: "tuple[Explained, ...]" = ()

    def as_json(self) -> dict[str, Any]:
        """Return it in the shape of the query, each part with its verdict."""
        if isinstance(self.node, Group):
            children = [child.as_json() for child in self.children]
            return {"operator": self.node.operator, "holds": self.holds, "in_words": self.in_words, "value": children}
        other = {} if self.compared_with is None else {"compared_with": msgspec.to_builtins(self.compared_with)}
        return {
            **to_json(self.node),
            "holds": self.holds,
            "expected": self.expected,
            "actual": msgspec.to_builtins(self.actual),
            **other,
            "in_words": self.in_words,
        }


def explain(node: Node, facts: PersonFacts, now_ms: int, time_zone: tzinfo, names: Mapping[str, str] = NO_NAMES) -> Explained:
    """Explain a query's verdict on a person; `names` are those of messages, by id."""
    holds = matches(node, facts, now_ms, time_zone)
    if not isinstance(node, Group):
        return _rule(node, holds, facts, now_ms, time_zone, names)
    children = []
    for child in node.value:  # no comprehension: each level of nesting costs one frame
        children.append(explain(child, facts, now_ms, time_zone, names))  # noqa: PERF401
    return Explained(node, holds, _group(node, children), children=tuple(children))


def _rule(node: Rule, holds: bool, facts: PersonFacts, now_ms: int, zone: tzinfo, names: Mapping[str, str]) -> Explained:
    test = node.test
    expected = query_words.expected(test, zone, names)
    if isinstance(node, AttributeRule):
        actual = _attribute(facts.attribute(node.field), test.kind == "time", now_ms, zone)
        in_words = f"{query_words.field_name(node.field)} is {actual.text}"
    else:
        actual = _measure(node.measure, facts, now_ms, zone)
        in_words = _measured_words(node, actual, names)
    other = None
    if isinstance(test.operand, EventMeasure | MessageMeasure):
        other = _measure(test.operand, facts, now_ms, zone)
        expected += f" ({other.text})"
    in_words = f"{in_words}, {'as expected:' if holds else 'expected'} {expected}."
    return Explained(node, holds, in_words[0].upper() + in_words[1:], expected, actual, other)


def _measured_words(node: Rule, actual: Found, names: Mapping[str, str]) -> str:
    if isinstance(node, EventRule) and node.measure.field == "count":
        how_often = "never happened" if actual.value == 0 else f"happened {counted(actual.value, 'time')}"
        return f"{query_words.event(node.measure)} {how_often}"
    if actual.type == "unknown" and isinstance(node, EventRule):
        return f"{query_words.event(node.measure)} never happened, so there is no {node.measure.field} one"
    if actual.type == "unknown":
        return f"the message {query_words.message(node.measure.message, names)} was not {_done(node.measure.field)} by this person"
    return f"{query_words.measure(node.measure, names)} {'was' if isinstance(node, EventRule) else 'is'} {actual.text}"


def _done(field: str) -> str:
    return "brought to its goal" if field == "goal" else field


def _group(node: Group, children: list[Explained]) -> str:
    if not children:
        return NO_SEGMENT
    held, of = sum(child.holds for child in children), counted(len(children), "rule")
    said = "none does" if held == 0 else f"{held:,} does" if held == 1 else f"{held:,} do"
    if node.operator == "AND":
        return f"All of {of} have to hold; {'all do' if held == len(children) else said}."
    if node.operator == "OR":
        return f"At least one of {of} has to hold; {said}."
    return f"None of {of} may hold; {said}."


def _measure(measure: Measure, facts: PersonFacts, now_ms: int, zone: tzinfo) -> Found:
    value = measured(measure, facts)
    if isinstance(measure, EventMeasure) and measure.field == "count":
        return Found("count", value, query_words.number(value))
    return Found("unknown", None, "never") if value is None else _time(seconds(value), now_ms, zone)


def _attribute(value: Any, instant: bool, now_ms: int, zone: tzinfo) -> Found:
    if value is None or value == ():
        return Found("unknown", None, "unknown")
    if isinstance(value, bool):
        return Found("boolean", value, query_words.value(value))
    if isinstance(value, int | float):
        return _time(value, now_ms, zone) if instant else Found("number", value, query_words.number(value))
    if isinstance(value, tuple):
        return Found("list", list(value), query_words.value(value))
    return Found("text", value, query_words.value(value) + (", which is no time" if instant else ""))


def _time(unix_seconds: int | float, now_ms: int, zone: tzinfo) -> Found:
    return Found("time", unix_seconds, f"{date_text(unix_seconds, zone)} ({ago(now_ms - round(unix_seconds * 1000))})")
