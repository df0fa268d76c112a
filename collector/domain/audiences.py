"""Whether one person is in an audience: queries evaluated in memory, over facts that were loaded before.

Two-valued, as the contract says: a positive comparison with something unknown is false, a negative one is true, and a value of
the wrong type is unknown. A compiler to SQL reads the same tree and must give the same answers, so all meaning is in the small
functions below, one for each kind of comparison.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, tzinfo
from typing import Any

import msgspec

from collector.values.attributes import FALSE_UNTIL_SET
from collector.values.clock import DAY
from collector.values.days import day_bounds
from collector.values.query_tree import (
    DAYS,
    NEGATIVE,
    AttributeRule,
    EventMeasure,
    Group,
    Measure,
    MessageMeasure,
    Money,
    Node,
    Test,
    WhereRule,
    typed,
)
from collector.values.text import fold

AttributeValue = str | int | float | bool | tuple[str, ...] | None
"""Dates are unix seconds. A tuple holds the ids of tags or segments: a positive rule asks for any, a negative one for none of them."""


class Total(msgspec.Struct, frozen=True, gc=False):
    """How often something happened, and when first and last, in milliseconds since 1970 UTC; None where it never did."""

    count: int = 0
    first_ms: int | None = None
    last_ms: int | None = None


NEVER = Total()


@dataclass(frozen=True, slots=True)
class PersonFacts:
    """What is known about one person, as far as `query_tree.needs` asks for it. What is missing is unknown, or never happened."""

    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)
    """By canonical name."""
    totals: Mapping[str, Total] = field(default_factory=dict)
    """All-time totals by event name."""
    measures: Mapping[str, Total] = field(default_factory=dict)
    """What was measured over the timeline, by the measure's `key`. Each one that is needed must be here."""
    messages: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By message id: when it was seen, clicked, answered, dismissed, its goal met, in milliseconds."""

    def attribute(self, name: str) -> AttributeValue:
        """Return what is known of an attribute, None where nothing is."""
        value = self.attributes.get(name)
        return False if value is None and name in FALSE_UNTIL_SET else value

    def measure(self, measure: EventMeasure) -> Total:
        """Return the total behind a measure. Raises KeyError where a needed one was not loaded: guessing would send wrong messages."""
        return self.measures[measure.key] if measure.over_timeline else self.totals.get(measure.event, NEVER)


def matches(node: Node, facts: PersonFacts, now_ms: int, time_zone: tzinfo) -> bool:
    """Say whether the person is among those the query describes; `time_zone` is the site's."""
    if isinstance(node, Group):
        wanted = node.operator == "OR"
        for child in node.value:
            if matches(child, facts, now_ms, time_zone) is not (node.operator == "AND"):
                return wanted
        return not wanted
    if isinstance(node, AttributeRule):
        actual: Any = facts.attribute(node.field)
        if isinstance(actual, tuple):
            return _any_or_none(actual, node.test, facts, now_ms, time_zone)
        if node.test.kind == "time":
            actual = instant(actual)
    else:
        actual = measured(node.measure, facts)
    test = node.test
    if isinstance(test.operand, EventMeasure | MessageMeasure):
        return _compare_measures(test, actual, measured(test.operand, facts))
    return holds(test, actual, now_ms, time_zone)


def where_matches(where: Iterable[WhereRule], metadata: Mapping[str, Any], now_ms: int, time_zone: tzinfo) -> bool:
    """Say whether an event's metadata meets all conditions. Keys are found without regard to case."""
    for rule in where:
        actual = metadata_value(rule, metadata)
        if rule.test.kind == "time":
            actual = instant(actual)
        if not holds(rule.test, actual, now_ms, time_zone):
            return False
    return True


def measure_over(events: Iterable[tuple[int, Mapping[str, Any]]], measure: EventMeasure, now_ms: int, time_zone: tzinfo) -> Total:
    """Return the total of those of a person's events of this name that a measure counts.

    `events` are (milliseconds, metadata) in any order. The caller bounds them by the retention; here they are bounded by
    `within_days` (age below N times 24 hours).
    """
    oldest = None if measure.within_days is None else now_ms - measure.within_days * DAY
    times = [
        at_ms
        for at_ms, metadata in events
        if (oldest is None or at_ms > oldest) and (not measure.where or where_matches(measure.where, metadata, now_ms, time_zone))
    ]
    return Total(len(times), min(times), max(times)) if times else NEVER


def together(one: Total, other: Total) -> Total:
    """Return the total of two parts."""
    if one.first_ms is None or one.last_ms is None or other.first_ms is None or other.last_ms is None:
        return one if other.first_ms is None else other
    return Total(one.count + other.count, min(one.first_ms, other.first_ms), max(one.last_ms, other.last_ms))


