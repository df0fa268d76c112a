"""Audiences, page rules, triggers and frequencies in the words of a marketer. The JSON stays the precise form and is shown beside."""

from typing import Any

import msgspec

from collector.values import query_tree
from collector.values.messages import AutoMessageDefinition
from collector.values.page_rules import FieldRule, PageRule
from collector.values.query_tree import AttributeRule, EventMeasure, EventRule, Group, MessageMeasure, MessageRule, Node, Test, WhereRule
from collector.web.console.words import counted


class Rules(msgspec.Struct, frozen=True):
    """A group of rules: what joins them, and each as text or as a group of its own."""

    label: str
    items: "list[str | Rules]"


_JOINED = {"AND": "All of these hold", "OR": "At least one of these holds", "NOT": "None of these holds"}
_COMPARED = {
    "=": "is", "!=": "is not", "IN": "is one of", "NIN": "is none of", ">": "is more than", "<": "is less than", ">=": "is at least",
    "<=": "is at most", "~": "contains", "!~": "does not contain", "^": "starts with", "$": "ends with", "is_unknown": "is unknown",
    "has_any_value": "is known", "before": "is before", "after": "is after", "on": "is on",
}  # fmt: skip
_LATER = {">": "is later than", "<": "is earlier than", ">=": "is not earlier than", "<=": "is not later than"}
_TIMES = {"=": "exactly", "!=": "not exactly", ">": "more than", "<": "fewer than", ">=": "at least", "<=": "at most"}
_PLACES = {"host": "the host", "path": "the path", "url": "the whole address"}
_PLACED = {"is": "is", "starts": "starts with", "contains": "contains", "wildcard": "matches"}


def audience(node: Node) -> Rules:
    """Return an audience in words."""
    words = _node(node)
    return words if isinstance(words, Rules) else Rules("People for whom this holds", [words])


def page_rule(rule: PageRule) -> Rules:
    """Return a page rule in words."""
    words = _page(rule)
    return words if isinstance(words, Rules) else Rules("Pages where this holds", [words])


def trigger(definition: AutoMessageDefinition) -> str:
    """Return in words what opens a message."""
    made = definition.trigger
    if made.type == "event":
        return f"When the person does “{made.event}”{_where(made.where)}"
    return {
        "page": "When a page opens",
        "manual": "Only when the page asks for it: leadlight('showMessage', …)",
        "time": "Some seconds after a page opened",
        "scroll": "When the page was scrolled",
        "exit_intent": "When the pointer leaves the page",
    }.get(made.type, made.type)


def frequency(definition: AutoMessageDefinition) -> str:
    """Return in words how often one person gets a message."""
    made = definition.frequency
    if made.type == "once":
        return "Once"
    if made.type == "until_acted":
        return "Until the person clicks, answers or dismisses it"
    most = f", at most {counted(made.max, 'time')}" if made.max else ""
    gap = f", at most once every {counted(made.every_days, 'day')}" if made.every_days else ""
    return f"Every time{most}{gap}"


def _node(node: Node) -> "str | Rules":
    match node:
        case Group():
            return Rules(_JOINED[node.operator], [_node(child) for child in node.value])
        case AttributeRule():
            return f"{_field(node.field)} {_test(node.test)}"
        case EventRule():
            return _event(node.measure, node.test)
        case MessageRule():
            return f"The time the message {node.measure.message} was {node.measure.field} {_test(node.test)}"


def _event(measure: EventMeasure, test: Test) -> str:
    name = f"“{measure.event}”{_where(measure.where)}{_within(measure)}"
    if measure.field != "count":
        return f"The {measure.field} {name} {_test(test)}"
    if test.operator not in _TIMES or isinstance(test.value, EventMeasure | MessageMeasure):
        return f"How often {name} happened {_test(test)}"
    if (test.operator, test.value) in (("=", 0), ("<", 1), ("<=", 0)):
        return f"Never did {name}"
    if (test.operator, test.value) in ((">", 0), (">=", 1)):
        return f"Did {name} at least once"
    return f"Did {name} {_TIMES[test.operator]} {_number(test.value)} {'time' if test.value == 1 else 'times'}"


def _test(test: Test) -> str:
    if test.operator in query_tree.SPANS:
        return f"{_span(test.operator)} {_number(test.value)} {_unit(test)}"
    compared = (_LATER if test.kind == "time" else {}).get(test.operator) or _COMPARED.get(test.operator, test.operator)
    return compared if test.operator in query_tree.PRESENCE else f"{compared} {_value(test.value)}"


def _span(operator: str) -> str:
    if operator.startswith("in_"):
        return "lies ahead by " + ("more than" if "more" in operator else "less than")
    return "lies back by " + ("more than" if "more" in operator else "less than" if "less" in operator else "exactly")


def _unit(test: Test) -> str:
    unit = next(unit for unit in ("days", "hours", "minutes") if unit in test.operator)
    return unit.removesuffix("s") if test.value == 1 else unit


def _value(value: Any) -> str:
    match value:
        case EventMeasure():
            what = {"count": "how often", "first": "the first", "last": "the last"}[value.field]
            return f"{what} “{value.event}”{_where(value.where)}{_within(value)}"
        case MessageMeasure():
            return f"the time the message {value.message} was {value.field}"
        case query_tree.Money():
            return f"{value.amount} {value.currency.upper()} in minor units"
        case tuple() | list():
            return ", ".join(_value(one) for one in value)
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return _number(value)
    return f"“{value}”"


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _field(name: str) -> str:
    words = {"external_id": "User id", "last_seen_at": "Last visit", "session_count": "Number of visits", "page_view_count": "Page views"}
    shown = name.removeprefix("custom_attributes.")
    return words.get(name) or (f"“{shown}”" if shown != name else name.replace("_", " ").capitalize())


def _where(where: tuple[WhereRule, ...]) -> str:
    rules = [f"{rule.field.removeprefix('metadata.')} {_test(rule.test)}" for rule in where]
    return f" where {' and '.join(rules)}" if rules else ""


def _within(measure: EventMeasure) -> str:
    return f" in the last {counted(measure.within_days, 'day')}" if measure.within_days else ""


def _page(rule: PageRule) -> "str | Rules":
    if not isinstance(rule, FieldRule):
        return Rules(_JOINED[rule.operator], [_page(child) for child in rule.value])
    place = _PLACES.get(rule.field, f"the query parameter {rule.name}")
    return f"{place[0].upper()}{place[1:]} {_PLACED[rule.operator]} “{rule.value}”"
