"""Audiences as functions: what does not change from person to person is worked out once, and nobody looks at a tree again.

Rules of the shapes that most audiences are made of become a comparison each; any other is left to `audiences.matches`, with which all
of them have to agree (a law asks both).
"""

import operator
from collections.abc import Callable
from datetime import tzinfo

from collector.domain.audiences import NEVER, PersonFacts, instant, matches
from collector.values.query_tree import AttributeRule, EventMeasure, Group, Measure, MessageMeasure, Money, Node, Test

Holds = Callable[[PersonFacts, int, tzinfo], bool]
"""Says of a person's facts, at a time (ms) in the site's zone, whether somebody is meant."""

_ORDERED: dict[str, Callable[[int, int | float], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
    "=": operator.eq,
    "!=": operator.ne,
}


def compiled(node: Node) -> Holds:
    """Return the function that `matches` with this node is."""
    if isinstance(node, Group):
        return _group(node.operator, tuple(compiled(child) for child in node.value))
    if not isinstance(node.test.operand, EventMeasure | MessageMeasure | Money):
        made = _attribute(node.field, node.test) if isinstance(node, AttributeRule) else _total(node.measure, node.test)
        if made is not None:
            return made
    return lambda facts, now_ms, zone: matches(node, facts, now_ms, zone)


def _group(kind: str, children: tuple[Holds, ...]) -> Holds:
    def all_hold(facts: PersonFacts, now_ms: int, zone: tzinfo) -> bool:
        for holds in children:  # noqa: SIM110 (a frame less for each rule)
            if not holds(facts, now_ms, zone):
                return False
        return True

    def any_holds(facts: PersonFacts, now_ms: int, zone: tzinfo) -> bool:
        for holds in children:  # noqa: SIM110
            if holds(facts, now_ms, zone):
                return True
        return False

    if kind == "NOT":
        return lambda facts, now_ms, zone: not any_holds(facts, now_ms, zone)
    return all_hold if kind == "AND" else any_holds


def _total(measure: Measure, test: Test) -> Holds | None:
    if isinstance(measure, MessageMeasure) or measure.over_timeline:
        return None
    event, field = measure.event, measure.field
    if field == "count":
        return _count(event, test)
    if field == "first":
        return _span(lambda facts: facts.totals.get(event, NEVER).first_ms, test)
    return _span(lambda facts: facts.totals.get(event, NEVER).last_ms, test)


def _count(event: str, test: Test) -> Holds | None:
    compare, operand = _ORDERED.get(test.operator), test.operand
    if compare is None or isinstance(operand, bool) or not isinstance(operand, int | float):
        return None

    def compares(facts: PersonFacts, now_ms: int, zone: tzinfo) -> bool:  # noqa: ARG001
        return compare(facts.totals.get(event, NEVER).count, operand)

    return compares


def _attribute(field: str, test: Test) -> Holds | None:
    if test.kind == "time":

        def at(facts: PersonFacts) -> int | None:
            value = facts.attributes.get(field)
            return value * 1_000 if type(value) is int else instant(value)  # nearly always

        return _span(at, test)
    operand = test.operand
    if test.operator != "=" or not isinstance(operand, str):
        return None

    def is_it(facts: PersonFacts, now_ms: int, zone: tzinfo) -> bool:  # noqa: ARG001
        value = facts.attributes.get(field)
        return operand in value if isinstance(value, tuple) else value == operand

    return is_it


def _span(at: Callable[[PersonFacts], int | None], test: Test) -> Holds | None:
    """Return the rule that something was more, or less, than a span ago."""
    span = test.operand
    if test.operator.startswith("more_than"):

        def is_older(facts: PersonFacts, now_ms: int, zone: tzinfo) -> bool:  # noqa: ARG001
            when = at(facts)
            return when is not None and now_ms - when > span

        return is_older
    if test.operator.startswith("less_than"):

        def is_younger(facts: PersonFacts, now_ms: int, zone: tzinfo) -> bool:  # noqa: ARG001
            when = at(facts)
            return when is not None and 0 <= now_ms - when < span

        return is_younger
    return None