def measured(measure: Measure, facts: PersonFacts) -> int | None:
    """Return the value of a measure: a count, or an instant in ms, None where it is unknown."""
    if isinstance(measure, MessageMeasure):
        return facts.messages.get(measure.message, {}).get(measure.field)
    total = facts.measure(measure)
    if measure.field == "count":
        return total.count
    return total.first_ms if measure.field == "first" else total.last_ms


def instant(value: Any) -> int | None:
    """Return a stored date, unix seconds, in milliseconds; anything else is unknown."""
    return round(value * 1_000) if _is_number(value) else None


def metadata_value(rule: WhereRule, metadata: Mapping[str, Any]) -> Any:
    """Return what an event's metadata holds at the place a condition names; None where there is nothing."""
    value = metadata.get(rule.key)
    if value is None:
        wanted = fold(rule.key)
        value = next((content for key, content in metadata.items() if fold(key) == wanted), None)
    if rule.part is None:
        return value
    return value.get(rule.part) if isinstance(value, dict) else None


def _any_or_none(values: tuple[str, ...], test: Test, facts: PersonFacts, now_ms: int, time_zone: tzinfo) -> bool:
    if isinstance(test.operand, EventMeasure | MessageMeasure):
        return _compare_measures(test, None, measured(test.operand, facts))
    if not values or test.operator in {"is_unknown", "has_any_value"}:
        return holds(test, values or None, now_ms, time_zone)
    if test.operator in NEGATIVE:
        return all(holds(test, value, now_ms, time_zone) for value in values)
    return any(holds(test, value, now_ms, time_zone) for value in values)


def holds(test: Test, actual: Any, now_ms: int, time_zone: tzinfo) -> bool:
    """Compare a value with a plain operand. Instants and counts are whole numbers here, dates were turned into milliseconds."""
    operator, operand = test.operator, test.operand
    if operator == "is_unknown":
        return actual is None
    if operator == "has_any_value":
        return actual is not None
    if operator in {"=", "!="}:
        return _equal(actual, operand) is (operator == "=")
    if operator in {"IN", "NIN"}:
        return _among(actual, operand) is (operator == "IN")
    if operator in {"~", "!~", "^", "$"}:
        return _text_holds(operator, actual, operand)
    if operator in {">", "<", ">=", "<="}:
        if isinstance(operand, Money):
            return _same_currency(actual, operand) and _ordered(operator, actual["amount"], operand.amount)
        return _is_number(actual) and _ordered(operator, actual, operand)
    if actual is None:
        return False
    if operator in DAYS:
        return _day_holds(operator, actual, operand, time_zone)
    return _span_holds(operator, now_ms - actual, test)


def _equal(actual: Any, operand: Any) -> bool:
    if isinstance(operand, Money):
        return _same_currency(actual, operand) and bool(actual["amount"] == operand.amount)
    # True equals 1 in Python; a boolean is no number here.
    return _is_scalar(actual) and isinstance(actual, bool) is isinstance(operand, bool) and bool(actual == operand)


def _among(actual: Any, operands: frozenset[Any]) -> bool:
    if isinstance(actual, dict):
        return any(isinstance(one, Money) and _equal(actual, one) for one in operands)
    return _is_scalar(actual) and typed(actual) in operands


def _text_holds(operator: str, actual: Any, folded: str) -> bool:
    if not isinstance(actual, str):
        return operator == "!~"
    text = fold(actual)
    if operator == "^":
        return text.startswith(folded)
    if operator == "$":
        return text.endswith(folded)
    return (folded in text) is (operator == "~")


def _day_holds(operator: str, at_ms: int, day: date, time_zone: tzinfo) -> bool:
    begin, end = day_bounds(day, time_zone)
    if operator == "before":
        return at_ms < begin
    if operator == "after":
        return at_ms >= end
    return begin <= at_ms < end


def _span_holds(operator: str, age: int, test: Test) -> bool:
    """Compare an age in milliseconds (negative for what lies ahead) with a span."""
    span: int = test.operand
    if operator.startswith("more_than"):
        return age > span
    if operator.startswith("less_than"):
        return 0 <= age < span
    if operator.startswith("exactly"):
        return span <= age < span + test.unit_ms
    if operator.startswith("in_less_than"):
        return 0 <= -age < span
    return -age > span


def _compare_measures(test: Test, actual: Any, other: int | None) -> bool:
    """Compare with a measure. One that never happened is older than everything that did."""
    if not _is_number(actual):
        return test.operator in NEGATIVE
    if other is None:
        return test.operator in {">", ">=", "!="}
    if test.operator in {"=", "!="}:
        return bool(actual == other) is (test.operator == "=")
    return _ordered(test.operator, actual, other)


def _ordered(operator: str, left: int | float, right: int | float) -> bool:
    if operator == ">":
        return left > right
    if operator == "<":
        return left < right
    return left >= right if operator == ">=" else left <= right


def _same_currency(actual: Any, operand: Money) -> bool:
    return isinstance(actual, dict) and actual.get("currency") == operand.currency and _is_number(actual.get("amount"))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int | float)
