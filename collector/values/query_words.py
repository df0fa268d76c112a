"""Rules of queries in the words of a marketer: what a rule asks about, and what it expects of that.

Instants stand as they were written, or as a time of the site's zone where one is given.
"""

from collections.abc import Mapping
from datetime import tzinfo
from typing import Any

from collector.values import query_tree
from collector.values.fields import seconds
from collector.values.metadata import date_text, money_text, number_text
from collector.values.query_tree import (
    AttributeRule,
    EventMeasure,
    EventRule,
    Measure,
    MessageMeasure,
    MessageRule,
    Money,
    Test,
    WhereRule,
)
from collector.values.wording import counted

NO_NAMES: Mapping[str, str] = {}

_COMPARED = {
    "=": "is", "!=": "is not", "IN": "is one of", "NIN": "is none of", ">": "is more than", "<": "is less than", ">=": "is at least",
    "<=": "is at most", "~": "contains", "!~": "does not contain", "^": "starts with", "$": "ends with", "is_unknown": "is unknown",
    "has_any_value": "is known", "before": "is before", "after": "is after", "on": "is on",
}  # fmt: skip
_LATER = {">": "is later than", "<": "is earlier than", ">=": "is not earlier than", "<=": "is not later than"}
_EXPECTED = {
    "=": "", "!=": "anything but ", "IN": "one of ", "NIN": "none of ", ">": "more than ", "<": "less than ", ">=": "at least ",
    "<=": "at most ", "~": "a text that contains ", "!~": "nothing that contains ", "^": "a text that starts with ",
    "$": "a text that ends with ", "is_unknown": "nothing known", "has_any_value": "anything known", "before": "before ",
    "after": "after ", "on": "on ",
}  # fmt: skip
_EXPECTED_TIME = {">": "later than ", "<": "earlier than ", ">=": "not earlier than ", "<=": "not later than "}
_FIELDS = {"external_id": "User id", "last_seen_at": "Last visit", "session_count": "Number of visits", "page_view_count": "Page views"}


def subject(rule: AttributeRule | EventRule | MessageRule, names: Mapping[str, str] = NO_NAMES) -> str:
    """Return what a rule asks about: `the last “paid”`, `“plan”`. `names` are those of messages, by id."""
    if isinstance(rule, AttributeRule):
        return field_in_sentence(rule.field)
    if isinstance(rule, EventRule) and rule.measure.field == "count":
        return f"the count of {event(rule.measure)}"
    return measure(rule.measure, names)


def event(asked: EventMeasure) -> str:
    """Return which events are counted: `“page-view” where path is “/pricing” in the last 30 days`."""
    return f"“{asked.event}”{where(asked.where)}{within(asked)}"


def measure(asked: Measure, names: Mapping[str, str] = NO_NAMES) -> str:
    """Return a measure that something is compared with, as a noun."""
    if isinstance(asked, MessageMeasure):
        return f"the time the message {message(asked.message, names)} was {asked.field}"
    return f"{ {'count': 'how often', 'first': 'the first', 'last': 'the last'}[asked.field] } {event(asked)}"


def message(public_id: str, names: Mapping[str, str] = NO_NAMES) -> str:
    """Return a message by its name, else by its id."""
    return f"“{names[public_id]}”" if public_id in names else public_id


def compared(test: Test) -> str:
    """Return a comparison as what follows a noun: `is more than 2`, `lies back by more than 5 days`."""
    if test.operator in query_tree.SPANS:
        return f"{_lies(test.operator)} {number(test.value)} {_unit(test)}"
    words = (_LATER if test.kind == "time" else {}).get(test.operator) or _COMPARED[test.operator]
    return words if test.operator in query_tree.PRESENCE else f"{words} {value(test.value)}"


def expected(test: Test, zone: tzinfo | None = None, names: Mapping[str, str] = NO_NAMES) -> str:
    """Return what a comparison asks for, to follow `expected` or `is`: `more than 2`, `more than 5 days ago`, `before 2026-03-01`."""
    operator = test.operator
    if operator in query_tree.SPANS:
        return _span(test)
    if operator in query_tree.PRESENCE:
        return "any count" if test.kind == "count" and operator == "has_any_value" else _EXPECTED[operator]
    words = (_EXPECTED_TIME if test.kind == "time" else {}).get(operator) or _EXPECTED[operator]
    if isinstance(test.operand, EventMeasure | MessageMeasure):
        return words + measure(test.operand, names)
    if operator in query_tree.DAYS:
        return words + str(test.value)
    if test.kind == "time" and zone is not None:
        instants = sorted(test.operand) if isinstance(test.operand, frozenset) else [test.operand]
        return words + ", ".join(date_text(seconds(at), zone) for at in instants)
    return words + value(test.value)


def value(raw: Any) -> str:
    """Return a value as a query holds it."""
    match raw:
        case EventMeasure() | MessageMeasure():
            return measure(raw)
        case Money():
            return money_text(raw.amount, raw.currency)
        case tuple() | list():
            return ", ".join(value(one) for one in raw)
        case None:
            return "unknown"
        case bool():
            return "yes" if raw else "no"
        case int() | float():
            return number(raw)
        case dict() if "amount" in raw:
            return money_text(raw["amount"], raw["currency"])
        case dict():
            return f"“{raw.get('value')}”"
    return f"“{raw}”"


def number(raw: Any) -> str:
    """Return a number; whole ones in groups of three."""
    return f"{raw:,}" if isinstance(raw, int) and not isinstance(raw, bool) and abs(raw) < 10**30 else number_text(raw)


def field_name(name: str) -> str:
    """Return what a field of people is called."""
    shown = name.removeprefix("custom_attributes.")
    return _FIELDS.get(name) or (f"“{shown}”" if shown != name else name.replace("_", " ").capitalize())


def field_in_sentence(name: str) -> str:
    """Return what a field of people is called within a sentence."""
    words = field_name(name)
    article = "the " if name in _FIELDS else ""
    return article + words[0].lower() + words[1:]


def where(rules: tuple[WhereRule, ...]) -> str:
    """Return conditions on metadata, with a blank before them."""
    words = [f"{rule.field.removeprefix('metadata.')} {compared(rule.test)}" for rule in rules]
    return f" where {' and '.join(words)}" if words else ""


def within(asked: EventMeasure) -> str:
    """Return the days a measure looks back, with a blank before them."""
    return f" in the last {counted(asked.within_days, 'day')}" if asked.within_days else ""


def _span(test: Test) -> str:
    how = "more than " if "more" in test.operator else "less than " if "less" in test.operator else "exactly "
    span = f"{number(test.value)} {_unit(test)}"
    return f"in {how}{span}" if test.operator.startswith("in_") else f"{how}{span} ago"


def _lies(operator: str) -> str:
    if operator.startswith("in_"):
        return "lies ahead by " + ("more than" if "more" in operator else "less than")
    return "lies back by " + ("more than" if "more" in operator else "less than" if "less" in operator else "exactly")


def _unit(test: Test) -> str:
    unit = next(unit for unit in ("days", "hours", "minutes") if unit in test.operator)
    return unit.removesuffix("s") if test.value == 1 else unit
